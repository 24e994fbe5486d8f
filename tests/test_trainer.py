"""The trainer is a face of the loop of our runs: the same weights, the same numbers."""

import copy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import cl_bnn
from cl_bnn import Trainer
from cl_bnn.benchmarks.stream import build_benchmark
from cl_bnn.data.dataset import Split
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.nn import (
    BinaryConv2d,
    BinaryLinear,
    binary_group,
    binary_parameters,
    init_latent,
    real_parameters,
)
from cl_bnn.objectives import BINARY, CLASSIFICATION, REGRESSION, SEGMENTATION
from cl_bnn.optim import PMF, STE, BayesBiNN, Bop, averaged_prediction
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import AdamStrategy, BayesBiNNStrategy, BopStrategy, STEStrategy, Template

EPOCHS, BATCH = 3, 30
FEW = {"lr": 1e-2, "posterior_as_prior": False, "eval_samples": 7, "eval_seed": 3}


def blobs(count: int = 180) -> tuple[Tensor, Tensor]:
    """Three classes in eight dimensions, a little apart."""
    generator = torch.Generator().manual_seed(count)
    y = torch.arange(count) % 3
    x = torch.randn(count, 8, generator=generator) * 0.7
    x[torch.arange(count), y] += 2
    return x, y


def network() -> nn.Sequential:
    """Plain torch layers: two binary weight matrices, gains, shifts and a bias that are real."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(8, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)
    )


def bayesbinn(model: nn.Module, **settings: Any) -> BayesBiNN:
    inner = torch.optim.Adam(real_parameters(model), 1e-3)
    return BayesBiNN(binary_parameters(model), 1e-2, train_set_size=180, inner=inner, **settings)


def ste(model: nn.Module) -> STE:
    init_latent(model)
    groups = [
        {"params": binary_parameters(model)},
        {"params": real_parameters(model), "binary": False},
    ]
    return STE(groups, 1e-2)


def bop(model: nn.Module) -> Bop:
    inner = torch.optim.Adam(real_parameters(model), 1e-2)
    return Bop(binary_parameters(model), threshold=1e-5, gamma=1e-2, inner=inner)


def adam(model: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), 1e-2)


def by_hand(strategy_class: type[Template], **settings: Any) -> tuple[Template, pd.DataFrame]:
    """A strategy in Avalanche's loop, and what a recorder measures along it."""

    class Epochs(Recorder):
        def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
            held_out = self.training(), self.measure(strategy, benchmark.test_stream)[0]
            rows.append(held_out[0] | {f"val_{name}": v for name, v in held_out[1].items()})

    train, test = ([TaskView(Split(*blobs(n)), lambda x: x)] for n in (180, 60))
    benchmark, rows = build_benchmark(train, test, [0]), []
    strategy = strategy_class(
        model=network(), evaluator=Epochs(), train_mb_size=BATCH, train_epochs=EPOCHS,
        eval_mb_size=1000, **settings,
    )  # fmt: skip
    torch.manual_seed(5)
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    return strategy, pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("make", "strategy_class", "settings"),
    [
        (bayesbinn, BayesBiNNStrategy, FEW),
        (ste, STEStrategy, {"lr": 1e-2}),
        (bop, BopStrategy, {"threshold": 1e-5, "gamma": 1e-2}),
        (adam, AdamStrategy, {"lr": 1e-2, "schedule": "cosine"}),
    ],
)
def test_weights_and_history_are_those_of_the_strategy(
    make: Callable[[nn.Module], Any], strategy_class: Any, settings: dict[str, Any]
) -> None:
    strategy, rows = by_hand(strategy_class, **settings)
    model = network()
    optimizer = make(model)
    trainer = Trainer(model, optimizer, samples=7, seed=3)
    schedule = "constant" if make is bop else "cosine"  # the defaults of the strategies
    torch.manual_seed(5)
    history = trainer.fit(
        *blobs(), epochs=EPOCHS, batch_size=BATCH, validation_data=blobs(60), schedule=schedule
    )
    theirs = strategy.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in model.state_dict().items())
    assert same_state(optimizer.state_dict(), strategy.optimizer.state_dict())
    assert history.pop("epoch").tolist() == [0, 1, 2]
    pd.testing.assert_frame_equal(history, rows, check_exact=True)
    assert {"train_loss", "train_accuracy", "val_accuracy", "val_nll", "val_ece"} <= set(history)
    assert ("val_accuracy_mode" in history) == (make is bayesbinn)


@pytest.mark.parametrize("make", [bayesbinn, ste, bop, adam])
def test_a_toy_problem_is_learned(make: Callable[[nn.Module], Any]) -> None:
    model = network()
    trainer = Trainer(model, make(model), samples=10)
    history = trainer.fit(*blobs(), epochs=8, batch_size=20)
    assert history["train_loss"].iloc[-1] < 0.7 * history["train_loss"].iloc[0]
    assert trainer.evaluate(*blobs(60))["accuracy"] > 0.85


def test_several_samples_a_step_are_those_of_the_strategy() -> None:
    strategy, _ = by_hand(BayesBiNNStrategy, lr=1e-2, mc_samples=3, eval_samples=0)
    model = network()
    optimizer = bayesbinn(model, mc_samples=3)
    torch.manual_seed(5)
    trainer = Trainer(model, optimizer, samples=0)
    trainer.fit(*blobs(), epochs=EPOCHS, batch_size=BATCH, schedule="cosine")
    for ours, theirs in zip(optimizer.naturals(), strategy.naturals() or [], strict=True):
        assert torch.equal(ours, theirs)


def trained() -> tuple[Trainer, nn.Module, BayesBiNN]:
    model = network()
    optimizer = bayesbinn(model)
    trainer = Trainer(model, optimizer, samples=4, seed=2)
    trainer.fit(*blobs(), epochs=2, batch_size=BATCH)
    return trainer, model, optimizer


def test_predictions_average_networks_drawn_from_the_posterior() -> None:
    trainer, model, optimizer = trained()
    x, _ = blobs(60)
    model.eval()
    for asked, count in ((None, 4), (9, 9)):
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad(), optimizer.posterior_samples(count, generator) as samples:
            expected = averaged_prediction(model(x) for _ in samples).exp()
        found = trainer.predict(x, samples=asked)
        assert torch.equal(found, expected)
        torch.testing.assert_close(found.sum(1), torch.ones(60))
    in_pieces = trainer.predict(x, samples=9, batch_size=7)
    torch.testing.assert_close(in_pieces, expected)


def test_without_samples_the_mode_predicts() -> None:
    trainer, model, optimizer = trained()
    x, y = blobs(60)
    model.eval()
    with torch.no_grad(), optimizer.mode():
        expected = model(x).softmax(1)
    torch.testing.assert_close(trainer.predict(x, samples=0), expected)
    found = trainer.evaluate(x, y, samples=0)
    assert found["accuracy"] == (expected.argmax(1) == y).double().mean().item()
    assert set(found) == {"accuracy", "nll", "ece", "brier"}
    with_samples = trainer.evaluate(x, y)
    assert with_samples["accuracy_mode"] == found["accuracy"] and "nll" in with_samples


def same_state(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two optimisers know the same of every parameter, to the bit."""
    return one["state"].keys() == other["state"].keys() and all(
        known.keys() == other["state"][place].keys()
        and all(
            torch.equal(torch.as_tensor(value), torch.as_tensor(other["state"][place][key]))
            for key, value in known.items()
        )
        for place, known in one["state"].items()
    )


def test_measuring_leaves_no_trace() -> None:
    trainer, model, optimizer = trained()
    model.train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, random = copy.deepcopy(optimizer.state_dict()), torch.get_rng_state()
    trainer.predict(blobs(60)[0])
    trainer.evaluate(*blobs(60))
    assert [module.training for module in model] == [True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert same_state(optimizer.state_dict(), state)
    assert torch.equal(torch.get_rng_state(), random)


def test_a_second_fit_goes_on_with_the_first_and_its_learning_rate() -> None:
    model, whole = network(), network()
    optimizer = adam(model)
    trainer = Trainer(model, optimizer)
    torch.manual_seed(5)
    trainer.fit(*blobs(), epochs=2, batch_size=BATCH)
    rows = trainer.fit(*blobs(), epochs=1, batch_size=BATCH)
    assert rows["epoch"].tolist() == [2] and trainer.history["epoch"].tolist() == [0, 1, 2]
    torch.manual_seed(5)
    at_once = Trainer(whole, adam(whole)).fit(*blobs(), epochs=3, batch_size=BATCH)
    pd.testing.assert_frame_equal(trainer.history, at_once, check_exact=True)
    assert torch.equal(whole[0].weight, model[0].weight)
    trainer.fit(*blobs(), epochs=2, schedule="cosine")
    assert optimizer.param_groups[0]["lr"] == 1e-2


def test_arrays_and_other_types_of_numbers() -> None:
    x, y = blobs()
    expected = None
    frozen = x.numpy().copy()
    frozen.flags.writeable = False
    turned = np.asfortranarray(x.numpy())
    for inputs in (x, x.double(), x.numpy(), frozen, turned, turned[::-1][::-1], x.tolist()):
        for targets in (
            y,
            y.int(),
            y.numpy().astype(np.uint8),
            y.numpy().astype(np.uint16),
            y.tolist(),
        ):
            model = network()
            trainer = Trainer(model, adam(model))
            torch.manual_seed(5)
            trainer.fit(inputs, targets, epochs=np.int64(1), batch_size=np.int64(60))
            expected = model[0].weight.clone() if expected is None else expected
            assert torch.equal(model[0].weight, expected)


def test_a_network_of_double_precision() -> None:
    model = network().double()
    trainer = Trainer(model, bayesbinn(model), samples=3)
    trainer.fit(*blobs(), batch_size=BATCH)
    assert trainer.predict(blobs(60)[0]).dtype == torch.float64


def test_regression() -> None:
    x = torch.linspace(-1, 1, 60)[:, None]
    y = torch.cat([x, -x], 1)
    model = nn.Linear(1, 2)
    trainer = Trainer(model, torch.optim.SGD(model.parameters(), 0.2), REGRESSION)
    history = trainer.fit(x, y, epochs=20, batch_size=10, validation_data=(x, y))
    assert list(history) == ["epoch", "train_loss", "val_rmse"]
    assert trainer.evaluate(x, y)["rmse"] < 0.05
    with torch.no_grad():
        assert torch.equal(trainer.predict(x), model(x))


def test_one_logit_gives_two_probabilities() -> None:
    x, y = blobs()
    x, y = x[y < 2], y[y < 2]
    model = BinaryLinear(8, 1)
    trainer = Trainer(model, BayesBiNN(model.parameters(), 1e-2, train_set_size=120), BINARY)
    trainer.fit(x, y, epochs=3, batch_size=10)
    found = trainer.predict(x, samples=5)
    assert found.shape == (120, 2)
    torch.testing.assert_close(found.sum(1), torch.ones(120))
    assert trainer.evaluate(x, y)["accuracy"] > 0.9
    torch.testing.assert_close(trainer.predict(x, samples=0).sum(1), torch.ones(120))


def test_maps_of_labels() -> None:
    x = torch.randn(12, 1, 4, 5)
    y = (x[:, 0] > 0).long()
    model = BinaryConv2d(1, 2, 1)
    trainer = Trainer(model, PMF(model.parameters(), 1e-2), SEGMENTATION)
    trainer.fit(x, y, epochs=3, batch_size=4)
    assert trainer.predict(x).shape == (12, 2, 4, 5)
    assert "iou_mean" in trainer.evaluate(x, y)


def test_what_a_map_needs_is_said() -> None:
    x = torch.randn(12, 1, 4, 5)
    y = (x[:, 0] > 0).long()
    model = BinaryConv2d(1, 3, 1)
    with pytest.raises(ValueError, match=r"of one label a sample, .* take cl_bnn\.objectives\.SEG"):
        Trainer(model, STE(model.parameters())).fit(x, y)
    with pytest.raises(
        ValueError, match="a segmentation is measured for 2 classes, and there are 3"
    ):
        Trainer(model, STE(model.parameters()), SEGMENTATION).evaluate(x, y)


@pytest.mark.parametrize("make", [ste, bayesbinn, bop])
def test_an_interrupted_fit_leaves_what_was_learned(make: Callable[[nn.Module], Any]) -> None:
    calls = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(outputs))
        if len(calls) == 9:
            raise KeyboardInterrupt
        return F.cross_entropy(outputs, targets)

    model = network()
    trainer = Trainer(model, make(model), loss)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*blobs(), epochs=2, batch_size=30)
    whole = copy.deepcopy(model), copy.deepcopy(trainer.optimizer.state_dict())
    before = trainer.predict(blobs()[0])
    again = network()
    again.load_state_dict(whole[0].state_dict())
    optimizer = make(again) if make is not ste else STE(
        [{"params": binary_parameters(again)},
         {"params": real_parameters(again), "binary": False}], 1e-2,
    )  # fmt: skip
    optimizer.load_state_dict(whole[1])
    assert torch.equal(Trainer(again, optimizer).predict(blobs()[0]), before)
    if make is ste:  # latent weights, not their signs
        assert not bool((model[0].weight.abs() == 1).all())


def test_a_schedule_needs_a_learning_rate() -> None:
    model = network()
    with pytest.raises(ValueError, match="schedule 'cosine' has no learning rate .* Bop has none"):
        Trainer(model, bop(model)).fit(X, Y, schedule="cosine")


def test_a_loss_of_the_users_own_is_trained_on() -> None:
    def smoothed(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=0.3)

    losses = []
    for loss in (smoothed, nn.CrossEntropyLoss(label_smoothing=0.3), F.cross_entropy):
        model = network()
        torch.manual_seed(5)
        losses.append(Trainer(model, adam(model), loss).fit(*blobs())["train_loss"][0])
    assert losses[0] == losses[1] != losses[2]


def test_verbose_prints_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    model = network()
    trainer = Trainer(model, adam(model))
    history = trainer.fit(*blobs(), epochs=2, verbose=True)
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"epoch 0: train_loss {history.train_loss[0]:.4f}, train_accuracy " + (
        f"{history.train_accuracy[0]:.4f}"
    )
    assert second.startswith("epoch 1: ")
    trainer.fit(*blobs())
    assert capsys.readouterr().out == ""


def test_a_norm_learns_nothing_of_single_samples() -> None:
    model = network()
    with pytest.raises(ValueError, match="batch_size must be >= 2 for a BatchNorm to learn from"):
        Trainer(model, adam(model)).fit(*blobs(), batch_size=1)


def test_a_class_may_train_parameters_itself() -> None:
    class Both(Template):
        trains_all = False

    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2))
    given: Any = {"model": model, "optimizer": torch.optim.SGD(model[0].parameters(), 0.1)}
    Both(**given)
    with pytest.raises(ValueError, match="optimizer leaves 1.weight untrained, in its groups"):
        Template(**given)


def test_a_parameter_that_nobody_trains_is_named() -> None:
    model = nn.Sequential(nn.Linear(8, 3))
    with pytest.raises(
        ValueError, match="optimizer leaves 0.bias untrained, .*: give cl_bnn.nn.real"
    ):
        Trainer(model, Bop([model[0].weight], threshold=1e-6, gamma=1e-3))
    model[0].bias.requires_grad_(False)
    Trainer(model, Bop([model[0].weight], threshold=1e-6, gamma=1e-3))


X, Y = blobs()
HOLED = torch.where(torch.arange(180)[:, None] == 7, torch.nan, X)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, Y[:100]), r"y must have the shape \(180,\), got \(100,\)"),
        ((X, Y[:, None]), r"y must have the shape \(180,\), got \(180, 1\)"),
        ((X, F.one_hot(Y)), r"shape \(180,\) \(labels, not a column for every class\), got \(180"),
        (
            (X, Y.float()),
            "y must be labels of classes, whole numbers, got torch.float32; for",
        ),
        ((X, Y + 1), "y must be labels from 0 to 2, as the network has 3 classes, got 3"),
        ((X, Y - 1), "y must be labels from 0 to 2, as the network has 3 classes, got -1"),
        ((X[:, :5], Y), r"x of shape \(180, 5\) does not fit the network: mat1 and mat2"),
        ((X[:0], Y[:0]), r"x must be at least one sample, got \(0, 8\)"),
        ((HOLED, Y), "x holds NaN or infinity in 1 of 180 samples"),
        ((X / 0, Y), "x holds NaN or infinity in 180 of 180 samples"),
        ((["a", "b"], Y), "x must be a tensor or an array of numbers"),
        (([[1.0], [1.0, 2.0]], Y), "x must be a tensor or an array of numbers"),
        ((X, None), "y must be a tensor or an array of numbers"),
    ],
)
def test_data_that_do_not_fit_are_one_line(data: Any, message: str) -> None:
    model = network()
    trainer = Trainer(model, adam(model))
    before = model[0].weight.clone()
    calls: list[Callable[[], Any]] = [
        lambda: trainer.fit(*data),
        lambda: trainer.evaluate(*data),
        lambda: trainer.fit(X, Y, validation_data=data),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number >= 1, got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number >= 1, got 1.5"),
        ({"batch_size": 0}, "batch_size must be a whole number >= 1, got 0"),
        ({"validation_data": X}, r"validation_data must be a pair \(x, y\), got <class 'to"),
        ({"validation_data": (X, Y[:1])}, "validation y must have the shape"),
        ({"schedule": "cosin"}, "schedule must be one of cosine"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    model = network()
    with pytest.raises(ValueError, match=message):
        Trainer(model, adam(model)).fit(X, Y, **settings)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            "crossentropy",
            "loss must be a function of outputs and targets, or one of CLASS",
        ),
        (nn.CrossEntropyLoss, "loss must be a function"),
        (None, "loss must be a function"),
        (F.mse_loss, r"loss does not fit outputs of shape \(2, 3\) and targets of shape \(2,\)"),
        (nn.CrossEntropyLoss(reduction="none"), r"loss must be a mean, .* got \(2,\)"),
        (lambda outputs, targets: 1.0, "loss must be a mean, .* got <class 'float'>"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_loss_that_is_none(loss: Any, message: str) -> None:
    model = network()
    with pytest.raises(ValueError, match=message):
        Trainer(model, adam(model), loss).fit(X, Y)


def test_a_regression_of_other_shape() -> None:
    model = nn.Linear(8, 2)
    trainer = Trainer(model, adam(model), REGRESSION)
    with pytest.raises(ValueError, match=r"y must have the shape \(180, 2\), got \(180,\)"):
        trainer.fit(X, Y)


def test_a_network_that_returns_no_outputs() -> None:
    model = nn.Sequential(nn.Linear(8, 1), nn.Flatten(0))
    with pytest.raises(ValueError, match=r"output for x must be \(batch, outputs, ...\), got \(2"):
        Trainer(model, adam(model)).fit(X, Y)


def test_what_would_become_binary_unasked() -> None:
    model = network()
    allowed = [{"params": model.parameters(), "binary_vectors": True}]
    everything = BayesBiNN(allowed, train_set_size=180)
    with pytest.raises(ValueError, match="optimizer would make 1.weight binary: give it cl_bnn.nn"):
        Trainer(model, everything)
    with pytest.raises(ValueError, match="optimizer would make 1.weight binary"):
        Trainer(model, STE([{"params": model.parameters(), "binary_vectors": True}]))
    asked = BinaryLinear(8, 3, True, binary_bias=True)
    Trainer(asked, BayesBiNN([binary_group(asked)], train_set_size=180))


def test_an_optimiser_of_another_network() -> None:
    with pytest.raises(ValueError, match="optimizer must be made from parameters of the model"):
        Trainer(network(), adam(network()))


def test_samples_of_what_has_no_posterior() -> None:
    model = network()
    trainer = Trainer(model, adam(model))
    with pytest.raises(ValueError, match="samples must be 0, as Adam has no posterior, got 5"):
        trainer.predict(X, samples=5)
    with pytest.raises(ValueError, match="samples must be a whole number >= 0, got -1"):
        trainer.predict(X, samples=-1)
    with pytest.raises(ValueError, match="samples must be a whole number >= 0, got 1.5"):
        Trainer(model, adam(model), samples=1.5)  # type: ignore[arg-type]
    assert trainer.predict(X, samples=0).shape == (180, 3)


def test_training_that_breaks_down_keeps_its_history() -> None:
    model = network()
    calls = iter(range(100))

    def breaks(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets) / (1 - (next(calls) >= 3) * 1.0)

    trainer = Trainer(model, adam(model), replace(CLASSIFICATION, loss=breaks))
    with pytest.raises(UserError, match="the training loss is .* in epoch 1: the learning rate"):
        trainer.fit(X, Y, epochs=3, batch_size=90)
    assert trainer.history["epoch"].tolist() == [0]


def test_the_package_is_light_until_the_trainer_is_asked_for() -> None:
    code = """
import sys
import cl_bnn
assert "Trainer" in dir(cl_bnn) and cl_bnn.__all__ == ["Trainer", "__version__"]
heavy = {"torch", "avalanche", "numpy", "pandas"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="module 'cl_bnn' has no attribute 'Trainr'"):
        cl_bnn.Trainr  # noqa: B018


def test_the_posterior_becomes_the_prior_between_two_fits_when_told() -> None:
    trainer, _, optimizer = trained()
    held = [natural.clone() for natural in optimizer.naturals()]
    optimizer.posterior_to_prior()
    trainer.fit(*blobs(60), batch_size=BATCH)
    priors = [state["prior"] for state in optimizer.state.values()]
    assert all(map(torch.equal, priors, held))
    assert not any(map(torch.equal, optimizer.naturals(), held))
