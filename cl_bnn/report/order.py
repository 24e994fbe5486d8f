"""One order of strategies in all tables and figures, and which tasks are shown where many are.

Bayesian binary weights first, then other binary ones, ensembles, plugins beside binary weights
(`ste+ewc`), full precision, the yardsticks; last what nobody has given a place, by its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, count

import pandas as pd

from cl_bnn._labels import name_of
from cl_bnn._strategy_recipes import PART

#: The families of strategies in their order, the recipes of each in theirs.
FAMILIES = {
    "bayesian": (
        "bayesbinn", "bayesbinn_searched", "bayesbinn_tuned", "bayesbinn_reference",
        "bayesbinn_fixed_prior", "bayesbinn_bimu", "bayesbinn_bimu_searched", "bimu",
        "bimu_searched",
    ),
    "binary": (
        "ste", "ste_searched", "bop", "bop2", "bop2_unbiased", "pmf", "pmf_mended", "xnor",
        "metaplastic", "metaplastic_searched",
    ),
    "ensemble": ("benn",),
    "beside": (),
    "real": (
        "adam", "adam_searched", "sgd", "mesu", "mesu_searched", "vcl", "vcl_searched",
        "vcl_coreset", "kfl", "ewc", "online_ewc", "ewc_avalanche", "si", "si_avalanche", "mas",
        "mas_avalanche", "lwf", "er", "der", "der++", "der_avalanche", "replay", "agem", "gem",
    ),
    "yardstick": ("constant", "joint", "ste_joint", "adam_joint"),
    "other": (),
}  # fmt: skip
#: The families of binary weights: with a plugin beside them they are the family `beside`.
BINARY = ("bayesian", "binary", "ensemble")
_PLACES = {name: place for place, name in enumerate(chain(*FAMILIES.values()))}
#: More columns than these, of tasks, are not read in a table.
MOST_COLUMNS = 12
#: Of many tasks a terminal shows so few, which fit into its 80 columns.
MOST_ON_TERMINAL = 7
#: The steps at which tasks can be shown, times powers of 10.
STEPS = (1, 2, 5)


def parts_of(strategy: str) -> list[str]:
    """What a label is put together from, settings left out: `ste` and `er` of `ste+er[er.lr=1]`."""
    return PART.findall(name_of(strategy)) or [strategy]


def family(strategy: str) -> str:
    """One of `FAMILIES`."""
    first, *plugins = parts_of(strategy)
    found = next((name for name, recipes in FAMILIES.items() if first in recipes), "other")
    return "beside" if plugins and found in BINARY else found


def ordered(strategies: Iterable[str]) -> list[str]:
    """Each label once, in the one order; variants (`name[...]`) right after their name."""
    return sorted({str(strategy) for strategy in strategies}, key=_rank)


def by_strategy(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of every strategy in `frame`, in the one order."""
    groups = {str(strategy): rows for strategy, rows in frame.groupby("strategy")}
    return [(strategy, groups[strategy]) for strategy in ordered(groups)]


def shown_tasks(n_tasks: int, most: int) -> list[int]:
    """The numbers of the tasks to show (from 1): all, or the first, every k-th and the last.

    k is the smallest of 1, 2, 5, 10, 20, ... that shows at most `most` (at least 3).
    """
    if not n_tasks:
        return []
    steps = (digit * 10**power for power in count() for digit in STEPS)
    choices = (sorted({1, *range(step, n_tasks + 1, step), n_tasks}) for step in steps)
    return next(numbers for numbers in choices if len(numbers) <= most)


def _rank(strategy: str) -> tuple[int, list[int], str, int, str]:
    """Of the variants of a name those with fewer settings changed come first."""
    places = [_PLACES.get(part, len(_PLACES)) for part in parts_of(strategy)]
    place, name = list(FAMILIES).index(family(strategy)), name_of(strategy)
    return place, places, name, strategy.count("="), strategy
