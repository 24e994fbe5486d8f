"""Calibration by the age of a task: is a network as sure as it is right, also of old tasks?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cl_bnn.plots.figures import drawn, legend, panels, style
from cl_bnn.plots.looks import Look, sequence
from cl_bnn.report.order import by_strategy, shown_tasks
from cl_bnn.report.summary import at_end, interval
from cl_bnn.report.tables import cell

#: What is known of a bin: `bin_share_3` is the share of samples in the third.
BIN = r"bin_(share|confidence|accuracy)_(\d+)"
#: Bins with a smaller share of the samples are left out: a few images look like many.
LEAST_SHARE = 0.01
#: Of many ages so few are drawn.
MOST_AGES = 7
#: Both axes, in percent: markers at 0 and 100 are whole.
LIMITS = (-4, 104)
#: Width and height of a panel in inches.
SIZE = (1.7, 1.75)


def reliability(frame: pd.DataFrame) -> Figure | None:
    """Accuracy against confidence once the last task is learned, a line for each age of a task, a
    panel a strategy with its ECE (mean over tasks, interval over seeds); None without bins.

    The age counts the tasks learned since; those learned all at once have the age 0. On the
    diagonal confidence is right, below it too high. Bins with few samples are left out.
    """
    found = bins(frame)
    if not len(found):
        return None
    groups = by_strategy(found)
    n_ages = int(found["age"].max()) + 1
    ages = [0, *shown_tasks(n_ages - 1, MOST_AGES - 1)]
    known = dict(zip(ages, sequence(len(ages)), strict=True))
    title = f"{frame['benchmark'].iloc[0]}: reliability after the last task, by the age of the task"
    title += f"\nbins with at least {LEAST_SHARE:.0%} of the samples"
    with style():
        titles = [f"{name}\nECE {cell(interval(_ece(rows)), 'ece')} %" for name, rows in groups]
        figure, axes = panels(titles, SIZE, title, ("confidence [%]", "accuracy [%]"))
        for axis, (_, rows) in zip(axes, groups, strict=True):
            _panel(axis, averaged(rows), known)
        axes[0].set(xlim=LIMITS, ylim=LIMITS, xticks=range(0, 101, 25), yticks=range(0, 101, 25))
        legend(figure, {_age_name(age): look for age, look in known.items()})
    return figure


def bins(frame: pd.DataFrame) -> pd.DataFrame:
    """The bins of every run of one benchmark once the last task is learned.

    Returns:
        A row for each non-empty bin, with the columns `strategy, seed, on, age, bin, share,
        confidence, accuracy` (fractions).
    """
    rows = at_end(frame)
    parts = rows["metric"].str.extract(f"^{BIN}$")
    rows = rows.assign(kind=parts[0], bin=parts[1])[parts[0].notna()]
    table = rows.pivot_table(
        index=["strategy", "seed", "after", "on", "bin"], columns="kind", values="value"
    )
    columns = ["share", "confidence", "accuracy"]
    table = table.reindex(columns=columns).dropna().reset_index()
    first = frame.groupby("strategy")["after"].min()
    at_once = table["strategy"].map(first) > 0
    table["age"] = (table["after"] - table["on"]).where(~at_once, 0).astype(int)
    table["bin"] = table["bin"].astype(int)
    found: pd.DataFrame = table[["strategy", "seed", "on", "age", "bin", *columns]]
    return found.sort_values(["strategy", "seed", "on", "bin"], ignore_index=True)


def averaged(found: pd.DataFrame) -> pd.DataFrame:
    """The bins of one strategy by age and bin: the share of samples is the mean over seeds (and
    tasks of one age), confidence and accuracy are means weighted by it.
    """
    weighted = found[["confidence", "accuracy"]].mul(found["share"], axis=0)
    sums = weighted.assign(share=found["share"]).groupby([found["age"], found["bin"]]).sum()
    table: pd.DataFrame = sums.div(sums["share"], axis=0)[["confidence", "accuracy"]]
    measured = found[["age", "seed", "on"]].drop_duplicates().groupby("age").size()
    table["share"] = sums["share"].div(measured, level="age")
    return table.reset_index()


def _ece(found: pd.DataFrame) -> pd.Series[float]:
    """The ECE of each seed: sum over bins of share |accuracy - confidence|, mean over tasks."""
    gap = found["share"] * (found["accuracy"] - found["confidence"]).abs()
    of_tasks = gap.groupby([found["seed"], found["on"]]).sum()
    return of_tasks.groupby(level="seed").mean()


def _panel(axis: Axes, table: pd.DataFrame, known: dict[int, Look]) -> None:
    axis.plot([0, 100], [0, 100], color="0.6", linewidth=0.6, zorder=0)
    table = table[table["share"] >= LEAST_SHARE]
    for age, look in known.items():
        line = 100 * table[table["age"] == age][["confidence", "accuracy"]].to_numpy()
        axis.plot(*np.reshape(line, (-1, 2)).T, **drawn(look))


def _age_name(age: int) -> str:
    return "age 0: just learned" if age == 0 else f"age {age}"
