"""Two moons and Snelson's regression: data, probes, schedules, and what is refused."""

import math
from pathlib import Path

import pytest
import torch
from avalanche.core import SupervisedPlugin
from sklearn.datasets import make_moons

from cl_bnn import recipes
from cl_bnn.benchmarks import snelson, two_moons
from cl_bnn.data.synthetic import SNELSON_FILES, Standard, moons
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.nn import tanh_mlp
from cl_bnn.objectives import BINARY, REGRESSION
from cl_bnn.strategies import AdamStrategy, STEStrategy, TaskAware
from cl_bnn.strategies.loading import task_view
from cl_bnn.strategies.schedules import SCHEDULES

SMALL = {"n_train": 20, "n_test": 6, "grid_step": 0.5}


def whole(experience: object) -> tuple[torch.Tensor, torch.Tensor]:
    view = task_view(experience.dataset)  # type: ignore[attr-defined]
    assert isinstance(view, TaskView)
    return view.materialise()


def line(count: int, start: float = 0.0) -> str:
    """Numbers `start`, `start` + 1, ... as the files have them."""
    return "".join(f"  {start + k:.7e}\n" for k in range(count))


def write_snelson(root: Path) -> Path:
    """Files of the right sizes: training inputs 0 to 199, outputs 1 to 200, test from -50."""
    folder = root / "snelson"
    folder.mkdir()
    for name, start in (("train_inputs", 0), ("train_outputs", 1), ("test_inputs", -50)):
        (folder / name).write_text(line(SNELSON_FILES[name], start))
    return folder


# Two moons ---------------------------------------------------------------------------------------


def test_moons_are_those_of_scikit_learn_standardised_by_the_training_points() -> None:
    stream = two_moons()
    train, labels = make_moons(200, noise=0.1, random_state=0)
    test, test_labels = make_moons(50, noise=0.1, random_state=0)
    mean, std = train.mean(0), train.std(0, ddof=1)
    for experience, points, classes in (
        (stream.train[0], train, labels),
        (stream.test[0], test, test_labels),
    ):
        x, y = whole(experience)
        expected = torch.from_numpy((points - mean) / std).float()
        torch.testing.assert_close(x, expected)
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        assert y.tolist() == classes.tolist()
    assert labels.sum() == 100, "100 points of either class"
    assert (stream.input_shape, stream.out_features, stream.n_tasks) == ((2,), 1, 1)


def test_standard_by_hand() -> None:
    x = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]], dtype=torch.float64)
    assert Standard.of(x)(x).tolist() == [[-1, -1], [0, 0], [1, 1]]


def test_all_runs_have_the_same_points() -> None:
    (x, _), (other, _) = (whole(two_moons(seed=seed).train[0]) for seed in (0, 7))
    assert torch.equal(x, other)


def test_the_probe_is_a_grid_that_reaches_beyond_the_points() -> None:
    probe = two_moons(grid_step=0.1).probe
    assert probe is not None
    points = torch.from_numpy(make_moons(200, noise=0.1, random_state=0)[0])
    torch.testing.assert_close(probe.points, points)
    low, high = probe.places.min(0).values, probe.places.max(0).values
    for outer, inner in ((points.min(0).values - 0.3, low), (high, points.max(0).values + 0.3)):
        assert bool(((outer - inner >= 0) & (outer - inner < 0.1)).all())
    columns, rows = (len(column.unique()) for column in probe.places.T)
    assert len(probe.places) == columns * rows
    assert int(probe.away.sum()) == 2 * (columns + rows) - 4, "the outer ring"
    assert bool((probe.places[probe.away] == low).logical_or(
        probe.places[probe.away] == high).any(1).all())  # fmt: skip
    mean, std = points.mean(0), points.std(0)
    torch.testing.assert_close(probe.inputs, ((probe.places - mean) / std).float())
    x, y = whole(two_moons().train[0])
    assert torch.equal(probe.train[0], x) and torch.equal(probe.train[1], y)


# Snelson -----------------------------------------------------------------------------------------


def test_snelson_is_standardised_by_the_training_data(tmp_path: Path) -> None:
    write_snelson(tmp_path)
    stream = snelson(data_root=tmp_path)
    x, y = whole(stream.train[0])
    mean, std = 99.5, math.sqrt(200 * 201 / 12)  # of 0 ... 199, and n - 1 below
    expected = ((torch.arange(200.0) - mean) / std)[:, None]
    torch.testing.assert_close(x, expected)
    torch.testing.assert_close(y, expected)  # 1 ... 200: the same once standardised
    assert stream.probe is not None
    places = stream.probe.places
    torch.testing.assert_close(places, ((torch.arange(301.0) - 50 - mean) / std)[:, None])
    assert stream.probe.away.tolist() == [True] * 50 + [False] * 200 + [True] * 51
    assert stream.objective.measure(y, y) == {}, "there are no targets to test on"
    assert stream.probe.objective is REGRESSION


def test_snelson_can_hold_out_a_test_set(tmp_path: Path) -> None:
    write_snelson(tmp_path)
    stream = snelson(holdout=0.25, seed=3, data_root=tmp_path)
    (train, _), (test, _) = whole(stream.train[0]), whole(stream.test[0])
    assert (len(train), len(test)) == (150, 50)
    assert not set(train.flatten().tolist()) & set(test.flatten().tolist())
    torch.testing.assert_close(train.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(train.std(), torch.tensor(1.0))
    other, _ = whole(snelson(holdout=0.25, seed=4, data_root=tmp_path).test[0])
    assert not torch.equal(test, other), "the seed chooses what is held out"
    assert stream.objective is REGRESSION


def test_a_missing_file_of_snelson_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    write_snelson(tmp_path).joinpath("train_outputs").unlink()
    with pytest.raises(UserError) as error:
        snelson(data_root=tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/snelson/train_outputs is missing; put train_inputs, train_outputs, "
        f"test_inputs of Snelson and Ghahramani (2005) into {tmp_path}/snelson, or give the folder "
        "that holds snelson as --data-root or in CL_BNN_DATA"
    )


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (line(199), "199 numbers, expected 200"),
        (line(199) + "abc\n", "'abc' is not a number"),
        (line(199) + "nan\n", "'nan' is not a finite number"),
        ("\x00" * 50, "is not a number"),
        ("", "0 numbers, expected 200"),
    ],
)
def test_a_damaged_file_of_snelson_is_named(tmp_path: Path, text: str, finding: str) -> None:
    write_snelson(tmp_path).joinpath("train_inputs").write_text(text)
    with pytest.raises(UserError, match=f"train_inputs is damaged: .*{finding}; put") as error:
        snelson(data_root=tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: two_moons(every=0), "every must be >= 1, got 0"),
        (lambda: two_moons(grid_step=0.0), "grid_step must be > 0, got 0.0"),
        (lambda: two_moons(noise=-1.0), "noise must be >= 0, got -1.0"),
        (lambda: moons(1, 0.1, 0), "the number of points must be >= 2, got 1"),
        (lambda: snelson(holdout=1.0), r"holdout must be in \[0, 1\), got 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()  # type: ignore[operator]


# Schedules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 1e-3), (1, 1e-3), (1499, 1e-3), (1500, 1e-4), (2499, 1e-4), (2500, 1e-5), (2999, 1e-5)],
)
def test_the_rate_on_two_moons_falls_before_the_published_steps(step: int, rate: float) -> None:
    """Steps count from 0, as in the authors' notebook."""
    spec = recipes.resolve(
        recipes.load_benchmark("two_moons"), recipes.load_strategy("bayesbinn_reference"), {}
    )
    assert spec.epochs == 3000 and spec.batch_size == 200
    found = spec.settings["lr"] * SCHEDULES[spec.settings["schedule"]](step, spec.epochs)
    assert found == pytest.approx(rate, rel=1e-12)


def test_the_rate_on_snelson_falls_by_equal_factors_to_a_tenth() -> None:
    spec = recipes.resolve(
        recipes.load_benchmark("snelson"), recipes.load_strategy("bayesbinn_reference"), {}
    )
    assert spec.epochs == 5000
    rate = 1e-4
    for step in range(5000):
        if step:
            rate *= 0.1 ** (1 / 5000)  # as the authors' code does
        if step in (0, 1, 2500, 4999):
            found = spec.settings["lr"] * SCHEDULES[spec.settings["schedule"]](step, spec.epochs)
            assert found == pytest.approx(rate, rel=1e-9)
    assert SCHEDULES["geometric"](5000, 5000) == pytest.approx(0.1)


class Rates(SupervisedPlugin):
    """Notes the learning rate of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[float] = []

    def before_update(self, strategy: object, *args: object, **kwargs: object) -> None:
        self.found.append(strategy.optimizer.param_groups[0]["lr"])  # type: ignore[attr-defined]


def test_the_rate_reaches_the_optimiser_in_every_step() -> None:
    stream, rates = two_moons(**SMALL), Rates()  # type: ignore[arg-type]
    network = tanh_mlp(input_shape=(2,), out_features=1, width=2)
    strategy = AdamStrategy(
        model=TaskAware(network), lr=1.0, schedule="two_drops", objective=BINARY,
        train_mb_size=20, train_epochs=6, plugins=[rates],
    )  # fmt: skip
    strategy.train(stream.train[0])
    assert rates.found == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01])


# STE ---------------------------------------------------------------------------------------------


def test_ste_can_keep_biases_real_and_clamped() -> None:
    stream = two_moons(**SMALL)  # type: ignore[arg-type]
    network = tanh_mlp(input_shape=(2,), out_features=1, width=4)
    strategy = STEStrategy(
        model=TaskAware(network), lr=0.3, schedule="constant", real_biases=True, objective=BINARY,
        train_mb_size=20, train_epochs=1,
    )  # fmt: skip
    strategy.train(stream.train[0])
    biases = torch.cat([p.detach() for p in network.parameters() if p.dim() == 1])
    assert bool((biases.abs() > 0).any()) and bool((biases.abs() < 1).all()), "one step of 0.3"
    with strategy.optimizer.mode():
        for parameter in network.parameters():
            assert bool((parameter.abs() == 1).all()) == (parameter.dim() == 2)
    for _ in range(9):
        strategy.train(stream.train[0])
    biases = torch.cat([p.detach() for p in network.parameters() if p.dim() == 1])
    assert biases.abs().max() == 1, "ten steps of about 0.3 end at the clamp"
