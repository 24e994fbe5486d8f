"""The page of one benchmark, `tables/<benchmark>.md`: all its tables and figures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cl_bnn.report import (
    capacity,
    cost,
    ensembles,
    single_tables,
    statistics_page,
    uncertainty,
)
from cl_bnn.report.order import by_strategy
from cl_bnn.report.scenarios import SCENARIOS, scenario_of
from cl_bnn.report.summary import MEASURES, at_task_ends, is_single, slug
from cl_bnn.report.tables import (
    Table,
    final_table,
    folded,
    markdown,
    matrix_table,
    measure_table,
    posterior_tables,
)

#: Folders below the directory of results.
FIGURES, TABLES = "figures", "tables"
#: The way back from a page in `TABLES`.
BACK = "[all results](../README.md)"
#: Figures of one benchmark: the end of the file name, and what it shows.
FIGURE_KINDS = {
    "curves": "accuracy on each task along training",
    "average": "mean accuracy on the tasks learned so far, all strategies",
    "strategies": "mean accuracy on the tasks learned so far, each strategy before the others",
    "matrix": "accuracy matrices",
    "state": "accuracy against bits held per weight",
    "reliability": "accuracy against confidence, by the age of the task",
    "posterior": "entropy, saturated and flipped weights",
    "layers": "the same of every layer",
    "training": "along training",
    "ensembles": "accuracy against the number of members",
    "members": "how members differ, and how samples are weighted",
    "predictions": "predictions of one run of each strategy",
}


def place(benchmark: str) -> str:
    """Where the page of `benchmark` belongs in a directory of results."""
    return f"{TABLES}/{slug(benchmark)}.md"


def render(
    directory: Path, frame: pd.DataFrame, runs: pd.DataFrame, info: pd.DataFrame, against: str = ""
) -> str:
    """Everything about the one benchmark in `frame`, in Markdown.

    `runs` are the rows of `summary` of this benchmark, `info` is that of `results.load`,
    `against` names the strategy that the others are compared with, if not BayesBiNN.
    Links to the figures of `directory` that exist.
    """
    name = str(frame["benchmark"].iloc[0])
    single = is_single(frame)
    unsure = uncertainty.single_tables(frame) if single else uncertainty.tables(frame)
    parts = [
        f"# {name}\n",
        f"How to read this page: {BACK}.\n",
        *_scenario(name),
        *_shown([*_main_tables(frame, runs), *unsure, capacity.table(frame)]),
        *_folded("Uncertainty after every task", uncertainty.along(frame) if not single else []),
        *_folded("The posterior after every task", posterior_tables(frame) if not single else []),
        *_shown([cost.table(frame, info)]),
        *statistics_page.section(runs, against),
        *_folded("Accuracy matrices", _matrix_tables(frame) if not single else []),
        *_figures(directory, name),
    ]
    return "\n".join(parts)


def headline(frame: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """The first table of the page of the one benchmark in `frame`, in Markdown."""
    return _shown(_main_tables(frame, runs)[:1])


def figure(directory: Path, stem: str, meaning: str, up: str = "") -> list[str]:
    """A figure in Markdown, for a page that is `up` from `directory`; nothing if not drawn."""
    path = f"{FIGURES}/{stem}"
    there = (directory / f"{path}.png").is_file()
    return [f"![{meaning}]({up}{path}.png)\n\n[as SVG]({up}{path}.svg)\n"] if there else []


def _shown(tables: Iterable[Table]) -> list[str]:
    return [markdown(table) for table in tables if table.rows]


def _folded(heading: str, tables: Iterable[Table]) -> list[str]:
    shown = _shown(tables)
    return [folded(heading, "\n".join(shown))] if shown else []


def _main_tables(frame: pd.DataFrame, runs: pd.DataFrame) -> list[Table]:
    """What was measured once all was learned."""
    if is_single(frame):
        return single_tables.tables(frame)
    if runs["ACC"].isna().all():
        return [final_table(frame, metric) for metric in single_tables.measured(frame)]
    averaged = [*MEASURES, "nll", "ece"]
    return [
        measure_table(runs, averaged, "After the last task"),
        final_table(frame),
        *_mode_tables(runs),
        *ensembles.tables(frame),
    ]


def _mode_tables(runs: pd.DataFrame) -> list[Table]:
    """The averaged posterior beside its mode, of the strategies that have both."""
    pairs = ["ACC", "accuracy_mode", "nll", "nll_mode", "ece", "ece_mode"]
    both = runs[runs["accuracy_mode"].notna()]
    title = "Averaged posterior (ACC, NLL, ECE) and its mode"
    return [measure_table(both, pairs, title)] if len(both) else []


def _matrix_tables(frame: pd.DataFrame) -> list[Table]:
    ends = at_task_ends(frame, "accuracy")
    return [
        matrix_table(rows, f"{strategy}: accuracy matrix [%], mean over seeds")
        for strategy, rows in by_strategy(ends)
    ]


def _scenario(name: str) -> list[str]:
    scenario = scenario_of(name)
    return [f"Scenario: {SCENARIOS[scenario]}.\n"] if scenario in SCENARIOS else []


def _figures(directory: Path, name: str) -> list[str]:
    return [
        text
        for kind, meaning in FIGURE_KINDS.items()
        for text in figure(directory, f"{slug(name)}_{kind}", f"{name}: {meaning}", up="../")
    ]
