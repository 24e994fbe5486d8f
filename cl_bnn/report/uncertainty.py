"""How well a network knows what it does not know, once the last task is learned."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from cl_bnn.report.order import by_strategy
from cl_bnn.report.summary import interval
from cl_bnn.report.tables import NOTHING, Table, cell, format_of

#: Of predictions on the tasks learned; those besides NLL and ECE have no other table.
PREDICTIVE = ("nll", "ece", "brier", "aleatoric", "epistemic")
NEW = PREDICTIVE[2:]
#: How far uncertainty tells data not seen from a task: `auroc_<name>`.
UNSEEN = "auroc_"
OLD, CURRENT = "old", "current"
TASKS = "Old: the mean over i < T, current: i = T."
PREDICTIVE_NOTE = (
    "With p the predicted probabilities of a sample of class y, mean over samples: NLL = −ln p[y]; "
    "ECE = Σ over 15 equal bins of confidence of share |accuracy − confidence|; Brier = Σ over "
    "classes c of (p[c] − 1[c = y])²; with q those of one network of the posterior: aleatoric = "
    f"mean over networks of −Σ q[c] ln q[c], epistemic = −Σ p[c] ln p[c] − aleatoric. {TASKS}"
)
UNSEEN_NOTE = (
    "AUROC = P(u' > u) + ½ P(u' = u) of the uncertainty u of a test sample of the task and u' of a "
    f"sample of the other data; ½ is chance. {TASKS}"
)


def tables(frame: pd.DataFrame) -> list[Table]:
    """Predictive uncertainty and data not seen, on old tasks and the current (last) one of the one
    benchmark in `frame`; without rows where nothing was measured.
    """
    unseen = sorted({name for name in frame["metric"].unique() if name.startswith(UNSEEN)})
    return [
        _table(frame, PREDICTIVE, "Uncertainty after the last task", PREDICTIVE_NOTE),
        _table(frame, unseen, "Data not seen, told from the tasks learned", UNSEEN_NOTE),
    ]


def single_tables(frame: pd.DataFrame) -> list[Table]:
    """The same of a single task, where NLL and ECE stand beside the accuracy: only if there is more
    than these.
    """
    predictive, unseen = tables(frame)
    return [*([predictive] if frame["metric"].isin(NEW).any() else []), unseen]


def is_shown_here(metric: str) -> bool:
    """Whether a metric has its place in these tables, or in the figure of reliability, alone."""
    return metric in NEW or metric.startswith((UNSEEN, "bin_"))


def means(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """`metric` of every run of one benchmark after the last task, averaged over tasks.

    Returns:
        The columns `strategy, seed, age, value`; age is `OLD` (tasks before the last) or `CURRENT`.
    """
    rows = frame[frame["epoch"].isna() & (frame["metric"] == metric) & frame["on"].notna()]
    last = frame["after"].max()
    rows = rows[rows["after"] == last]
    age = (rows["on"] == last).map({True: CURRENT, False: OLD})
    keys = ["strategy", "seed", "age"]
    found: pd.DataFrame = rows.assign(age=age).groupby(keys)["value"].mean().reset_index()
    return found


def _table(frame: pd.DataFrame, metrics: Iterable[str], title: str, note: str) -> Table:
    found = {metric: means(frame, metric) for metric in metrics}
    columns = [
        (metric, age)
        for metric, rows in found.items()
        for age in (OLD, CURRENT)
        if (rows["age"] == age).any()
    ]
    head = ["strategy", "seeds", *(f"{format_of(m).heading}, {age}" for m, age in columns)]
    body = []
    for strategy, group in by_strategy(frame):
        cells = [_cell(found[metric], strategy, metric, age) for metric, age in columns]
        if set(cells) - {NOTHING}:
            body.append([strategy, str(group["seed"].nunique()), *cells])
    return Table(title, head, body, note)


def _cell(rows: pd.DataFrame, strategy: str, metric: str, age: str) -> str:
    mine = rows[(rows["strategy"] == strategy) & (rows["age"] == age)]
    return cell(interval(mine["value"]), metric)
