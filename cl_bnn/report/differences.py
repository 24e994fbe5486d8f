"""Some strategies against one of them: what `cl-bnn compare` prints, and its numbers in full."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cl_bnn._labels import name_of
from cl_bnn.errors import UserError, near
from cl_bnn.report import statistics_page
from cl_bnn.report.scenarios import in_order
from cl_bnn.report.statistics import Comparison, against_yardstick
from cl_bnn.report.summary import FINAL_MEANS, MEASURES, summary
from cl_bnn.report.tables import Table
from cl_bnn.results import called, read, some


class Differences(NamedTuple):
    """Those on one benchmark: the table as it is read, and the same as numbers.

    A row of `numbers` is a difference, in the units of `summary`: `benchmark, measure, strategy,
    minus, seeds`, the mean `difference` and the `half_width` of its 95 % t interval, the ends of
    the bootstrap interval, p of both tests alone and corrected, verdict and seeds needed.
    """

    table: Table
    numbers: pd.DataFrame


def of_directory(
    directory: Path, benchmark: str, strategies: Sequence[str], against: str, measure: str
) -> list[Differences]:
    """Of the runs below `directory` some strategies against one of them, a pair for every benchmark
    that has it; those of a benchmark are corrected together.

    Args:
        directory: of results.
        benchmark: its label or the part before the bracket; all if empty.
        strategies: likewise; all if there are none.
        against: likewise; if empty the first of `strategies`, without these as in a report.
        measure: one of `MEASURES` or `FINAL_MEANS`.

    Raises:
        UserError: as `results.read` does, for a name that nothing has, for seeds of other settings
            under one label, or if nothing has a seed in common with `against`.
    """
    known = (*MEASURES, *FINAL_MEANS)
    if measure not in known:
        raise UserError(f"unknown measure {measure!r}{near(measure, known)}")
    against = against or (strategies or [""])[0]
    frame = some(
        read(directory), benchmark, [against, *strategies] if strategies else [], directory
    )
    called(frame, "strategy", [against] if against else [], directory)  # refuses an unknown one
    found = list(_found(summary(frame), strategies, against, measure))
    if not found:
        raise UserError(
            f"nothing in {directory} has {measure} on the benchmark and with the seed of "
            f"{against or 'another strategy'}"
        )
    return found


def csv_text(found: Iterable[Differences]) -> str:
    """The numbers of all benchmarks as one CSV, a row a difference."""
    numbers = pd.concat([numbers for _, numbers in found])
    return numbers.to_csv(index=False, lineterminator="\n")


def _found(
    runs: pd.DataFrame, strategies: Sequence[str], against: str, measure: str
) -> Iterator[Differences]:
    for benchmark in in_order(runs["benchmark"]):
        own = runs[runs["benchmark"] == benchmark]
        yardstick, compared = against_yardstick(own, measure, yardstick=against)
        if compared and against in ("", yardstick, name_of(yardstick)):
            table = statistics_page.table(own, yardstick, compared, measure)
            note = " ".join(filter(None, [table.note, _lacking(own, strategies, measure)]))
            table = table._replace(title=f"{benchmark}: {table.title}", note=note)
            yield Differences(table, _numbers(benchmark, measure, compared))


def _lacking(runs: pd.DataFrame, strategies: Sequence[str], measure: str) -> str:
    """Who was named and has no such measure, in a line."""
    labels = runs["strategy"][runs[measure].notna()]
    there = {*labels, *map(name_of, labels)}
    names = ", ".join(f"`{name}`" for name in strategies if name not in there)
    return f"Without {measure} here: {names}." if names else ""


def _numbers(benchmark: str, measure: str, compared: Sequence[Comparison]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "benchmark": benchmark,
            "measure": measure,
            "strategy": pair.first,
            "minus": pair.second,
            "seeds": pair.gap.n,
            "difference": pair.gap.mean,
            "half_width": pair.gap.half,
            "bootstrap_low": pair.bootstrap[0],
            "bootstrap_high": pair.bootstrap[1],
            "t_p": pair.t_test.alone,
            "t_p_holm": pair.t_test.corrected,
            "permutation_p": pair.permutation.alone,
            "permutation_p_holm": pair.permutation.corrected,
            "verdict": pair.verdict,
            "seeds_needed": pair.seeds_needed,
        }
        for pair in compared
    )
