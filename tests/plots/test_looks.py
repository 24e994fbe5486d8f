"""The look of a strategy: always the same, and unlike every other's."""

import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageColor
from wide_frames import TWENTY

from cl_bnn.plots import figures, looks
from cl_bnn.plots.looks import BESIDE, DASHES, KNOWN, Look
from cl_bnn.report.order import FAMILIES

PLUGINS = ("ewc", "online_ewc", "ewc_avalanche", "si", "si_avalanche", "mas",
           "mas_avalanche", "lwf", "er", "der", "der++", "der_avalanche", "replay",
           "agem", "gem")  # fmt: skip
COMBINED = [f"{base}+{plugin}" for base in BESIDE for plugin in PLUGINS]


def shape(look: Look) -> tuple[str, str, bool]:
    return look.colour, look.marker, look.filled


def test_every_strategy_of_the_order_has_a_look_and_no_two_the_same() -> None:
    assert set(KNOWN) == {name for family in FAMILIES.values() for name in family}
    found = looks.looks([*KNOWN, *COMBINED])
    assert len({shape(look) for look in found.values()}) == len(KNOWN) + len(COMBINED) == 78


def test_a_recipe_looks_the_same_whatever_else_is_drawn() -> None:
    alone = {name: looks.looks([name])[name] for name in [*KNOWN, *COMBINED]}
    crowd = looks.looks([*KNOWN, *COMBINED, "mine", "ste[lr=1]", "bop+er"])
    assert all(crowd[name] == look for name, look in alone.items())
    assert alone["bayesbinn"] == Look(looks.BLUE, "-", "o") and alone["ste"].colour == looks.RED


def test_the_dash_tells_the_family() -> None:
    found = looks.looks(["bayesbinn", "bimu", "ste+er", "bop+er", "mine", "bayesbinn[lr=1]"])
    assert {name: look.dash for name, look in found.items()} == {
        "bayesbinn": "-", "bayesbinn[lr=1]": "-", "bimu": "-", "ste+er": "-.", "bop+er": "-.",
        "mine": DASHES["other"],
    }  # fmt: skip
    assert len(set(DASHES.values())) == len(DASHES) == len(FAMILIES)


def test_beside_binary_weights_markers_are_hollow() -> None:
    found = looks.looks(["ste+ewc", "bayesbinn+ewc", "ewc"])
    assert [look.filled for look in found.values()] == [False, False, True]
    assert len({look.colour for look in found.values()}) == 3


def test_a_variant_alone_looks_like_its_recipe_and_beside_it_does_not() -> None:
    assert looks.looks(["ste[lr=1]"])["ste[lr=1]"] == looks.looks(["ste"])["ste"]
    found = looks.looks(["ste", "ste[lr=1]", "ste[lr=2]"])
    assert len({shape(look) for look in found.values()}) == 3
    assert found == looks.looks(["ste[lr=2]", "ste", "ste[lr=1]"])  # in whatever order


@pytest.mark.parametrize("count", [30, 100])
def test_unknown_strategies_are_all_different(count: int) -> None:
    names = [f"mine{number}" for number in range(count)]
    found = looks.looks([*names, "bayesbinn"])
    assert len({shape(look) for look in found.values()}) == count + 1


def test_few_unknown_ones_have_colours_of_their_own() -> None:
    found = looks.looks(["a", "b", "c", "d", "e", "f", "bayesbinn"])
    assert len({look.colour for look in found.values()}) == 7


def test_those_shown_look_as_among_all() -> None:
    everyone = looks.looks([*TWENTY, "mine", "yours"])
    shown = looks.looks([*TWENTY, "mine", "yours"], ["yours", "ste", "ste"])
    assert shown == {name: everyone[name] for name in ("ste", "yours")}


def test_neighbours_in_a_sequence_differ_and_lightness_grows() -> None:
    colours = [look.colour for look in looks.sequence(100)]
    assert len(set(colours)) == 100
    green = [int(colour[3:5], 16) for colour in colours]
    assert green == sorted(green)
    assert all(one.marker != other.marker for one, other in zip(
        looks.sequence(9), looks.sequence(9)[1:], strict=False))  # fmt: skip
    assert len(looks.sequence(1)) == 1 and looks.sequence(0) == []


def test_up_to_seven_tasks_have_colours_far_apart() -> None:
    assert [look.colour for look in looks.task_looks(7)] == list(looks.OKABE_ITO)
    assert looks.task_looks(8) == looks.sequence(8)


def lightness(colour: str, lack: str) -> tuple[float, float, float]:
    """A colour in Lab units of CIE 1976 as an eye without one kind of cone sees it.

    Matrices of Vienot, Brettel and Mollon (1999) for the lack of the long or the middle cone.
    """
    rgb = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)
    if lack == "long":
        r, g, b = (0.11238 * r + 0.88762 * g, 0.11238 * r + 0.88762 * g,
                   0.00401 * r - 0.00401 * g + b)  # fmt: skip
    elif lack == "middle":
        r, g, b = (0.29275 * r + 0.70725 * g, 0.29275 * r + 0.70725 * g,
                   -0.02234 * r + 0.02234 * g + b)  # fmt: skip
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
    x, y, z = (c ** (1 / 3) if c > 0.008856 else 7.787 * c + 16 / 116 for c in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("lack", ["none", "long", "middle"])
def test_colours_are_told_apart_by_every_eye(lack: str) -> None:
    """A difference of 2.3 is just seen; the closest pair has several times that."""
    seen = [lightness(colour, lack) for colour in looks.OKABE_ITO]
    for one, other in combinations(seen, 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 10


def test_a_png_keeps_the_colours_of_small_markers_beside_a_map_of_many_colours() -> None:
    pixels = np.zeros((256, 512, 4), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(256)[:, None], np.arange(512) // 2
    pixels[..., 3] = 255
    wanted = [ImageColor.getrgb(colour) for colour in looks.OKABE_ITO]
    for number, colour in enumerate(wanted):
        pixels[10:13, 10 * number : 10 * number + 3, :3] = colour
    found = np.asarray(Image.open(io.BytesIO(figures._png(pixels))).convert("RGB"))
    for number, colour in enumerate(wanted):
        assert np.abs(found[11, 10 * number + 1].astype(int) - colour).max() <= 4
