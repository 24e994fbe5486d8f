"""Figures of calibration, capacity and state, from frames worked out by hand."""

import numpy as np
import pytest
from frames import frame_of, matrix_rows, plausible
from matplotlib.axes import Axes
from wide_frames import wide

from cl_bnn.plots import bits, calibration, capacity
from cl_bnn.plots.looks import looks, sequence
from cl_bnn.results import Row


def bin_rows(
    strategy: str, seed: int, on: int, number: int, share: float, confidence: float,
    accuracy: float, after: int = 1,
) -> list[Row]:  # fmt: skip
    where = ("toy", strategy, seed, after, on, None)
    return [
        Row(*where, f"bin_{kind}_{number}", value)
        for kind, value in (("share", share), ("confidence", confidence), ("accuracy", accuracy))
    ]


# Two seeds of two tasks; the old one is over-confident.
CALIBRATION = [
    *bin_rows("ste", 0, 0, 10, 0.25, 0.60, 0.40), *bin_rows("ste", 0, 0, 15, 0.75, 1.00, 0.80),
    *bin_rows("ste", 1, 0, 10, 0.75, 0.64, 0.60), *bin_rows("ste", 1, 0, 15, 0.25, 0.96, 0.88),
    *bin_rows("ste", 0, 1, 15, 1.00, 0.98, 0.98), *bin_rows("ste", 1, 1, 15, 1.00, 0.98, 0.94),
    *bin_rows("ste", 0, 0, 12, 1.00, 0.80, 0.10, after=0),  # before the end: not drawn
]  # fmt: skip
AT_ONCE = [
    *bin_rows("joint", 0, 0, 15, 0.5, 0.96, 0.90), *bin_rows("joint", 0, 1, 15, 1.0, 0.99, 0.99),
]  # fmt: skip


def test_bins_are_averaged_by_age_with_the_share_as_weight() -> None:
    """Age 1, bin 10: (0.25 x 0.60 + 0.75 x 0.64) / 1 = 0.63; bin 15: (0.75 + 0.24) / 1 = 0.99."""
    table = calibration.averaged(calibration.bins(frame_of(CALIBRATION)))
    assert table[["age", "bin"]].to_numpy().tolist() == [[0, 15], [1, 10], [1, 15]]
    assert table["confidence"].tolist() == pytest.approx([0.98, 0.63, 0.99])
    assert table["accuracy"].tolist() == pytest.approx([0.96, 0.55, 0.82])
    assert table["share"].tolist() == pytest.approx([1.0, 0.5, 0.5])


def test_a_bin_of_a_few_images_is_not_drawn() -> None:
    few = bin_rows("ste", 0, 1, 3, 0.005, 0.2, 1.0)
    figure = calibration.reliability(frame_of([*CALIBRATION, *few]))
    assert figure is not None
    drawn = [x for line in figure.axes[0].lines[1:] for x in line.get_xdata()]
    assert min(drawn) == pytest.approx(63)  # type: ignore[type-var]


def test_a_panel_a_strategy_with_the_ece_in_its_title() -> None:
    """Seed 0: (0.25 x 0.2 + 0.75 x 0.2 + 0) / 2 = 10 %; seed 1: (0.03 + 0.02 + 0.04) / 2 = 4.5 %.

    Mean 7.25, half width 12.706 x 2.75 = 34.9. Tasks learned at once have the age 0: the ECE of
    joint is (0.5 x 0.06 + 0) / 2 = 1.5 %.
    """
    figure = calibration.reliability(frame_of(CALIBRATION + AT_ONCE))
    assert figure is not None
    ste, joint = figure.axes
    assert ste.get_title() in ("ste\nECE 7.2 ± 34.9 %", "ste\nECE 7.3 ± 34.9 %")
    assert joint.get_title() == "joint\nECE 1.5 ± – %"
    drawn = {line.get_color(): np.array(line.get_data()).T.round(4).tolist() for line in ste.lines}
    just, old = (look.colour for look in sequence(2))
    assert drawn[old] == [[63, 55], [99, 82]] and drawn[just] == [[98, 96]]
    pooled = next(line for line in joint.lines if line.get_color() == just)
    assert np.array(pooled.get_data()).ravel() == pytest.approx([98, 96])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["age 0: just learned", "age 1"]


def test_of_many_ages_some_are_drawn() -> None:
    rows = [row for on in range(40) for row in bin_rows("ste", 0, on, 15, 1, 0.9, 0.8, after=39)]
    first = Row("toy", "ste", 0, 0, 0, None, "accuracy", 0.9)  # so not learned at once
    figure = calibration.reliability(frame_of([first, *rows]))
    assert figure is not None
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["age 0: just learned", "age 1", "age 10", "age 20", "age 30", "age 39"]


def state_rows(strategy: str, kept: list[float], acc: float, seed: int = 0) -> list[Row]:
    rows = [
        Row("toy", strategy, seed, after, None, None, "state_bits", value)
        for after, value in enumerate(kept)
    ]
    return rows + matrix_rows([[1.0, 0.0], [acc, acc]], strategy, seed)


def points(axis: Axes) -> dict[str, tuple[float, float]]:
    """Where the marker of each colour stands."""
    markers = [container[0] for container in axis.containers]
    return {line.get_color(): (line.get_xdata()[0], line.get_ydata()[0]) for line in markers}


def test_acc_against_the_bits_after_the_last_task() -> None:
    rows = [*state_rows("ste", [1, 32], 0.5), *state_rows("ste", [1, 32], 0.7, seed=1)]
    figure = bits.state(frame_of(rows + state_rows("bayesbinn", [64, 1], 0.9)))
    assert figure is not None
    (axis,) = figure.axes
    known = looks(["ste", "bayesbinn"])
    assert points(axis)[known["ste"].colour] == pytest.approx((32, 60))
    assert points(axis)[known["bayesbinn"].colour] == pytest.approx((1, 90))
    assert axis.get_xscale() == "log"
    bar = axis.containers[1][2][0].get_segments()[0][:, 1]
    assert bar[1] - bar[0] == pytest.approx(2 * 12.7062 * 10, rel=1e-4)


def test_equal_bits_stand_side_by_side_around_their_place() -> None:
    rows = [
        row for k, s in enumerate(("ste", "bop", "pmf")) for row in state_rows(s, [8, 8], k / 4)
    ]
    figure = bits.state(frame_of(rows))
    assert figure is not None
    x = [place for place, _ in points(figure.axes[0]).values()]
    assert x == pytest.approx([8 / 1.07, 8, 8 * 1.07])


def test_many_equal_ones_stay_near_their_place() -> None:
    figure = bits.state(wide(tasks=2, seeds=1))
    assert figure is not None
    x = [container[0].get_xdata()[0] for container in figure.axes[0].containers]
    assert all(min(abs(np.log2(place / kept)) for kept in (1, 32, 64)) < 0.2 for place in x)


def test_a_line_a_layer_in_a_row_a_strategy() -> None:
    rows = [
        Row("toy", strategy, 0, after, None, None, f"{metric}{end}", value)
        for strategy in ("bimu", "bayesbinn")
        for after, values in enumerate(((0.9, 0.8, 0.7), (0.6, 0.5, 0.4)))
        for end, value in zip(("", "_layer1", "_layer2"), values, strict=True)
        for metric in ("entropy", "saturated")
    ]
    figure = capacity.layers(frame_of(rows))
    assert figure is not None
    assert [axis.get_title().replace("\n", ": ") for axis in figure.axes] == [
        "bayesbinn: mean entropy [bits]", "bayesbinn: saturated weights [%]",
        "bimu: mean entropy [bits]", "bimu: saturated weights [%]",
    ]  # fmt: skip
    entropy, saturated = (
        [list(line[0].get_ydata()) for line in axis.containers] for axis in figure.axes[2:]
    )
    assert entropy == [[0.8, 0.5], [0.7, 0.4]]
    assert saturated == [pytest.approx([80, 50]), pytest.approx([70, 40])]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["layer 1", "layer 2"]


@pytest.mark.parametrize("tasks", [3, 60, 100])
def test_the_axis_of_tasks_fits_few_and_many(tasks: int) -> None:
    figure = capacity.posterior(wide(["bayesbinn"], tasks=tasks, seeds=2))
    assert figure is not None
    entropy = figure.axes[0]
    ticks = list(entropy.get_xticks())
    assert ticks[0] == 1 and len(ticks) <= 6 and ticks[-1] == tasks
    x = [line.get_xdata() for line in entropy.lines if len(line.get_xdata()) == tasks]
    assert np.asarray(x[0], dtype=float) == pytest.approx(np.arange(1, tasks + 1))
    assert bool(entropy.collections) and len(entropy.containers) == (1 if tasks == 3 else 0)


def test_nothing_to_draw_without_rows() -> None:
    frame = plausible(strategies=["ste"])
    assert calibration.reliability(frame) is None and bits.state(frame) is None
    assert capacity.layers(frame) is None and capacity.posterior(frame) is None
