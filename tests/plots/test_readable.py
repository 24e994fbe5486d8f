"""All figures of many strategies and tasks: nothing cut off, nothing overlaps, same bytes twice."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from wide_frames import TWENTY, wide

from cl_bnn import plots
from cl_bnn.plots import figures
from cl_bnn.report.summary import summary

LONG = "benn[member=bayesbinn,mode=posterior,size=16]"


def variants(frame: pd.DataFrame) -> Figure | None:
    names = ("split_mnist", "split_mnist[batch_size=128,epochs=21,scenario=class]", "stream_fmnist",
             "permuted_mnist[n_experiences=3]", "rotated_mnist", "split_cifar100", "online_mnist",
             "mnist_fmnist", "fmnist_mnist")  # fmt: skip
    runs = summary(frame[frame["metric"] == "accuracy"])
    return plots.acc_map(pd.concat([runs.assign(benchmark=name) for name in names]), "all streams")


DRAWN: list[Callable[[pd.DataFrame], Figure | None]] = [
    variants, plots.average, plots.multiples, plots.state, plots.reliability, plots.posterior,
    plots.layers, plots.curves, plots.matrices,
]  # fmt: skip
#: Strategies, tasks and seeds.
FRAMES = {
    "4 strategies": (("bayesbinn", "ste", "adam", "joint"), 3, 3),
    "12 strategies, 10 tasks": ((*TWENTY[:6], *TWENTY[-5:], LONG), 10, 2),
    "20 strategies": (TWENTY, 5, 2),
    "100 tasks": (("bayesbinn", "bimu", "ste", "joint"), 100, 2),
}
frame_called = cache(lambda name: wide(*FRAMES[name]))


def texts(figure: Figure) -> Iterator[tuple[str, Bbox]]:
    """Every text that is drawn, and the box of its ink; ticks beyond an axis are not drawn."""
    unseen = set()
    for axis in (part for axes in figure.axes for part in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        unseen |= {
            label
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            for label in (tick.label1, tick.label2)
            if not low <= tick.get_loc() <= high
        }
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible() and text not in unseen:
            yield text.get_text(), text.get_window_extent().padded(-1)  # pixels at 100 an inch


@pytest.mark.slow
@pytest.mark.parametrize("make", DRAWN)
@pytest.mark.parametrize("name", FRAMES)
def test_no_text_is_cut_off_or_overlaps(
    make: Callable[[pd.DataFrame], Figure | None], name: str
) -> None:
    figure = make(frame_called(name))
    assert figure is not None
    assert figures.COLUMN <= figure.get_figwidth() <= figures.PAGE
    for _ in ("png", "svg"):  # the layout of the second file begins with that of the first
        figure.draw_without_rendering()
    page, boxes = figure.bbox, list(texts(figure))
    for text, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1, text
        assert page.y0 <= box.y0 and box.y1 <= page.y1, text
    for (one, first), (other, second) in combinations(boxes, 2):
        assert not first.overlaps(second), (one, other)


@pytest.mark.slow
def test_same_frame_same_bytes(tmp_path: Path) -> None:
    frame = pd.concat([
        wide(["bayesbinn", "ste", "ste[lr=1]", "mine"], tasks=2, seeds=2, benchmark=name, layers=1)
        for name in ("split_mnist", "split_mnist[scenario=class]")
    ])  # fmt: skip
    first = plots.draw(frame, tmp_path / "a")
    second = plots.draw(frame.sample(frac=1, random_state=0), tmp_path / "b")
    assert [path.name for path in first] == [path.name for path in second]
    kinds = {path.stem.rpartition("_")[2] for path in first}
    assert kinds == {"curves", "matrix", "average", "posterior", "layers", "reliability", "state",
                     "variants"}  # fmt: skip
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
