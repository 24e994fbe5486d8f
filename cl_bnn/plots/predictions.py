"""Figures of what trained networks predict where there are no data: decision boundaries in two
dimensions, predictive bands in one. Made from the files of `cl_bnn.predictions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from cl_bnn.plots.figures import LINE, panels, save, style
from cl_bnn.plots.looks import BLUE, RED
from cl_bnn.predictions import DATA, PREFIX, read
from cl_bnn.report.order import ordered
from cl_bnn.report.summary import slug
from cl_bnn.results import walked

#: Blue for class 0, white for one half, red for class 1: told apart with every colour vision. The
#: dark ends of the map are left out, so that points are seen on it.
COLOUR_MAP = LinearSegmentedColormap.from_list(
    "classes", matplotlib.colormaps["RdBu_r"](np.linspace(0.15, 0.85, 256))
)
#: Marker, colour and edge of the training points of the two classes.
CLASSES = (("o", "white", "black"), ("^", "black", "white"))
#: What panels call where BatchNorm takes its statistics from, as published first.
STATISTICS = {
    "batch": "BatchNorm by the test inputs, as published",
    "running": "BatchNorm by running averages",
    "none": "",
}
#: Two panels side by side on a page, width and height in inches.
MOONS_SIZE, BAND_SIZE = (3.3, 1.9), (3.3, 1.6)
#: Where a panel of predictive bands ends, beyond the data, as a share of their range.
HEADROOM = 0.5


class Shown(NamedTuple):
    """The predictions of the first run of one strategy."""

    strategy: str
    seed: int
    frame: pd.DataFrame

    def predictors(self) -> list[str]:
        """One network before the mean of many; the standard deviation belongs to the mean."""
        names = set(self.frame["predictor"]) - {DATA, "std"}
        return sorted(names, key=lambda name: (name == "mean", name))

    def statistics(self) -> list[str]:
        """Where BatchNorm takes its statistics from, as published first."""
        found = set(self.frame[self.frame["predictor"] != DATA]["statistics"])
        return [name for name in STATISTICS if name in found]

    def of(self, predictor: str, statistics: str = "none") -> pd.DataFrame:
        """The rows of one predictor; none if it is not there."""
        chosen = (self.frame["predictor"] == predictor) & (self.frame["statistics"] == statistics)
        return self.frame[chosen]


def draw(frame: pd.DataFrame, out: Path, runs: Path) -> list[Path]:
    """Draw `<benchmark>_predictions` of every benchmark in `frame` that has files of predictions.

    They are looked for below `runs`, as `results.read` looks for CSVs; of every strategy the run
    with the smallest seed is shown. Returns the paths, PNG and SVG. Raises `UserError` for a
    damaged file, or if `out` cannot be written.
    """
    paths = []
    known = {tuple(pair) for pair in frame[["benchmark", "strategy"]].drop_duplicates().to_numpy()}
    for benchmark, shown in sorted(_found(runs, known).items()):
        flat = "x" in shown[0].frame
        figure = bands(benchmark, shown) if flat else boundaries(benchmark, shown)
        paths += save(figure, out, f"{slug(benchmark)}_predictions")
    return paths


def boundaries(benchmark: str, shown: list[Shown]) -> Figure:
    """Probability of class 1 over the plane, a panel a strategy and predictor."""
    chosen = [(s, p, k) for s in shown for p, k in product(s.predictors(), s.statistics())]
    titles = [_title(s, _predictor(p), STATISTICS[k]) for s, p, k in chosen]
    title = f"{benchmark}: probability of class 1 and training points"
    with style():
        figure, axes = panels(titles, MOONS_SIZE, title, ("$x_1$", "$x_2$"))
        for axis, (one, predictor, statistics) in zip(axes, chosen, strict=True):
            mesh = _boundary(axis, one.of(predictor, statistics), one.of(DATA))
        figure.colorbar(mesh, ax=axes, label="probability of class 1", aspect=40)
        handles = [
            *(_points(*look, f"class {label}") for label, look in enumerate(CLASSES)),
            Line2D([], [], color="black", label="probability 0.5"),
        ]
        _legend(figure, handles)
    return figure


def bands(benchmark: str, shown: list[Shown]) -> Figure:
    """Predictions of a number over its input, a panel a strategy and kind of BatchNorm."""
    chosen = [(s, k) for s in shown for k in s.statistics()]
    titles = [_title(s, STATISTICS[k]) for s, k in chosen]
    title = f"{benchmark}: predictions and training data"
    with style():
        figure, axes = panels(titles, BAND_SIZE, title, ("x (standardised)", "y (standardised)"))
        for axis, (one, statistics) in zip(axes, chosen, strict=True):
            _band(axis, one, statistics)
        y = shown[0].of(DATA)["value"]
        room = HEADROOM * (y.max() - y.min())
        axes[0].set_ylim(y.min() - room, y.max() + room)
        _legend(figure, [
            _points(".", "0.35", "0.35", "training data"),
            Line2D([], [], color=RED, linestyle="--", label="one network: mode, or weights"),
            Line2D([], [], color=BLUE, label="mean of sampled networks"),
            Patch(color=BLUE, alpha=0.25, linewidth=0, label="± 2 standard deviations"),
        ])  # fmt: skip
    return figure


def _found(runs: Path, known: set[tuple[str, ...]]) -> dict[str, list[Shown]]:
    """Predictions by benchmark: strategies with one predictor first, then in the usual order."""
    first: dict[tuple[str, str], tuple[int, Path]] = {}
    runs = runs.resolve()
    for path in walked(runs, f"{PREFIX}seed*.csv"):
        run = path.parents[1].name, path.parent.name
        number = path.stem.removeprefix(f"{PREFIX}seed")
        if run not in known or not number.isdecimal():
            continue  # a copy that someone, or an editor, has made
        if run not in first or int(number) < first[run][0]:
            first[run] = int(number), path
    found: dict[str, list[Shown]] = {}
    for (benchmark, strategy), (seed, path) in first.items():
        found.setdefault(benchmark, []).append(Shown(strategy, seed, read(path)))
    for shown in found.values():
        places = ordered(s.strategy for s in shown)
        shown.sort(key=lambda s: (len(s.predictors()), places.index(s.strategy)))
    return found


def _title(shown: Shown, *parts: str) -> str:
    below = ", ".join(part for part in parts if part)
    return f"{shown.strategy}, seed {shown.seed}" + (f"\n{below}" if below else "")


def _predictor(name: str) -> str:
    return "mean of sampled networks" if name == "mean" else name


def _boundary(axis: Axes, rows: pd.DataFrame, data: pd.DataFrame) -> QuadMesh:
    """One plane of probabilities, its boundary, and the training points."""
    table = rows.pivot(index="x2", columns="x1", values="value")
    x, y, z = table.columns.to_numpy(), table.index.to_numpy(), table.to_numpy()
    # As pixels: thousands of rectangles would make the SVG large.
    mesh = axis.pcolormesh(x, y, z, cmap=COLOUR_MAP, vmin=0, vmax=1, rasterized=True)
    if z.min() < 0.5 < z.max():
        axis.contour(x, y, z, levels=[0.5], colors="black", linewidths=0.8)
    for label, (marker, shade, edge) in enumerate(CLASSES):
        mine = data[data["value"] == label]
        axis.plot(mine["x1"], mine["x2"], marker, color=shade, markersize=2.2,
                  markeredgewidth=0.4, markeredgecolor=edge)  # fmt: skip
    axis.set_aspect("equal")
    return mesh


def _band(axis: Axes, shown: Shown, statistics: str) -> None:
    """What one strategy predicts under one kind of BatchNorm."""
    data, mean, std = shown.of(DATA), shown.of("mean", statistics), shown.of("std", statistics)
    axis.plot(data["x"], data["value"], ".", color="0.35", markersize=2)
    for predictor in shown.predictors():
        if predictor != "mean":
            one = shown.of(predictor, statistics)
            axis.plot(one["x"], one["value"], "--", color=RED)
    axis.plot(mean["x"], mean["value"], color=BLUE)
    if len(std):
        low, high = (mean["value"].to_numpy() + k * std["value"].to_numpy() for k in (-2, 2))
        axis.fill_between(mean["x"], low, high, color=BLUE, alpha=0.25, linewidth=0)
    axis.set_xlim(float(np.min(shown.frame["x"])), float(np.max(shown.frame["x"])))


def _points(marker: str, shade: str, edge: str, label: str) -> Line2D:
    return Line2D(
        [], [], color=shade, markeredgecolor=edge, markeredgewidth=0.5, marker=marker,
        linestyle="", label=label,
    )  # fmt: skip


def _legend(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    """What the parts of all panels are, in one or two lines below them."""
    columns = min(len(handles), 3)
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + rows * LINE + 0.1)  # 0.1: the margin around it
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
