"""What a call has brought about: tables on the terminal, figures on disk."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console

from cl_bnn import results
from cl_bnn.progress import Terminal
from cl_bnn.report import single_tables, tables
from cl_bnn.report.summary import is_single
from cl_bnn.report.tables import Table

if TYPE_CHECKING:
    from cl_bnn.run import Run


def sum_up(runs: Sequence["Run"], out: Path, *, drawn: bool) -> None:
    """Print the tables of those of the runs that are on file, draw their figures, and say where
    everything is.
    """
    runs = [run for run in runs if run.path.exists()]
    if not runs:
        return
    frame, console = _measurements(runs), Terminal()
    for table in _tables(frame):
        print_table(table, console)
    for run in runs:
        print(run.path)
    if drawn:
        # A figure shows a whole benchmark, with the other strategies on file; one over several is
        # drawn only if these are all there are.
        folders = {run.path.parent.parent for run in runs}
        others = {path.parent.parent for path in results.csv_paths(out)} - folders
        draw(_read_all(folders), out, together=not others)


def print_table(table: Table, console: Console) -> None:
    """Print a table, framed on a terminal and plain elsewhere."""
    if console.is_terminal:
        console.print(tables.rich_table(table))
    else:
        print("\n".join(tables.text_lines(table)))


def _tables(frame: pd.DataFrame) -> Iterator[Table]:
    """What the end of a run shows of every benchmark."""
    for benchmark, group in frame.groupby("benchmark"):
        if is_single(group):
            found = single_tables.tables(group)
        elif (group["metric"] == "accuracy").any():
            yield from tables.terminal_tables(group)
            continue
        else:
            found = [tables.final_table(group, metric) for metric in single_tables.measured(group)]
        for table in found:
            if table.rows:
                yield table._replace(title=f"{benchmark}: {table.title}")


def _measurements(runs: Sequence["Run"]) -> pd.DataFrame:
    """What these runs measured; other seeds in the same folders are left out."""
    frame = _read_all({run.path.parent for run in runs})
    wanted = {(run.spec.benchmark, run.spec.strategy, run.seed) for run in runs}
    keys = zip(frame["benchmark"], frame["strategy"], frame["seed"], strict=True)
    return frame[[key in wanted for key in keys]]


def _read_all(folders: Iterable[Path]) -> pd.DataFrame:
    return pd.concat(
        [results.read(folder, alike=False) for folder in sorted(folders)], ignore_index=True
    )


def draw(
    frame: pd.DataFrame, directory: Path, out: Path | None = None, *, together: bool = True
) -> None:
    """Draw a frame's figures, of results in `directory`, into `out` or `directory`/figures, and
    print their paths; with `together` those over several benchmarks as well.
    """
    from cl_bnn import plots

    for path in plots.draw(frame, out or directory / "figures", directory, together=together):
        print(path)
