"""The part of the page of results on differences: which are real, and the seeds the others need."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from cl_bnn.report.order import ordered
from cl_bnn.report.statistics import (
    FLIPS,
    LEVEL,
    MOST_SEEDS,
    OPEN,
    POWER,
    RESAMPLES,
    VERDICTS,
    Comparison,
    P,
    against_yardstick,
    all_pairs,
    holm,
    least_p,
    least_seeds,
)
from cl_bnn.report.tables import NOTHING, Table, cell, folded, format_of, markdown

#: A p below this is not worth its digits.
LEAST_SHOWN = 0.0001
#: What more than one seed adds to a difference.
TESTS = ["bootstrap", "t test: p (Holm)", "permutation: p (Holm)", "verdict", "seeds needed"]

_VERDICTS = "\n".join(f"- *{name}*: {meaning}." for name, meaning in VERDICTS.items())
LEGEND = folded(
    "How differences are tested",
    f"""\
A seed gives every strategy of a benchmark the same stream, so that strategies are compared seed by
seed. With d the difference in ACC of one seed, n the number of
seeds that both strategies have, s the standard deviation of d with n − 1, and m the number of
comparisons in the table with at least two seeds (for the t test, only those whose d are not all the
same):

- *difference*: mean of d ± t(0.975, n − 1) s / √n.
- *bootstrap*: the 2.5 % and 97.5 % quantiles of the means of {RESAMPLES} samples of n of the d,
  drawn with repetition.
- *t test*: p = P(|T| ≥ |mean of d| √n / s), T of Student with n − 1 degrees of freedom.
- *permutation*: p is the share of the 2ⁿ choices of signs of d whose mean is at least as far from
  0, or of {FLIPS} choices drawn where there are more.
- *(Holm)*: p corrected so that the chance of any false difference in the table is below {LEVEL}.
  With the p of the table in ascending order, the k-th becomes max over j ≤ k of (m − j + 1) p_j, at
  most 1. A pair that stands in both tables of a benchmark is corrected in each for the others
  there.
- *seeds needed*, of what is open: the fewest n with which a paired t test at level {LEVEL} / m has
  a power of {100 * POWER:.0f} %, if mean and s of d are the true ones; from few seeds a rough
  guess.

The verdicts:

{_VERDICTS}

The permutation test assumes only that d and −d are as likely where strategies do not differ, but
its p cannot fall below 2 / 2ⁿ, 0.0625 for 5 seeds: without further assumptions 5 seeds cannot show
a difference at the level 0.05. The t test can, as it assumes that d has a normal distribution; it
is not made where all d are the same. The bootstrap assumes no distribution either, but with few
seeds its interval is too narrow: if d is normal, it holds the true mean in three quarters of all
cases with 3 seeds and in five sixths with 5, instead of in 95 %.
""",
)


def section(runs: pd.DataFrame, against: str = "") -> list[str]:
    """The differences between the strategies of one benchmark, in Markdown, and who has no seed in
    common with the yardstick; nothing for one strategy.

    `runs` are the rows of `summary` of the benchmark. The differences to the yardstick, which
    `against` can name, come first, then what the permutation test can say at all, then all pairs of
    strategies, folded.
    """
    yardstick, compared = against_yardstick(runs, yardstick=against)
    apart = [f"{line}\n" for line in _apart(runs, yardstick, compared, "ACC")]
    if not compared:
        return apart
    limit = [f"{line}\n" for line in _limit(compared)]
    parts = [markdown(_yardstick_table(compared, yardstick, "ACC")), *limit, *apart]
    pairs = [pair for pair in all_pairs(runs) if pair.gap.n > 1]
    if len(pairs) > sum(comparison.gap.n > 1 for comparison in compared):
        heading = f"All {len(pairs)} pairs with two seeds in common, corrected together"
        parts.append(folded(heading, markdown(_pairs_table(pairs, heading))))
    return parts


def table(
    runs: pd.DataFrame, yardstick: str, compared: Sequence[Comparison], measure: str
) -> Table:
    """The differences to the yardstick in one of the measures of `summary`, of the `runs` of one
    benchmark; below it how far seeds reach, and who has no seed in common with the yardstick.
    """
    note = " ".join([*_limit(compared), *_apart(runs, yardstick, compared, measure)])
    return _yardstick_table(compared, yardstick, measure)._replace(note=note)


def _apart(
    runs: pd.DataFrame, yardstick: str, compared: Sequence[Comparison], measure: str
) -> list[str]:
    """Who cannot be compared, in a line."""
    met = {yardstick, *(comparison.first for comparison in compared)}
    others = [name for name in ordered(runs["strategy"][runs[measure].notna()]) if name not in met]
    names = ", ".join(f"`{name}`" for name in others)
    return [f"Without a seed in common with `{yardstick}`: {names}."] if others else []


def _yardstick_table(compared: Sequence[Comparison], yardstick: str, measure: str) -> Table:
    """Each strategy against the yardstick; without tests where no two seeds can be paired."""
    tested = any(comparison.gap.n > 1 for comparison in compared)
    head = ["strategy", *_gap(measure), *(TESTS if tested else [])]
    rows = [[pair.first, *_cells(pair, measure)][: len(head)] for pair in compared]
    return Table(f"Differences to {yardstick}, paired by seed", head, rows)


def _pairs_table(pairs: Sequence[Comparison], title: str) -> Table:
    rows = [[pair.first, pair.second, *_cells(pair, "ACC")] for pair in pairs]
    return Table(title, ["strategy", "minus", *_gap("ACC"), *TESTS], rows)


def _gap(measure: str) -> list[str]:
    """What is known of a difference without a second seed."""
    return ["seeds", f"difference in {format_of(measure).heading.replace('[%]', '[points]')}"]


def _cells(comparison: Comparison, measure: str) -> list[str]:
    """The cells under `_gap` and `TESTS`."""
    gap, tested = comparison.gap, comparison.gap.n > 1
    return [
        str(gap.n),
        cell(gap, measure),
        _ends(comparison.bootstrap, measure) if tested else NOTHING,
        _p(comparison.t_test),
        _p(comparison.permutation),
        comparison.verdict if tested else NOTHING,
        _count(comparison.seeds_needed) if comparison.verdict == OPEN else NOTHING,
    ]


def _limit(compared: Sequence[Comparison]) -> list[str]:
    """Where seeds are too few for the permutation test to show anything: how many it takes."""
    counts = [comparison.gap.n for comparison in compared if comparison.gap.n > 1]
    if not counts or min(counts) >= least_seeds(len(counts)):
        return []
    m, n = len(counts), min(counts)
    corrected = holm(map(least_p, counts))[counts.index(n)]  # where all others are at their least
    least = _decimal(least_p(n))
    least += f" ({_decimal(corrected)} corrected for {m} comparisons)" * (m > 1)
    return [
        f"With {n} seeds no p of the permutation test is below {least}; with {least_seeds(m)} "
        f"seeds of all strategies one can be below {LEVEL}."
    ]


def _p(p: P) -> str:
    return NOTHING if math.isnan(p.alone) else f"{_decimal(p.alone)} ({_decimal(p.corrected)})"


def _decimal(p: float) -> str:
    return f"< {LEAST_SHOWN}" if p < LEAST_SHOWN else f"{p:.4f}"


def _ends(bounds: tuple[float, float], measure: str) -> str:
    _, factor, decimals = format_of(measure)
    low, high = (f"{factor * end:z.{decimals}f}" for end in bounds)
    return f"{low} to {high}"


def _count(seeds: float) -> str:
    if math.isnan(seeds):
        return NOTHING
    return f"> {MOST_SEEDS}" if math.isinf(seeds) else f"{seeds:.0f}"
