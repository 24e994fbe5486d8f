"""What a bit buys: ACC against the bits that a strategy holds for each weight."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cl_bnn.plots.figures import SPREAD, Line, errorbar, legend, panels, style
from cl_bnn.plots.looks import looks
from cl_bnn.report.cost import STATE
from cl_bnn.report.order import by_strategy
from cl_bnn.report.summary import Interval, at_end, interval, summary

#: Width and height of the panel in inches.
SIZE = (5.2, 3.0)
#: Bits that differ by less than this share are the same: those of biases, gains and counters.
SAME = 1e-3
#: Points with the same bits stand side by side, this factor apart, and all within the other one.
APART, WITHIN = 1.07, 1.3


def state(frame: pd.DataFrame) -> Figure | None:
    """ACC with its interval against bits held per weight (log2), a marker a strategy; None if the
    bits were not measured. Where bits are equal markers stand side by side.
    """
    places = _places(frame)
    if not places:
        return None
    known = looks(frame["strategy"], places)
    title = f"{frame['benchmark'].iloc[0]}: accuracy against state\n{SPREAD}"
    with style():
        figure, (axis,) = panels([""], SIZE, title)
        for name, (bits, acc) in places.items():
            line = Line(np.array([bits]), np.array([100 * acc.mean]), np.array([100 * acc.half]))
            errorbar(axis, line, known[name], "")
        axis.set_xscale("log", base=2)
        lowest, highest = axis.get_xlim()
        powers = range(math.floor(math.log2(lowest)), math.ceil(math.log2(highest)) + 1)
        axis.set_xticks([2.0**power for power in powers], [f"{2.0**power:g}" for power in powers])
        axis.minorticks_off()
        axis.set_xlim(2.0 ** powers[0], 2.0 ** powers[-1])
        xlabel = "bits held per weight (equal ones side by side, up to 14 % off)"
        axis.set(xlabel=xlabel, ylabel="ACC [%]")
        axis.grid(alpha=0.3, linewidth=0.4)
        legend(figure, {name: look._replace(dash="") for name, look in known.items()})
    return figure


def _places(frame: pd.DataFrame) -> dict[str, tuple[float, Interval]]:
    """Where each strategy with bits and accuracies stands: mean bits, moved aside, and ACC."""
    bits, found = at_end(frame, STATE).groupby("strategy")["value"].mean(), {}
    for name, runs in by_strategy(summary(frame)):
        acc = interval(runs["ACC"])
        if name in bits.index and bits[name] > 0 and acc.n:
            found[name] = (float(bits[name]), acc)
    return {name: (_aside(name, found), acc) for name, (_, acc) in found.items()}


def _aside(name: str, found: dict[str, tuple[float, Interval]]) -> float:
    """The bits of a strategy, times a factor so that those with as many are centred there."""
    bits = found[name][0]
    equal = [n for n, (theirs, _) in found.items() if math.isclose(theirs, bits, rel_tol=SAME)]
    step = min(APART, WITHIN ** (1 / max(1, len(equal) - 1)))
    return bits * float(step ** (equal.index(name) - (len(equal) - 1) / 2))
