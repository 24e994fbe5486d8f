"""The epoch that validation selects, and what was measured at it: runs on a single task.

The papers on classification report the test accuracy at the epoch of the best validation accuracy
(Meng et al. 2020, arXiv:2002.10778, appendix B.2), as mean and population standard deviation over
seeds. The accuracy of the last epoch selects nothing and stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from cl_bnn.report.summary import Interval, at_task_ends
from cl_bnn.results import RUN

#: What the metrics at the selected epoch are called: `accuracy_best_val` and so on.
SUFFIX = "_best_val"
#: The metrics that are looked up at the selected epoch; the second one selects it.
SELECTED = ("accuracy", "val_accuracy", "train_accuracy")
#: What `selection` measures, by the names in tables and in `reference.csv`.
AT_BEST = tuple(f"{metric}{SUFFIX}" for metric in SELECTED)


def selection(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a run on a single task that was validated along training.

    Args:
        frame: what `results.read` returns; runs of several tasks and runs without `val_accuracy`
            after single epochs are left out.

    Returns:
        The columns `benchmark, strategy, seed`, then `epoch`, the first one with the highest
        `val_accuracy` (counted from 0), the fractions `accuracy_best_val`, `val_accuracy_best_val`
        and `train_accuracy_best_val` measured at it (NaN where they were not), and `accuracy_last`,
        the test accuracy at the end of training.
    """
    single = frame[frame.groupby(RUN)["after"].transform("max") == 0]
    along = single[single["epoch"].notna()].astype({"epoch": "int64"})
    table = along.pivot_table(index=[*RUN, "epoch"], columns="metric", values="value")
    table = table.reindex(columns=list(SELECTED)).dropna(subset=["val_accuracy"])
    # Rows are sorted by epoch and idxmax takes the first of equals.
    best = table.loc[table.groupby(level=RUN)["val_accuracy"].idxmax()].add_suffix(SUFFIX)
    last = at_task_ends(single, "accuracy").groupby(RUN)["value"].mean()
    return best.reset_index().join(last.rename("accuracy_last"), on=RUN)


def population(values: Iterable[float]) -> Interval:
    """Mean and population standard deviation (divisor n) in the place of the half width.

    The spread of the papers' tables. NaNs are left out; one value has no spread.
    """
    finite = pd.Series(list(values), dtype=float).dropna()
    spread = float(finite.std(ddof=0)) if len(finite) > 1 else math.nan
    return Interval(float(finite.mean()), spread, len(finite))
