"""The page `results/README.md`: every table, made from the files below one directory.

The page holds no date and nothing of the machine, so that the same files give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import pandas as pd

from cl_bnn.report import ensembles, ledger_page, single_tables, statistics_page
from cl_bnn.report.summary import MEASURES, at_task_ends, is_single, slug, summary
from cl_bnn.report.tables import (
    Table,
    final_table,
    markdown,
    matrix_table,
    measure_table,
    posterior_tables,
    variants_table,
)
from cl_bnn.results import atomic_write, read

README, REFERENCE, COMMANDS, FIGURES = "README.md", "reference.csv", "COMMANDS.md", "figures"
#: The three scenarios of van de Ven and Tolias (2019).
SCENARIOS = {
    "task": "task-incremental: the label of the task is given at test time and chooses the head",
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
    "split_mnist": "task",
    "split_fmnist": "task",
    "split_cifar10": "task",
    "split_cifar100": "task",
    "split_cifar10_features": "task",
    "split_cifar100_features": "task",
}
#: Figures of one benchmark: the end of the file name, and what it shows.
FIGURE_KINDS = {
    "curves": "accuracy on each task along training",
    "matrix": "accuracy matrices",
    "posterior": "entropy and flips",
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
    frame = read(directory)
    runs = summary(frame)
    parts = [HEAD, statistics_page.LEGEND, *ledger_page.section(directory / REFERENCE, frame)]
    for base, names in groupby(sorted(runs["benchmark"].unique()), key=_base):
        variants = list(names)
        if len(variants) > 1:
            default = DEFAULT_SCENARIOS.get(base)
            heading = f"scenario={default} (default)" if default else "default"
            table = variants_table(runs[runs["benchmark"].isin(variants)], base, heading)
            parts += [f"## {base}: all variants\n", markdown(table)]
        for name in variants:
            parts += _benchmark_section(directory, frame[frame["benchmark"] == name], runs)
    commands = directory / COMMANDS
    if commands.is_file():
        parts += ["## Commands\n", commands.read_text(encoding="utf-8").rstrip() + "\n"]
    return "\n".join(parts)


def _benchmark_section(directory: Path, frame: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """Everything about the one benchmark in `frame`."""
    name = str(frame["benchmark"].iloc[0])
    runs = runs[runs["benchmark"] == name]
    single = is_single(frame)
    own = single_tables.tables(frame) if single else _stream_tables(frame, runs)
    matrices = [] if single else _matrix_tables(frame)
    return [
        f"## {name}\n",
        *_scenario(name),
        *_shown([*own, *posterior_tables(frame)]),
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
        for strategy, rows in ends.groupby("strategy")
    ]


def _scenario(name: str) -> list[str]:
    named = re.search(r"scenario=(\w+)", name)
    scenario = named.group(1) if named else DEFAULT_SCENARIOS.get(_base(name), "")
    return [f"Scenario: {SCENARIOS[scenario]}.\n"] if scenario in SCENARIOS else []


def _figures(directory: Path, name: str) -> list[str]:
    paths = {kind: f"{FIGURES}/{slug(name)}_{kind}" for kind in FIGURE_KINDS}
    return [
        f"![{name}: {FIGURE_KINDS[kind]}]({path}.png)\n\n[as SVG]({path}.svg)\n"
        for kind, path in paths.items()
        if (directory / f"{path}.png").is_file()
    ]


def _base(benchmark: str) -> str:
    return benchmark.partition("[")[0]
