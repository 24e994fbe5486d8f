"""Figures: what is on them, in what size, and the same bytes again."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from frames import frame_of, matrix_rows, plausible
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from cl_bnn import plots
from cl_bnn.errors import UserError
from cl_bnn.plots import drawing, figures, heat
from cl_bnn.plots.looks import OKABE_ITO
from cl_bnn.report.benchmark_page import FIGURE_KINDS

PERMUTED = "permuted_mnist[n_experiences=3]"
MATRIX = [[0.8, 0.1], [0.5, 0.9]]


def titles(figure: Figure) -> list[str]:
    """The panel titles as one line each."""
    return [axis.get_title().replace("\n", " ") for axis in figure.axes]


def bands(axis: Axes) -> int:
    """How many interval bands a panel has."""
    return sum(isinstance(part, PolyCollection) for part in axis.collections)


def curve(axis: Axes, task: int) -> tuple[list[float], list[float]]:
    """x and y of the one drawn line (no markers only) of a task, by its colour."""
    lines = [
        line
        for line in axis.lines
        if line.get_color() == OKABE_ITO[task] and line.get_linestyle() != "None"
    ]
    assert len(lines) == 1
    x, y = lines[0].get_data()
    return list(np.asarray(x)), list(np.asarray(y))


def test_draw_writes_png_and_svg_of_every_benchmark(tmp_path: Path) -> None:
    frame = pd.concat([plausible(), plausible("split_mnist", ["ste"])])
    paths = plots.draw(frame, tmp_path / "figures")
    assert sorted(path.name for path in paths) == [
        f"{stem}.{kind}"
        for stem in (
            "permuted_mnist_n_experiences=3_average",
            "permuted_mnist_n_experiences=3_curves",
            "permuted_mnist_n_experiences=3_matrix",
            "permuted_mnist_n_experiences=3_posterior",
            "split_mnist_curves",
            "split_mnist_matrix",
            "streams",
        )
        for kind in ("png", "svg")
    ]
    assert set(paths) == set((tmp_path / "figures").iterdir())
    for path in paths:
        start = path.read_bytes()[:5]
        assert start == (b"\x89PNG\r" if path.suffix == ".png" else b"<?xml")


def test_an_image_keeps_its_colours_in_a_third_of_the_bytes(tmp_path: Path) -> None:
    path, _ = figures.save(heat.matrices(plausible()), tmp_path, "toy")
    full = io.BytesIO()
    with figures.style():
        heat.matrices(plausible()).savefig(full, format="png", dpi=figures.DPI)
    assert path.stat().st_size < len(full.getvalue()) / 2
    small, whole = (Image.open(f).convert("RGB") for f in (path, full))
    assert small.size == whole.size
    distance = np.abs(np.asarray(small, float) - np.asarray(whole, float))
    assert distance.max() <= 24 and distance.mean() < 0.5


def test_same_frame_same_bytes_whatever_the_users_style(tmp_path: Path) -> None:
    frame = plausible(epochs=2)
    first = plots.draw(frame, tmp_path / "a")
    with matplotlib.rc_context({"font.size": 20, "savefig.bbox": "tight", "svg.hashsalt": "x"}):
        second = plots.draw(frame, tmp_path / "b")
        assert matplotlib.rcParams["font.size"] == 20
    assert [path.name for path in first] == [path.name for path in second]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_plots_need_neither_torch_nor_avalanche_nor_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
        "from cl_bnn import plots; from frames import plausible;"
        "plots.draw(plausible(), Path(sys.argv[2]));"
        "print(sorted({'torch', 'avalanche', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parents[1]), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == "[]\n"


def test_every_kind_of_figure_has_a_place_on_the_page() -> None:
    kinds = {kind for tasks in (1, 3) for kind in drawing._kinds(plausible(tasks=tasks), [])}
    assert kinds | {"predictions"} == FIGURE_KINDS.keys()


def test_draw_into_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        plots.draw(plausible(strategies=["ste"]), tmp_path / "file")


def test_benchmark_without_accuracies_and_strategy_without_task_ends_are_left_out(
    tmp_path: Path,
) -> None:
    frame = plausible(strategies=["ste", "adam"], seeds=[0], epochs=2)
    assert plots.draw(frame[frame["metric"] != "accuracy"], tmp_path) == []
    unfinished = frame[(frame["strategy"] == "ste") | frame["epoch"].notna()]
    assert titles(plots.curves(unfinished)) == ["ste 1 seed"]


def test_curves_without_epochs_run_over_the_tasks_learned() -> None:
    frame = frame_of(matrix_rows(MATRIX))
    (axis,) = plots.curves(frame).axes
    assert curve(axis, 0) == ([1.0, 2.0], [80.0, 50.0])
    assert curve(axis, 1) == ([2.0], [90.0])  # not what it was before it was learned
    assert axis.get_xlabel() == "tasks learned" and axis.get_ylabel() == "test accuracy [%]"
    assert bands(axis) == 0


def test_curves_with_epochs_run_over_the_epochs_of_the_stream() -> None:
    frame = plausible(strategies=["ste"], seeds=[0, 1], epochs=4)
    (axis,) = plots.curves(frame).axes
    assert axis.get_xlabel() == "epochs over all tasks"
    assert curve(axis, 0)[0] == list(range(1, 13))
    x, y = curve(axis, 2)
    assert x == [9, 10, 11, 12]
    rows = frame.query("metric == 'accuracy' and on == 2 and after == 2 and epoch == 3")
    assert y[-1] == pytest.approx(100 * rows["value"].mean())
    assert bands(axis) == 3
    assert list(axis.get_xticks()) == [0, 4, 8, 12]


def test_every_epoch_of_a_curve_has_its_place() -> None:
    """Also those whose share of a task, in floating point, times its length is a little less."""
    frame = plausible(strategies=["ste"], seeds=[0], epochs=100)
    (axis,) = plots.curves(frame).axes
    assert curve(axis, 0)[0] == list(range(1, 301))
    assert bands(axis) == 0


def test_curves_have_a_panel_per_strategy_with_shared_axes_and_a_legend() -> None:
    figure = plots.curves(plausible())
    assert titles(figure) == [
        "bayesbinn 3 seeds",
        "bayesbinn_fixed_prior 3 seeds",
        "ste 3 seeds",
        "adam 3 seeds",
        "joint 3 seeds, all tasks at once",
    ]
    assert len({axis.get_ylim() for axis in figure.axes}) == 1
    assert len({axis.get_xlim() for axis in figure.axes}) == 1
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["task 1", "task 2", "task 3"]
    assert PERMUTED in figure.get_suptitle() and "95 % interval" in figure.get_suptitle()


def test_lines_are_of_the_seeds_with_epochs_and_bars_of_all() -> None:
    some = plausible(strategies=["ste"], seeds=[0], epochs=5)
    frame = pd.concat([some, plausible(strategies=["ste"], seeds=[1, 2])])
    figure = plots.curves(frame)
    (axis,) = figure.axes
    assert titles(figure) == ["ste 3 seeds, lines of 1"]
    assert bands(axis) == 0
    markers = axis.containers[0]
    place, mean = markers[0].get_data()
    assert list(place) == [5, 10, 15]
    ends = frame[frame["epoch"].isna() & (frame["metric"] == "accuracy") & (frame["on"] == 0)]
    assert list(mean) == pytest.approx(list(100 * ends.groupby("after")["value"].mean()))
    assert axis.containers[0][2]  # the bars
    values = curve(axis, 0)[1]
    only = some.query("metric == 'accuracy' and on == 0 and epoch == epoch")["value"]
    assert values == pytest.approx(list(100 * only))


def test_joint_is_a_level_over_the_whole_stream() -> None:
    frame = plausible(strategies=["joint", "ste"], seeds=[0], epochs=2)
    joint = plots.curves(frame).axes[1]
    final = frame.query("strategy == 'joint' and metric == 'accuracy' and epoch.isna()")
    x, y = curve(joint, 1)
    assert x == [0, 6]
    assert y == pytest.approx([100 * final[final["on"] == 1]["value"].iloc[0]] * 2)


def test_matrices_carry_their_numbers_in_percent() -> None:
    figure = plots.matrices(frame_of(matrix_rows(MATRIX)))
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["80.0", "10.0", "50.0", "90.0"]
    positions = [text.get_position() for text in axis.texts]
    assert positions == [(1, 1), (2, 1), (1, 2), (2, 2)]
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # the first task is at the top
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("task measured", "tasks learned")
    assert any(isinstance(part, QuadMesh) for part in axis.collections)


def test_matrix_of_joint_has_numbers_in_its_last_row_only() -> None:
    ste, joint = plots.matrices(plausible(strategies=["joint", "ste"])).axes
    assert [text.get_position()[1] for text in joint.texts] == [3, 3, 3]
    assert len(ste.texts) == 9


def test_numbers_in_cells_are_readable_on_their_ground() -> None:
    (axis,) = plots.matrices(frame_of(matrix_rows(MATRIX))).axes
    colours = {text.get_text(): text.get_color() for text in axis.texts}
    assert colours == {"80.0": "black", "10.0": "white", "50.0": "black", "90.0": "black"}


def test_posterior_has_entropy_and_flips_of_strategies_with_a_posterior() -> None:
    figure = plots.posterior(plausible())
    assert figure is not None
    assert titles(figure) == [
        "mean entropy [bits]", "saturated weights [%]", "flipped weights [%]",
    ]  # fmt: skip
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["bayesbinn", "bayesbinn_fixed_prior"]
    entropy, saturated, flipped = figure.axes
    assert list(saturated.containers[0][0].get_ydata()) == pytest.approx([20, 25, 30])
    assert list(entropy.containers[0][0].get_ydata()) == pytest.approx([0.8, 0.7, 0.6])
    assert list(flipped.containers[0][0].get_ydata()) == pytest.approx([10, 5])


def test_posterior_without_flips_or_without_posterior() -> None:
    single = plots.posterior(plausible(tasks=1))
    assert single is not None and titles(single) == ["mean entropy [bits]", "saturated weights [%]"]
    assert plots.posterior(plausible(strategies=["ste", "joint"])) is None


FIGURES: list[Callable[[pd.DataFrame], Figure | None]] = [
    plots.curves,
    plots.matrices,
    plots.posterior,
]
FRAMES = {
    "three": plausible(),
    "one seed, epochs, long label": plausible(
        "permuted_mnist[batch_size=50,epochs=30,n_experiences=3]",
        ["bayesbinn[initial_natural=15,lr=0.01,momentum=0.9,temperature=0.1,train_samples=5]"],
        seeds=[0],
        epochs=3,
    ),
    "ten tasks": plausible(strategies=["bayesbinn", "ste"], seeds=[0, 1], tasks=10),
    "one task": plausible(strategies=["bayesbinn"], seeds=[0, 1], tasks=1),
    "heads of several heights": plausible(
        "split_mnist[batch_size=128,class_order=random,epochs=21,norm=none,scaling=unit,width=400]",
        ["bayesbinn", "ewc[ewc.labels=all,ewc.samples=60000,ewc.strength=100000.0,lr=0.001]", "ste",
         "adam"],
        tasks=5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("make", FIGURES)
@pytest.mark.parametrize("name", FRAMES)
def test_no_text_is_small_or_cut_off(
    make: Callable[[pd.DataFrame], Figure | None], name: str
) -> None:
    figure = make(FRAMES[name])
    assert figure is not None
    assert figures.COLUMN <= figure.get_figwidth() <= figures.PAGE
    figure.draw_without_rendering()
    page = figure.bbox
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible():
            assert float(text.get_fontsize()) >= 7
            box = text.get_window_extent()
            assert page.x0 <= box.x0 and box.x1 <= page.x1, text
            assert page.y0 <= box.y0 and box.y1 <= page.y1, text


def test_titles_break_after_commas() -> None:
    label = "isbi_em[alignment=aligned,batch_size=2,epochs=30,size=252]: along, in time"
    broken = figures.wrapped(label, 2.0, figures.LARGE)
    assert all(len(line) <= 31 for line in broken.split("\n"))
    assert broken.replace(",\n", ",").replace("\n", " ") == label
    assert "30,\nsize" in broken
    twelve = 12.5 * figures.CHARACTER * figures.SMALL / 72
    narrow = figures.wrapped("epochs=1,limit=10000,n_tasks=10", twelve, figures.SMALL)
    assert narrow.split("\n") == ["epochs=1,", "limit=10000,", "n_tasks=10"]
