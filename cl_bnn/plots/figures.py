"""What all figures share: sizes, a grid of panels, lines with intervals; files of the same bytes.

Figures are made with Matplotlib's objects and without pyplot, from Matplotlib's own defaults and
not the user's, so that the same data give the same files; nothing global is left changed.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image, ImageColor

from cl_bnn.atomic import atomic_write
from cl_bnn.plots.looks import OKABE_ITO, Dash, Look
from cl_bnn.report.order import shown_tasks
from cl_bnn.report.summary import interval

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

#: Width of one text column of a two-column paper, and of both with little between them, in inches.
COLUMN, PAGE = 3.4, 6.8
#: The smallest text, in points, is still read when a figure is printed at its own size.
SMALL, LARGE = 7, 8
#: Mean width of a character in units of the font size, with a margin: decides where titles break.
CHARACTER = 0.58
#: Height of a line of text in inches.
LINE = 0.15
#: So many numbers fit below a small panel.
MOST_TICKS = 6
#: Beyond so many places on a line only some have markers, and intervals are bands and not bars.
MOST_MARKERS = 15
#: What bands and bars are, for the titles.
SPREAD = "mean and 95 % interval over seeds"
#: Pixels an inch of a PNG: sharp on a screen, and still small.
DPI = 200

_STRATEGIES = [ImageColor.getrgb(colour) for colour in OKABE_ITO]
#: Makes one number of red, green and blue.
_PACKING = np.array([1 << 16, 1 << 8, 1], dtype=np.int32)

_STYLE: dict[Any, Any] = {
    "font.size": SMALL,
    "axes.titlesize": SMALL,
    "axes.labelsize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "figure.titlesize": LARGE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3,
    "svg.hashsalt": "cl_bnn",  # element names in an SVG are random without it
}


class Line(NamedTuple):
    """Means over seeds in percent at the places `x`, and half widths of their intervals."""

    x: Array
    mean: Array
    half: Array


class Panel(NamedTuple):
    """A metric, the title of its panel with the unit, and the factor from the CSV."""

    metric: str
    title: str
    factor: float = 1


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults with our sizes, for as long as the context lasts."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def panels(
    titles: Sequence[str],
    size: tuple[float, float],
    title: str,
    share: tuple[str, str] | None = None,
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel per title, each about `size` (width, height) in inches.

    As many panels stand side by side as fit on a page; a figure is one column wide at least. With
    `share`, the labels of x and y, all panels have the same axes, labelled at the rim only.
    """
    rows = math.ceil(len(titles) / max(1, int(PAGE / size[0])))
    columns = math.ceil(len(titles) / rows)
    width = max(COLUMN, columns * size[0])
    heading = wrapped(title, width, LARGE)
    names = [wrapped(name, width / columns - 0.3, SMALL) for name in titles]  # 0.3: tick labels
    text = LINE * (1 + rows * max(name.count("\n") for name in names) + heading.count("\n"))
    figure = Figure(figsize=(width, rows * size[1] + text), layout="constrained")
    FigureCanvasAgg(figure)
    shared = share is not None
    grid = list(figure.subplots(rows, columns, sharex=shared, sharey=shared, squeeze=False).flat)
    axes, spare = grid[: len(titles)], grid[len(titles) :]
    for axis in spare:
        axis.remove()
    for axis, name in zip(axes, names, strict=True):
        axis.set_title(name)
    if share is not None:
        _label_rim(axes, columns, share)
    figure.suptitle(heading)
    return figure, axes


def wrapped(text: str, width: float, points: float) -> str:
    """`text` with its lines broken, after spaces and commas, to fit into `width` inches at a font
    size of `points`; a longer word is broken after "_", "=" or "+" where it has one.
    """
    characters = max(int(width * 72 / (CHARACTER * points)), 8)

    def broken(match: re.Match[str]) -> str:
        word = match.group()
        return word if len(word) <= characters else re.sub(r"(?<=[_=+])(?=\w)", "\t", word)

    spaced = re.sub(r",(?=\S)", ",\t", text)  # a place to break at, which is taken out again
    spaced = re.sub(r"\S+", broken, spaced)
    wrapper = textwrap.TextWrapper(
        characters, break_on_hyphens=False, expand_tabs=False, replace_whitespace=False
    )
    lines = [part for line in spaced.split("\n") for part in wrapper.wrap(line)]
    return "\n".join(lines).replace("\t", "")


def text_width(texts: Iterable[str]) -> float:
    """The width in inches of the longest line of some small texts."""
    return max(len(line) for text in texts for line in text.split("\n")) * CHARACTER * SMALL / 72


def legend(figure: Figure, looks: Mapping[str, Look]) -> None:
    """Labels with their colours, dashes and markers, below all panels."""
    width, before = figure.get_figwidth(), 0.55  # inches; the line before the text
    texts = [wrapped(label, width - before, SMALL) for label in looks]
    handles = [
        Line2D([], [], label=text, **drawn(look))
        for text, look in zip(texts, looks.values(), strict=True)
    ]
    rows = math.ceil(len(looks) / max(1, int(width / (text_width(texts) + before))))
    columns = math.ceil(len(looks) / rows)
    broken = sum(text.count("\n") for text in texts)
    height = LINE * (rows + broken) + 0.1  # 0.1: the margin around it
    figure.set_figheight(figure.get_figheight() + height)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False, handlelength=3
    )


def drawn(look: Look) -> dict[str, Any]:
    """The properties of a line that looks so."""
    inside = look.colour if look.filled else "white"
    return {
        "color": look.colour, "linestyle": look.dash, "marker": look.marker,
        "markerfacecolor": inside,
    }  # fmt: skip


def line_over_seeds(rows: pd.DataFrame, place: pd.Series[int], factor: float = 100) -> Line:
    """Mean and interval of the values at each place."""
    found = [(x, *interval(group)) for x, group in rows["value"].groupby(place.astype(int))]
    x, mean, half, _ = np.array(found, dtype=float).reshape(-1, 4).T
    return Line(x, factor * mean, factor * half)


def band(axis: Axes, line: Line, look: Look) -> None:
    """A line, and a band of its interval where there is one."""
    axis.plot(line.x, line.mean, color=look.colour, linestyle=look.dash)
    if not np.isnan(line.half).all():
        low, high = line.mean - line.half, line.mean + line.half
        axis.fill_between(line.x, low, high, color=look.colour, alpha=0.2, linewidth=0)


def errorbar(axis: Axes, line: Line, look: Look, linestyle: Dash | None = None) -> None:
    """Markers with bars, joined by `linestyle` or that of the look; no bar for a single seed."""
    bars = None if np.isnan(line.half).all() else np.nan_to_num(line.half)
    kind = drawn(look) | ({} if linestyle is None else {"linestyle": linestyle})
    axis.errorbar(line.x, line.mean, bars, capsize=1.5, elinewidth=0.8, **kind)


def points(axis: Axes, line: Line, look: Look, n_places: int) -> None:
    """The markers of a line with their bars; only some, without bars, where an axis has many
    places.
    """
    if n_places <= MOST_MARKERS:
        errorbar(axis, line, look, "")
        return
    _markers(axis, line, look, n_places)


def marked(axis: Axes, line: Line, look: Look) -> None:
    """A line with its band, and markers without bars."""
    band(axis, line, look)
    _markers(axis, line, look, len(line.x))


def along(axis: Axes, line: Line, look: Look) -> None:
    """A line with markers and its intervals: bars, or a band where there are many places."""
    if len(line.x) <= MOST_MARKERS:
        errorbar(axis, line, look)
    else:
        marked(axis, line, look)


def task_ticks(n_tasks: int, epochs: int = 0) -> list[int]:
    """The numbers of all tasks on an axis, or of the first, every k-th and the last where all would
    touch; with `epochs` a task the ends of all or of every k-th.
    """
    if not epochs:
        return shown_tasks(n_tasks, MOST_TICKS)
    step = math.ceil(n_tasks / MOST_TICKS)
    return list(range(0, n_tasks * epochs + 1, step * epochs))


def save(figure: Figure, out: Path, stem: str) -> list[Path]:
    """Write `out/stem.png` and `out/stem.svg` and return the paths; same figure, same bytes."""
    svg = io.BytesIO()
    with style():
        figure.set_dpi(DPI)
        canvas: Any = FigureCanvasAgg(figure)  # Any: its methods have no types
        canvas.draw()
        figure.set_layout_engine("none")  # what stands where has been found, which is slow
        figure.set_dpi(72)  # points
        vector: Any = FigureCanvasSVG(figure)
        vector.print_svg(svg, metadata={"Date": None, "Creator": None})
    written = {"png": _png(np.asarray(canvas.buffer_rgba())), "svg": svg.getvalue()}
    for kind, data in written.items():
        atomic_write(out / f"{stem}.{kind}", data)
    return [out / f"{stem}.{kind}" for kind in written]


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """The image in 256 colours of its own, which are enough for a figure: a third of the bytes.

    The colours of strategies are kept as they are: where there are many others, a median cut mixes
    what a few lines and markers have.
    """
    found, image = io.BytesIO(), Image.fromarray(pixels).convert("RGB")
    small = image.quantize(256 - len(_STRATEGIES), dither=Image.Dither.NONE)
    palette = list(small.getpalette() or [])
    places, colours = np.array(small), np.asarray(image, dtype=np.int32) @ _PACKING
    for colour in _STRATEGIES:
        places[colours == np.dot(colour, _PACKING)] = len(palette) // 3
        palette += colour
    small = Image.fromarray(places)
    small.putpalette(palette)
    small.save(found, "png", optimize=True)
    return found.getvalue()


def _markers(axis: Axes, line: Line, look: Look, n_places: int) -> None:
    every = max(1, math.ceil(n_places / MOST_MARKERS))
    axis.plot(line.x, line.mean, **drawn(look) | {"linestyle": ""}, markevery=every)


def _label_rim(axes: Sequence[Axes], columns: int, labels: tuple[str, str]) -> None:
    for axis in axes[-columns:]:  # the feet of all columns, also above a spare place
        axis.set_xlabel(labels[0])
        axis.xaxis.set_tick_params(labelbottom=True)
    for axis in axes[::columns]:
        axis.set_ylabel(labels[1])
