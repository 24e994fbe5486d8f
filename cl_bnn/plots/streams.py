"""Figures of results: data frame in, Matplotlib figure out. One set per benchmark.

Tasks count from 1 in figures, accuracies and shares are in percent; means are over seeds, bands and
bars are their 95 % t intervals where there are at least two seeds.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cl_bnn.plots import ensembles, predictions, training
from cl_bnn.plots.figures import (
    Array,
    Line,
    band,
    dash,
    errorbar,
    legend,
    line_over_seeds,
    panels,
    save,
    style,
)
from cl_bnn.report.ledger import read as read_reference
from cl_bnn.report.summary import accuracy_matrix, at_task_ends, is_single, slug

#: Colours of the heat maps: even in lightness for every kind of colour vision.
COLOUR_MAP = "cividis"
#: Below this accuracy in percent a cell of that map is dark and its number is white.
DARK_BELOW = 55
#: Up to so many tasks the cells of a heat map have room for a decimal.
DECIMAL_UP_TO = 6
#: So many numbers fit below a small panel.
MOST_TICKS = 6
#: What bands and bars are, for the titles.
SPREAD = "mean and 95 % interval over seeds"
#: What the third figure shows: metric, panel title with unit, factor from the CSV.
POSTERIOR = (("entropy", "mean entropy [bits]", 1), ("flipped", "flipped weights [%]", 100))


def draw(frame: pd.DataFrame, out: Path, runs: Path | None = None) -> list[Path]:
    """Draw all figures of every benchmark in `frame` into `out`; returns the paths, PNG and SVG.

    The names are `<benchmark>_training` for a single task that was measured along training; for a
    stream `<benchmark>_curves`, `<benchmark>_matrix` and, where a strategy has a posterior,
    `<benchmark>_posterior`; where there are ensembles, `<benchmark>_ensembles` and
    `<benchmark>_members`. A stream without accuracies at task ends has no figures of its own. What
    networks predict at the places of a probe is `<benchmark>_predictions`. Files below `runs` (the
    folder that `out` lies in if None) hold the predictions, and published numbers in
    `reference.csv`. Raises `UserError` if `out` cannot be written.
    """
    paths, folder = [], out.parent if runs is None else runs
    ledger = folder / "reference.csv"
    published = read_reference(ledger) if ledger.is_file() else []
    for benchmark, rows in frame.groupby("benchmark"):
        kinds = _kinds(rows) | {
            "ensembles": ensembles.sizes(rows, published),
            "members": ensembles.members(rows),
        }
        for kind, figure in kinds.items():
            if figure is not None:
                paths += save(figure, out, f"{slug(str(benchmark))}_{kind}")
    return paths + predictions.draw(frame, out, folder)


def _kinds(rows: pd.DataFrame) -> dict[str, Figure | None]:
    """The figures of one benchmark by the ends of their names."""
    if is_single(rows):
        return {"training": training.training(rows)}
    if not len(at_task_ends(rows, "accuracy")):
        return {}
    return {"curves": curves(rows), "matrix": matrices(rows), "posterior": posterior(rows)}


def curves(frame: pd.DataFrame) -> Figure:
    """Forgetting curves of one benchmark: accuracy on each task along training, a panel a strategy.

    Along the epochs of the whole stream where any run was measured after every epoch, along the
    tasks learned otherwise. Lines are of the seeds that have epochs, markers with bars of all seeds
    at the end of each task. A strategy that learns all tasks at once (`joint`) is a level.
    """
    rows = frame[frame["metric"] == "accuracy"]
    rows = rows[rows["strategy"].isin(at_task_ends(frame, "accuracy")["strategy"])]
    epochs, n_tasks = _epochs_per_task(rows), int(rows["on"].max()) + 1
    strategies = sorted(rows["strategy"].unique())
    groups = [rows[rows["strategy"] == strategy] for strategy in strategies]
    titles = [_panel_title(group) for group in groups]
    title = f"{rows['benchmark'].iloc[0]}: accuracy on each task along training\n{SPREAD}"
    labels = ("epochs over all tasks" if epochs else "tasks learned", "test accuracy [%]")
    with style():
        figure, axes = panels(titles, (2.2, 1.75), title, labels)
        for axis, group in zip(axes, groups, strict=True):
            _curve_panel(axis, group, epochs)
        axes[0].set_ylim(max(0, 10 * math.floor(axes[0].get_ylim()[0] / 10)), 102)
        axes[0].set_xticks(_ticks(n_tasks, epochs))
        legend(figure, [f"task {number}" for number in range(1, n_tasks + 1)])
    return figure


def matrices(frame: pd.DataFrame) -> Figure:
    """Accuracy matrices of one benchmark as heat maps with numbers in percent, a panel a strategy.

    Row: tasks learned; column: task measured, also before it was learned; mean over seeds.
    """
    ends = at_task_ends(frame, "accuracy")
    strategies = sorted(ends["strategy"].unique())
    groups = [ends[ends["strategy"] == strategy] for strategy in strategies]
    tables = [100 * accuracy_matrix(group).to_numpy() for group in groups]
    side = max(1.5, 0.17 * max(map(len, tables)))  # inches; 0.17 is two digits and a little air
    title = f"{ends['benchmark'].iloc[0]}: accuracy matrices [%], mean over seeds"
    with style():
        titles = [_panel_title(group) for group in groups]
        figure, axes = panels(titles, (side + 0.7, side + 0.55), title)
        for axis, table in zip(axes, tables, strict=True):
            _heat_map(axis, table)
    return figure


def posterior(frame: pd.DataFrame) -> Figure | None:
    """Mean entropy and share of flipped weights after each task, a line a strategy; or None."""
    rows = at_task_ends(frame, "entropy")
    if not len(rows):
        return None
    strategies = sorted(rows["strategy"].unique())
    n_tasks = int(rows["after"].max()) + 1
    shown = [kind for kind in POSTERIOR if len(at_task_ends(frame, kind[0]))]
    title = f"{rows['benchmark'].iloc[0]}: posterior over the weights\n{SPREAD}"
    with style():
        figure, axes = panels([heading for _, heading, _ in shown], (1.7, 1.6), title)
        for axis, (metric, _, factor) in zip(axes, shown, strict=True):
            measured = at_task_ends(frame, metric)
            for index, strategy in enumerate(strategies):
                mine = measured[measured["strategy"] == strategy]
                line = line_over_seeds(mine, mine["after"] + 1, factor)
                shift = 0.08 * (index - (len(strategies) - 1) / 2)  # bars side by side
                errorbar(axis, line._replace(x=line.x + shift), index, dash(index))
            axis.set(xlim=(0.5, n_tasks + 0.5), xticks=_ticks(n_tasks, 0), xlabel="tasks learned")
            axis.set_ylim(0, 1.05 if metric == "entropy" else 1.1 * axis.get_ylim()[1])
        legend(figure, strategies)
    return figure


def _epochs_per_task(rows: pd.DataFrame) -> int:
    """Epochs a task takes, 0 if nothing was measured within training."""
    epochs = rows["epoch"].dropna()
    return int(epochs.max()) + 1 if len(epochs) else 0


def _panel_title(rows: pd.DataFrame) -> str:
    """Strategy and number of seeds, and how many of these have epochs if only some have."""
    n, some = rows["seed"].nunique(), rows[rows["epoch"].notna()]["seed"].nunique()
    lines = f", lines of {some}" if 0 < some < n else ""
    at_once = ", all tasks at once" if rows["after"].min() > 0 else ""
    return f"{rows['strategy'].iloc[0]}\n{n} seed{'s' if n > 1 else ''}{lines}{at_once}"


def _curve_panel(axis: Axes, rows: pd.DataFrame, epochs: int) -> None:
    """All curves of one strategy; `epochs` is the length of a task on the axis, 0 for 1 task."""
    length = epochs or 1
    ends = rows[rows["epoch"].isna()]
    last = int(ends["after"].max()) + 1
    at_once = int(ends["after"].min()) > 0
    for on in range(int(ends["on"].max()) + 1):
        at_ends = ends[(ends["on"] == on) & (ends["after"] >= on)]
        line = line_over_seeds(at_ends, (at_ends["after"] + 1) * length)
        if at_once:
            rim = np.array([0.0 if epochs else 0.5, last * length + (0 if epochs else 0.5)])
            band(axis, Line(rim, line.mean.repeat(2), line.half.repeat(2)), on)
            continue
        within = rows[(rows["on"] == on) & rows["epoch"].notna()]
        if len(within):
            place = within["after"] * length + within["epoch"].astype(int) + 1
            band(axis, line_over_seeds(within, place), on)
        else:
            band(axis, line, on)
        errorbar(axis, line, on, "none")
    for boundary in range(1, last) if epochs else ():
        axis.axvline(boundary * length, color="0.8", linewidth=0.6, zorder=0)


def _heat_map(axis: Axes, table: Array) -> None:
    """One matrix in percent, first task at the top; cells that were not measured are grey."""
    n = len(table)
    axis.set_facecolor("0.9")
    edges = np.arange(n + 1) + 0.5
    masked = np.ma.masked_invalid(table)
    axis.pcolormesh(edges, edges, masked, cmap=COLOUR_MAP, vmin=0, vmax=100, edgecolors="white")
    for (row, column), value in np.ndenumerate(table):
        if not math.isnan(value):
            text = f"{value:z.{1 if n <= DECIMAL_UP_TO else 0}f}"
            shade = "white" if value < DARK_BELOW else "black"
            axis.text(column + 1, row + 1, text, ha="center", va="center", color=shade)
    axis.invert_yaxis()
    axis.set_aspect("equal")
    axis.set(xlabel="task measured", ylabel="tasks learned")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    axis.set(xticks=_ticks(n, 0), yticks=_ticks(n, 0))


def _ticks(n_tasks: int, epochs: int) -> list[int]:
    """The ends of all tasks on the axis, or of every k-th task where all would touch."""
    step = math.ceil(n_tasks / MOST_TICKS)
    if epochs:
        return list(range(0, n_tasks * epochs + 1, step * epochs))
    return list(range(1, n_tasks + 1, step))
