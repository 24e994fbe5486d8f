"""The capacity of a posterior along the tasks: how uncertain, how saturated, how much it turns."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cl_bnn.plots.figures import (
    MOST_MARKERS,
    PAGE,
    SPREAD,
    Panel,
    along,
    legend,
    line_over_seeds,
    panels,
    style,
    task_ticks,
)
from cl_bnn.plots.looks import Look, looks, task_looks
from cl_bnn.report.capacity import EXPLAINED, layers_of
from cl_bnn.report.order import MOST_COLUMNS, by_strategy, shown_tasks
from cl_bnn.report.summary import at_task_ends
from cl_bnn.report.tables import FORMATS

PANELS = tuple(Panel(m, FORMATS[m].heading, FORMATS[m].factor) for m in EXPLAINED)
#: Width and height of a panel in inches.
SIZE = (2.2, 1.6)


def posterior(frame: pd.DataFrame) -> Figure | None:
    """Mean entropy, saturated and flipped weights after each task, a line a strategy; or None."""
    shown = [panel for panel in PANELS if len(at_task_ends(frame, panel.metric))]
    if not len(at_task_ends(frame, "entropy")):
        return None
    known = looks(frame["strategy"], at_task_ends(frame, "entropy")["strategy"])
    title = f"{frame['benchmark'].iloc[0]}: posterior over the weights\n{SPREAD}"
    with style():
        figure, axes = panels([panel.title for panel in shown], SIZE, title)
        for axis, panel in zip(axes, shown, strict=True):
            groups = dict(by_strategy(at_task_ends(frame, panel.metric)))
            _lines(axis, [(groups[s], look) for s, look in known.items() if s in groups], panel)
            _limits([axis], panel, _n_tasks(frame))
        legend(figure, known)
    return figure


def layers(frame: pd.DataFrame) -> Figure | None:
    """The same of every layer: a row a strategy, a column a measure, a line a layer, numbered from
    the input; None if no layer was measured.
    """
    shown = [panel for panel in PANELS if layers_of(frame, panel.metric)]
    numbers = sorted({layer for panel in shown for layer in layers_of(frame, panel.metric)})
    if not numbers:
        return None
    layer_looks = task_looks(max(numbers))
    known = {n: layer_looks[n - 1] for n in shown_tasks(max(numbers), MOST_COLUMNS) if n in numbers}
    groups = by_strategy(frame[frame["metric"].str.contains("_layer")])
    titles = [f"{name}\n{panel.title}" for name, _ in groups for panel in shown]
    title = f"{frame['benchmark'].iloc[0]}: posterior of every layer\n{SPREAD}"
    with style():
        figure, axes = panels(titles, (PAGE / len(shown), SIZE[1]), title)
        for place, (axis, panel) in enumerate(zip(axes, list(shown) * len(groups), strict=True)):
            mine = groups[place // len(shown)][1]
            rows = {n: at_task_ends(mine, f"{panel.metric}_layer{n}") for n in known}
            _lines(axis, [(rows[n], look) for n, look in known.items() if len(rows[n])], panel)
        for column, panel in enumerate(shown):
            _limits(axes[column :: len(shown)], panel, _n_tasks(frame))
        legend(figure, {f"layer {n}": look for n, look in known.items()})
    return figure


def _lines(axis: Axes, groups: Sequence[tuple[pd.DataFrame, Look]], panel: Panel) -> None:
    """A line for each group of rows against the tasks learned; the bars of few side by side."""
    for index, (rows, look) in enumerate(groups):
        line = line_over_seeds(rows, rows["after"] + 1, panel.factor)
        few = len(line.x) <= MOST_MARKERS
        step = min(0.08, 0.5 / len(groups)) if few else 0.0
        along(axis, line._replace(x=line.x + step * (index - (len(groups) - 1) / 2)), look)


def _limits(axes: Sequence[Axes], panel: Panel, n_tasks: int) -> None:
    """The same axes for all panels of one measure; nothing below 0, nothing much above 100 %."""
    top = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set(xlim=(0.5, n_tasks + 0.5), xticks=task_ticks(n_tasks), xlabel="tasks learned")
        axis.set_ylim(0, 1.05 if panel.metric == "entropy" else min(105, 1.1 * top))


def _n_tasks(frame: pd.DataFrame) -> int:
    return int(frame["after"].max()) + 1
