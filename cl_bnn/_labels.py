"""Labels taken apart: `split_mnist[epochs=3,width=400]`, as `recipes` writes them."""


def name_of(label: str) -> str:
    """The recipe of a label: `bayesbinn` of `bayesbinn[lr=0.01]`."""
    return label.partition("[")[0]


def settings_of(label: str) -> list[str]:
    """What differs from the recipe: `["a=1", "b=2"]` of `mnist[a=1,b=2]`."""
    inside = label.partition("[")[2].removesuffix("]")
    return inside.split(",") if inside else []
