"""Ensembles: how well the first 1, 2, ... members vote together, and the size that validation
chooses.
"""

from __future__ import annotations

import re

import pandas as pd

from cl_bnn.report.order import by_strategy
from cl_bnn.report.summary import Interval, at_end, interval
from cl_bnn.report.tables import NOTHING, Table, cell

#: A metric of the first so many members together, by one of the votes.
TOGETHER = re.compile(r"(?P<held>val_)?accuracy_(?P<vote>\w+)_of_(?P<size>\d+)")
#: What is known of the members themselves.
MEMBERS = ("accuracy_member", "accuracy_member_mean", "disagreement")
VOTES = {
    "soft": "mean of the probabilities",
    "soft_outputs": "sum of the raw outputs, as published",
    "hard": "a vote each",
    "weighted": "votes weighted by the rule",
}


def is_of_ensembles(metric: str) -> bool:
    """Whether a metric is one that only ensembles have."""
    return metric.removeprefix("val_") in MEMBERS or TOGETHER.fullmatch(metric) is not None


def together(frame: pd.DataFrame) -> pd.DataFrame:
    """Test and validation accuracy of every vote and size, once the last task is learned.

    Args:
        frame: what `results.read` returns, of one benchmark.

    Returns:
        A row for each strategy, seed, vote and size, with the columns `strategy, seed, vote, size,
        test, val`: fractions, the mean over tasks; `val` is NaN where nothing is held out.
    """
    ends = at_end(frame)
    found = ends[ends["metric"].map(lambda metric: TOGETHER.fullmatch(metric) is not None)].copy()
    parts = found["metric"].str.extract(TOGETHER.pattern)
    found["vote"], found["size"] = parts["vote"], parts["size"].astype(int)
    found["where"] = parts["held"].map({"val_": "val"}).fillna("test")
    keys = ["strategy", "seed", "vote", "size"]
    table = found.pivot_table(index=keys, columns="where", values="value", aggfunc="mean")
    whole: pd.DataFrame = table.reindex(columns=["test", "val"]).reset_index()
    return whole


def chosen(votes: pd.DataFrame) -> pd.DataFrame:
    """Of rows as `together` returns them, for each strategy, seed and vote that with the best
    validation accuracy, the smallest size among equals; none where nothing is held out.
    """
    held = votes.dropna(subset=["val"]).sort_values("size")
    best = held.groupby(["strategy", "seed", "vote"])["val"].idxmax()
    return held.loc[best]


def tables(frame: pd.DataFrame) -> list[Table]:
    """Sizes and votes, then what the members are; empty tables where there is no ensemble."""
    votes = together(frame)
    sizes = _shown(int(votes["size"].max()) if len(votes) else 0)
    head = ["strategy", "vote", "seeds", *map(str, sizes), "size by validation", "accuracy there"]
    best, rows = chosen(votes), []
    for strategy, mine in by_strategy(votes):
        for vote, group in mine.groupby("vote"):
            picked = best[(best["strategy"] == strategy) & (best["vote"] == vote)]
            cells = [_cell(interval(group[group["size"] == size]["test"])) for size in sizes]
            size = f"{picked['size'].mean():.1f}" if len(picked) else NOTHING
            seeds = str(group["seed"].nunique())
            cells += [size, _cell(interval(picked["test"]))]
            rows.append([strategy, str(vote), seeds, *cells])
    title = "Ensembles: test accuracy [%] of the first members together"
    return [Table(title, head, rows), _members(frame)]


def _shown(largest: int) -> list[int]:
    """1, 2, 4, ... and the largest size."""
    sizes = [2**k for k in range(largest.bit_length()) if 2**k < largest]
    return [*sizes, largest] if largest else []


def _cell(value: Interval) -> str:
    return cell(value, "accuracy")


def _members(frame: pd.DataFrame) -> Table:
    ends = at_end(frame)
    head = ["strategy", "seeds", "first member [%]", "mean member [%]", "disagreement [%]"]
    rows = []
    for strategy, group in by_strategy(ends[ends["metric"].isin(MEMBERS)]):
        by_seed = group.groupby(["metric", "seed"])["value"].mean()
        cells = [
            _cell(interval(by_seed[metric])) if metric in by_seed.index else NOTHING
            for metric in MEMBERS
        ]
        rows.append([strategy, str(group["seed"].nunique()), *cells])
    return Table("Members alone; how often two of them differ", head, rows)
