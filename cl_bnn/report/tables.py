"""Tables of results: data frame in, text cells out, for the terminal and for Markdown.

In tables tasks count from 1 and accuracies, errors and shares are in percent, differences of them
in percentage points; in the CSV tasks count from 0 and all of these are fractions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from cl_bnn.report.order import MOST_COLUMNS, MOST_ON_TERMINAL, by_strategy, shown_tasks
from cl_bnn.report.scenarios import in_order
from cl_bnn.report.summary import (
    Interval,
    accuracy_matrix,
    at_end,
    at_task_ends,
    interval,
    summary,
)

if TYPE_CHECKING:
    import rich.table

#: Decimals to which a mean is cut before it is shown: sums in another order agree so far.
EXACT = 9
#: What stands where there is no number.
NOTHING = "–"


class Format(NamedTuple):
    """How a measure is shown: its heading, the factor from the CSV, and the decimals."""

    heading: str
    factor: float = 100
    decimals: int = 1


FORMATS = {
    "ACC": Format("ACC [%]"),
    "AAA": Format("AAA [%]"),
    "BWT": Format("BWT [points]"),
    "forgetting_first_last": Format("forgetting, first − last [points]"),
    "forgetting_max_last": Format("forgetting, max − last [points]"),
    "LA": Format("LA [%]"),
    "zero_shot": Format("zero-shot accuracy [%]"),
    "FWT": Format("FWT [points]"),
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
    "brier": Format("Brier", 1, 3),
    "aleatoric": Format("aleatoric [nats]", 1, 3),
    "epistemic": Format("epistemic [nats]", 1, 3),
    "state_bits": Format("state [bits a weight]", 1, 1),
    "seconds": Format("time [s]", 1, 1),
    "train_seconds": Format("training [s]", 1, 1),
    "eval_seconds": Format("evaluation [s]", 1, 1),
    "train_peak_memory": Format("memory, training [MB]", 1e-6, 0),
    "eval_peak_memory": Format("memory, evaluation [MB]", 1e-6, 0),
}
#: How well data of a name are told from those learned: `auroc_<name>`.
AUROC = "auroc_"
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
    if metric.startswith(AUROC):
        return Format(f"AUROC of {metric.removeprefix(AUROC).replace('_', ' ')}", 1, 3)
    for ending, way in WAYS.items():
        base = FORMATS.get(metric.removesuffix(ending))
        if metric.endswith(ending) and base is not None:
            return base._replace(heading=f"{base.heading}, {way}")
    return UNKNOWN


class Table(NamedTuple):
    """A table of text: title, headings, rows; a line below it, if any, says what they are."""

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""


def cell(value: Interval, metric: str) -> str:
    """`value` in the unit of `metric`: "89.7 ± 0.4", "89.7 ± –" for one seed, "–" for none."""
    _, factor, decimals = format_of(metric)
    if math.isnan(value.mean):
        return NOTHING
    half = NOTHING if math.isnan(value.half) else f"{factor * value.half:.{decimals}f}"
    return f"{round(factor * value.mean, EXACT):z.{decimals}f} ± {half}"


def measure_table(runs: pd.DataFrame, measures: Sequence[str], title: str) -> Table:
    """Strategies by measures, of the rows of `summary` of one benchmark; mean ± interval."""
    head = ["strategy", "seeds", *(FORMATS[name].heading for name in measures)]
    rows = [
        [strategy, str(len(group)), *(of_seeds(group[m], m) for m in measures)]
        for strategy, group in by_strategy(runs)
        if not group[list(measures)].isna().all(axis=None)
    ]
    return Table(title, head, rows)


def of_seeds(values: pd.Series[float], measure: str) -> str:
    """The cell of the mean over seeds; where some of them have no value, with the number of those
    that have.
    """
    value = interval(values)
    several = f" ({value.n} of {len(values)} seeds)" if 0 < value.n < len(values) else ""
    return f"{cell(value, measure)}{several}"


def of_rows(rows: pd.DataFrame, group: pd.DataFrame, measure: str) -> str:
    """`of_seeds` from rows of at most one value a seed; all seeds are those of a group of rows."""
    return of_seeds(rows.set_index("seed")["value"].reindex(group["seed"].unique()), measure)


def matrix_table(frame: pd.DataFrame, title: str, most: int = MOST_COLUMNS) -> Table:
    """The accuracy matrix of one strategy in percent, the mean over seeds; row: tasks learned.

    Of more than `MOST_COLUMNS` tasks the first, every k-th and the last, at most `most`.
    """
    matrix = accuracy_matrix(frame).to_numpy()
    numbers = shown_tasks(len(matrix), most if len(matrix) > MOST_COLUMNS else MOST_COLUMNS)
    rows = [
        [f"after task {after}", *(_percent(matrix[after - 1, on - 1]) for on in numbers)]
        for after in numbers
        if not all(math.isnan(value) for value in matrix[after - 1])
    ]
    head = ["", *(f"task {number}" for number in numbers)]
    return Table(f"{title}{_some(numbers, len(matrix))}", head, rows)


def final_table(frame: pd.DataFrame, metric: str = "accuracy") -> Table:
    """A metric on every task of one benchmark once the last is learned; mean ± interval."""
    name, bracket, unit = (format_of(metric).heading or metric).partition(" [")
    title = f"{name[:1].upper()}{name[1:]} on each task after the last{bracket}{unit}"
    return _by_task(at_end(frame, metric), "on", "task", title)


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
    variants = in_order(runs["benchmark"])
    head = ["strategy", *(name.removeprefix(base).strip("[]") or default for name in variants)]
    rows = [
        [strategy]
        + [cell(interval(group[group["benchmark"] == name]["ACC"]), "ACC") for name in variants]
        for strategy, group in by_strategy(runs)
    ]
    counts = runs.groupby(["benchmark", "strategy"]).size()
    least, most = int(counts.min()), int(counts.max())
    seeds = str(least) if least == most else f"{least} to {most}"
    return Table(f"ACC after the last task [%], seeds: {seeds}", head, rows)


def terminal_tables(frame: pd.DataFrame) -> list[Table]:
    """What the end of a run on the one benchmark in `frame` shows: every accuracy matrix, then ACC,
    BWT and forgetting.
    """
    tables, benchmark = [], frame["benchmark"].iloc[0]
    measures = ["ACC", "BWT", "forgetting_first_last", "forgetting_max_last"]
    for strategy, runs in by_strategy(frame):
        title = f"{benchmark} / {strategy}: accuracy [%], mean of {_seeds(runs)}"
        tables.append(matrix_table(runs, title, MOST_ON_TERMINAL))
    title = f"{benchmark}: mean over seeds ± half width of the 95 % interval"
    return [*tables, measure_table(summary(frame), measures, title)]


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown under its title in bold, first column left, others right."""
    rule = ["---", *["---:"] * (len(table.head) - 1)]
    lines = [_markdown_line(cells) for cells in (table.head, rule, *table.rows)]
    note = f"\n{table.note}\n" if table.note else ""
    return f"**{table.title}**\n\n" + "\n".join(lines) + "\n" + note


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
    return [table.title, *lines, *([table.note] if table.note else []), ""]


def rich_table(table: Table) -> rich.table.Table:
    """The table for a terminal."""
    from rich.table import Table as RichTable  # only a terminal needs it
    from rich.text import Text  # text as it is: "[lr=0.01]" would be read as markup

    shown = RichTable(title=Text(table.title), title_justify="left")
    shown.caption = Text(table.note) if table.note else None
    for index, heading in enumerate(table.head):
        shown.add_column(Text(heading), justify="right" if index else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*map(Text, row))
    return shown


def _by_task(rows: pd.DataFrame, by: str, word: str, title: str) -> Table:
    """Strategies by the tasks in column `by`, for rows of one metric and one benchmark; of many
    tasks the first, every k-th and the last.
    """
    n_tasks = int(rows[by].max()) + 1 if len(rows) else 0
    measured = set(rows[by])
    numbers = [n for n in shown_tasks(n_tasks, MOST_COLUMNS) if n - 1 in measured]
    body = []
    for strategy, group in by_strategy(rows):
        cells = [_values(group[group[by] == number - 1]) for number in numbers]
        body.append([strategy, str(group["seed"].nunique()), *cells])
    head = ["strategy", "seeds", *(f"{word} {number}" for number in numbers)]
    some = _some(numbers, n_tasks) if len(numbers) < len(measured) else ""
    return Table(f"{title}{some}", head, body)


def _some(numbers: Sequence[int], n_tasks: int) -> str:
    """What a title adds where only these of so many tasks are shown."""
    return "" if len(numbers) == n_tasks else f" ({len(numbers)} of {n_tasks} tasks)"


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
