"""What a strategy looks like in every figure: a colour, a dash and a marker of its own.

A recipe has the same look whatever else is drawn. The dash tells its family, and no two recipes
have both colour and marker in common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import NamedTuple
from zlib import crc32

import matplotlib
from matplotlib.colors import to_hex

from cl_bnn._labels import name_of
from cl_bnn.report.order import family, ordered, parts_of

#: The palette of Okabe and Ito (2008), told apart with every kind of colour vision, dark first.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK = OKABE_ITO
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
#: A line of dots and gaps in units of its width, or one of Matplotlib's names.
Dash = str | tuple[int, tuple[float, ...]]
#: The dash of each family of `cl_bnn.report.order`.
DASHES: dict[str, Dash] = {
    "bayesian": "-",
    "binary": "--",
    "ensemble": (0, (5, 1, 1, 1, 1, 1)),
    "beside": "-.",
    "real": ":",
    "yardstick": (0, (8, 2)),
    "other": (0, (2, 2)),
}
#: Colour and marker of every recipe.
KNOWN = {
    "bayesbinn": (BLUE, "o"),
    "bayesbinn_tuned": (RED, "P"),
    "bayesbinn_searched": (BLACK, "v"),
    "bayesbinn_reference": (SKY, "s"),
    "bayesbinn_fixed_prior": (ORANGE, "^"),
    "bayesbinn_bimu": (PINK, "D"),
    "bayesbinn_bimu_searched": (BLUE, "s"),
    "bimu": (GREEN, "v"),
    "bimu_searched": (PINK, "s"),
    "ste": (RED, "o"),
    "ste_searched": (RED, "s"),
    "bop": (GREEN, "s"),
    "bop2": (SKY, "v"),
    "bop2_unbiased": (ORANGE, "P"),
    "pmf": (PINK, "v"),
    "pmf_mended": (BLUE, "X"),
    "xnor": (ORANGE, "s"),
    "metaplastic": (BLACK, "^"),
    "metaplastic_searched": (BLACK, "D"),
    "benn": (BLUE, "D"),
    "adam": (BLACK, "s"),
    "adam_searched": (BLACK, "o"),
    "sgd": (GREEN, "X"),
    "mesu": (GREEN, "P"),
    "mesu_searched": (ORANGE, "X"),
    "vcl": (BLUE, "P"),
    "vcl_searched": (PINK, "X"),
    "vcl_coreset": (SKY, "P"),
    "kfl": (PINK, "^"),
    "ewc": (RED, "^"),
    "online_ewc": (BLUE, "v"),
    "ewc_avalanche": (RED, "D"),
    "si": (BLUE, "^"),
    "si_avalanche": (GREEN, "D"),
    "mas": (SKY, "X"),
    "mas_avalanche": (SKY, "^"),
    "lwf": (GREEN, "^"),
    "er": (PINK, "o"),
    "der": (SKY, "o"),
    "der++": (SKY, "D"),
    "der_avalanche": (RED, "v"),
    "replay": (ORANGE, "o"),
    "agem": (ORANGE, "v"),
    "gem": (ORANGE, "D"),
    "constant": (BLACK, "X"),
    "joint": (BLACK, "P"),
    "ste_joint": (RED, "X"),
    "adam_joint": (GREEN, "o"),
}
#: With one plugin beside binary weights markers are hollow, colours those of the plugin so many
#: places further in the palette, and markers these in the place of its own.
BESIDE = {
    "ste": (1, {"o": "o", "^": "^", "v": "v", "D": "D", "X": "X"}),
    "bayesbinn": (3, {"o": "<", "^": ">", "v": "P", "D": "s", "X": "X"}),
}
#: Tasks, ages and layers in order, where there are more than colours: dark to light, the last tenth
#: of the map, too light for a line, left out.
SEQUENTIAL, LIGHTEST = "viridis", 0.9


class Look(NamedTuple):
    """How a line and its markers are drawn; `filled` is False for markers with a white inside."""

    colour: str
    dash: Dash = "-"
    marker: str = ""
    filled: bool = True


def looks(strategies: Iterable[str], shown: Iterable[str] | None = None) -> dict[str, Look]:
    """The look of each label, in the one order of strategies.

    A recipe, also one of `BESIDE`, has its own. A variant has that of its recipe where the recipe
    is not there; any other label has one that depends on its name and avoids what is there. With
    `shown` only those, as they look among all `strategies`: the same in all figures of a benchmark.
    """
    names = ordered(strategies)
    known = {name: look for name in names if (look := _known(name)) is not None}
    found = dict(known)
    for name in names:
        if name not in found:
            own = _known(name_of(name))
            found[name] = own if own and own not in found.values() else _free(name, found)
    chosen = set(names if shown is None else shown)
    return {name: found[name] for name in names if name in chosen}


def sequence(count: int) -> list[Look]:
    """Looks of tasks, ages or layers number 0 to `count` - 1, from dark to light, all solid."""
    colours = matplotlib.colormaps[SEQUENTIAL]
    return [
        Look(to_hex(colours(LIGHTEST * number / max(1, count - 1))), "-", MARKERS[number % 7])
        for number in range(count)
    ]


def task_looks(count: int) -> list[Look]:
    """Looks of tasks number 0 to `count` - 1: colours far apart if there are enough, else in
    sequence.
    """
    if count > len(OKABE_ITO):
        return sequence(count)
    return [Look(OKABE_ITO[number], "-", MARKERS[number]) for number in range(count)]


def _known(strategy: str) -> Look | None:
    """The look of a recipe, or of one with a plugin; None for others, and for settings changed."""
    dash, parts = DASHES[family(strategy)], parts_of(strategy)
    if strategy in KNOWN:
        return Look(KNOWN[strategy][0], dash, KNOWN[strategy][1])
    if name_of(strategy) != strategy or len(parts) != 2:
        return None
    base, plugin = parts
    if base not in BESIDE or plugin not in KNOWN:
        return None
    (shift, markers), (colour, marker) = BESIDE[base], KNOWN[plugin]
    index = (OKABE_ITO.index(colour) + shift) % len(OKABE_ITO)
    return Look(OKABE_ITO[index], dash, markers[marker], False) if marker in markers else None


def _free(strategy: str, taken: dict[str, Look]) -> Look:
    """A look that neither the figure nor any recipe has, of the colour least seen in the figure."""
    here = {(look.colour, look.marker, look.filled) for look in taken.values()}
    reserved = {(*look, True) for look in KNOWN.values()}
    seen = Counter(look.colour for look in taken.values())
    start = crc32(strategy.encode())

    def worth(place: int, one: tuple[str, bool, str]) -> tuple[bool, bool, int, int]:
        marker, filled, colour = one
        triple = (colour, marker, filled)
        return triple in here, triple in reserved, seen[colour], (place + start) % len(choices)

    choices = list(product(MARKERS, (True, False), OKABE_ITO))
    _, (marker, filled, colour) = min(enumerate(choices), key=lambda one: worth(*one))
    return Look(colour, DASHES[family(strategy)], marker, filled)
