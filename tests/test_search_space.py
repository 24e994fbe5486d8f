"""The table `[search]` of a strategy's recipe: what may be in it, and what is said of mistakes."""

from pathlib import Path

import pytest

from cl_bnn import recipes
from cl_bnn._search_space import Choices, Span
from cl_bnn.errors import UserError

RECIPE = """
title = "Mine"
build = "my_method:Learner"
[defaults]
lr = 0.1
steps = 30
mode = "fast"
[search]
"""
PLUGIN = """
title = "Holds"
optimizer = "adam"
plugin = "my_method:Holds"
[defaults]
strength = 1.0
"""


def space(tmp_path: Path, text: str, recipe: str = RECIPE) -> dict[str, Span | Choices]:
    path = tmp_path / "mine.toml"
    path.write_text(recipe + text)
    return recipes.load_strategy(str(path)).space


def test_ranges_and_choices(tmp_path: Path) -> None:
    text = """
    lr = {low = 1e-4, high = 0.1, log = true}
    steps = {low = 10, high = 50, step = 20}
    mode = {choices = ["fast", "slow"]}
    """
    assert space(tmp_path, text) == {
        "lr": Span(1e-4, 0.1, log=True),
        "steps": Span(10, 50, step=20),
        "mode": Choices(("fast", "slow")),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "lrr = {low = 1, high = 2}",
            r"search.lrr: no setting .*; did you mean 'lr'\? known: lr, ",
        ),
        ("ewc.lr = {low = 1, high = 2}", r"search.ewc: no setting in the recipe's \[defaults\]"),
        ("lr = 3", r"search.lr = 3: expected a range, as in \{low = 1e-4"),
        ("lr = {}", r"search.lr = \{\}: expected a range"),
        ("lr = {low = 1, high = 2, logg = true}", "unknown key 'logg'; did you mean 'log'"),
        ("lr = {low = 1}", "search.lr.high = None: expected a finite number"),
        ("lr = {low = 'a', high = 2}", "search.lr.low = 'a': expected a finite number"),
        ("lr = {low = true, high = 2}", "search.lr.low = True: expected a finite number"),
        ("lr = {low = 1, high = inf}", "search.lr.high = inf: expected a finite number"),
        ("lr = {low = 2.0, high = 1.0}", "search.lr: low = 2.0 must be below high = 1.0"),
        ("lr = {low = 1, high = 1}", "low = 1 must be below high = 1"),
        ("lr = {low = 0.0, high = 1.0, log = true}", "low = 0.0 must be above 0 with log = true"),
        ("lr = {low = -1, high = 1, log = true}", "low = -1 must be above 0 with log"),
        ("lr = {low = 1, high = 2, log = 1}", "search.lr.log = 1: expected true or false"),
        ("lr = {low = 1.0, high = 2.0, step = 1}", "step = 1: expected a whole number of at least"),
        ("lr = {low = 1, high = 9, step = 0}", "step = 0: expected a whole number of at least 1"),
        (
            "lr = {low = 1, high = 9, step = 2, log = true}",
            "with whole low and high and without lo",
        ),
        ("lr = {low = 1, high = 9, step = 3}", "no number of steps of 3 leads from low to high"),
        ("lr = {choices = []}", r"search.lr.choices = \[\]: expected a list of at least one value"),
        ("lr = {choices = 3}", "search.lr.choices = 3: expected a list"),
        ("lr = {choices = [[1]]}", r"search.lr.choices: \[1\] is no number, text, true or false"),
        ("lr = {choices = [1], low = 1}", "search.lr: choices stand alone, without low"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        space(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.toml'}: ")
    assert "\n" not in str(caught.value)


def test_search_must_be_a_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="search = 3: expected a table"):
        space(tmp_path, "", RECIPE.replace("[search]", "").replace("[def", "search = 3\n[def"))


# Plugins -----------------------------------------------------------------------------------------


def test_a_plugin_adds_its_settings_under_its_name(tmp_path: Path) -> None:
    found = space(tmp_path, "[search]\nmine.strength = {low = 1.0, high = 9.0}", PLUGIN)
    assert found == recipes.load_strategy("adam").space | {"mine.strength": Span(1.0, 9.0)}
    both, ste = recipes.load_strategy("ste+ewc+der++").space, recipes.load_strategy("ste").space
    assert list(both) == [*ste, "ewc.strength", "ewc.labels", "der++.alpha", "der++.beta"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "strength = {low = 1.0, high = 9.0}",
            "search.strength: no .*did you mean 'mine.strength'",
        ),
        ("mine.strengh = {low = 1.0, high = 9.0}", r"search.mine.strengh: .*mean 'strength'\?"),
        ("mine = 3", "search.mine = 3: expected settings of the plugin"),
        (
            "mine.strength = {low = 9.0, high = 1.0}",
            "search.mine.strength: low = 9.0 must be below",
        ),
    ],
)
def test_mistakes_in_a_plugins_recipe(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        space(tmp_path, f"[search]\n{text}", PLUGIN)


def test_a_recipe_of_an_optimiser_with_plugins_has_a_search_of_its_own(tmp_path: Path) -> None:
    recipe = """
    title = "Both"
    optimizer = "bop"
    plugins = ["ewc", "si"]
    [defaults.ewc]
    decay = 0.9
    [search]
    gamma = {choices = [1e-4]}
    ewc.decay = {low = 0.5, high = 1.0}
    """
    found, bop = space(tmp_path, "", recipe), recipes.load_strategy("bop").space
    assert found["gamma"] == Choices((1e-4,)) and found["threshold"] == bop["threshold"]
    assert found["ewc.decay"] == Span(0.5, 1.0)
    assert {"ewc.strength", "ewc.labels", "si.strength"} <= set(found)
    with pytest.raises(UserError, match=r"search.ewc.deccay: .*did you mean 'decay'"):
        space(tmp_path, "", recipe.replace("ewc.decay", "ewc.deccay"))


# Values ------------------------------------------------------------------------------------------


def test_what_a_span_holds() -> None:
    assert [Span(0.1, 1.0).holds(v) for v in (0.1, 1, 1.01, 0.0, True, "x")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
    assert [Span(10, 50, step=20).holds(v) for v in (10, 30.0, 40, 30.5, 70)] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_what_choices_hold() -> None:
    assert [Choices((1.0, "x")).holds(v) for v in (1, 1.0, "x", True, 2)] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert Choices((True,)).holds(True) and not Choices((True,)).holds(1)


def test_proposals_have_few_digits_and_stay_inside() -> None:
    assert Span(1e-4, 1.0).settle(0.0123456) == 0.0123
    assert Span(0.12345, 1.0).settle(0.12346) == 0.12345
    assert Span(0.1, 0.98765).settle(0.9876) == 0.98765
    assert Span(1, 5).settle(3) == 3 and type(Span(1, 5).settle(3)) is int
    assert type(Span(1, 5.0).settle(3)) is float


# Shipped recipes ---------------------------------------------------------------------------------

SEARCHED = [name for name in recipes.names("strategies") if recipes.load_strategy(name).space]
BENCHMARKS = [
    name
    for name in recipes.names("benchmarks")
    if recipes.takes(recipes.load_benchmark(name).stream["build"], [], ["validation"])
]


def test_the_strategies_to_be_compared_have_a_search() -> None:
    wanted = "bayesbinn bayesbinn_bimu bimu ste bop metaplastic pmf adam"
    wanted += " ewc online_ewc si mas lwf der der++ er"
    assert set(wanted.split()) <= set(SEARCHED)
    single = [name for name in SEARCHED if "+" not in name]  # a+b searches what both do
    assert all(2 <= len(recipes.load_strategy(name).space) <= 4 for name in single)


@pytest.mark.parametrize("name", SEARCHED)
def test_the_values_of_every_shipped_recipe_lie_in_its_search(name: str) -> None:
    strategy = recipes.load_strategy(name)
    for benchmark in map(recipes.load_benchmark, BENCHMARKS):
        spec = recipes.resolve(benchmark, strategy, {})
        for key, axis in strategy.space.items():
            plugin, dot, short = key.partition(".")
            own = spec.plugins[plugin][short] if dot else spec.settings[key]
            assert axis.holds(own) or isinstance(axis, Choices), (benchmark.name, key)
    for key, axis in strategy.space.items():
        for value in axis.extremes:
            recipes.check(recipes.resolve(benchmark, strategy, {key: value}))
