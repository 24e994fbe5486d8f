"""Tables of a benchmark of a single task, for the report and for the end of a run."""

from __future__ import annotations

import math

import pandas as pd

from cl_bnn.report import ensembles, uncertainty
from cl_bnn.report.order import by_strategy
from cl_bnn.report.selection import population, selection
from cl_bnn.report.summary import Interval, at_end, interval
from cl_bnn.report.tables import FORMATS, NOTHING, Table, format_of, of_rows


def tables(frame: pd.DataFrame) -> list[Table]:
    """What was measured on the test set at the end, then the epoch that validation selects, then
    what only ensembles have, where there are any. What has a table of its own is left out.
    """
    ends, metrics = _on_tests(frame), measured(frame)
    head = ["strategy", "seeds", *(format_of(m).heading or m for m in metrics)]
    rows = []
    for strategy, group in by_strategy(ends):
        cells = [of_rows(group[group["metric"] == metric], group, metric) for metric in metrics]
        rows.append([strategy, str(group["seed"].nunique()), *cells])
    own = [Table("At the end of training", head, rows), _selection_table(selection(frame))]
    return [*own, *(table for table in ensembles.tables(frame) if table.rows)]


def measured(frame: pd.DataFrame) -> list[str]:
    """What was measured on test sets at the end and has no table of its own, in the order of
    tables.
    """
    found = {
        metric
        for metric in _on_tests(frame)["metric"]
        if not metric.startswith("val_")
        and not ensembles.is_of_ensembles(metric)
        and not uncertainty.is_shown_here(metric)
    }
    return sorted(found, key=lambda metric: (_rank(metric), metric))


def _on_tests(frame: pd.DataFrame) -> pd.DataFrame:
    ends = at_end(frame)
    return ends[ends["on"].notna()]


def _rank(metric: str) -> int:
    """The place of a metric in a table: that of the one whose name its own begins with, or the
    last.
    """
    places = {name: place for place, name in enumerate(FORMATS) if metric.startswith(name)}
    return places[max(places, key=len)] if places else len(FORMATS)


def _selection_table(selected: pd.DataFrame) -> Table:
    """The papers' number, at the epoch of best validation, beside that of the last epoch."""
    title = (
        "Test accuracy [%] at the epoch of best validation accuracy (mean ± population standard "
        "deviation, as published) and at the last epoch (mean ± interval)"
    )
    rows = []
    for strategy, group in by_strategy(selected):
        epochs = sorted({int(group["epoch"].min()) + 1, int(group["epoch"].max()) + 1})
        best = _hundredths(population(group["accuracy_best_val"]))
        last = _hundredths(interval(group["accuracy_last"]))
        rows.append([strategy, str(len(group)), " to ".join(map(str, epochs)), best, last])
    return Table(title, ["strategy", "seeds", "epoch", "at best validation", "last epoch"], rows)


def _hundredths(value: Interval) -> str:
    """`value` in percent with the two decimals of the published tables."""
    if math.isnan(value.mean):
        return NOTHING
    half = NOTHING if math.isnan(value.half) else f"{100 * value.half:.2f}"
    return f"{100 * value.mean:.2f} ± {half}"
