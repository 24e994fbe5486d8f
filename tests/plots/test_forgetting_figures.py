"""Forgetting of all strategies in one panel and in small multiples."""

import math

import numpy as np
import pandas as pd
import pytest
from frames import frame_of, matrix_rows, plausible
from matplotlib.axes import Axes
from wide_frames import TWENTY, wide

from cl_bnn.plots import forgetting
from cl_bnn.plots.looks import looks

# R[t, i] of two strategies; A_t = 0.8, 0.7, 0.6 and 0.8, 0.6, 0.4.
STE = [[0.8, 0.1, 0.1], [0.6, 0.8, 0.1], [0.3, 0.6, 0.9]]
BOP = [[0.8, 0.1, 0.1], [0.4, 0.8, 0.1], [0.1, 0.2, 0.9]]
BOTH = frame_of(matrix_rows(STE) + matrix_rows(BOP, "bop"))


def lines(axis: Axes, colour: str) -> list[list[float]]:
    """The heights of the drawn lines of a colour that have several points."""
    return [
        list(np.asarray(line.get_ydata(), dtype=float).round(6))
        for line in axis.lines
        if line.get_color() == colour and len(line.get_xdata()) > 2
    ]


def test_the_mean_over_the_tasks_learned_so_far() -> None:
    found = forgetting.so_far(BOTH)
    for name, values in (("ste", [0.8, 0.7, 0.6]), ("bop", [0.8, 0.6, 0.4])):
        mine = found[found["strategy"] == name].sort_values("after")
        assert mine["value"].tolist() == pytest.approx(values)


def test_all_strategies_in_one_panel_with_labels_in_the_order_of_their_ends() -> None:
    figure = forgetting.average(BOTH)
    assert figure is not None
    (axis,) = figure.axes
    known = looks(["ste", "bop"])
    assert lines(axis, known["ste"].colour) == [[80, 70, 60]]
    assert lines(axis, known["bop"].colour) == [[80, 60, 40]]
    heights = {text.get_text(): text.get_position()[1] for text in axis.texts}
    assert heights["ste"] > heights["bop"]
    low, high = axis.get_ylim()
    assert heights["bop"] == pytest.approx((40 - low) / (high - low), abs=0.05)


def test_who_has_no_interval_for_want_of_seeds_says_so() -> None:
    frame = pd.concat([BOTH, frame_of(matrix_rows(STE, seed=1))])
    figure = forgetting.average(frame)
    assert figure is not None
    assert {text.get_text() for text in figure.axes[0].texts} == {"ste", "bop, 1 seed"}


def test_joint_is_a_level_and_one_strategy_or_task_no_figure() -> None:
    figure = forgetting.average(plausible(strategies=["joint", "ste"], seeds=[0]))
    assert figure is not None
    level = next(line for line in figure.axes[0].lines if line.get_color() == "#000000")
    assert list(level.get_xdata()) == [1, 3] and len(set(level.get_ydata())) == 1
    for frame in (plausible(strategies=["ste"]), plausible(tasks=1)):
        assert forgetting.average(frame) is None and forgetting.multiples(frame) is None


def test_a_panel_a_strategy_in_the_one_order_before_all_others_in_grey() -> None:
    figure = forgetting.multiples(BOTH)
    assert figure is not None
    ste, bop = figure.axes
    assert [axis.get_title() for axis in (ste, bop)] == ["ste\n1 seed", "bop\n1 seed"]
    assert lines(ste, forgetting.GREY) == [[80, 60, 40]] == lines(bop, looks(["bop"])["bop"].colour)
    assert lines(bop, forgetting.GREY) == [[80, 70, 60]]
    assert ste.get_ylim() == bop.get_ylim()


def test_intervals_stand_at_the_ends_of_lines() -> None:
    """Two seeds at 60 and 50: half width 12.706 x 5 = 63.5 points."""
    lower = [[value for value in line] for line in STE]
    lower[2] = [0.2, 0.5, 0.8]
    frame = frame_of(matrix_rows(STE) + matrix_rows(lower, seed=1) + matrix_rows(BOP, "bop"))
    figure = forgetting.average(frame)
    assert figure is not None
    (container,) = figure.axes[0].containers  # BOP has one seed and no bar
    (bar,) = container[2]
    low, high = bar.get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * 12.7062 * 5, rel=1e-4)


def test_labels_are_spread_as_little_as_can_be() -> None:
    """By hand: two labels of height 0.2 at 0.5 stand at 0.4 and 0.6; one far away stays; one below
    the axis stands on it.
    """
    spread = forgetting.spread(np.array([0.5, 0.9, 0.5, -0.3]), np.array([0.2, 0.1, 0.2, 0.1]))
    assert spread == pytest.approx([0.4, 0.9, 0.6, 0.05])


@pytest.mark.parametrize("seed", range(5))
def test_labels_never_overlap_nor_leave_the_axis(seed: int) -> None:
    noise = np.random.default_rng(seed)
    sizes = noise.uniform(0.02, 0.06, 15)
    places = forgetting.spread(noise.normal(0.5, 0.3, 15), sizes)
    order = np.argsort(places)
    gaps = np.diff(places[order]) - (sizes[order][1:] + sizes[order][:-1]) / 2
    assert gaps.min() > -1e-9
    assert (places - sizes / 2).min() > -1e-9 and (places + sizes / 2).max() < 1 + 1e-9


def test_twenty_strategies_are_all_named() -> None:
    figure = forgetting.average(wide(seeds=2))
    assert figure is not None
    names = {text.get_text() for text in figure.axes[0].texts}
    assert names == set(TWENTY)
    assert not any(math.isnan(text.get_position()[1]) for text in figure.axes[0].texts)
