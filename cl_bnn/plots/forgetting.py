"""Forgetting of all strategies on one benchmark: all in one panel, and a panel for each before the
others in grey.

What is drawn is A_t, the mean over i <= t of R[t, i], against t: the accuracy on the tasks learned
so far. It falls where tasks are forgotten, and ends at ACC.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from cl_bnn.plots.figures import (
    LARGE,
    LINE,
    MOST_MARKERS,
    PAGE,
    SMALL,
    SPREAD,
    Array,
    Line,
    along,
    band,
    drawn,
    line_over_seeds,
    panels,
    style,
    task_ticks,
    text_width,
    wrapped,
)
from cl_bnn.plots.heat import seeds_title
from cl_bnn.plots.looks import Look, looks
from cl_bnn.report.order import by_strategy
from cl_bnn.report.summary import at_task_ends

#: The other strategies behind that of a panel.
GREY = "0.82"
#: Labels at line ends are at most so wide, in inches; so far from the panel; room for axis labels.
LABEL_WIDTH, LABEL_GAP, LEFT, BOTTOM = 2.0, 0.35, 0.58, 0.42
#: Bars at line ends stand in turn at so many places, so far apart in inches: neighbours do not
#: hide each other.
SLOTS, SLOT = 5, 0.06
#: The least height of the panel in inches.
LEAST_HEIGHT = 2.6


def so_far(frame: pd.DataFrame) -> pd.DataFrame:
    """A_t of every run of one benchmark: the columns `strategy, seed, after, value` (fractions)."""
    ends = at_task_ends(frame, "accuracy")
    learned = ends[ends["on"] <= ends["after"]]
    return learned.groupby(["strategy", "seed", "after"])["value"].mean().reset_index()


def average(frame: pd.DataFrame) -> Figure | None:
    """A_t of all strategies in one panel, each labelled where its line ends; None for fewer than
    two strategies or tasks. Bars are at the ends alone, and who has none for want of seeds says so;
    `joint` is a level.
    """
    lines, n_tasks = _lines(frame)
    if len(lines) < 2 or n_tasks < 2:
        return None
    known = looks(frame["strategy"], lines)
    seeds = frame.groupby("strategy")["seed"].nunique()
    alone = {name: ", 1 seed" if seeds[name] == 1 < seeds.max() else "" for name in lines}
    texts = [wrapped(f"{name}{alone[name]}", LABEL_WIDTH, SMALL) for name in lines]
    title = f"{frame['benchmark'].iloc[0]}: mean accuracy on the tasks learned so far\n{SPREAD}"
    with style():
        figure, axis = _beside_labels(title, texts)
        for name, line in lines.items():
            wide = _stretched(line, n_tasks)
            every = math.ceil(len(wide.x) / MOST_MARKERS)
            axis.plot(wide.x, wide.mean, **drawn(known[name]), markevery=every)
        _end_bars(axis, lines, known, n_tasks)
        axis.set(xlabel="tasks learned", ylabel="test accuracy [%]", xticks=task_ticks(n_tasks))
        _clip(axis)
        _label_ends(axis, n_tasks, [line.mean[-1] for line in lines.values()], texts, known)
    return figure


def multiples(frame: pd.DataFrame) -> Figure | None:
    """A_t, a panel a strategy: that one in its look, all others in grey; None as for `average`."""
    lines, n_tasks = _lines(frame)
    if len(lines) < 2 or n_tasks < 2:
        return None
    known = looks(frame["strategy"], lines)
    groups = dict(by_strategy(at_task_ends(frame, "accuracy")))
    title = f"{frame['benchmark'].iloc[0]}: mean accuracy on the tasks learned so far\n{SPREAD}"
    with style():
        titles = [seeds_title(name, groups[name]) for name in lines]
        shared = ("tasks learned", "test accuracy [%]")
        figure, axes = panels(titles, (1.7, 1.4), title, shared)
        for axis, (name, line) in zip(axes, lines.items(), strict=True):
            for other in lines:
                if other != name:
                    axis.plot(*_stretched(lines[other], n_tasks)[:2], color=GREY, linewidth=0.7)
            (along if len(line.x) > 1 else band)(axis, _stretched(line, n_tasks), known[name])
        axes[0].set_xticks(task_ticks(n_tasks))
        _clip(axes[0])
    return figure


def _lines(frame: pd.DataFrame) -> tuple[dict[str, Line], int]:
    """A_t of each strategy over the tasks learned, and the number of tasks."""
    values = so_far(frame)
    lines = {name: line_over_seeds(rows, rows["after"] + 1) for name, rows in by_strategy(values)}
    return lines, int(values["after"].max()) + 1


def _stretched(line: Line, n_tasks: int) -> Line:
    """A strategy that learns all tasks at once has one value: a level over the whole stream."""
    if len(line.x) > 1:
        return line
    return Line(np.array([1.0, n_tasks]), line.mean.repeat(2), line.half.repeat(2))


def _end_bars(axis: Axes, lines: dict[str, Line], known: dict[str, Look], n_tasks: int) -> None:
    """The intervals after the last task, right of the ends of the lines, and the limits of x."""
    left, width = 1 - 0.04 * n_tasks, axis.get_window_extent().width / axis.figure.dpi
    scale = (n_tasks - left) / (width - (SLOTS + 1) * SLOT)  # tasks an inch
    axis.set_xlim(left, left + scale * width)
    by_height = sorted(lines, key=lambda name: float(lines[name].mean[-1]))
    for place, name in enumerate(by_height):
        line, x = lines[name], n_tasks + scale * SLOT * (1 + place % SLOTS)
        bars: dict[str, Any] = {"capsize": 1.5, "elinewidth": 0.8, "linestyle": ""}
        if not math.isnan(line.half[-1]):
            axis.errorbar([x], line.mean[-1:], line.half[-1:], color=known[name].colour, **bars)


def _beside_labels(title: str, texts: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure of the width of a page with one panel, and room for these labels right of it."""
    height = max(LEAST_HEIGHT, LINE * sum(text.count("\n") + 1 for text in texts))
    heading = wrapped(title, PAGE, LARGE)
    top = LINE * (heading.count("\n") + 2)
    figure = Figure((PAGE, BOTTOM + height + top))
    FigureCanvasAgg(figure)
    figure.suptitle(heading, y=1 - 0.05 / figure.get_figheight(), va="top")
    right = LEFT + LABEL_GAP + text_width(texts) + 0.1
    whole = figure.get_figheight()
    place = (LEFT / PAGE, BOTTOM / whole, 1 - right / PAGE, height / whole)
    return figure, figure.add_axes(place)


def _clip(axis: Axes) -> None:
    """No more room below 0 and above 100 % than a marker needs."""
    axis.set_ylim(max(-2, axis.get_ylim()[0]), min(102, axis.get_ylim()[1]))


def _label_ends(
    axis: Axes, last_task: int, ends: Sequence[float], texts: Sequence[str], known: dict[str, Look]
) -> None:
    """A label right of the panel at the height of each line's end, or near it where others are."""
    (low, high), (first, last) = axis.get_ylim(), axis.get_xlim()
    box = axis.get_window_extent()
    width, height = box.width / axis.figure.dpi, box.height / axis.figure.dpi
    sizes = np.array([LINE * (text.count("\n") + 1) / height for text in texts])
    targets = (np.array(ends) - low) / (high - low)
    start = (last_task - first) / (last - first)
    stop, begin = 1 + 0.6 * LABEL_GAP / width, 1 + LABEL_GAP / width
    joined: dict[str, Any] = {"transform": axis.transAxes, "clip_on": False}
    places = spread(targets, sizes)
    for target, text, look, place in zip(targets, texts, known.values(), places, strict=True):
        axis.plot([start, stop], [target, place], color=look.colour, linewidth=0.4, **joined)
        axis.plot([stop], [place], **drawn(look) | {"linestyle": ""}, **joined)
        axis.text(begin, place, text, va="center", transform=axis.transAxes)


def spread(targets: Array, sizes: Array) -> Array:
    """Places within [0, 1] for labels of these heights, as near as can be to their targets.

    The sum of squares of what they are moved is least among all places, in the order of the
    targets, at which no two overlap: with the offsets o_k = half of the heights up to k, an
    isotonic regression of target - offset. If the heights sum to more than 1, so do the places.
    """
    order = np.argsort(targets, kind="stable")
    size = sizes[order]
    offsets = np.concatenate([[0.0], np.cumsum((size[:-1] + size[1:]) / 2)])
    low, high = size[0] / 2, 1 - size[-1] / 2 - offsets[-1]
    fitted = isotonic_regression(targets[order] - offsets).x
    places = np.empty(len(targets))
    places[order] = np.clip(fitted, low, max(low, high)) + offsets
    return places
