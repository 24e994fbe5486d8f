"""What trained networks predict at the places of a probe: computed, and on file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cl_bnn import predictions, probe, results, runner
from cl_bnn.benchmarks import two_moons
from cl_bnn.errors import UserError
from cl_bnn.events import Event
from cl_bnn.nn import tanh_mlp
from cl_bnn.objectives import BINARY, REGRESSION
from cl_bnn.predictions import Table
from cl_bnn.probe import Probe
from cl_bnn.strategies import BayesBiNNStrategy, STEStrategy, TaskAware

SMALL: dict[str, object] = {
    "stream.n_train": 20, "stream.n_test": 6, "stream.grid_step": 0.5, "stream.every": 2,
    "model.width": 4, "batch_size": 20, "epochs": 7,
}  # fmt: skip
X = torch.tensor([[-1.0], [0.0], [4.0]])


def numbers(x: torch.Tensor = X) -> Probe:
    """A probe of a regression whose training data are 0, 1, 2 with targets 0."""
    train = torch.tensor([[0.0], [1.0], [2.0]])
    away = torch.tensor([True, False, True])
    return Probe(x, x, away, train, (train, torch.zeros(3, 1)), REGRESSION)


def line(weight: float) -> nn.Sequential:
    """w x, normalised: the single weight decides the sign."""
    network = tanh_mlp(input_shape=(1,), out_features=1, depth=0, bias="none", output_norm="shared")
    with torch.no_grad():
        network[1].weight.fill_(weight)  # type: ignore[operator, union-attr]
    return network


def ste(network: nn.Module, **settings: Any) -> STEStrategy:
    return STEStrategy(model=TaskAware(network), **settings)


# Computed ----------------------------------------------------------------------------------------


def test_statistics_of_the_inputs_and_running_averages_by_hand() -> None:
    strategy = ste(line(1.0))
    with torch.no_grad():
        strategy.model.network[1].weight.fill_(-0.3)  # init_latent has drawn anew
    norm = strategy.model.network[2]
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4.0)
    strategy.model.train()
    found = {(p, s): v for p, s, v in probe.predict(strategy, numbers())}
    assert set(found) == {("mode", "running"), ("mode", "batch")}
    x = torch.tensor([1.0, 0.0, -4.0])  # sign(-0.3) x
    torch.testing.assert_close(found["mode", "running"], (x - 1) / (4 + 1e-4) ** 0.5)
    torch.testing.assert_close(
        found["mode", "batch"], (x - x.mean()) / (x.var(correction=0) + 1e-4) ** 0.5
    )
    assert norm.running_mean.item() == 1 and norm.running_var.item() == 4, "nothing was learned"
    assert all(module.training for module in strategy.model.modules())
    assert strategy.model.network[1].weight.item() == pytest.approx(-0.3)


def test_fit_of_both_kinds_of_statistics_by_hand() -> None:
    strategy = ste(line(1.0))
    strategy.model.network[2].running_var.fill_(1 - 1e-4)
    found = probe.measure(strategy, numbers())
    assert set(found) == {"fit_rmse", "fit_rmse_batch"}
    assert found["fit_rmse"] == pytest.approx((5 / 3) ** 0.5)  # of +-0, 1, 2
    assert found["fit_rmse_batch"] == pytest.approx((2 / 3 / (2 / 3 + 1e-4)) ** 0.5, rel=1e-6)


@pytest.mark.parametrize("objective", [BINARY, REGRESSION])
def test_mean_and_deviation_are_those_of_the_networks_of_an_evaluation(objective: Any) -> None:
    network = tanh_mlp(input_shape=(1,), out_features=1, width=3)
    strategy = BayesBiNNStrategy(
        model=TaskAware(network), eval_samples=5, init_lambda=0.3, eval_seed=4, objective=objective
    )
    strategy.optimizer.naturals()  # begins the posterior, which draws
    look = Probe(
        X, X, torch.tensor([True, False, True]), X, (X, torch.tensor([0, 1, 0])), objective
    )
    before = torch.get_rng_state()
    found = {p: v for p, s, v in probe.predict(strategy, look)}
    assert torch.equal(torch.get_rng_state(), before)
    generator = torch.Generator().manual_seed(4)
    with strategy.optimizer.posterior_samples(5, generator) as samples, torch.no_grad():
        outputs = torch.stack([network(X).squeeze(1) for _ in samples])
    values = outputs.sigmoid() if objective is BINARY else outputs
    torch.testing.assert_close(found["mean"], values.mean(0))
    with strategy.optimizer.mode(), torch.no_grad():
        mode = network(X).squeeze(1)
    torch.testing.assert_close(found["mode"], mode.sigmoid() if objective is BINARY else mode)
    if objective is REGRESSION:
        torch.testing.assert_close(found["std"], values.std(0))
        spread = probe.measure(strategy, numbers())
        assert spread["std_near"] == pytest.approx(values.std(0)[1].item(), rel=1e-5)
        assert spread["std_away"] == pytest.approx(values.std(0)[[0, 2]].mean().item(), rel=1e-5)
    else:
        assert set(found) == {"mean", "mode"}


def test_entropy_away_from_the_data_by_hand() -> None:
    strategy = ste(tanh_mlp(input_shape=(1,), out_features=1, depth=0, bias="none"))
    with torch.no_grad():
        strategy.model.network[1].weight.fill_(1.0)
    places = torch.tensor([[0.0], [5.0], [-200.0]])  # probabilities 1/2, any, 0
    away = torch.tensor([True, False, True])
    train = torch.tensor([[-1.0], [1.0], [2.0], [3.0]]), torch.tensor([0, 1, 1, 0])
    found = probe.measure(strategy, Probe(places, places, away, train[0], train, BINARY))
    assert found == {"fit_accuracy": 0.75, "entropy_away": 0.5}


def test_statistics_of_a_network_without_batch_norm_are_none() -> None:
    assert probe.kinds_of_statistics(nn.Linear(1, 1)) == ("none",)
    assert probe.kinds_of_statistics(line(1.0)) == ("running", "batch")
    transductive = tanh_mlp(input_shape=(1,), out_features=1, output_norm="batch")
    assert probe.kinds_of_statistics(transductive) == ("batch",)


# On file -----------------------------------------------------------------------------------------

TABLES = [
    Table("data", "none", [[0.5, 1.0]], [1.0]),
    Table("mode", "none", [[0.0, -0.00001], [1.23456, 100.0]], [0.25, 0.99999]),
]
TEXT = """x1,x2,predictor,statistics,value
0.5,1,data,none,1
0,0,mode,none,0.25
1.2346,100,mode,none,1
"""


def test_file_by_hand_and_read_again(tmp_path: Path) -> None:
    path = predictions.path_beside(tmp_path / "seed3.csv")
    assert path.name == "predictions_seed3.csv", "not a name that results.read looks for"
    path.write_bytes(predictions.to_bytes(TABLES))
    assert path.read_text() == TEXT
    frame = predictions.read(path)
    assert list(frame.columns) == ["x1", "x2", "predictor", "statistics", "value"]
    assert frame["value"].tolist() == [1, 0.25, 1] and frame["statistics"].tolist() == ["none"] * 3


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "y,predictor,statistics,value\n", TEXT.replace("100", "far"), None]
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "predictions_seed0.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match="is not a table of predictions .*: delete it") as error:
        predictions.read(path)
    assert "\n" not in str(error.value)


class Stop(Exception):
    """Stands for whatever ends a process."""


def plan(folder: Path, strategy: str = "bayesbinn", **overrides: object) -> runner.Run:
    settings = SMALL | ({"mc_samples": 2, "eval_samples": 3} if strategy == "bayesbinn" else {})
    (run,) = runner.plan("two_moons", [strategy], [0], settings | overrides, "task", folder)
    return run


def carry_out(run: runner.Run, on_event: Callable[[Event], None] = lambda e: None) -> None:
    runner.run_all([run], jobs=1, device="cpu", data_root=None, on_event=on_event)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> runner.Run:
    run = plan(tmp_path_factory.mktemp("whole"))
    carry_out(run)
    return run


@pytest.mark.parametrize("moment", ["epoch", "task", "between the files"])
def test_an_ended_run_ends_with_the_same_bytes(
    tmp_path: Path, whole: runner.Run, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan(tmp_path)
    beside = predictions.path_beside(run.path)

    def end(*arguments: object) -> None:
        if moment == "between the files" or arguments[0].kind == moment:  # type: ignore[attr-defined]
            raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        if moment == "between the files":
            patch.setattr(results, "write", end)
        carry_out(run, end if moment != "between the files" else lambda e: None)
    assert beside.exists() == (moment == "between the files")
    assert not results.finished(run.path, run.as_dict())
    carry_out(run)
    assert results.finished(run.path, run.as_dict())
    for path, expected in (
        (run.path, whole.path),
        (beside, predictions.path_beside(whole.path)),
    ):
        assert path.read_bytes() == expected.read_bytes()


def test_the_file_of_a_run_is_complete(whole: runner.Run) -> None:
    frame = predictions.read(predictions.path_beside(whole.path))
    places = len(two_moons(n_train=20, grid_step=0.5).probe.places)  # type: ignore[union-attr]
    counts = frame["predictor"].value_counts().to_dict()
    assert counts == {"data": 20, "mean": places, "mode": places}
    assert set(frame["statistics"]) == {"none"}
    assert frame["value"].between(0, 1).all()


def test_a_record_every_few_steps_and_the_metrics_of_the_probe_at_the_end(
    whole: runner.Run,
) -> None:
    frame = results.read(whole.out)
    losses = frame[frame["metric"] == "train_loss"]
    assert losses["epoch"].tolist() == [1, 3, 5, 6], "every second of seven steps, and the last"
    ends = set(frame[frame["epoch"].isna()]["metric"])
    for metric in ("fit_accuracy", "entropy_away", "accuracy"):
        assert {metric, f"{metric}_mode"} <= ends
