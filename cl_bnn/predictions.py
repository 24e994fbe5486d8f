"""The file of what a trained network predicts at the places of its benchmark's probe.

It lies beside the CSV of the run, `predictions_seed<k>.csv`, and is all that figures need: a row a
place and predictor, and the training data as rows of the predictor `data`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cl_bnn.errors import UserError, one_line

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "predictions_"
#: The predictor of the rows that hold the training data.
DATA = "data"
#: Columns after those of the coordinates.
COLUMNS = ("predictor", "statistics", "value")
#: Digits after the point of coordinates and values: finer than any figure, and short.
DIGITS = 4


class Table(NamedTuple):
    """Places (rows of coordinates) and a value at each.

    `predictor` is `mean` or, for numbers, `std` over networks sampled from a posterior, the name of
    the one network that predicts (`mode`, `weights`), or `data`; `statistics` says what BatchNorm
    normalised by: `running` averages, the `batch` of all places, or `none`.
    """

    predictor: str
    statistics: str
    places: Sequence[Sequence[float]]
    values: Sequence[float]


def path_beside(path: Path) -> Path:
    """Where the predictions of the run with the CSV `path` belong."""
    return path.with_name(f"{PREFIX}{path.name}")


def to_bytes(tables: Iterable[Table]) -> bytes:
    """The file of some tables with places of the same dimension; same tables, same bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, table in enumerate(tables):
        if number == 0:
            writer.writerow([*_coordinates(len(table.places[0])), *COLUMNS])
        for place, value in zip(table.places, table.values, strict=True):
            row = [_text(x) for x in place]
            writer.writerow([*row, table.predictor, table.statistics, _text(value)])
    return text.getvalue().encode()


def read(path: Path) -> pd.DataFrame:
    """The file at `path` as a data frame: the columns of the coordinates, then `COLUMNS`.

    Raises `UserError` naming a file that is missing or damaged.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype={"predictor": "str", "statistics": "str"})
        names = [name for name in frame.columns if name not in COLUMNS]
        if not names or names != _coordinates(len(names)):
            raise ValueError(f"coordinates {names}")
        return frame[[*names, *COLUMNS]].astype(dict.fromkeys([*names, "value"], "float64"))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is not a table of predictions ({one_line(error)}): delete it and the CSV of "
            "its run, and run again"
        ) from error


def _coordinates(count: int) -> list[str]:
    """The names of the columns: x, or x1, x2, ..."""
    return ["x"] if count == 1 else [f"x{k}" for k in range(1, count + 1)]


def _text(value: float) -> str:
    """A number without zeros at its end, and without a minus before a zero."""
    text = f"{value:z.{DIGITS}f}"
    return text.rstrip("0").rstrip(".")
