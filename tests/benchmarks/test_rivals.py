"""Streams of rivals: turned images, one data set after the other, a data set in parts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cl_bnn import data as datasets
from cl_bnn import results, runner
from cl_bnn.benchmarks import permuted, rotated, sequence, split, subsets
from cl_bnn.benchmarks.rotated import rotate
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.recorder import Recorder
from cl_bnn.strategies.loading import task_view

MNIST = datasets.load("mnist")
FEW = torch.arange(20)
RECIPE = """
title = "Three parts of few digits"
epochs = 1
batch_size = 20
stream = { build = "cl_bnn.benchmarks:subsets", data = "few.npz", n_experiences = 3 }
model = { build = "cl_bnn.nn:mlp", width = 8 }
"""


def view(experience: Any) -> TaskView:
    found = task_view(experience.dataset)
    assert found is not None
    return found


def write(path: Path, **changed: Any) -> None:
    """300 and 100 digits as a file of the user's own, with some arrays changed."""
    arrays = {
        "x_train": MNIST.train.x[:300, 0].numpy(), "y_train": MNIST.train.y[:300].numpy(),
        "x_test": MNIST.test.x[:100, 0].numpy(), "y_test": MNIST.test.y[:100].numpy(),
    }  # fmt: skip
    np.savez(path, **(arrays | changed))


# Rotated -----------------------------------------------------------------------------------------


def test_tasks_are_spread_over_half_a_turn_and_the_first_is_not_turned() -> None:
    stream = rotated(n_experiences=4)
    assert [view(e).normalise.angle for e in stream.train] == [0, 45, 90, 135]
    assert [view(e).normalise.angle for e in stream.test] == [0, 45, 90, 135]
    x, y = view(stream.train[0]).batch(FEW)
    assert torch.equal(x, MNIST.normalise(MNIST.train.x[FEW]))
    assert torch.equal(y, MNIST.train.y[FEW])


def test_a_right_angle_moves_every_pixel_to_its_place() -> None:
    x, _ = view(rotated(n_experiences=2).test[1]).batch(FEW)
    expected = torch.rot90(MNIST.normalise(MNIST.test.x[FEW]), 1, (2, 3))
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-3)


def test_a_pixel_between_four_is_their_mean_and_the_corners_are_black() -> None:
    """The middle of 3 x 3 stays; turned by 45 degrees the pixel above it comes from a place on the
    diagonal, and the outermost ones from outside.
    """
    x = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3)
    turned = rotate(x, 45.0)[0, 0]
    assert turned[1, 1].item() == pytest.approx(4, abs=1e-4)
    part = 0.5**0.5  # of the way to either neighbour
    around = x[0, 0].float()
    corner = part * part * around[0, 2] + part * (1 - part) * (around[0, 1] + around[1, 2])
    assert turned[0, 1].item() == pytest.approx(
        corner.item() + (1 - part) ** 2 * around[1, 1].item(), abs=1e-4
    )
    assert rotate(torch.full((1, 1, 9, 9), 255, dtype=torch.uint8), 45.0)[0, 0, 0, 0] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_experiences": 0}, "n_experiences must be >= 1, got 0"),
        (
            {"n_experiences": 3, "angles": [0.0, 9.5]},
            "angles must be one for each of 3 tasks, got [0.0, 9.5]",
        ),
    ],
)
def test_wrong_settings_of_a_rotated_stream(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        rotated(**settings)
    assert str(error.value) == message


def test_features_cannot_be_rotated(tmp_path: Path) -> None:
    flat = {"x_train": np.eye(300, dtype=np.float32), "x_test": np.ones((100, 300), np.float32)}
    write(tmp_path / "flat.npz", **flat)
    with pytest.raises(ValueError, match="^data must be images, to be rotated, got 'flat.npz'$"):
        rotated(data="flat.npz", data_root=tmp_path)


# One after the other -----------------------------------------------------------------------------


def test_each_data_set_is_a_task_scaled_by_its_own_constants(tmp_path: Path) -> None:
    write(tmp_path / "few.npz", x_train=MNIST.train.x[:300, 0].numpy() // 2)
    stream = sequence(data=["mnist", "few.npz"], data_root=tmp_path)
    assert (stream.n_tasks, stream.out_features, stream.n_heads) == (2, 10, 1)
    assert not stream.task_labels
    assert [len(view(e)) for e in stream.train] == [60_000, 300]
    assert [len(view(e)) for e in stream.test] == [10_000, 100]
    x, _ = view(stream.train[1]).materialise()
    assert abs(x.mean()) < 1e-5 and x.std().item() == pytest.approx(1, abs=1e-4)


def test_pixels_in_the_unit_interval() -> None:
    x, _ = view(sequence(data=["mnist"], scaling="unit").test[0]).materialise()
    torch.testing.assert_close(x, MNIST.test.x.float() / 255)


def test_data_sets_of_different_shapes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "flat.npz", x_train=np.zeros((300, 4)), x_test=np.zeros((100, 4)))
    with pytest.raises(UserError) as error:
        sequence(data=["mnist", "flat.npz"], data_root=tmp_path)
    assert str(error.value) == (
        "data: 'flat.npz' has inputs of the shape (4,) and 'mnist' of (1, 28, 28): the data sets "
        "of a sequence must have one shape"
    )


def test_a_sequence_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^data must name at least one data set, got \[\]$"):
        sequence(data=[])


# With the task label -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        (permuted, {"n_experiences": 2}),
        (rotated, {"n_experiences": 2}),
        (sequence, {"data": ["mnist", "mnist"]}),
    ],
)
def test_one_head_and_the_task_label(build: Any, settings: dict[str, Any]) -> None:
    stream = build(**settings, task_labels=True, validation=0.1)
    assert stream.task_labels and stream.n_heads == 1 and stream.out_features == 10
    for experiences in (stream.train, stream.test, stream.validation):
        assert [experience.task_label for experience in experiences] == [0, 1]
    without = build(**settings)
    assert not without.task_labels and [e.task_label for e in without.test] == [0, 0]


def test_a_norm_per_task_keeps_the_statistics_of_old_permutations(tmp_path: Path) -> None:
    write(tmp_path / "few.npz")
    text = RECIPE.replace("subsets", "permuted").replace("epochs = 1", "epochs = 20")
    given = {"stream.task_labels": True, "model.norm": "per_task"}
    found = run(tmp_path, "out", text, **given)
    ends = found[found["epoch"].isna() & (found["metric"] == "accuracy")]
    table = ends.pivot(index="after", columns="on", values="value").to_numpy()
    shared = run(tmp_path, "shared", text)
    ends = shared[shared["epoch"].isna() & (shared["metric"] == "accuracy")]
    other = ends.pivot(index="after", columns="on", values="value").to_numpy()
    assert np.allclose(table[0, 0], other[0, 0], atol=1e-6)  # one task: the same network
    assert table[2, :2].mean() > other[2, :2].mean() + 0.05


# In parts ----------------------------------------------------------------------------------------


def test_every_image_is_in_one_part() -> None:
    stream = subsets(data="mnist", n_experiences=60)
    rows = [view(e).rows for e in stream.train]
    assert [len(part) for part in rows if part is not None] == [1000] * 60
    assert sorted(torch.cat([part for part in rows if part is not None]).tolist()) == list(
        range(60_000)
    )
    order = np.random.RandomState(1).permutation(60_000)
    assert rows[1] is not None and rows[1].tolist() == order[1000:2000].tolist()


def test_all_images_at_once() -> None:
    stream = subsets(data="mnist", n_experiences=1)
    assert (stream.n_tasks, len(view(stream.train[0]))) == (1, 60_000)


@pytest.mark.parametrize("count", [0, 151])
def test_a_number_of_parts_that_there_cannot_be(tmp_path: Path, count: int) -> None:
    write(tmp_path / "few.npz")
    with pytest.raises(ValueError, match=rf"^n_experiences must be in \[1, 150\], got {count}$"):
        subsets(data="few.npz", n_experiences=count, data_root=tmp_path)


def run(folder: Path, out: str, text: str = RECIPE, **overrides: Any) -> pd.DataFrame:
    """The measurements of a run of a recipe in `folder`."""
    path = folder / "mine.toml"
    path.write_text(text)
    runs = runner.plan(str(path), ["adam"], [0], overrides, "epoch", folder / out)
    runner.run_all(runs, jobs=1, device="cpu", data_root=folder, on_event=lambda event: None)
    return results.read(folder / out)


def test_one_test_set_is_measured_once_and_stands_for_every_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "few.npz")
    sizes: list[int] = []
    measure = Recorder.measure

    def count(self: Recorder, strategy: Any, experiences: Any) -> Any:
        sizes.append(len(experiences))
        return measure(self, strategy, experiences)

    monkeypatch.setattr(Recorder, "measure", count)
    found = run(tmp_path, "out")
    assert sizes == [1] * 4  # before the first task as well
    ends = found[found["epoch"].isna() & (found["metric"] == "accuracy")]
    table = ends.pivot(index="after", columns="on", values="value")
    assert table.shape == (3, 3)
    assert (table.nunique(axis=1) == 1).all() and table[0].nunique() > 1


# A user's own data -------------------------------------------------------------------------------


def recipe_of_the_page() -> str:
    """The first recipe under "Your own data" in the page on benchmarks."""
    page = (Path(__file__).parents[2] / "benchmarks" / "README.md").read_text()
    return page.split("## Your own data")[1].split("```toml\n")[1].split("```")[0]


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_a_recipe_of_five_lines_runs(tmp_path: Path, scenario: str) -> None:
    write(tmp_path / "mine.npz")
    recipe = recipe_of_the_page()
    assert len(recipe.splitlines()) == 5
    changed = {"stream.scenario": scenario, "epochs": 1, "batch_size": 20, "model.width": 8}
    found = run(tmp_path, scenario, recipe, **changed)
    ends = found[found["epoch"].isna() & (found["metric"] == "accuracy")]
    assert len(ends) == 4
    described = json.loads(next((tmp_path / scenario).rglob("*.json")).read_text())
    assert str(tmp_path) not in json.dumps(described), "a run is described without its folders"


def test_classes_that_cannot_be_dealt_out_say_how_they_can(tmp_path: Path) -> None:
    write(tmp_path / "mine.npz")
    with pytest.raises(ValueError) as error:
        split(data="mine.npz", n_experiences=3, data_root=tmp_path)
    assert str(error.value) == (
        "n_experiences must divide the 10 classes, got 3; possible are 1 task of 10, 2 of 5, 5 of 2"
    )


def test_a_task_without_test_data_is_named(tmp_path: Path) -> None:
    write(tmp_path / "mine.npz", y_test=np.arange(100) % 2)
    with pytest.raises(UserError, match="^task 1 has no test data$"):
        split(data="mine.npz", data_root=tmp_path)


def test_a_hundred_tasks_are_indices_into_one_data_set() -> None:
    source = datasets.load("mnist")
    stream = permuted(n_experiences=100)
    views = [view(e) for e in stream.train]
    assert {v.split.x.data_ptr() for v in views} == {source.train.x.data_ptr()}
    assert {id(v.targets) for v in views} == {id(source.train.y)}
    some = permuted(n_experiences=3, validation=0.5, test_limit=10)
    for half in (some.train, some.validation, some.test):
        assert len({id(view(e).targets) for e in half}) == 1
        assert len({id(e.dataset.targets) for e in half}) == 1, "counted by Avalanche once"
    own = sum(v.pixels.numel() for v in views if v.pixels is not None)
    assert own == 100 * 784
