"""Accuracy matrix, measures and intervals against numbers worked out by hand."""

import math

import numpy as np
import pytest
from frames import frame_of, matrix_rows, plausible

from cl_bnn.report.summary import (
    MEASURES,
    accuracy_matrix,
    at_end,
    interval,
    measures,
    slug,
    summary,
)
from cl_bnn.results import Row

#: R[t, i] of three tasks; task 1 is best after task 2, so that the two forgettings differ.
MATRIX = [[0.8, 0.1, 0.2], [0.9, 0.7, 0.3], [0.5, 0.6, 1.0]]
#: t(0.975) with 2 degrees of freedom, from any table.
T_2 = 4.30265273


def test_measures_of_a_matrix_worked_out_by_hand() -> None:
    row = summary(frame_of(matrix_rows(MATRIX))).iloc[0]
    assert row["ACC"] == pytest.approx((0.5 + 0.6 + 1.0) / 3)
    assert row["AAA"] == pytest.approx((0.8 + (0.9 + 0.7) / 2 + (0.5 + 0.6 + 1.0) / 3) / 3)
    assert row["BWT"] == pytest.approx(((0.5 - 0.8) + (0.6 - 0.7)) / 2)
    assert row["forgetting_first_last"] == pytest.approx(((0.8 - 0.5) + (0.7 - 0.6)) / 2)
    assert row["forgetting_max_last"] == pytest.approx(((0.9 - 0.5) + (0.7 - 0.6)) / 2)
    assert row["LA"] == pytest.approx((0.8 + 0.7 + 1.0) / 3)
    assert row["zero_shot"] == pytest.approx((0.1 + 0.3) / 2)


def test_forward_transfer_worked_out_by_hand() -> None:
    untrained = [
        Row("toy", "ste", 0, -1, on, None, "accuracy_untrained", value)
        for on, value in enumerate([0.05, 0.08, 0.5])
    ]
    row = summary(frame_of([*untrained, *matrix_rows(MATRIX)])).iloc[0]
    assert row["FWT"] == pytest.approx(((0.1 - 0.08) + (0.3 - 0.5)) / 2)
    without = summary(frame_of(matrix_rows(MATRIX))).iloc[0]
    others = [name for name in MEASURES if name != "FWT"]
    assert math.isnan(without["FWT"]) and row[others].equals(without[others])
    run = frame_of([*untrained, *matrix_rows(MATRIX)])
    assert measures(run, 2)["FWT"] == pytest.approx(0.1 - 0.08)
    assert math.isnan(measures(run, 1)["FWT"]) and math.isnan(measures(run, 4)["ACC"])


def test_the_accuracy_before_a_task_is_learned_is_no_maximum_to_forget_from() -> None:
    row = summary(frame_of(matrix_rows([[0.5, 0.9], [0.5, 0.4]]))).iloc[0]
    assert row["forgetting_max_last"] == 0
    row = summary(frame_of(matrix_rows([[0.5, 0.9, 0], [0.5, 0.4, 0], [0.5, 0.4, 1]]))).iloc[0]
    assert row["forgetting_max_last"] == 0


def test_joint_has_only_acc_and_a_single_task_no_transfer() -> None:
    joint = summary(plausible(strategies=["joint"], seeds=[0])).iloc[0]
    assert 0.9 < joint["ACC"] < 1
    for measure in (*set(MEASURES) - {"ACC"}, "nll_mode"):
        assert math.isnan(joint[measure])
    single = summary(frame_of(matrix_rows([[0.75]]))).iloc[0]
    assert single["ACC"] == single["AAA"] == single["LA"] == 0.75
    for measure in ("BWT", "forgetting_first_last", "forgetting_max_last", "zero_shot", "FWT"):
        assert math.isnan(single[measure])


def test_final_means_are_over_the_tasks_after_the_last_one() -> None:
    frame = plausible(strategies=["bayesbinn"], seeds=[0], epochs=2)
    last = frame[(frame["metric"] == "nll") & (frame["after"] == 2)]["value"]
    assert len(last) == 3
    assert summary(frame)["nll"][0] == pytest.approx(sum(last) / 3)


def test_accuracy_matrix_is_of_one_seed_or_the_mean_of_all() -> None:
    other = [[value / 2 for value in line] for line in MATRIX]
    frame = frame_of(matrix_rows(MATRIX, seed=0) + matrix_rows(other, seed=1))
    assert np.allclose(accuracy_matrix(frame, seed=0), MATRIX)
    assert np.allclose(accuracy_matrix(frame, seed=1), other)
    assert np.allclose(accuracy_matrix(frame), 0.75 * np.array(MATRIX))


def test_accuracy_matrix_leaves_out_epochs_and_pads_joint() -> None:
    epochs = plausible(strategies=["ste"], epochs=3)
    assert accuracy_matrix(epochs).equals(accuracy_matrix(epochs[epochs["epoch"].isna()]))
    joint = accuracy_matrix(plausible(strategies=["joint"]))
    assert joint.shape == (3, 3)
    assert joint.isna().sum().tolist() == [2, 2, 2] and joint.loc[2].notna().all()


def test_accuracy_matrix_refuses_two_strategies() -> None:
    with pytest.raises(ValueError, match="one strategy on one benchmark"):
        accuracy_matrix(plausible(strategies=["ste", "adam"]))


def test_interval_is_students() -> None:
    mean, half, n = interval([1.0, 2.0, 3.0, math.nan])
    assert (mean, n) == (2.0, 3)
    assert half == pytest.approx(T_2 * 1.0 / math.sqrt(3))


def test_interval_of_one_value_and_of_none() -> None:
    assert interval([0.5])[0] == 0.5 and math.isnan(interval([0.5]).half)
    assert math.isnan(interval([]).mean) and interval([math.nan]).n == 0


def test_slug_is_fit_for_a_file_system() -> None:
    assert slug("split_mnist[scenario=class,epochs=2]") == "split_mnist_scenario=class_epochs=2"
    assert slug("../a b") == "a_b"
    assert slug("toy-α") != slug("toy-β")


def test_the_end_is_that_of_each_run_whatever_was_measured_there() -> None:
    long, short = matrix_rows(MATRIX), matrix_rows([[0.8]], "adam")
    early = long[0]._replace(after=1, metric="nll", value=2.0)
    within = short[0]._replace(epoch=0, value=0.3)
    frame = frame_of([*long, early, *short, within])
    ends = at_end(frame, "accuracy")
    assert ends.groupby("strategy")["value"].apply(list).to_dict() == {
        "ste": [0.5, 0.6, 1.0], "adam": [0.8],
    }  # fmt: skip
    assert len(at_end(frame)) == 4 and at_end(frame, "nll").empty
    assert math.isnan(summary(frame).set_index("strategy").loc["ste", "nll"])
