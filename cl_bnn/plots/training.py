"""The figure of a single task: what was measured along its training, a line a strategy."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from cl_bnn.plots.figures import SPREAD, Panel, legend, line_over_seeds, marked, panels, style
from cl_bnn.plots.looks import looks

PERCENT = 100
#: The first digits of the numbers on a logarithmic axis that spans less than a factor; beyond, 1.
LABELLED = {10: range(1, 10), 300: (1, 2, 5)}


#: What is shown, in this order, of what was measured.
PANELS = (
    Panel("accuracy", "test accuracy [%]", PERCENT),
    Panel("val_accuracy", "validation accuracy [%]", PERCENT),
    Panel("rmse", "test error, RMSE"),
    Panel("iou_foreground", "IoU of the foreground, test [%]", PERCENT),
    Panel("iou_membrane", "IoU of the background, test [%]", PERCENT),
    Panel("train_accuracy", "training accuracy [%]", PERCENT),
    Panel("train_loss", "training loss"),
)


def _logarithmic(axis: Axes) -> None:
    """A logarithmic scale for the lines of a panel; bands below the lowest line are cut off."""
    means = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axis.lines])
    lowest, highest = means.min(), axis.get_ylim()[1]
    axis.set_yscale("log")
    axis.set_ylim(lowest / 1.3, highest)
    near = (digits for factor, digits in LABELLED.items() if highest < factor * lowest)
    axis.yaxis.set_major_locator(LogLocator(subs=next(near, (1,))))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def training(frame: pd.DataFrame) -> Figure | None:
    """Metrics of one benchmark along its epochs, a panel a metric; None if none was measured.

    Lines are means over seeds, bands their 95 % intervals. The loss is drawn on a logarithmic
    scale.
    """
    rows = frame[frame["epoch"].notna()]
    shown = [panel for panel in PANELS if (rows["metric"] == panel.metric).any()]
    if not shown:
        return None
    strategies = looks(frame["strategy"], rows["strategy"])
    title = f"{rows['benchmark'].iloc[0]}: along training\n{SPREAD}"
    with style():
        figure, axes = panels([panel.title for panel in shown], (2.2, 1.75), title)
        for axis, panel in zip(axes, shown, strict=True):
            measured = rows[rows["metric"] == panel.metric]
            for strategy, look in strategies.items():
                mine = measured[measured["strategy"] == strategy]
                line = line_over_seeds(mine, mine["epoch"] + 1, panel.factor)
                marked(axis, line, look)
            axis.set_xlabel("epochs")
            axis.locator_params(axis="x", integer=True)
            if panel.factor == PERCENT:
                low, high = axis.get_ylim()
                axis.set_ylim(max(low, -2), min(high, 102))
            elif panel.metric == "train_loss":
                _logarithmic(axis)
        legend(figure, strategies)
    return figure
