"""The page `results/README.md`: every table, made from the files below one directory.

The page holds no date and nothing of the machine that writes it, so that the same files give the
same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import pandas as pd

from cl_bnn.report import (
    capacity,
    cost,
    ensembles,
    ledger_page,
    single_tables,
    statistics_page,
    uncertainty,
)
from cl_bnn.report.order import by_strategy
from cl_bnn.report.scenarios import DEFAULT_SCENARIOS, SCENARIOS, base_of, in_order, scenario_of
from cl_bnn.report.summary import MEASURES, at_task_ends, is_single, slug, summary
from cl_bnn.report.tables import (
    Table,
    final_table,
    folded,
    markdown,
    matrix_table,
    measure_table,
    posterior_tables,
    variants_table,
)
from cl_bnn.results import atomic_write, read, read_info

README, REFERENCE, COMMANDS, FIGURES = "README.md", "reference.csv", "COMMANDS.md", "figures"
#: Figures of one benchmark: the end of the file name, and what it shows.
FIGURE_KINDS = {
    "curves": "accuracy on each task along training",
    "average": "mean accuracy on the tasks learned so far, all strategies",
    "strategies": "mean accuracy on the tasks learned so far, each strategy before the others",
    "matrix": "accuracy matrices",
    "state": "accuracy against bits kept per weight",
    "reliability": "accuracy against confidence, by the age of the task",
    "posterior": "entropy, saturated and flipped weights",
    "layers": "the same of every layer",
    "training": "along training",
    "ensembles": "accuracy against the number of members",
    "members": "how members differ, and how samples are weighted",
    "predictions": "predictions of one network of each strategy",
}

HEAD = """\
# Results

Written by `cl-bnn report` from the CSV files in this directory; do not edit.

Accuracies, ECE and shares of weights are in percent, differences of accuracies in percentage
points. `a ± b` is the mean over seeds and the half width of its 95 % Student t interval; `–` stands
where there is no number, or no interval because there is one seed. Tasks count from 1 here and from
0 in the CSV files. With R[t, i] the test accuracy on task i once the tasks 1 to t are learned, and
T tasks:

| measure | formula |
| --- | --- |
| ACC | mean over i ≤ T of R[T, i] |
| AAA, average anytime accuracy | mean over t ≤ T of the mean over i ≤ t of R[t, i] |
| BWT, backward transfer | mean over i < T of R[T, i] − R[i, i] |
| forgetting, first − last | mean over i < T of R[i, i] − R[T, i], which is −BWT |
| forgetting, max − last | mean over i < T of (max over i ≤ t < T of R[t, i]) − R[T, i] |
| LA, learning accuracy | mean over i ≤ T of R[i, i] |
| zero-shot accuracy | mean over 1 < i ≤ T of R[i − 1, i] |
| NLL, ECE | mean over all tasks after the last one; ECE with 15 equal bins |

`joint` learns all tasks at once, so that of the measures above NLL it has only an ACC. Zero-shot
accuracy is the forward transfer of Lopez-Paz and Ranzato (2017) without its baseline, the accuracy
of the untrained network, which is not on file; between strategies that start from the same network
the baseline cancels, so that a difference in one is a difference in the other.
"""


def write_readme(directory: Path) -> Path:
    """Write `README.md` into `directory` from the results below it, and return its path."""
    path = directory / README
    atomic_write(path, render(directory).encode())
    return path


def render(directory: Path) -> str:
    """The report on all results below `directory` in Markdown; the same files, the same text.

    Takes in `reference.csv` (published numbers), `COMMANDS.md` (as it stands) and links to the
    figures in `figures/` where these exist. Raises `UserError` as `results.read` does, and for a
    damaged `reference.csv`.
    """
    frame, info = read(directory), read_info(directory)
    runs = summary(frame)
    parts = [HEAD, statistics_page.LEGEND, *ledger_page.section(directory / REFERENCE, frame)]
    parts += _figure(directory, "streams", "ACC of all strategies on all streams")
    for base, names in groupby(in_order(runs["benchmark"]), key=base_of):
        variants = list(names)
        if len(variants) > 1:
            default = DEFAULT_SCENARIOS.get(base)
            heading = f"scenario={default} (default)" if default else "default"
            table = variants_table(runs[runs["benchmark"].isin(variants)], base, heading)
            parts += [f"## {base}: all variants\n", markdown(table)]
            parts += _figure(directory, f"{slug(base)}_variants", f"{base}: ACC of all strategies")
        for name in variants:
            parts += _benchmark_section(directory, frame[frame["benchmark"] == name], runs, info)
    commands = directory / COMMANDS
    if commands.is_file():
        parts += ["## Commands\n", commands.read_text(encoding="utf-8").rstrip() + "\n"]
    return "\n".join(parts)


def _benchmark_section(
    directory: Path, frame: pd.DataFrame, runs: pd.DataFrame, info: pd.DataFrame
) -> list[str]:
    """Everything about the one benchmark in `frame`."""
    name = str(frame["benchmark"].iloc[0])
    runs = runs[runs["benchmark"] == name]
    single = is_single(frame)
    own = single_tables.tables(frame) if single else _stream_tables(frame, runs)
    unsure = uncertainty.single_tables(frame) if single else uncertainty.tables(frame)
    matrices = [] if single else _matrix_tables(frame)
    along = [] if single else _shown(posterior_tables(frame))
    return [
        f"## {name}\n",
        *_scenario(name),
        *_shown([*own, *unsure, capacity.table(frame)]),
        *([folded("The posterior after every task", "\n".join(along))] if along else []),
        *_shown([cost.table(frame, info)]),
        *statistics_page.section(runs),
        *_shown(matrices),
        *_figures(directory, name),
    ]


def _shown(tables: Iterable[Table]) -> list[str]:
    return [markdown(table) for table in tables if table.rows]


def _stream_tables(frame: pd.DataFrame, runs: pd.DataFrame) -> list[Table]:
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
        for text in _figure(directory, f"{slug(name)}_{kind}", f"{name}: {meaning}")
    ]


def _figure(directory: Path, stem: str, meaning: str) -> list[str]:
    """A figure in Markdown; nothing if it was not drawn."""
    path = f"{FIGURES}/{stem}"
    there = (directory / f"{path}.png").is_file()
    return [f"![{meaning}]({path}.png)\n\n[as SVG]({path}.svg)\n"] if there else []
