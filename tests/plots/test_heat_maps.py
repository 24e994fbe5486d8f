"""ACC of all strategies on all streams: what is in the cells, and that it can be read."""

import io
import math
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from frames import frame_of, matrix_rows, plausible
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from wide_frames import wide

from cl_bnn import plots
from cl_bnn.plots import heat
from cl_bnn.report.scenarios import fullest
from cl_bnn.report.summary import summary

SPLIT = ("split_mnist[scenario=class]", "split_mnist", "split_mnist[scenario=domain]")


def runs(*rows: tuple[str, str, float]) -> pd.DataFrame:
    """Rows of a summary from benchmark, strategy and ACC."""
    return pd.DataFrame(rows, columns=["benchmark", "strategy", "ACC"])


def labels(axis: Axes) -> tuple[list[str], list[str]]:
    """The names of rows and columns."""
    rows = [text.get_text() for text in axis.get_yticklabels()]
    return rows, [text.get_text() for text in axis.get_xticklabels()]


def written(axis: Axes) -> dict[tuple[float, float], str]:
    """What stands in each cell, by column and row from 1."""
    return {text.get_position(): text.get_text() for text in axis.texts}


def test_every_cell_has_its_mean_and_interval_or_says_not_run() -> None:
    """0.8 and 0.9: mean 85, and t(0.975, 1) s / sqrt(2) = 12.706 x 0.05 = 63.5 points."""
    figure = heat.acc_map(
        runs(
            (SPLIT[0], "ste", 0.2), (SPLIT[1], "ste", 0.8), (SPLIT[1], "ste", 0.9),
            (SPLIT[2], "bayesbinn", 0.5),
        ),
        "split_mnist",
    )  # fmt: skip
    assert figure is not None
    (axis,) = figure.axes
    assert labels(axis) == (["bayesbinn", "ste"], ["task", "domain", "class"])
    assert written(axis) == {
        (1, 1): "not run", (2, 1): "50.0 ± –", (3, 1): "not run",
        (1, 2): "85.0 ± 63.5", (2, 2): "not run", (3, 2): "20.0 ± –",
    }  # fmt: skip
    assert figure.get_suptitle().startswith("split_mnist: ACC [%]")


def test_one_benchmark_has_no_columns_to_compare() -> None:
    assert heat.acc_map(runs(("toy", "ste", 0.5), ("toy", "adam", 0.5)), "toy") is None


def test_many_streams_stand_in_blocks_of_equal_width() -> None:
    names = [f"stream{number}" for number in range(20)]
    figure = heat.acc_map(runs(*((name, "ste", 0.5) for name in names)), "all streams")
    assert figure is not None and figure.get_figwidth() <= 6.8
    shown = [name for axis in figure.axes for name in labels(axis)[1]]
    assert sorted(shown) == sorted(names) and len(figure.axes) > 1
    assert len({axis.get_xlim() for axis in figure.axes}) == 1


def test_a_block_has_the_strategies_that_were_run_there() -> None:
    names = [f"stream{number:02}" for number in range(20)]
    rows = [(name, "ste", 0.5) for name in names] + [(names[0], "adam", 0.5)]
    figure = heat.acc_map(runs(*rows), "all streams")
    assert figure is not None
    first, *others = (labels(axis)[0] for axis in figure.axes)
    assert first == ["ste", "adam"] and others and all(rows == ["ste"] for rows in others)


def contrast(one: str, other: tuple[float, ...]) -> float:
    """The ratio of contrast of WCAG 2.2."""
    light = []
    for colour in (to_rgb(one), other[:3]):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        light.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
    return max(light) / min(light)


@pytest.mark.parametrize("share", np.linspace(0, 1, 21))
def test_numbers_are_readable_on_every_ground(share: float) -> None:
    ground = matplotlib.colormaps[heat.COLOUR_MAP](share)
    chosen = heat.text_colour(ground)
    other = {"black": "white", "white": "black"}[chosen]
    assert contrast(chosen, ground) > 4.5 and contrast(chosen, ground) >= contrast(other, ground)


def test_not_run_is_readable_and_its_ground_is_grey() -> None:
    assert contrast("0.3", to_rgb(heat.EMPTY)) > 4.5
    figure = heat.acc_map(runs(("a", "ste", 0.5), ("b", "bop", 0.5)), "all")
    assert figure is not None
    mesh = figure.axes[0].collections[0]
    figure.draw_without_rendering()
    colours = np.reshape(mesh.get_facecolors(), (-1, 4))
    assert sum(np.allclose(colour[:3], 0.9, atol=0.01) for colour in colours) == 2


def test_a_matrix_of_many_tasks_has_colours_and_a_bar_instead_of_numbers() -> None:
    numbers = [[(after * 11 + on) / 121 for on in range(11)] for after in range(11)]
    figure = plots.matrices(frame_of(matrix_rows(numbers)))
    matrix, bar = figure.axes
    assert not matrix.texts and bar.get_xlabel() == "accuracy [%]"
    shown = np.ma.filled(matrix.collections[0].get_array(), math.nan)
    np.testing.assert_allclose(np.ravel(shown), 100 * np.arange(121) / 121)


def test_scenarios_of_many_strategies_have_a_figure_of_their_own(tmp_path: Path) -> None:
    many = ["bayesbinn", "ste", "adam", "bop", "joint", "ewc", "si", "mas"]
    frames = [
        plausible(f"split_mnist[{rest}]", strategies=some, seeds=[0])
        for rest in ("epochs=3", "epochs=3,scenario=class", "epochs=9", "epochs=9,scenario=class")
        for some in (many if "3" in rest else many[:2],)
    ]
    names = {path.stem for path in plots.draw(pd.concat(frames), tmp_path)}
    assert "split_mnist_epochs=3_scenarios" in names
    assert "split_mnist_epochs=9_scenarios" not in names


def test_draw_sets_variants_and_all_streams_side_by_side(tmp_path: Path) -> None:
    frame = pd.concat([plausible(name, ["ste"], tasks=2) for name in (*SPLIT, "rotated_mnist")])
    single = plausible("mnist", ["ste"], tasks=1)
    names = {path.stem for path in plots.draw(pd.concat([frame, single]), tmp_path)}
    assert {"split_mnist_variants", "streams"} <= names
    assert "rotated_mnist_variants" not in names
    assert not [name for name in names if name.startswith("mnist")]


def test_of_each_stream_the_variant_with_most_strategies_stands_for_it() -> None:
    """One for each scenario and number of tasks; of two equal ones that with the most runs."""
    wanted = [
        ("split_mnist[width=400]", "ste"), ("split_mnist[width=400]", "adam"),
        ("split_mnist[scenario=class]", "ste"), ("split_mnist[scenario=class]", "ste"),
        ("permuted_mnist[n_experiences=10,norm=layer]", "ste"),
        ("permuted_mnist[n_experiences=100]", "ste"),
    ]  # fmt: skip
    others = [
        ("split_mnist", "ste"), ("split_mnist", "ste"),
        ("split_mnist[scenario=class,width=400]", "ste"),
        ("permuted_mnist[n_experiences=10,norm=none]", "ste"),
    ]  # fmt: skip
    rows = runs(*((name, strategy, 0.5) for name, strategy in [*others, *wanted]))
    kept = fullest(rows)
    assert sorted(zip(kept["benchmark"], kept["strategy"], strict=True)) == sorted(wanted)


def test_acc_is_that_of_the_summary() -> None:
    frame = pd.concat([wide(["ste"], tasks=3, benchmark=name) for name in SPLIT[:2]])
    figure = heat.acc_map(summary(frame), "split_mnist")
    assert figure is not None
    mean = frame.query("metric == 'accuracy' and after == 2")["value"].mean()
    assert written(figure.axes[0])[1, 1].startswith(f"{100 * mean:.1f} ± ")


@pytest.mark.parametrize(("side", "images"), [(10, 0), (100, 1)])
def test_many_cells_are_one_image_in_a_drawing_of_paths(side: int, images: int) -> None:
    figure = Figure()
    texts = [["1"] * side] * side if side == 10 else ()
    heat.cells(figure.subplots(), np.ones((side, side)), texts)
    drawing = io.StringIO()
    figure.savefig(drawing, format="svg")
    assert drawing.getvalue().count("<image") == images
    assert len(drawing.getvalue()) < 150_000


def test_columns_that_differ_in_the_scenario_alone_have_its_name() -> None:
    names = ("split_mnist[epochs=3]", "split_mnist[epochs=3,scenario=class]")
    runs = summary(pd.concat([plausible(name, ["ste"], tasks=2) for name in names]))
    figure = heat.acc_map(runs, "split_mnist")
    assert figure is not None and figure.get_suptitle().startswith("split_mnist[epochs=3]: ACC")
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.get_xticklabels()] == ["task", "class"]
