"""The ledger: every published number of `reference.csv` beside what we measured, with a verdict.

A published number is named like one of ours: by the benchmark and the strategy that a run of its
protocol would have, and by what was measured when. Where only a related run of ours exists, on the
same benchmark with other settings, it is shown with the verdict "protocol differs".
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from cl_bnn._labels import name_of, settings_of
from cl_bnn.errors import UserError
from cl_bnn.report.scenarios import scenario_of
from cl_bnn.report.selection import AT_BEST, selection
from cl_bnn.report.summary import MEASURES, Interval, accuracy_matrix, interval, measures
from cl_bnn.report.tables import NOTHING

#: The evidence of a number that is a lower bound.
THRESHOLD = "THRESHOLD"
#: What a published number rests on.
EVIDENCE = {
    "PAPER": "stated in the paper",
    "DIGIT": "read off a figure",
    THRESHOLD: "what a test in published code demands, so that more is within as well",
    "LOG": "computed from published log files",
    "README": "stated in the readme of the published code",
    "ISSUE": "stated by the authors in a public thread",
    "QUOTED": "printed by others than those who measured it",
    "DATA": "computed from the data set itself",
    "MEMORY": "recalled and not verified, therefore without a verdict",
}
#: Evidence that is too weak for a verdict.
UNVERIFIED = {"MEMORY"}
#: Measures that only published numbers have: none of ours is taken as they were.
UNMEASURED = {"ood_auroc", "ood_auroc_epistemic", "memory", "iou_foreground_best"}
#: Mean accuracies over so many of the tasks learned last.
LAST = {"ACC_last5": 5, "ACC_last20": 20}
WITHIN, OUTSIDE, NOT_RUN, DIFFERS = "within", "outside", "not run", "protocol differs"
#: The verdicts in the order of the legend.
VERDICTS = {
    WITHIN: "the means are at most the allowed difference apart",
    OUTSIDE: "they are further apart",
    DIFFERS: "ours was measured under another protocol, which is named",
    NOT_RUN: "we have no such run",
    NOTHING: "the published number is recalled and not verified, or not of a kind that we measure, "
    "or measured otherwise than ours",
}
#: What is added to a verdict that other seeds might overturn.
NOT_FIRM = ", not firm"
#: Settings that make another problem of a benchmark: runs that differ in them are not compared.
PROBLEM = {
    "n_experiences", "scenario", "task_labels", "network", "build", "data", "alignment",
}  # fmt: skip
#: The setting that ends a run early without changing it up to there.
STOP = "stop_after"


class Published(NamedTuple):
    """One line of `reference.csv`; values, spreads and tolerances in the unit of the results.

    `after`, `on` and `epoch` name a measurement as in `results.Row`, with None for an empty field.
    `metric` is one of the results, one of `summary.MEASURES` (after task `after`; after the last
    one where that is None) or one of `selection`. `spread` is the published one, `tolerance` the
    difference we allow (NaN where there is none). `protocol` says what the number is; `differs`
    what our runs of this name do otherwise, if anything.
    """

    benchmark: str
    strategy: str
    metric: str
    after: int | None
    on: int | None
    epoch: int | None
    value: float
    spread: float
    tolerance: float
    evidence: str
    source: str
    protocol: str
    differs: str
    note: str


class Ours(NamedTuple):
    """Our mean over seeds, and how its protocol differs from the published ("" if it does not).

    `stands_in` says whether it is that of another variant of the benchmark.
    """

    value: Interval
    differs: str
    stands_in: bool = False


def is_of_stream(number: Published) -> bool:
    """Whether a number is one of several tasks, whose tasks are to be named."""
    return bool(number.after or scenario_of(number.benchmark))


#: Runs by benchmark and strategy.
Runs = Mapping[tuple[str, str], pd.DataFrame]


def read(path: Path) -> list[Published]:
    """The published numbers in `path`, none without such a file; further columns are left out.

    Raises:
        UserError: the file is no such table, or holds a number without value, source or known
            evidence, or one that deserves a verdict but has no tolerance.
    """
    if not path.is_file():
        return []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in Published._fields if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f"{path} is damaged: no column {', '.join(missing)}")
            return [_published(row, f"{path}, line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def group_runs(frame: pd.DataFrame) -> Runs:
    """The runs in `frame` (see `results.read`) by benchmark and strategy."""
    groups = frame.groupby(["benchmark", "strategy"])
    return {(str(names[0]), str(names[1])): rows for names, rows in groups}


def ours(published: Published, runs: Runs) -> Ours:
    """Our measurement of what `published` reports; n = 0 if there is none.

    Runs of exactly this benchmark and strategy come first, then, for a number with an epoch, those
    that were stopped early: they measured their epochs under the full protocol. Failing these, the
    benchmark of the same name and problem with the fewest other settings stands in.
    """
    for is_other, _, benchmark in sorted(_candidates(published, runs)):
        value = interval(_values(published, runs[benchmark, published.strategy]))
        if value.n:
            other = f"ours is {benchmark}" if is_other else ""
            return Ours(value, "; ".join(filter(None, (other, published.differs))), bool(other))
    return Ours(Interval(math.nan, math.nan, 0), "")


def verdict(published: Published, mine: Ours) -> str:
    """One of `VERDICTS`."""
    if published.evidence in UNVERIFIED or published.metric in UNMEASURED:
        return NOTHING
    if not mine.value.n:
        return NOT_RUN
    if mine.differs:
        return DIFFERS
    excess = mine.value.mean - published.value
    distance = -excess if published.evidence == THRESHOLD else abs(excess)
    # A tolerance of 1.5 points admits exactly 1.5 points, whatever binary fractions make of it.
    return WITHIN if distance <= published.tolerance + 1e-9 else OUTSIDE


def firm(published: Published, mine: Ours) -> bool:
    """Whether the verdict is the same for every value in our interval; with one seed there is none,
    and no verdict is firm. True where nothing is judged.
    """
    given, (mean, half, n) = verdict(published, mine), mine.value
    if given not in (WITHIN, OUTSIDE):
        return True
    low, high = mean - half, mean + half
    nearest = min(max(published.value, low), high)
    return n > 1 and all(
        verdict(published, Ours(Interval(value, half, n), "")) == given
        for value in (low, nearest, high)
    )


def settings(label: str) -> tuple[str, dict[str, str]]:
    """The name and the settings of a label: `mnist[a=1,b=2]` is `mnist` with a and b."""
    return name_of(label), dict(part.split("=", 1) for part in settings_of(label) if "=" in part)


def _published(row: Mapping[str, str | None], where: str) -> Published:
    """The published number in a row of the file; `where` names the line in messages."""
    fields: dict[str, Any] = {name: row[name] or "" for name in Published._fields}
    try:
        for name in ("after", "on", "epoch"):
            fields[name] = int(fields[name]) if fields[name] else None
        for name in ("value", "spread", "tolerance"):
            fields[name] = float(fields[name]) if fields[name] else math.nan
    except ValueError as error:
        raise UserError(f"{where}, is damaged: {name}: {error}") from error
    published = Published(**fields)
    if published.evidence not in EVIDENCE:
        known = ", ".join(EVIDENCE)
        raise UserError(f"{where}, is damaged: evidence {published.evidence!r}; known: {known}")
    if not published.source or math.isnan(published.value):
        raise UserError(f"{where}, is damaged: a number needs a value and a source")
    if math.isnan(published.tolerance) and published.evidence not in UNVERIFIED:
        raise UserError(f"{where}, is damaged: a number with a verdict needs a tolerance")
    return published


def _candidates(published: Published, runs: Runs) -> Iterator[tuple[bool, int, str]]:
    """Benchmarks on which the strategy was run and that may be set beside `published`.

    Each with whether that is another protocol, and with the number of settings that differ.
    """
    for benchmark, strategy in runs:
        if strategy == published.strategy:
            differing = _differing(published.benchmark, benchmark)
            if differing is not None and not differing & PROBLEM:
                stopped = differing == {STOP} and published.epoch is not None
                yield bool(differing) and not stopped, len(differing), benchmark


def _differing(one: str, other: str) -> set[str] | None:
    """The settings in which two labels differ; None if they name different benchmarks."""
    (name, mine), (other_name, theirs) = settings(one), settings(other)
    if name != other_name:
        return None
    return {key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)}


def _values(published: Published, rows: pd.DataFrame) -> Iterable[float]:
    """What `published` reports, of every seed in `rows` that has it."""
    if published.metric in AT_BEST:
        return selection(rows)[published.metric]
    if published.metric in MEASURES or published.metric in LAST:
        return [_measure(published, rows, seed) for seed in rows["seed"].unique()]
    rows = rows[rows["metric"] == published.metric]
    for column in ("after", "on", "epoch"):
        wanted = getattr(published, column)
        here = rows[column].isna() if wanted is None else rows[column].eq(wanted).fillna(False)
        rows = rows[here]
    return rows["value"]


def _measure(published: Published, rows: pd.DataFrame, seed: int) -> float:
    """A measure of one run, after the task `published.after` as if that had been the last."""
    run = rows[rows["seed"] == seed]
    tasks = None if published.after is None else published.after + 1
    if published.metric in MEASURES:
        return measures(run, tasks)[published.metric]
    matrix = accuracy_matrix(run).to_numpy()
    tasks = len(matrix) if tasks is None else tasks
    if not 0 < tasks <= len(matrix):
        return math.nan
    return float(matrix[tasks - 1, max(0, tasks - LAST[published.metric]) : tasks].mean())
