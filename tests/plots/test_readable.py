"""All figures of many strategies and tasks: nothing cut off, nothing overlaps, same bytes twice."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
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
    return plots.scenarios(
        pd.concat([runs.assign(benchmark=name) for name in names]), "all streams"
    )


DRAWN: list[Callable[[pd.DataFrame], Figure | None]] = [
    variants, plots.average, plots.multiples, plots.state, plots.reliability, plots.posterior,
    plots.layers, plots.curves, plots.matrices,
]  # fmt: skip
FRAMES = {
    "4 strategies": lambda: wide(["bayesbinn", "ste", "adam", "joint"], tasks=3),
    "12 strategies, 10 tasks": lambda: wide([*TWENTY[:6], *TWENTY[-5:], LONG], tasks=10, seeds=2),
    "20 strategies": lambda: wide(seeds=2),
    "100 tasks": lambda: wide(["bayesbinn", "bimu", "ste", "joint"], tasks=100, seeds=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", DRAWN)
@pytest.mark.parametrize("name", FRAMES)
def test_no_text_is_cut_off_or_overlaps(
    make: Callable[[pd.DataFrame], Figure | None], name: str
) -> None:
    figure = make(FRAMES[name]())
    assert figure is not None
    assert figures.COLUMN <= figure.get_figwidth() <= figures.PAGE
    figure.draw_without_rendering()
    page = figure.bbox
    shown = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    for text, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1, text
        assert page.y0 <= box.y0 and box.y1 <= page.y1, text
    for (one, first), (other, second) in combinations(boxes, 2):
        apart = first.padded(-1.5)  # pixels at 100 an inch: boxes are larger than their ink
        assert not apart.overlaps(second.padded(-1.5)), (one, other)


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
