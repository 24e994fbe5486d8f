"""The page `results/README.md`: every table, made from the files below one directory.

The page holds no date and nothing of the machine, so that the same files give the same bytes.
"""

from __future__ import annotations

import math
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from cl_bnn.errors import UserError
from cl_bnn.results import atomic_write, read
from cl_bnn.summary import MEASURES, Interval, at_task_ends, interval, slug, summary
from cl_bnn.tables import (
    FORMATS,
    NOTHING,
    UNKNOWN,
    Table,
    cell,
    difference_table,
    final_table,
    markdown,
    matrix_table,
    measure_table,
    posterior_tables,
    variants_table,
)

README, REFERENCE, COMMANDS, FIGURES = "README.md", "reference.csv", "COMMANDS.md", "figures"
#: The types of the columns of `reference.csv`; values and tolerances are in the unit of the CSVs.
REFERENCE_COLUMNS = {
    "benchmark": "str",
    "strategy": "str",
    "metric": "str",
    "after": "Int64",
    "on": "Int64",
    "epoch": "Int64",
    "value": "float64",
    "tolerance": "float64",
    "evidence": "str",
    "source": "str",
    "note": "str",
}
#: What a published number rests on.
EVIDENCE = {
    "PAPER": "stated in the paper",
    "DIGIT": "read off a figure of the paper",
    "CODE": "read in published code",
    "LOG": "computed from published log files",
}
#: The three scenarios of van de Ven and Tolias (2019).
SCENARIOS = {
    "task": "task-incremental: the label of the task is given at test time and chooses the head",
    "domain": "domain-incremental: one head for all tasks, no label of the task at test time",
    "class": "class-incremental: one head over the classes of all tasks, no label of the task at "
    "test time",
}
#: The scenario of a benchmark whose name does not say it.
DEFAULT_SCENARIOS = {"permuted_mnist": "domain", "split_mnist": "task"}
#: Figures of one benchmark: the end of the file name, and what it shows.
FIGURE_KINDS = {
    "curves": "accuracy on each task along training",
    "matrix": "accuracy matrices",
    "posterior": "entropy and flips",
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
| BWT, backward transfer | mean over i < T of R[T, i] − R[i, i] |
| forgetting, first − last | mean over i < T of R[i, i] − R[T, i], which is −BWT |
| forgetting, max − last | mean over i < T of (max over i ≤ t < T of R[t, i]) − R[T, i] |
| LA, learning accuracy | mean over i ≤ T of R[i, i] |
| NLL, ECE | mean over all tasks after the last one; ECE with 15 equal bins |

`joint` learns all tasks at once, so that it has an ACC but no BWT, forgetting or LA.
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
    parts = [HEAD, *_published_section(directory / REFERENCE, frame, runs)]
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


def read_reference(path: Path) -> pd.DataFrame:
    """The published numbers in `path`, columns `REFERENCE_COLUMNS`; empty without such a file.

    `after`, `on` and `epoch` name a measurement as in the results, `metric` may also be one of the
    `MEASURES`. Raises `UserError` naming the file if columns are missing or values no numbers.
    """
    if not path.is_file():
        return pd.DataFrame(columns=list(REFERENCE_COLUMNS))
    try:
        table = pd.read_csv(path, dtype=REFERENCE_COLUMNS)[list(REFERENCE_COLUMNS)]
    except (ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        expected = ", ".join(REFERENCE_COLUMNS)
        raise UserError(f"{path} is damaged ({reason}): expected columns {expected}") from error
    return table.fillna({"note": "", "evidence": "", "source": ""})


def ours(reference: dict[str, Any], frame: pd.DataFrame, runs: pd.DataFrame) -> Interval:
    """Our mean over seeds of what one row of `reference.csv` reports; n = 0 if it was not run."""
    table = runs if reference["metric"] in MEASURES else frame
    mine = table[
        (table["benchmark"] == reference["benchmark"])
        & (table["strategy"] == reference["strategy"])
    ]
    if reference["metric"] in MEASURES:
        return interval(mine[reference["metric"]])
    mine = mine[mine["metric"] == reference["metric"]]
    for column in ("after", "on", "epoch"):
        wanted = reference[column]
        mine = mine[
            mine[column].isna() if pd.isna(wanted) else (mine[column] == wanted).fillna(False)
        ]
    return interval(mine["value"])


def verdict(reference: dict[str, Any], mine: Interval) -> str:
    """`within` or `outside` the stated tolerance, or `not run`."""
    if math.isnan(mine.mean):
        return "not run"
    # A tolerance of 1.5 points admits exactly 1.5 points, whatever binary fractions make of it.
    within = abs(mine.mean - reference["value"]) <= reference["tolerance"] + 1e-9
    return "within" if within else "outside"


def _published_section(path: Path, frame: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    table = read_reference(path)
    names = list(REFERENCE_COLUMNS)
    references = [dict(zip(names, row, strict=True)) for row in table[names].to_numpy()]
    if not references:
        return []
    head = ["benchmark", "strategy", "measure", "published", "ours", "seeds", "verdict"]
    rows = [_published_row(row, frame, runs) for row in references]
    shown = Table("Ours and the published number ± the tolerance we allow", head, rows)
    tags = sorted({str(row["evidence"]) for row in references} & EVIDENCE.keys())
    sources = sorted({_source(row) for row in references})
    legend = [f"- {tag}: {EVIDENCE[tag]}." for tag in tags] + [f"- {text}" for text in sources]
    return ["## Next to published numbers\n", markdown(shown), "\n".join(legend) + "\n"]


def _published_row(row: dict[str, Any], frame: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    mine, metric = ours(row, frame, runs), row["metric"]
    published = cell(Interval(row["value"], row["tolerance"], 1), metric)
    return [
        str(row["benchmark"]),
        str(row["strategy"]),
        _measure_name(row),
        f"{published} {row['evidence']}".strip(),
        cell(mine, metric),
        str(mine.n) if mine.n else NOTHING,
        verdict(row, mine),
    ]


def _measure_name(row: dict[str, Any]) -> str:
    heading = FORMATS.get(row["metric"], UNKNOWN).heading or str(row["metric"])
    on = "" if pd.isna(row["on"]) else f" on task {row['on'] + 1}"
    after = "" if pd.isna(row["after"]) else f" after task {row['after'] + 1}"
    epoch = "" if pd.isna(row["epoch"]) else f", epoch {row['epoch'] + 1}"
    return f"{heading}{on}{after}{epoch}"


def _source(row: dict[str, Any]) -> str:
    note = f"; {row['strategy']}, {_measure_name(row)}: {row['note']}" if row["note"] else ""
    return f"{row['source']}{note}."


def _benchmark_section(directory: Path, frame: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """Everything about the one benchmark in `frame`."""
    name = str(frame["benchmark"].iloc[0])
    runs = runs[runs["benchmark"] == name]
    averaged = [*MEASURES, "nll", "ece"]
    tables = [
        measure_table(runs, averaged, "After the last task"),
        final_table(frame),
        *_mode_tables(runs),
        *posterior_tables(frame),
        difference_table(runs),
        *_matrix_tables(frame),
    ]
    shown = [markdown(table) for table in tables if table.rows]
    return [f"## {name}\n", *_scenario(name), *shown, *_figures(directory, name)]


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
