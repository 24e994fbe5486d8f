"""Heat maps with numbers in the cells: accuracy matrices; ACC of all strategies on all streams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cl_bnn.plots.figures import (
    COLUMN,
    LARGE,
    LINE,
    PAGE,
    SMALL,
    Array,
    panels,
    style,
    task_ticks,
    text_width,
    wrapped,
)
from cl_bnn.report.order import by_strategy, ordered
from cl_bnn.report.scenarios import column_names, in_order, scenario_of, without_scenario
from cl_bnn.report.summary import Interval, accuracy_matrix, at_task_ends, interval
from cl_bnn.report.tables import cell

#: Colours of the heat maps: even in lightness for every kind of colour vision.
COLOUR_MAP = "cividis"
#: The ground of a cell without a number, and what it says.
EMPTY, NOT_RUN = "0.9", "not run"
#: Up to so many tasks the cells of a matrix have room for a decimal, and for a number at all.
DECIMAL_UP_TO, NUMBER_UP_TO = 6, 10
#: Width and height in inches of a cell with a mean and its interval.
CELL_WIDTH, CELL_HEIGHT = 0.68, 0.2
#: Names of strategies and of streams get so much width at most, in inches.
NAME_WIDTH, COLUMN_WIDTH = 2.0, 1.3


def matrices(frame: pd.DataFrame) -> Figure:
    """Accuracy matrices of one benchmark as heat maps with numbers in percent, a panel a strategy.

    Row: tasks learned; column: task measured, also before it was learned; mean over seeds. Of many
    tasks there are colours alone.
    """
    groups = by_strategy(at_task_ends(frame, "accuracy"))
    tables = [100 * accuracy_matrix(group).to_numpy() for _, group in groups]
    n_tasks = max(map(len, tables))
    numbers = n_tasks if n_tasks <= NUMBER_UP_TO else 0
    side = max(1.5, 0.17 * numbers)  # inches; 0.17 is two digits and a little air
    title = f"{frame['benchmark'].iloc[0]}: accuracy matrices [%], mean over seeds"
    with style():
        titles = [seeds_title(name, group) for name, group in groups]
        figure, axes = panels(titles, (side + 0.7, side + 0.55), title)
        for axis, table in zip(axes, tables, strict=True):
            mesh = _matrix(axis, table)
        if not numbers:
            figure.set_figheight(figure.get_figheight() + 0.5)
            bar = figure.colorbar(mesh, ax=axes, location="bottom", shrink=0.6, aspect=40)
            bar.set_label("accuracy [%]")
        figure.draw_without_rendering()  # the layout learns of square cells in a first pass
    return figure


def seeds_title(strategy: str, rows: pd.DataFrame) -> str:
    """Strategy and number of seeds, and how many of these have epochs if only some have."""
    n, some = rows["seed"].nunique(), rows[rows["epoch"].notna()]["seed"].nunique()
    lines = f", lines of {some}" if 0 < some < n else ""
    at_once = ", all tasks at once" if rows["after"].min() > 0 else ""
    return f"{strategy}\n{n} seed{'s' if n > 1 else ''}{lines}{at_once}"


def acc_map(runs: pd.DataFrame, name: str) -> Figure | None:
    """ACC of every strategy on every benchmark in `runs`, mean and 95 % interval in each cell; None
    for a single benchmark. More benchmarks than fit on a page stand in blocks below one another,
    each with the strategies that were run on one of its own.

    Args:
        runs: the columns `benchmark, strategy, ACC` with a row a run, as `summary` returns them.
        name: what all the benchmarks are called, for the title.
    """
    benchmarks = in_order(runs["benchmark"])
    if len(benchmarks) < 2:
        return None
    names = {name: wrapped(name, NAME_WIDTH, SMALL) for name in ordered(runs["strategy"])}
    left = text_width(names.values()) + 0.15  # inches; 0.15: the margins
    blocks = math.ceil(len(benchmarks) / int((PAGE - left) / CELL_WIDTH))
    columns = math.ceil(len(benchmarks) / blocks)
    width = min(COLUMN_WIDTH, (PAGE - left) / columns)
    shared = set(map(without_scenario, benchmarks))
    columns_of = column_names(benchmarks)
    if len(shared) == 1:  # they differ in the scenario alone, and the title says the rest
        name, columns_of = shared.pop(), [scenario_of(b) or "default" for b in benchmarks]
    heads = [wrapped(head, width - 0.05, SMALL) for head in columns_of]
    parts = [slice(block * columns, (block + 1) * columns) for block in range(blocks)]
    shown = [ordered(runs[runs["benchmark"].isin(benchmarks[part])]["strategy"]) for part in parts]
    heights = [_height([names[name] for name in strategies], heads) for strategies in shown]
    size = (max(COLUMN, left + width * columns), sum(heights))
    title = f"{name}: ACC [%], mean ± half width of the 95 % interval over seeds"
    with style():
        figure, axes = _blocks(size, heights, title)
        for axis, part, strategies in zip(axes, parts, shown, strict=True):
            _acc_cells(axis, runs, strategies, benchmarks[part])
            axis.set_xlim(0.5, columns + 0.5)  # also in a block that is not full
            axis.set_xticks(range(1, len(heads[part]) + 1), heads[part])
            rows = range(1, len(strategies) + 1)
            axis.set_yticks(rows, [names[name] for name in strategies])
            axis.xaxis.tick_top()
    return figure


def cells(axis: Axes, table: Array, texts: Sequence[Sequence[str]] = ()) -> QuadMesh:
    """Cells of a table in percent, the first row at the top, each with its text if there are any;
    NaN is grey. Without texts there are many, which are one image also in a drawing of paths.
    """
    rows, columns = table.shape
    x, y = np.arange(columns + 1) + 0.5, np.arange(rows + 1) + 0.5
    colours = matplotlib.colormaps[COLOUR_MAP].with_extremes(bad=EMPTY)
    edge: Any = "white" if texts else "none"
    masked = np.ma.masked_invalid(table)
    mesh = axis.pcolormesh(
        x, y, masked, cmap=colours, vmin=0, vmax=100, edgecolors=edge, rasterized=not texts
    )
    for (row, column), value in np.ndenumerate(table) if texts else ():
        shade = "0.3" if math.isnan(value) else text_colour(colours(value / 100))
        if text := texts[row][column]:
            axis.text(column + 1, row + 1, text, ha="center", va="center", color=shade)
    axis.set_ylim(rows + 0.5, 0.5)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return mesh


def text_colour(ground: tuple[float, float, float, float]) -> str:
    """Black or white, whichever has the larger contrast on this ground: at least 4.58 to 1.

    Contrast as in WCAG 2.2: (L1 + 0.05) / (L2 + 0.05) of the relative luminances; the two are equal
    at L = sqrt(1.05 * 0.05) - 0.05.
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(ground)]
    luminance = float(np.dot((0.2126, 0.7152, 0.0722), linear))
    return "black" if luminance > math.sqrt(1.05 * 0.05) - 0.05 else "white"


def _matrix(axis: Axes, table: Array) -> QuadMesh:
    """One accuracy matrix in percent."""
    n = len(table)
    decimals = 1 if n <= DECIMAL_UP_TO else 0
    texts = [["" if math.isnan(v) else f"{v:z.{decimals}f}" for v in line] for line in table]
    mesh = cells(axis, table, texts if n <= NUMBER_UP_TO else ())
    if n <= NUMBER_UP_TO:  # beside a bar of colours the layout cannot keep cells square
        axis.set_aspect("equal")
    axis.set(xlabel="task measured", ylabel="tasks learned")
    axis.set(xticks=task_ticks(n), yticks=task_ticks(n))
    return mesh


def _acc_cells(
    axis: Axes, runs: pd.DataFrame, strategies: Sequence[str], benchmarks: Sequence[str]
) -> None:
    """ACC of these strategies (rows) on these benchmarks."""
    acc = {keys: interval(rows) for keys, rows in runs.groupby(["strategy", "benchmark"])["ACC"]}
    none = Interval(math.nan, math.nan, 0)
    table = [[acc.get((s, b), none) for b in benchmarks] for s in strategies]
    means = np.array([[100 * value.mean for value in line] for line in table])
    cells(axis, means, [[cell(v, "ACC") if v.n else NOT_RUN for v in line] for line in table])


def _blocks(
    size: tuple[float, float], heights: Sequence[float], title: str
) -> tuple[Figure, list[Axes]]:
    """A figure with panels of these heights one below the other in `size` inches, and a title."""
    heading = wrapped(title, size[0], LARGE)
    height = size[1] + LINE * (heading.count("\n") + 1.5)
    figure = Figure((size[0], height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(heading)
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    return figure, list(axes.flat)


def _height(rows: Sequence[str], heads: Sequence[str]) -> float:
    """The height in inches of a block of these rows under the tallest of these heads."""
    row = max(CELL_HEIGHT, LINE * (max(text.count("\n") for text in rows) + 1))
    head = LINE * (max(text.count("\n") for text in heads) + 1)
    return row * len(rows) + head + 0.1  # 0.1: the gap between head and cells
