"""Tables of results: data frame in, text cells out, for the terminal and for Markdown.

In tables tasks count from 1 and accuracies, errors and shares are in percent, differences of them
in percentage points; in the CSV tasks count from 0 and all of these are fractions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from cl_bnn.report.summary import (
    Interval,
    accuracy_matrix,
    at_task_ends,
    interval,
    summary,
)

if TYPE_CHECKING:
    import rich.table

#: What stands where there is no number.
NOTHING = "–"


class Format(NamedTuple):
    """How a measure is shown: its heading, the factor from the CSV, and the decimals."""

    heading: str
    factor: int = 100
    decimals: int = 1


FORMATS = {
    "ACC": Format("ACC [%]"),
    "AAA": Format("AAA [%]"),
    "BWT": Format("BWT [points]"),
    "forgetting_first_last": Format("forgetting, first − last [points]"),
    "forgetting_max_last": Format("forgetting, max − last [points]"),
    "LA": Format("LA [%]"),
    "zero_shot": Format("zero-shot accuracy [%]"),
    "accuracy": Format("accuracy [%]"),
    "accuracy_top5": Format("top-5 accuracy [%]"),
    "accuracy_mode": Format("ACC of the mode [%]"),
    "nll": Format("NLL [nats]", 1, 3),
    "nll_mode": Format("NLL of the mode [nats]", 1, 3),
    "ece": Format("ECE [%]"),
    "ece_mode": Format("ECE of the mode [%]"),
    "val_accuracy": Format("validation accuracy [%]"),
    "fit_accuracy": Format("accuracy on the training set [%]"),
    "entropy_away": Format("predictive entropy away from data [bits]", 1, 3),
    "fit_rmse": Format("RMSE on the training set", 1, 3),
    "std_near": Format("std near data", 1, 3),
    "std_away": Format("std away from data", 1, 3),
    "rmse": Format("RMSE", 1, 3),
    "iou_foreground": Format("IoU of the foreground [%]"),
    "iou_membrane": Format("IoU of the background [%]"),
    "iou_mean": Format("mean IoU [%]"),
    "one_minus_iou": Format("1 − IoU of the foreground, as published", 1, 3),
    "entropy": Format("mean entropy [bits]", 1, 3),
    "saturated": Format("saturated weights [%]"),
    "flipped": Format("flipped weights [%]", 100, 2),
}
#: A metric that nobody has described here is shown as it stands in the CSV.
UNKNOWN = Format("", 1, 4)
#: What the end of a metric's name says about how it was measured.
WAYS = {
    "_mode_batch": "mode, batch statistics",
    "_batch": "batch statistics",
    "_mode": "mode",
    "_fractional": "fractional weights",
}


def format_of(metric: str) -> Format:
    """How a metric is shown; one measured in another way like the metric itself."""
    if metric in FORMATS:
        return FORMATS[metric]
    for ending, way in WAYS.items():
        base = FORMATS.get(metric.removesuffix(ending))
        if metric.endswith(ending) and base is not None:
            return base._replace(heading=f"{base.heading}, {way}")
    return UNKNOWN


class Table(NamedTuple):
    """A table of text: title, headings, rows."""

    title: str
    head: list[str]
    rows: list[list[str]]


def cell(value: Interval, metric: str) -> str:
    """`value` in the unit of `metric`: "89.7 ± 0.4", "89.7 ± –" for one seed, "–" for none."""
    _, factor, decimals = format_of(metric)
    if math.isnan(value.mean):
        return NOTHING
    half = NOTHING if math.isnan(value.half) else f"{factor * value.half:.{decimals}f}"
    return f"{factor * value.mean:z.{decimals}f} ± {half}"


def measure_table(runs: pd.DataFrame, measures: Sequence[str], title: str) -> Table:
    """Strategies by measures, of the rows of `summary` of one benchmark; mean ± interval."""
    head = ["strategy", "seeds", *(FORMATS[name].heading for name in measures)]
    rows = [
        [str(strategy), str(len(group)), *(cell(interval(group[m]), m) for m in measures)]
        for strategy, group in runs.groupby("strategy")
        if not group[list(measures)].isna().all(axis=None)
    ]
    return Table(title, head, rows)


def matrix_table(frame: pd.DataFrame, title: str) -> Table:
    """The accuracy matrix of one strategy in percent, the mean over seeds; row: tasks learned."""
    matrix = accuracy_matrix(frame)
    head = ["", *(f"task {number}" for number in range(1, len(matrix) + 1))]
    rows = [
        [f"after task {number}", *(_percent(value) for value in line)]
        for number, line in enumerate(matrix.to_numpy(), start=1)
        if not all(math.isnan(value) for value in line)
    ]
    return Table(title, head, rows)


def final_table(frame: pd.DataFrame) -> Table:
    """Accuracy on every task of one benchmark once the last is learned; mean ± interval."""
    rows = at_task_ends(frame, "accuracy")
    last = rows[rows["after"] == rows["after"].max()]
    return _by_task(last, "on", "task", "Accuracy on each task after the last [%]")


def posterior_tables(frame: pd.DataFrame) -> list[Table]:
    """Entropy, saturated and flipped weights after each task, a table each; mean ± interval."""
    tables = []
    for metric in ("entropy", "saturated", "flipped"):
        rows = at_task_ends(frame, metric)
        if len(rows):
            heading = FORMATS[metric].heading
            title = f"Posterior: {heading}"
            tables.append(_by_task(rows, "after", "after task", title))
    return tables


def variants_table(runs: pd.DataFrame, base: str, default: str = "default") -> Table:
    """ACC of every strategy on all benchmarks called `base` or `base[...]`, side by side.

    `default` is the heading of the benchmark called just `base`.
    """
    variants = sorted(runs["benchmark"].unique())
    head = ["strategy", *(name.removeprefix(base).strip("[]") or default for name in variants)]
    rows = [
        [str(strategy)]
        + [cell(interval(group[group["benchmark"] == name]["ACC"]), "ACC") for name in variants]
        for strategy, group in runs.groupby("strategy")
    ]
    counts = runs.groupby(["benchmark", "strategy"]).size()
    least, most = int(counts.min()), int(counts.max())
    seeds = str(least) if least == most else f"{least} to {most}"
    return Table(f"ACC after the last task [%], seeds: {seeds}", head, rows)


def terminal_tables(frame: pd.DataFrame) -> list[Table]:
    """What the end of a run shows: every accuracy matrix, then ACC, BWT and forgetting."""
    tables = []
    measures = ["ACC", "BWT", "forgetting_first_last", "forgetting_max_last"]
    for benchmark, group in frame.groupby("benchmark"):
        for strategy, runs in group.groupby("strategy"):
            title = f"{benchmark} / {strategy}: accuracy [%], mean of {_seeds(runs)}"
            tables.append(matrix_table(runs, title))
        title = f"{benchmark}: mean over seeds ± half width of the 95 % interval"
        tables.append(measure_table(summary(group), measures, title))
    return tables


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown under its title in bold, first column left, others right."""
    rule = ["---", *["---:"] * (len(table.head) - 1)]
    lines = [_markdown_line(cells) for cells in (table.head, rule, *table.rows)]
    return f"**{table.title}**\n\n" + "\n".join(lines) + "\n"


def folded(heading: str, text: str) -> str:
    """Markdown that a page on GitHub shows on a click."""
    return f"<details>\n<summary>{heading}</summary>\n\n{text}\n</details>\n"


def text_lines(table: Table) -> list[str]:
    """The table in aligned plain text, for pipes and log files."""
    widths = [max(map(len, column)) for column in zip(table.head, *table.rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in (table.head, *table.rows)
    ]
    return [table.title, *lines, ""]


def rich_table(table: Table) -> rich.table.Table:
    """The table for a terminal."""
    from rich.table import Table as RichTable  # only a terminal needs it
    from rich.text import Text  # text as it is: "[lr=0.01]" would be read as markup

    shown = RichTable(title=Text(table.title), title_justify="left")
    for index, heading in enumerate(table.head):
        shown.add_column(Text(heading), justify="right" if index else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*map(Text, row))
    return shown


def _by_task(rows: pd.DataFrame, by: str, word: str, title: str) -> Table:
    """Strategies by the tasks in column `by`, for rows of one metric and one benchmark."""
    tasks = sorted(rows[by].unique())
    body = []
    for strategy, group in rows.groupby("strategy"):
        cells = [_values(group[group[by] == task]) for task in tasks]
        body.append([str(strategy), str(group["seed"].nunique()), *cells])
    return Table(title, ["strategy", "seeds", *(f"{word} {task + 1}" for task in tasks)], body)


def _values(rows: pd.DataFrame) -> str:
    metric = rows["metric"].iloc[0] if len(rows) else ""
    return cell(interval(rows["value"]), metric)


def _percent(fraction: float) -> str:
    return NOTHING if math.isnan(fraction) else f"{100 * fraction:z.1f}"


def _seeds(runs: pd.DataFrame) -> str:
    n = runs["seed"].nunique()
    return f"{n} seed" if n == 1 else f"{n} seeds"


def _markdown_line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"
