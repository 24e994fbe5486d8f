"""What single settings change: pairs of runs that differ in one setting and in nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import pandas as pd

from cl_bnn._labels import name_of
from cl_bnn.report.benchmark_page import BACK, TABLES
from cl_bnn.report.order import ordered
from cl_bnn.report.scenarios import of_studies
from cl_bnn.report.summary import at_end, interval, slug
from cl_bnn.report.tables import Table, cell, markdown
from cl_bnn.results import MEASURED, RUN

Settings = Mapping[str, object]
Specs = Mapping[tuple[str, str, int], Settings]

TITLE = """\
# {base}: what single settings change

How to read this page: {back}. Pairs are runs of one strategy with one seed
that differ in a single setting, but not in the task that is set; a difference is that of their ACC,
in percentage points, the second value less the first. Where training images were held out for a
study of settings, it is measured on those.
"""
#: What is added where there is such a norm.
TELLS = (
    "A norm of every task (`per_task`) is told the label of the task at test time, whatever the "
    "scenario; other norms are not.\n"
)
#: A norm of every task is told the task: two settings that are one decision.
NORM, PER_TASK, TOLD = "model.norm", "per_task", "stream.task_labels"
#: The value of a setting that a recipe does not mention.
DEFAULT = "default"
#: What is asked of a strategy, and on which images, stands in this table: runs that differ in it
#: are not compared, but for how the images are prepared.
STREAM, PREPARED = "stream.", ("stream.scaling", "stream.augment")


class Change(NamedTuple):
    """A setting of a strategy that is all that two runs differ in."""

    strategy: str
    setting: str
    before: str
    after: str


def pages(base: str, frame: pd.DataFrame, specs: Specs) -> dict[str, str]:
    """The page of the benchmarks called `base` in `frame`, by its place in the directory of
    results; none if no two runs are such a pair.
    """
    rows = frame[frame["benchmark"].map(name_of) == base]
    scores = final_accuracy(rows)
    changes = differences(scores, specs)
    if not changes:
        return {}
    held_out = scores[of_studies(scores)]
    tables = [_changes_table(changes), *([_best_table(held_out)] if len(held_out) else [])]
    norms = {value for c in changes if c.setting == NORM for value in (c.before, c.after)}
    head = [TITLE.format(base=base, back=BACK), *([TELLS] if PER_TASK in norms else [])]
    text = "\n".join([*head, *map(markdown, tables)])
    return {f"{TABLES}/{slug(base)}_settings.md": text}


def final_accuracy(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a run: `benchmark, strategy, seed` and `ACC`, the mean accuracy on all tasks after the
    last; on held-out training images where some were held out for a study.
    """
    parts = []
    for metric, study in (("accuracy", False), ("val_accuracy", True)):
        rows = at_end(frame, metric)
        rows = rows[of_studies(rows) == study]
        parts.append(rows.groupby(RUN, as_index=False)["value"].mean())
    found: pd.DataFrame = pd.concat(parts).rename(columns={"value": "ACC"})
    return found


def differences(scores: pd.DataFrame, specs: Specs) -> dict[Change, list[float]]:
    """The differences of ACC of all pairs, by what is changed.

    Args:
        scores: the columns `benchmark, strategy, seed, ACC`.
        specs: the settings of runs, see `results.load`; runs without are left out.
    """
    groups: dict[tuple[str, int], list[tuple[Settings, float]]] = {}
    for benchmark, strategy, seed, acc in scores[[*RUN, "ACC"]].itertuples(index=False):
        if (benchmark, strategy, seed) in specs:
            run = _as_decided(specs[benchmark, strategy, seed]), float(acc)
            groups.setdefault((name_of(strategy), seed), []).append(run)
    found: dict[Change, list[float]] = {}
    for (name, _), runs in groups.items():
        for (one, acc), (other, other_acc) in combinations(runs, 2):
            if (key := _only(one, other)) is None:
                continue
            values = one.get(key, DEFAULT), other.get(key, DEFAULT)
            sign = 1 if _order(values[0]) <= _order(values[1]) else -1
            change = Change(name, key, *map(str, values[::sign]))
            found.setdefault(change, []).append(sign * (other_acc - acc))
    places = {name: place for place, name in enumerate(ordered(c.strategy for c in found))}
    return dict(sorted(found.items(), key=lambda item: (places[item[0].strategy], item[0])))


def _as_decided(settings: Settings) -> Settings:
    left_out = {MEASURED, *({TOLD} if settings.get(NORM) == PER_TASK else ())}
    return {key: value for key, value in settings.items() if key not in left_out}


def _only(one: Settings, other: Settings) -> str | None:
    """The only setting that two runs differ in; None if they differ in more, or in none."""
    keys = [key for key in {*one, *other} if one.get(key, DEFAULT) != other.get(key, DEFAULT)]
    if len(keys) != 1 or keys[0].startswith(STREAM) and keys[0] not in PREPARED:
        return None
    return keys[0]


def _order(value: object) -> tuple[bool, bool, float, str]:
    """The default, numbers by size, anything else by name."""
    if isinstance(value, int | float):
        return True, False, float(value), ""
    return value != DEFAULT, True, 0.0, str(value)


def _changes_table(changes: Mapping[Change, list[float]]) -> Table:
    head = ["strategy", "setting", "from", "to", "pairs", "mean", "least", "most"]
    rows = [
        [*change, str(len(values))]
        + [f"{100 * v:+.1f}" for v in (sum(values) / len(values), min(values), max(values))]
        for change, values in changes.items()
    ]
    return Table("Differences of ACC [points]", head, rows)


def _best_table(scores: pd.DataFrame) -> Table:
    """All settings on held-out images, the best first."""
    found = {(str(b), str(s)): interval(rows["ACC"]) for (b, s), rows in scores.groupby(RUN[:2])}
    best = sorted(found.items(), key=lambda item: -item[1].mean)
    rows = [[*names, str(value.n), cell(value, "ACC")] for names, value in best]
    head = ["benchmark", "strategy", "seeds", "ACC [%]"]
    return Table("ACC on held-out images, the best first", head, rows)
