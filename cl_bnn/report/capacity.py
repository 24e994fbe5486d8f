"""The capacity that a posterior over binary weights has left, after the first and the last task."""

from __future__ import annotations

import re

import pandas as pd

from cl_bnn.report.order import by_strategy
from cl_bnn.report.summary import at_task_ends
from cl_bnn.report.tables import FORMATS, NOTHING, Table, of_rows

#: What is measured, with p = P(w = +1) of a weight.
EXPLAINED = {
    "entropy": "entropy = mean of −p log₂ p − (1 − p) log₂(1 − p)",
    "saturated": "saturated: the share with |2p − 1| > 0.999",
    "flipped": "flipped: the share whose mode (p > ½) is another one than after the task before",
}


def table(frame: pd.DataFrame) -> Table:
    """The measures of the whole network after the first and the last task of one benchmark; without
    rows where nothing has a posterior.
    """
    last = int(frame["after"].max())
    columns = [
        (metric, after)
        for metric in EXPLAINED
        for after in dict.fromkeys((0, last))
        if (at_task_ends(frame, metric)["after"] == after).any()
    ]
    head = [f"{FORMATS[metric].heading} after task {after + 1}" for metric, after in columns]
    rows = []
    for strategy, group in by_strategy(frame[frame["metric"].isin(list(EXPLAINED))]):
        cells = [_cell(group, metric, after) for metric, after in columns]
        if set(cells) - {NOTHING}:
            rows.append([strategy, str(group["seed"].nunique()), *cells])
    said = "; ".join(dict.fromkeys(EXPLAINED[metric] for metric, _ in columns))
    note = f"With p = P(w = +1) of a weight: {said}."
    return Table("Capacity of the posterior", ["strategy", "seeds", *head], rows, note)


def layers_of(frame: pd.DataFrame, metric: str) -> list[int]:
    """The numbers of the layers (from 1, input first) of which `metric` was measured."""
    names = frame["metric"].unique()
    found = (re.fullmatch(rf"{re.escape(metric)}_layer(\d+)", name) for name in names)
    return sorted(int(match.group(1)) for match in found if match)


def _cell(group: pd.DataFrame, metric: str, after: int) -> str:
    rows = at_task_ends(group, metric)
    return of_rows(rows[rows["after"] == after], group, metric)
