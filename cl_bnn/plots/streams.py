"""Forgetting curves: the accuracy on each task of one benchmark along training.

Tasks count from 1 in figures, accuracies and shares are in percent; means are over seeds, bands and
bars are their 95 % t intervals where there are at least two seeds.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cl_bnn.plots.figures import (
    SPREAD,
    Line,
    band,
    legend,
    line_over_seeds,
    panels,
    points,
    style,
    task_ticks,
)
from cl_bnn.plots.heat import seeds_title
from cl_bnn.plots.looks import Look, task_looks
from cl_bnn.report.order import MOST_COLUMNS, by_strategy, shown_tasks
from cl_bnn.report.summary import at_task_ends


def curves(frame: pd.DataFrame) -> Figure:
    """Forgetting curves of one benchmark: accuracy on each task along training, a panel a strategy.

    Along the epochs of the whole stream where any run was measured after every epoch, along the
    tasks learned otherwise. A task is as wide as the most epochs that any strategy takes for one.
    Lines are of the seeds that have epochs, markers with bars of all seeds at the end of each task.
    A strategy that learns all tasks at once (`joint`) is a level. Of many tasks the first, every
    k-th and the last are shown.
    """
    rows = frame[frame["metric"] == "accuracy"]
    rows = rows[rows["strategy"].isin(at_task_ends(frame, "accuracy")["strategy"])]
    epochs, n_tasks = _epochs_per_task(rows), int(rows["on"].max()) + 1
    looks = dict(enumerate(task_looks(n_tasks)))
    shown = {number - 1: looks[number - 1] for number in shown_tasks(n_tasks, MOST_COLUMNS)}
    groups = by_strategy(rows)
    some = f" ({len(shown)} of {n_tasks} tasks)" if len(shown) < n_tasks else ""
    title = f"{rows['benchmark'].iloc[0]}: accuracy on each task along training{some}\n{SPREAD}"
    labels = ("epochs over all tasks" if epochs else "tasks learned", "test accuracy [%]")
    with style():
        titles = [seeds_title(name, group) for name, group in groups]
        figure, axes = panels(titles, (2.2, 1.75), title, labels)
        for axis, (_, group) in zip(axes, groups, strict=True):
            _curve_panel(axis, group, epochs, shown)
        axes[0].set_ylim(max(0, 10 * math.floor(axes[0].get_ylim()[0] / 10)), 102)
        axes[0].set_xticks(task_ticks(n_tasks, epochs))
        legend(figure, {f"task {on + 1}": look for on, look in shown.items()})
    return figure


def _epochs_per_task(rows: pd.DataFrame) -> int:
    """Epochs a task takes, 0 if nothing was measured within training."""
    epochs = rows["epoch"].dropna()
    return int(epochs.max()) + 1 if len(epochs) else 0


def _curve_panel(axis: Axes, rows: pd.DataFrame, epochs: int, shown: dict[int, Look]) -> None:
    """The curves of one strategy; `epochs` is the length of a task on the axis, 0 for 1 task."""
    length = epochs or 1
    ends = rows[rows["epoch"].isna()]
    last = int(ends["after"].max()) + 1
    at_once = int(ends["after"].min()) > 0
    for on, look in shown.items():
        at_ends = ends[(ends["on"] == on) & (ends["after"] >= on)]
        line = line_over_seeds(at_ends, (at_ends["after"] + 1) * length)
        if at_once:
            rim = np.array([0.0 if epochs else 0.5, last * length + (0 if epochs else 0.5)])
            band(axis, Line(rim, line.mean.repeat(2), line.half.repeat(2)), look)
            continue
        within = rows[(rows["on"] == on) & rows["epoch"].notna()]
        if len(within):
            own = _epochs_per_task(within)
            along = line_over_seeds(within, within["after"] * own + within["epoch"] + 1)
            band(axis, along._replace(x=along.x * length / own), look)
        else:
            band(axis, line, look)
        points(axis, line, look, last)
    for end in task_ticks(last, epochs)[1:] if epochs else ():
        axis.axvline(end, color="0.8", linewidth=0.6, zorder=0)
