"""How well a network knows what it does not know, once the last task is learned."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from cl_bnn.report.order import MOST_COLUMNS, by_strategy, shown_tasks
from cl_bnn.report.summary import at_end, at_task_ends
from cl_bnn.report.tables import AUROC, NOTHING, Table, format_of, of_rows

#: How many test samples of a task the costly measures see, evenly spread: see `cl_bnn.uncertainty`.
IMAGES = 500
#: Of predictions on the tasks learned, with p the predicted probabilities of a sample of class y, q
#: those of one network of the posterior, and the mean over samples.
PREDICTIVE = {
    "nll": "NLL = −ln p[y]",
    "ece": "ECE = Σ over 15 equal bins of confidence of share × |accuracy − confidence|",
    "brier": "Brier = Σ over classes c of (p[c] − 1[c = y])²",
    "aleatoric": "aleatoric = mean over the networks of the posterior of −Σ q[c] ln q[c]"
    f", over at most {IMAGES} test samples of each task",
    "epistemic": "epistemic = −Σ p[c] ln p[c] − aleatoric, with p the mean of the q, over the same",
}
#: Those that have no other table.
NEW = ("brier", "aleatoric", "epistemic")
OLD, CURRENT = "old", "current"
TASKS = "Old: the mean over i < T; current: i = T."
UNSEEN_NOTE = (
    "AUROC = P(u' > u) + ½ P(u' = u) of the uncertainty u of a test sample of the task and u' of a "
    f"sample of the other data, at most {IMAGES} of each; ½ is chance"
)


def tables(frame: pd.DataFrame) -> list[Table]:
    """Predictive uncertainty and data not seen, on old tasks and the current (last) one of the one
    benchmark in `frame`; without rows where nothing was measured.
    """
    unseen = sorted({name for name in frame["metric"].unique() if name.startswith(AUROC)})
    notes = dict.fromkeys(unseen, UNSEEN_NOTE)
    return [
        _table(frame, PREDICTIVE, "Uncertainty after the last task"),
        _table(frame, notes, "Data not seen, told from the tasks learned"),
    ]


def single_tables(frame: pd.DataFrame) -> list[Table]:
    """The same of a single task, where NLL and ECE stand beside the accuracy: only if there is more
    than these.
    """
    predictive, unseen = tables(frame)
    return [*([predictive] if frame["metric"].isin(NEW).any() else []), unseen]


def is_shown_here(metric: str) -> bool:
    """Whether a metric has its place in these tables, or in the figure of reliability, alone."""
    return metric in NEW or metric.startswith((AUROC, "bin_"))


def along(frame: pd.DataFrame) -> list[Table]:
    """Predictive uncertainty and data not seen along the tasks of the one benchmark in `frame`, a
    table each: after every task on those before it, on it and on those to come, or of these on the
    next where no others were measured.
    """
    unseen = sorted({name for name in frame["metric"].unique() if name.startswith(AUROC)})
    measured = [m for m in (*PREDICTIVE, *unseen) if len(at_task_ends(frame, m))]
    return [_along(frame, metric) for metric in measured]


def _along(frame: pd.DataFrame, metric: str) -> Table:
    rows = at_task_ends(frame, metric)
    rows = rows[rows["on"].notna() & (rows["after"] >= 0)]
    n_tasks = int(rows["after"].max()) + 1
    numbers = shown_tasks(n_tasks, MOST_COLUMNS)
    body = []
    for strategy, mine in by_strategy(rows):
        cells = [_ages(mine[mine["after"] == number - 1], metric) for number in numbers]
        body.append([strategy, *cells])
    head = ["strategy", *(f"after task {number}" for number in numbers)]
    every = (rows["on"] - rows["after"]).max() > 1
    coming = "to come" if every else "next"
    title = f"{format_of(metric).heading}: old / current / {coming}, means over tasks and seeds"
    return Table(title, head, body)


def _ages(rows: pd.DataFrame, metric: str) -> str:
    """The means on tasks before the last learned, on it and on those after it."""
    _, factor, decimals = format_of(metric)
    sides = (rows["on"] < rows["after"], rows["on"] == rows["after"], rows["on"] > rows["after"])
    found = [factor * rows[side]["value"].mean() for side in sides]
    return " / ".join(NOTHING if math.isnan(v) else f"{v:z.{decimals}f}" for v in found)


def means(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """`metric` of every run of one benchmark after the last task, averaged over tasks.

    Returns:
        The columns `strategy, seed, age, value`; age is `OLD` (tasks before the last) or `CURRENT`.
    """
    rows = at_end(frame, metric)
    rows = rows[rows["on"].notna()]
    age = (rows["on"] == rows["after"]).map({True: CURRENT, False: OLD})
    keys = ["strategy", "seed", "age"]
    found: pd.DataFrame = rows.assign(age=age).groupby(keys)["value"].mean().reset_index()
    return found


def _table(frame: pd.DataFrame, notes: Mapping[str, str], title: str) -> Table:
    """The metrics that `notes` explain, those that were measured."""
    found = {metric: means(frame, metric) for metric in notes}
    columns = [
        (metric, age)
        for metric, rows in found.items()
        for age in (OLD, CURRENT)
        if (rows["age"] == age).any()
    ]
    head = ["strategy", "seeds", *(f"{format_of(m).heading}, {age}" for m, age in columns)]
    body = []
    for strategy, group in by_strategy(frame):
        cells = [_cell(found[metric], group, strategy, age, metric) for metric, age in columns]
        if set(cells) - {NOTHING}:
            body.append([strategy, str(group["seed"].nunique()), *cells])
    said = dict.fromkeys(notes[metric] for metric, _ in columns)
    return Table(title, head, body, f"{'; '.join(said)}. {TASKS}")


def _cell(rows: pd.DataFrame, group: pd.DataFrame, strategy: str, age: str, metric: str) -> str:
    mine = rows[(rows["strategy"] == strategy) & (rows["age"] == age)]
    return of_rows(mine, group, metric)
