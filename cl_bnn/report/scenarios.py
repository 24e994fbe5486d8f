"""Names of benchmarks: the scenario of a stream, and the variants of one benchmark side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cl_bnn._labels import name_of, settings_of

if TYPE_CHECKING:
    import pandas as pd

#: The three scenarios of van de Ven and Tolias (2019), in the order in which they get harder, and
#: one between the first two that norms per task need.
SCENARIOS = {
    "task": "task-incremental: the label of the task is given at test time and chooses the head",
    "told": "domain-incremental with one head for all tasks, but the label of the task is given at "
    "test time, for a norm that has statistics of every task",
    "domain": "domain-incremental: one head for all tasks, no label of the task at test time",
    "class": "class-incremental: one head over the classes of all tasks, no label of the task at "
    "test time",
}
#: The scenario of a benchmark whose name does not say it.
DEFAULT_SCENARIOS = {
    "permuted_mnist": "domain",
    "permuted_cifar10": "domain",
    "rotated_mnist": "domain",
    "online_mnist": "domain",
    "mnist_fmnist": "domain",
    "fmnist_mnist": "domain",
    "stream_fmnist": "domain",
    "split_mnist": "task",
    "split_fmnist": "task",
    "split_cifar10": "task",
    "split_cifar100": "task",
    "split_cifar10_features": "task",
    "split_cifar100_features": "task",
}
_SCENARIO = re.compile(r"scenario=(\w+)")
_TOLD = "task_labels=true"
_HELD_OUT = re.compile(r"validation=(?!0(\.0)?$).+")


def scenario_of(benchmark: str) -> str:
    """The scenario of a stream, "" where it is not known."""
    if _TOLD in settings_of(benchmark):
        return "told"
    named = _SCENARIO.search(benchmark)
    return named.group(1) if named else DEFAULT_SCENARIOS.get(name_of(benchmark), "")


def is_study(benchmark: str) -> bool:
    """Whether someone chose the share of training images that is held out: such runs are there to
    choose settings, not to compare strategies.
    """
    return any(map(_HELD_OUT.fullmatch, settings_of(benchmark)))


def of_studies(frame: pd.DataFrame) -> pd.Series:
    """Which rows of a frame belong to studies, as booleans also where there are no rows."""
    return frame["benchmark"].map(is_study).astype(bool)


def in_order(benchmarks: Iterable[str]) -> list[str]:
    """Each label once: by recipe, then by the other settings, the scenarios task, domain, class."""
    return sorted({str(benchmark) for benchmark in benchmarks}, key=_rank)


def fullest(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of one variant of each stream, scenario and number of tasks: of that which the most
    strategies were run on; of several, that with the most runs.

    Args:
        runs: the columns `benchmark` and `strategy`, with a row a run.
    """
    sizes = runs.groupby("benchmark")["strategy"].agg(["nunique", "size"])
    best: dict[tuple[str, str, str], str] = {}
    for name in in_order(runs["benchmark"]):
        tasks = next((s for s in settings_of(name) if s.startswith("n_experiences=")), "")
        other = best.setdefault((name_of(name), scenario_of(name), tasks), name)
        if tuple(sizes.loc[name]) > tuple(sizes.loc[other]):
            best[name_of(name), scenario_of(name), tasks] = name
    return runs[runs["benchmark"].isin(best.values())]


def column_names(benchmarks: Sequence[str]) -> list[str]:
    """What each is called beside the others: by its recipe where they differ in it, and on a line
    of its own by its scenario and settings where several have the same recipe.
    """
    several = len({name_of(benchmark) for benchmark in benchmarks}) > 1
    names = []
    for benchmark in benchmarks:
        base = name_of(benchmark)
        own = _name_within([other for other in benchmarks if name_of(other) == base], benchmark)
        names.append("\n".join(filter(None, (base, own))) if several else own or "default")
    return names


def _name_within(variants: Sequence[str], benchmark: str) -> str:
    """The settings of one of the variants of a benchmark; the scenario first, by name, where they
    differ in it.
    """
    scenario, settings = scenario_of(benchmark), settings_of(benchmark)
    if scenario and len({scenario_of(other) for other in variants}) > 1:
        settings = [scenario, *settings_of(without_scenario(benchmark))]
    return ",".join(settings)


def _rank(benchmark: str) -> tuple[str, list[str], int, str]:
    scenario = scenario_of(benchmark)
    place = ["", *SCENARIOS].index(scenario) if scenario in SCENARIOS else 0
    return name_of(benchmark), settings_of(without_scenario(benchmark)), place, benchmark


def without_scenario(benchmark: str) -> str:
    """A label less what says its scenario: the same for those that differ in nothing else."""
    others = [setting for setting in settings_of(benchmark) if not _is_scenario(setting)]
    return name_of(benchmark) + (f"[{','.join(others)}]" if others else "")


def _is_scenario(setting: str) -> bool:
    return setting == _TOLD or _SCENARIO.fullmatch(setting) is not None
