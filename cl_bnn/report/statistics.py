"""Which differences between strategies are real: paired tests, intervals, the seeds they need.

A seed gives every strategy the same stream, so that strategies are compared seed by seed. Notation:
d is the difference of one seed, n the number of seeds that both strategies have, s the standard
deviation of d with n - 1, m the number of comparisons that are tested together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations, count
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from cl_bnn._labels import name_of
from cl_bnn.report.order import ordered
from cl_bnn.report.summary import CONFIDENCE, Interval, interval

#: The strategy that the others are compared with, where it was run.
YARDSTICK = "bayesbinn"
#: A difference is taken for real where its corrected p is below this.
LEVEL = 0.05
#: The probability with which the seeds that are said to be needed find a difference.
POWER = 0.8
#: More than these seeds are not counted.
MOST_SEEDS = 1000
#: Samples that the bootstrap draws.
RESAMPLES = 9999
#: Choices of signs in the permutation test: all there are, up to 16 seeds; of more, so many drawn.
FLIPS = 2**16
#: Seed of both, taken anew for every number, so that it does not depend on those before it.
RANDOM_STATE = 0
#: Differences of fractions closer than this are the same: files hold six digits, so that two
#: fractions differ by 1e-6 more or less than they did.
SAME = 2e-6

REAL, IF_NORMAL, OPEN = "real", "real if normal", "open"
#: The verdicts in the order of the legend.
VERDICTS = {
    REAL: f"the corrected p of the permutation test is below {LEVEL}",
    IF_NORMAL: "only that of the t test is, which holds if d has a normal distribution",
    OPEN: "neither is: these seeds do not show a difference, nor that there is none",
}


class P(NamedTuple):
    """The p of a test by itself, and corrected for the comparisons tested together with it."""

    alone: float
    corrected: float


class Comparison(NamedTuple):
    """How much more of a measure `first` has than `second`, over the seeds of both.

    `gap` is the mean of d with its t interval, `bootstrap` the ends of its bootstrap interval,
    `verdict` one of `VERDICTS`, `seeds_needed` as of `seeds_needed`, for a level divided by m.
    """

    first: str
    second: str
    gap: Interval
    bootstrap: tuple[float, float]
    t_test: P
    permutation: P
    verdict: str
    seeds_needed: float


def against_yardstick(
    runs: pd.DataFrame, measure: str = "ACC", *, yardstick: str = ""
) -> tuple[str, list[Comparison]]:
    """The yardstick of one benchmark, and every other strategy minus it, corrected together.

    `runs` are the rows of `summary` of the benchmark. The yardstick is the strategy that is named,
    by its label or the part before the bracket; failing that BayesBiNN, or the first strategy. Of
    several with the name, it is the one with the fewest settings of its own.
    """
    names = _names(runs)
    simplest = sorted(names, key=lambda name: name.count("="))
    named = [name for name in simplest if yardstick in (name, name_of(name))]
    known = [name for name in simplest if name_of(name) == YARDSTICK]
    yardstick = (named + known + names)[0]
    others = [(name, yardstick) for name in names if name != yardstick]
    return yardstick, compare(runs, others, measure)


def all_pairs(runs: pd.DataFrame, measure: str = "ACC") -> list[Comparison]:
    """Every two strategies of one benchmark, corrected together; `runs` as of `summary`."""
    return compare(runs, list(combinations(_names(runs), 2)), measure)


def compare(
    runs: pd.DataFrame, pairs: Sequence[tuple[str, str]], measure: str = "ACC"
) -> list[Comparison]:
    """Each pair of strategies (first minus second), tested together; those without a seed in common
    are left out.
    """
    table = runs.pivot(index="seed", columns="strategy", values=measure)
    gaps = {pair: (table[pair[0]] - table[pair[1]]).dropna().to_numpy(float) for pair in pairs}
    gaps = {pair: gap for pair, gap in gaps.items() if len(gap)}
    t_tests = _corrected(map(t_test, gaps.values()))
    permutations = _corrected(map(permutation_test, gaps.values()))
    level = LEVEL / max(1, sum(len(gap) > 1 for gap in gaps.values()))
    return [
        Comparison(
            *(*pair, interval(gap), bootstrap(gap)),
            *(t, flips, verdict(t, flips), seeds_needed(gap, level)),
        )
        for (pair, gap), t, flips in zip(gaps.items(), t_tests, permutations, strict=True)
    ]


def verdict(t: P, flips: P) -> str:
    """One of `VERDICTS`, from the t test and the permutation test; open where neither was made."""
    if flips.corrected < LEVEL:
        return REAL
    return IF_NORMAL if t.corrected < LEVEL else OPEN


def t_test(gaps: NDArray[np.float64]) -> float:
    """The two-sided p of the paired t test: P(|T| >= |mean of d| sqrt(n) / s), T of Student with
    n - 1 degrees of freedom; NaN for one seed and where all d are the same.
    """
    if _constant(gaps):
        return math.nan
    return float(stats.ttest_1samp(gaps, 0.0).pvalue)


def permutation_test(gaps: NDArray[np.float64]) -> float:
    """The two-sided p of the paired permutation test: the share of the 2^n choices of signs of d
    whose mean is at least as far from 0; NaN for one seed.

    If strategies do not differ, d and -d are as likely, and nothing else is assumed.
    """
    if len(gaps) < 2:
        return math.nan
    test = stats.permutation_test(
        (gaps,),
        np.mean,
        permutation_type="samples",  # of one sample: its signs
        n_resamples=FLIPS,
        rng=np.random.default_rng(RANDOM_STATE),
    )
    return float(test.pvalue)


def bootstrap(gaps: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the 95 % percentile bootstrap interval of the mean of d; NaN for one seed."""
    if len(gaps) < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(RANDOM_STATE)
    found = stats.bootstrap(
        (gaps,),
        np.mean,
        method="percentile",
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        rng=rng,
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def holm(values: Iterable[float]) -> list[float]:
    """The p of m tests, corrected so that the chance of any false one is below the level.

    Holm (1979): with p_1 <= ... <= p_m, the k-th becomes max over j <= k of (m - j + 1) p_j, at
    most 1. NaN stands for a test that was not made and does not count in m.
    """
    p = np.array(list(values), dtype=float)
    corrected, order = np.full(len(p), math.nan), np.argsort(p)[: int((~np.isnan(p)).sum())]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(factors * p[order]))
    return [float(value) for value in corrected]


def power(effect: float, seeds: NDArray[np.int64], level: float = LEVEL) -> NDArray[np.float64]:
    """The probability that a paired t test with n `seeds` finds a true difference, and its sign.

    `effect` is |mean of d| / s. P(T > t(1 - level / 2, n - 1)) with T of the noncentral t
    distribution, n - 1 degrees of freedom and noncentrality effect sqrt(n).
    """
    critical = stats.t.ppf(1 - level / 2, seeds - 1)
    return np.asarray(stats.nct.sf(critical, seeds - 1, effect * np.sqrt(seeds)))


def seeds_needed(gaps: NDArray[np.float64], level: float = LEVEL) -> float:
    """The fewest seeds with which a paired t test has a `power` of 80 %, if mean and s of d are the
    true ones; infinity for more than `MOST_SEEDS`, NaN for one seed and where all d are the same.
    """
    if _constant(gaps):
        return math.nan
    seeds = np.arange(2, MOST_SEEDS + 1)
    enough = power(abs(float(gaps.mean())) / float(gaps.std(ddof=1)), seeds, level) >= POWER
    return float(seeds[enough.argmax()]) if enough.any() else math.inf


def least_p(seeds: int) -> float:
    """The smallest p that the permutation test can give: 2 / 2^n, where all d have one sign."""
    return 2.0 ** (1 - seeds)


def least_seeds(comparisons: int) -> int:
    """The fewest seeds with which a permutation test, corrected for m, can be below the level."""
    return next(n for n in count(1) if comparisons * least_p(n) < LEVEL)


def _names(runs: pd.DataFrame) -> list[str]:
    return ordered(runs["strategy"])


def _corrected(values: Iterable[float]) -> list[P]:
    alone = list(values)
    return [P(*pair) for pair in zip(alone, holm(alone), strict=True)]


def _constant(gaps: NDArray[np.float64]) -> bool:
    return len(gaps) < 2 or float(np.ptp(gaps)) < SAME
