"""The epoch that validation selects, on hand-made runs."""

import math
from collections.abc import Sequence

import pandas as pd
import pytest
from frames import frame_of, matrix_rows

from cl_bnn.report.selection import population, selection
from cl_bnn.results import Row

COLUMNS = [
    *("benchmark", "strategy", "seed", "epoch"),
    *("accuracy_best_val", "val_accuracy_best_val", "train_accuracy_best_val", "accuracy_last"),
]


def run(
    val: Sequence[float], test: Sequence[float], seed: int = 0, strategy: str = "ste"
) -> list[Row]:
    """A run on `mnist` with these accuracies after its epochs."""
    key = ("mnist", strategy, seed)
    rows = [Row(*key, 0, 0, e, "val_accuracy", value) for e, value in enumerate(val)]
    rows += [Row(*key, 0, 0, e, "accuracy", value) for e, value in enumerate(test)]
    rows += [Row(*key, 0, 0, e, "train_accuracy", 0.5 + e / 10) for e in range(len(val))]
    return [*rows, Row(*key, 0, 0, None, "accuracy", test[-1])]


def test_the_first_epoch_of_the_best_validation_accuracy_is_selected() -> None:
    rows = run(val=[0.7, 0.9, 0.8, 0.9], test=[0.6, 0.85, 0.95, 0.99])
    table = selection(frame_of(rows))
    assert list(table.columns) == COLUMNS
    assert table.to_numpy().tolist() == [["mnist", "ste", 0, 1, 0.85, 0.9, 0.6, 0.99]]


def test_epochs_count_in_order_even_where_the_file_is_shuffled() -> None:
    rows = run(val=[0.1] * 9 + [0.9, 0.9, 0.2], test=[0.1] * 9 + [0.5, 0.6, 0.7])
    table = selection(frame_of(rows[::-1]))
    assert table["epoch"].tolist() == [9]  # not 10, and not "10" before "9"
    assert table["accuracy_best_val"].tolist() == [0.5]


def test_every_seed_selects_for_itself() -> None:
    rows = run([0.9, 0.8], [0.7, 0.6], seed=0) + run([0.8, 0.9], [0.5, 0.4], seed=1)
    table = selection(frame_of(rows + run([0.8, 0.9], [0.3, 0.2], strategy="adam")))
    assert table["strategy"].tolist() == ["adam", "ste", "ste"]
    assert table["epoch"].tolist() == [1, 0, 1]
    assert table["accuracy_best_val"].tolist() == [0.2, 0.7, 0.4]


def test_runs_of_several_tasks_or_without_validation_are_left_out() -> None:
    stream = [row._replace(metric="val_accuracy", epoch=0) for row in matrix_rows([[0.9], [0.8]])]
    without = [row for row in run([0.9], [0.8]) if row.metric != "val_accuracy"]
    only_at_end = [Row("cifar10", "ste", 0, 0, 0, None, "val_accuracy", 0.5)]
    table = selection(frame_of(stream + without + only_at_end))
    assert table.empty and list(table.columns) == COLUMNS


def test_a_test_accuracy_that_was_not_measured_is_missing() -> None:
    rows = [
        row for row in run([0.9, 0.8], [0.7, 0.6]) if (row.metric, row.epoch) != ("accuracy", 0)
    ]
    table = selection(frame_of(rows))
    assert table["accuracy_best_val"].isna().all()
    assert table["accuracy_last"].tolist() == [0.6]


def test_an_empty_frame_selects_nothing() -> None:
    assert selection(frame_of([])).empty


def test_population_deviation_is_that_of_the_published_table() -> None:
    """Final accuracies of the five published runs on MNIST: 98.884 ± 0.042."""
    mean, spread, n = population([98.88, 98.95, 98.90, 98.87, 98.82])
    assert (round(mean, 3), round(spread, 3), n) == (98.884, 0.042, 5)


def test_population_deviation_of_one_value_is_none() -> None:
    mean, spread, n = population(pd.Series([0.5, math.nan]))
    assert (mean, n) == (pytest.approx(0.5), 1)
    assert math.isnan(spread)
