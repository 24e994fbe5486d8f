"""Figures of ensembles: accuracy against the number of members; what the members are."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cl_bnn.plots.figures import SPREAD, errorbar, legend, line_over_seeds, marked, panels, style
from cl_bnn.plots.looks import looks
from cl_bnn.report.ensembles import VOTES, together
from cl_bnn.report.ledger import Published
from cl_bnn.report.order import ordered
from cl_bnn.report.summary import at_end

#: Accuracies in percent are drawn by the logarithm of the errors, plus this share of them, so that
#: 97 and 98 lie as far apart as 80 and 86; and where a stretched axis has its ticks, as far as they
#: are within what is drawn.
FLOOR = 0.5
TICKS = (*range(10, 90, 10), 90, 95, 97, 98, 99, 99.5)
#: The share of samples whose weight is nearest to a power of 2, times the mean weight; the last
#: power and its negative stand for all beyond them as well.
POWER, LAST_POWER = re.compile(r"sample_weight_2\^(-?\d+)"), 8
#: The smallest share that has a colour of its own.
LEAST_SHARE = 1e-4


def sizes(frame: pd.DataFrame, published: list[Published]) -> Figure | None:
    """Test accuracy of the first members together, a panel a vote, a line a strategy; None if no
    ensemble was measured.

    Lines are means over seeds, bands their 95 % intervals. The range of what is published for
    ensembles on this benchmark is shaded.
    """
    votes = together(frame)
    if not len(votes):
        return None
    benchmark = str(frame["benchmark"].iloc[0])
    strategies = looks(frame["strategy"], votes["strategy"])
    numbers = _reported(published, benchmark)
    shade = f"; shaded: published, {min(numbers):.1f} to {max(numbers):.1f} %" if numbers else ""
    title = f"{benchmark}: ensembles\n{SPREAD}{shade}"
    shown = [vote for vote in VOTES if (votes["vote"] == vote).any()]
    with style():
        figure, axes = panels(
            [f"{vote}: {VOTES[vote]}" for vote in shown], (3.2, 1.9), title,
            share=("members", "test accuracy [%]"),
        )  # fmt: skip
        for axis, vote in zip(axes, shown, strict=True):
            rows = votes[votes["vote"] == vote].rename(columns={"test": "value"})
            for strategy, look in strategies.items():
                mine = rows[rows["strategy"] == strategy]
                marked(axis, line_over_seeds(mine, mine["size"]), look)
            if numbers:
                axis.axhspan(min(numbers), max(numbers), color="0.85", zorder=0)
            axis.locator_params(axis="x", integer=True)
        _stretch(axes[0], 100 * float(votes["test"].min()), 100 * float(votes["test"].max()))
        legend(figure, strategies)
    return figure


def members(frame: pd.DataFrame) -> Figure | None:
    """On how many samples two members differ, and a histogram of the samples' weights after each
    round of boosting, dark where most samples are; None if no ensemble was measured.
    """
    ends = at_end(frame, "disagreement")
    weights = frame[frame["metric"].str.fullmatch(POWER.pattern)]
    weights = weights[weights["after"] == frame["after"].max()]
    if not len(ends):
        return None
    ends = ends.groupby(["strategy", "seed"])["value"].mean().reset_index()  # over the tasks
    boosting = ordered(weights["strategy"])
    titles = [
        "samples on which two members differ [%]",
        *(f"{name}: sample weights" for name in boosting),
    ]
    title = f"{frame['benchmark'].iloc[0]}: members\n{SPREAD}"
    with style():
        figure, axes = panels(titles, (2.2, 1.75), title)
        strategies = looks(frame["strategy"], ends["strategy"])
        for index, (strategy, look) in enumerate(strategies.items()):
            mine = ends[ends["strategy"] == strategy]
            line = line_over_seeds(mine, pd.Series(index, index=mine.index))
            errorbar(axes[0], line, look, "")
        axes[0].set_xticks([])
        for axis, strategy in zip(axes[1:], boosting, strict=True):
            _histograms(axis, weights[weights["strategy"] == strategy])
        legend(figure, strategies)
    return figure


def _reported(published: list[Published], benchmark: str) -> list[float]:
    """The published accuracies [%] of ensembles on a benchmark."""
    return [
        100 * p.value
        for p in published
        if p.benchmark == benchmark and p.strategy.startswith("benn") and p.metric == "accuracy"
    ]


def _stretch(axis: Axes, lowest: float, highest: float) -> None:
    """Draw accuracies near 100 % as far apart as their errors are in ratio, if any is there."""
    ticks = [tick for tick in TICKS if lowest < tick < highest]
    if highest < TICKS[-5] or len(ticks) < 2:
        return
    limit = 100 + FLOOR

    def forth(accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
        return -np.log(limit - np.minimum(accuracy, 100))

    def back(height: NDArray[np.float64]) -> NDArray[np.float64]:
        return limit - np.exp(-height)

    axis.set_yscale("function", functions=(forth, back))
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()


def _histograms(axis: Axes, rows: pd.DataFrame) -> None:
    """A column a round, a row a power of 2: the share of samples, the mean over seeds."""
    powers = rows["metric"].str.extract(POWER.pattern)[0].astype(int)
    table = rows.assign(power=powers).pivot_table(index="power", columns="epoch", values="value",
                                                  aggfunc="sum")  # fmt: skip
    table = table / rows["seed"].nunique()
    lowest, highest = int(table.index.min()), int(table.index.max())
    table = table.reindex(range(lowest, highest + 1)).fillna(0.0).sort_index(axis=1)
    rounds = table.shape[1]
    image = axis.imshow(
        table.where(table > 0).to_numpy(), origin="lower", aspect="auto", cmap="cividis_r",
        norm=LogNorm(LEAST_SHARE, 1, clip=True),
        extent=(0.5, rounds + 0.5, lowest - 0.5, highest + 0.5),
    )  # fmt: skip
    axis.set_xlabel("after round")
    axis.set_ylim(-LAST_POWER - 0.5, LAST_POWER + 0.5)
    axis.set_ylabel(f"weight / mean, log2\n(±{LAST_POWER}: or beyond)")
    axis.locator_params(integer=True)
    bar = axis.figure.colorbar(image, ax=axis)
    bar.set_label("share of samples")
