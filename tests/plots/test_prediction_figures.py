"""Figures of what trained networks predict: panels, points, bands, and the same bytes again."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection, QuadMesh

from cl_bnn import plots, predictions, results
from cl_bnn.atomic import atomic_write
from cl_bnn.plots import predictions as prediction_figures
from cl_bnn.predictions import Table


def moons_file(folder: Path, strategy: str, predictors: tuple[str, ...], seed: int = 0) -> None:
    """Probabilities that rise along x1 from 0.1 to 0.9."""
    places = [[x1, x2] for x1 in (0.0, 1.0, 2.0) for x2 in (0.0, 1.0)]
    values = [0.1, 0.1, 0.5, 0.5, 0.9, 0.9]
    tables = [Table("data", "none", [[0, 0], [2, 1]], [0, 1])]
    tables += [Table(name, "none", places, values) for name in predictors]
    path = predictions.path_beside(results.csv_path(folder, "two_moons", strategy, seed))
    atomic_write(path, predictions.to_bytes(tables))


def snelson_file(folder: Path, strategy: str, predictors: tuple[str, ...]) -> None:
    """Constants: the mode 1, the mean 2, the standard deviation 3 and 4."""
    tables = [Table("data", "none", [[0], [1]], [-1, 1])]
    for statistics, std in (("running", 3.0), ("batch", 4.0)):
        for name, value in (("mode", 1.0), ("mean", 2.0), ("std", std)):
            if name in predictors:
                tables.append(Table(name, statistics, [[-1], [0], [2]], [value] * 3))
    path = predictions.path_beside(results.csv_path(folder, "snelson", strategy, 0))
    atomic_write(path, predictions.to_bytes(tables))


def frame_of(*runs: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(runs, columns=["benchmark", "strategy"])


def shown(folder: Path, *runs: tuple[str, str]) -> list[prediction_figures.Shown]:
    (found,) = prediction_figures._found(folder, set(runs)).values()
    return found


def titles(figure: matplotlib.figure.Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


def test_a_panel_for_every_strategy_and_predictor_of_two_moons(tmp_path: Path) -> None:
    moons_file(tmp_path, "bayesbinn", ("mean", "mode"), seed=2)
    moons_file(tmp_path, "bayesbinn", ("mode",), seed=10)
    moons_file(tmp_path, "ste", ("mode",))
    moons_file(tmp_path, "unknown", ("mode",))
    found = shown(tmp_path, ("two_moons", "ste"), ("two_moons", "bayesbinn"))
    figure = prediction_figures.boundaries("two_moons", found)
    assert titles(figure) == [
        "ste, seed 0\nmode",
        "bayesbinn, seed 2\nmode",
        "bayesbinn, seed 2\nmean of sampled networks",
    ]
    axis = figure.axes[0]
    (mesh,) = (part for part in axis.collections if isinstance(part, QuadMesh))
    assert np.asarray(mesh.get_array()).tolist() == [[0.1, 0.5, 0.9]] * 2
    assert mesh.get_clim() == (0, 1)
    points = [np.asarray(part.get_xydata()).tolist() for part in axis.lines]
    assert points == [[[0, 0]], [[2, 1]]], "class 0, class 1"


def test_bands_of_two_standard_deviations_published_statistics_first(tmp_path: Path) -> None:
    snelson_file(tmp_path, "bayesbinn", ("mode", "mean", "std"))
    snelson_file(tmp_path, "ste", ("mode",))
    found = shown(tmp_path, ("snelson", "ste"), ("snelson", "bayesbinn"))
    figure = prediction_figures.bands("snelson", found)
    published, ours = (
        prediction_figures.STATISTICS["batch"],
        prediction_figures.STATISTICS["running"],
    )
    assert titles(figure) == [
        f"{name}, seed 0\n{text}" for name in ("ste", "bayesbinn") for text in (published, ours)
    ]
    for axis, edges in zip(figure.axes, ([], [], [-6, 10], [-4, 8]), strict=True):
        bands = [part for part in axis.collections if isinstance(part, PolyCollection)]
        assert len(bands) == bool(edges)
        if edges:
            y = bands[0].get_paths()[0].vertices[:, 1]  # type: ignore[index]
            assert [y.min(), y.max()] == edges
    assert figure.axes[0].get_ylim() == (-2, 2), "the data and half their range"


def test_draw_writes_the_same_bytes_from_files_alone(tmp_path: Path) -> None:
    moons_file(tmp_path / "runs", "ste", ("mode",))
    snelson_file(tmp_path / "runs", "ste", ("mode",))
    frame = frame_of(("two_moons", "ste"), ("snelson", "ste"), ("mnist", "ste"))
    first = prediction_figures.draw(frame, tmp_path / "a", tmp_path / "runs")
    assert [path.name for path in first] == [
        f"{name}_predictions.{kind}" for name in ("snelson", "two_moons") for kind in ("png", "svg")
    ]
    with matplotlib.rc_context({"font.size": 20}):
        second = prediction_figures.draw(frame, tmp_path / "b", tmp_path / "runs")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_hidden_copies_are_not_drawn(tmp_path: Path) -> None:
    """Nor would they stand for the file itself, which comes after them."""
    moons_file(tmp_path, "ste", ("mode",), seed=1)
    (tmp_path / "two_moons").rename(tmp_path / ".old")
    (tmp_path / ".kept").mkdir()
    (tmp_path / ".old").rename(tmp_path / ".kept" / "two_moons")
    frame = frame_of(("two_moons", "ste"))
    assert prediction_figures.draw(frame, tmp_path / "figures", tmp_path) == []


def test_the_plots_of_a_folder_have_its_predictions(tmp_path: Path) -> None:
    moons_file(tmp_path, "ste", ("mode",))
    row = results.Row("two_moons", "ste", 0, 0, 0, None, "accuracy", 1.0)
    csv = results.csv_path(tmp_path, "two_moons", "ste", 0)
    results.write(csv, [row], {}, {})
    predictions = next(tmp_path.rglob("predictions_seed0.csv"))
    predictions.with_name("predictions_seed0 copy.csv").write_bytes(predictions.read_bytes())
    paths = plots.draw(results.read(tmp_path), tmp_path / "figures")
    names = {path.name for path in paths}
    assert {"two_moons_predictions.png", "two_moons_predictions.svg"} <= names
