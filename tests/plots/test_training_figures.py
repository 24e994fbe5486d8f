"""The figure and the tables of a single task."""

from pathlib import Path

import numpy as np
import pytest
from frames import frame_of, plausible

from cl_bnn import plots
from cl_bnn.plots.training import training
from cl_bnn.report import single_tables
from cl_bnn.results import Row

ACCURACY = {("ste", 0): (0.5, 0.8), ("ste", 1): (0.7, 0.6), ("adam", 0): (0.9, 0.9)}
HELD_OUT = {("ste", 0): (0.4, 0.7), ("ste", 1): (0.8, 0.5), ("adam", 0): (0.9, 0.9)}


def rows() -> list[Row]:
    """Two epochs of three runs; seed 1 of STE is best after the first."""
    found = []
    for (strategy, seed), values in ACCURACY.items():
        where = ("toy", strategy, seed, 0, 0)
        for epoch in (0, 1, None):
            at = 1 if epoch is None else epoch
            found.append(Row(*where, epoch, "accuracy", values[at]))
            found.append(Row(*where, epoch, "val_accuracy", HELD_OUT[strategy, seed][at]))
        for epoch in (0, 1):
            found.append(Row(*where, epoch, "train_loss", 0.5 / (epoch + 1)))
    return found


def test_a_panel_a_metric_and_a_line_a_strategy() -> None:
    figure = training(frame_of(rows()))
    assert figure is not None
    assert [axis.get_title() for axis in figure.axes] == [
        "test accuracy [%]", "validation accuracy [%]", "training loss",
    ]  # fmt: skip
    test, _, loss = figure.axes
    assert loss.get_yscale() == "log"
    lines = [line.get_data() for line in test.lines if len(line.get_xdata()) == 2]
    drawn = {tuple(np.asarray(y).round(6)) for _, y in lines}
    assert {(90.0, 90.0), (60.0, 70.0)} <= drawn
    assert all(tuple(np.asarray(x)) == (1, 2) for x, _ in lines)


def test_a_stream_has_no_such_figure_and_a_single_task_no_matrix(tmp_path: Path) -> None:
    assert training(plausible(strategies=["ste"], tasks=1)) is None
    paths = plots.draw(frame_of(rows()), tmp_path)
    assert [path.name for path in paths] == ["toy_training.png", "toy_training.svg"]


def test_tables_of_the_end_and_of_the_selected_epoch() -> None:
    ends, selected = single_tables.tables(frame_of(rows()))
    assert ends.head == ["strategy", "seeds", "accuracy [%]"]
    assert ends.rows[1] == ["adam", "1", "90.0 ± –"]
    assert ends.rows[0][:2] == ["ste", "2"] and ends.rows[0][2].startswith("70.0 ± ")
    # STE: 0.8 at the second epoch of seed 0 and 0.7 at the first of seed 1.
    assert selected.rows[0][:4] == ["ste", "2", "1 to 2", "75.00 ± 5.00"]
    assert selected.rows[0][4].startswith("70.00 ± 127")


def test_axes_end_where_numbers_can() -> None:
    """The interval of STE's accuracy and loss reaches beyond what both can be."""
    wide = [row for row in rows() if not (row.strategy == "ste" and row.metric == "train_loss")]
    where = ("toy", "ste")
    for seed, losses in enumerate([(0.9, 0.1), (0.5, 0.5)]):
        wide += [Row(*where, seed, 0, 0, k, "train_loss", loss) for k, loss in enumerate(losses)]
    figure = training(frame_of(wide))
    assert figure is not None
    accuracy, _, loss = figure.axes
    assert accuracy.get_ylim()[1] <= 102
    assert loss.get_ylim()[0] == pytest.approx(0.25 / 1.3)  # of Adam, the lowest line


@pytest.mark.parametrize("lowest", [0.54, 0.05, 0.005])
def test_a_loss_can_be_read_off_whatever_it_spans(lowest: float) -> None:
    """From 1.8 down: a single power of ten would be all that is labelled within a decade."""
    where = ("toy", "ste", 0, 0, 0)
    losses = [Row(*where, k, "train_loss", value) for k, value in enumerate((1.8, lowest))]
    figure = training(frame_of([*losses, Row(*where, 1, "accuracy", 0.9)]))
    assert figure is not None
    low, high = figure.axes[1].get_ylim()
    assert sum(low <= tick <= high for tick in figure.axes[1].get_yticks()) >= 3
