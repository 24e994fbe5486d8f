"""Paired tests, their correction, and seeds needed, against numbers worked out by hand."""

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
import pytest
from frames import frame_of, matrix_rows
from numpy.typing import NDArray
from scipy import stats

from cl_bnn.report import statistics
from cl_bnn.report.statistics import IF_NORMAL, OPEN, REAL, P
from cl_bnn.report.summary import summary


def of(*values: float) -> NDArray[np.float64]:
    return np.array(values)


def runs(values: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """The summary of runs on one task with these accuracies, seed by seed; NaN: not run."""
    return summary(
        frame_of(
            row
            for strategy, accuracies in values.items()
            for seed, value in enumerate(accuracies)
            if not math.isnan(value)
            for row in matrix_rows([[value]], strategy, seed)
        )
    )


def test_t_test_of_three_seeds_in_closed_form() -> None:
    """Mean 2, s = 1: t = 2 sqrt(3), and with 2 degrees of freedom p = 1 - t / sqrt(t^2 + 2)."""
    t = 2 * math.sqrt(3)
    assert statistics.t_test(of(1, 2, 3)) == pytest.approx(1 - t / math.sqrt(t**2 + 2))


def test_there_is_no_t_test_of_one_seed_or_of_seeds_that_all_differ_alike() -> None:
    assert math.isnan(statistics.t_test(of(0.5)))
    assert math.isnan(statistics.t_test(of(1 - 0.96, 0.04, 0.9 - 0.86)))


@pytest.mark.parametrize(
    ("gaps", "share"),
    [
        ((1, 2, 3), 2 / 8),  # all of one sign: only they and their mirror image
        ((3, 1, -1), 6 / 8),  # sums 5 3 3 1 and their negatives: all but +-1 are as far as 3
        ((2, -2), 1.0),  # a mean of 0 is never beaten
        ((1, 1, 1, 1, 1), 2 / 32),  # five seeds show no more than this
    ],
)
def test_permutation_test_counts_signs(gaps: tuple[float, ...], share: float) -> None:
    assert statistics.permutation_test(of(*gaps)) == pytest.approx(share)


def test_permutation_test_is_exact_up_to_16_seeds_and_draws_the_same_beyond() -> None:
    gaps = np.random.default_rng(1).normal(0.5, 1, 20)
    signs = np.array(list(product([-1, 1], repeat=16)))
    exact = (np.abs(signs @ gaps[:16]) >= abs(gaps[:16].sum()) - 1e-12).mean()
    assert statistics.permutation_test(gaps[:16]) == pytest.approx(exact)
    drawn = statistics.permutation_test(gaps)
    assert drawn == statistics.permutation_test(gaps)
    assert drawn == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue, abs=0.02)


def test_bootstrap_takes_the_quantiles_of_the_resampled_mean() -> None:
    """One of five is 1: the sum of a resample is binomial(5, 0.2), with 2.5 % quantile 0 (of
    chance 0.33) and 97.5 % quantile 3 (at most 2 has the chance 0.942, at most 3 0.993).
    """
    low, high = statistics.bootstrap(of(0, 0, 1, 0, 0))
    assert (low, high) == (0, pytest.approx(0.6))
    assert statistics.bootstrap(of(0.25, 0.25)) == (0.25, 0.25)
    assert all(map(math.isnan, statistics.bootstrap(of(0.25))))


def test_holm_corrects_step_by_step() -> None:
    """4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04, which may not be less than the one before."""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.9]) == [1, 1]
    assert statistics.holm([]) == []


def test_holm_does_not_count_tests_that_were_not_made() -> None:
    first, second, third = statistics.holm([0.01, math.nan, 0.04])
    assert (first, third) == (pytest.approx(0.02), pytest.approx(0.04))
    assert math.isnan(second)


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_are_those_of_the_tables_of_power(effect: float, seeds: int) -> None:
    """80 % power, 5 %, two-sided, paired: Cohen's small, medium, large effects, and one of 1."""
    unit = of(-1, 1) / math.sqrt(2)  # s = 1
    assert statistics.seeds_needed(unit + effect) == seeds
    assert statistics.seeds_needed(unit - effect) == seeds
    assert statistics.seeds_needed(unit + effect, level=0.01) > seeds


def test_power_is_the_share_of_t_tests_that_find_the_difference() -> None:
    sample = np.random.default_rng(0).normal(0.8, 1, (20000, 15))
    test = stats.ttest_1samp(sample, 0, axis=1)
    found = ((test.pvalue < 0.05) & (test.statistic > 0)).mean()
    assert statistics.power(0.8, np.array([15]))[0] == pytest.approx(found, abs=0.01)


def test_seeds_needed_have_an_end() -> None:
    assert statistics.seeds_needed(of(-1, 1.0001)) == math.inf
    assert math.isnan(statistics.seeds_needed(of(1)))
    assert math.isnan(statistics.seeds_needed(of(1, 1)))


def test_differences_that_files_round_apart_are_the_same() -> None:
    """One hit of 2115 more, in six digits: 0.945626 - 0.945154 and 0.709220 - 0.708747."""
    assert math.isnan(statistics.t_test(of(0.000472, 0.000473)))


def test_least_seeds_of_the_permutation_test() -> None:
    """2 / 2^6 = 0.031 is the first below 0.05; 5 x 2 / 2^8 = 0.039, where 2^7 gives 0.078."""
    assert [statistics.least_seeds(m) for m in (1, 2, 5)] == [6, 7, 8]
    assert statistics.least_p(5) == 0.0625


def test_verdict_tells_a_proof_from_an_assumption() -> None:
    small, large = P(0.01, 0.02), P(0.04, 0.08)
    assert statistics.verdict(small, small) == statistics.verdict(large, small) == REAL
    assert statistics.verdict(small, large) == IF_NORMAL
    nothing = P(math.nan, math.nan)
    assert statistics.verdict(large, large) == statistics.verdict(nothing, nothing) == OPEN


def test_the_yardstick_can_be_named() -> None:
    table = runs({"adam": [0.7, 0.8], "bayesbinn": [0.5, 0.6], "mine[lr=1]": [0.9, 0.8]})
    for name, expected in (
        ("mine", "mine[lr=1]"), ("mine[lr=1]", "mine[lr=1]"), ("adam", "adam"),
        ("", "bayesbinn"), ("bop", "bayesbinn"),
    ):  # fmt: skip
        yardstick, compared = statistics.against_yardstick(table, yardstick=name)
        assert yardstick == expected
        assert {c.second for c in compared} == {expected} and len(compared) == 2


@pytest.mark.parametrize("yardstick", ["", "bayesbinn"])
def test_the_yardstick_has_the_fewest_settings(yardstick: str) -> None:
    table = runs({"bayesbinn[a=1,b=2]": [0.7], "bayesbinn[a=1]": [0.6], "adam": [0.5]})
    assert statistics.against_yardstick(table, yardstick=yardstick)[0] == "bayesbinn[a=1]"


def test_strategies_are_paired_by_seed_and_agree_with_scipy() -> None:
    ste, bayesbinn = [0.7, 0.75, 0.6, 0.9], [0.8, 0.9, 0.85, math.nan]
    yardstick, (found,) = statistics.against_yardstick(runs({"ste": ste, "bayesbinn": bayesbinn}))
    assert (yardstick, found.first, found.second, found.gap.n) == ("bayesbinn", "ste", yardstick, 3)
    test = stats.ttest_rel(ste[:3], bayesbinn[:3])
    ends = test.confidence_interval(0.95)
    assert found.gap.mean - found.gap.half == pytest.approx(ends.low)
    assert found.gap.mean + found.gap.half == pytest.approx(ends.high)
    assert found.t_test.alone == pytest.approx(test.pvalue)
    assert found.bootstrap == (pytest.approx(-0.25), pytest.approx(-0.1))  # 1 in 27 is the least


def test_comparisons_of_a_table_are_corrected_together() -> None:
    table = runs({
        "adam": [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
        "bayesbinn": [0.80, 0.81, 0.79, 0.82, 0.80, 0.78, 0.80],
        "ste": [0.79, 0.82, 0.80, 0.80, 0.81, 0.78, 0.79],
    })  # fmt: skip
    _, (ste, adam) = statistics.against_yardstick(table)
    assert adam.permutation == P(2 / 128, 4 / 128) and adam.verdict == REAL
    assert ste.permutation.corrected == ste.permutation.alone > 0.5 and ste.verdict == OPEN
    gaps = of(-0.01, 0.01, 0.01, -0.02, 0.01, 0, -0.01)
    assert ste.seeds_needed == statistics.seeds_needed(gaps, 0.05 / 2)
    pairs = statistics.all_pairs(table)
    assert [pair[:2] for pair in pairs] == [
        ("bayesbinn", "ste"), ("bayesbinn", "adam"), ("ste", "adam"),
    ]  # fmt: skip
    assert pairs[1].permutation == P(2 / 128, 6 / 128)
    assert pairs[1].gap.mean == -adam.gap.mean  # adam minus bayesbinn, and the other way round


def test_few_seeds_show_a_difference_only_if_it_is_normal() -> None:
    five = {"bayesbinn": [0.80, 0.81, 0.79, 0.82, 0.80], "ste": [0.1, 0.12, 0.1, 0.11, 0.1]}
    _, (found,) = statistics.against_yardstick(runs(five))
    assert found.permutation.alone == 0.0625 and found.t_test.alone < 1e-6
    assert found.verdict == IF_NORMAL


def test_without_bayesbinn_the_first_strategy_is_the_yardstick() -> None:
    yardstick, (found,) = statistics.against_yardstick(runs({"adam": [0.75], "ste": [0.5]}))
    assert (yardstick, found.first, found.gap.mean) == ("ste", "adam", 0.25)
    assert found.verdict == OPEN and math.isnan(found.permutation.alone)


def test_strategies_without_a_seed_in_common_are_not_compared() -> None:
    table = runs({"bayesbinn": [0.5, math.nan], "ste": [math.nan, 0.5], "adam": [0.5, 0.75]})
    _, compared = statistics.against_yardstick(table)
    assert [found.first for found in compared] == ["adam"]
