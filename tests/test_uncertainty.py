"""What a learner says of images that it should not know."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_execution import carry_out, plan
from tiny import stream
from torch import Tensor, nn

from cl_bnn import data, uncertainty
from cl_bnn.benchmarks import permuted, rotated, single
from cl_bnn.data.dataset import Dataset, Split
from cl_bnn.errors import UserError
from cl_bnn.metrics import entropies
from cl_bnn.nn import mlp
from cl_bnn.objectives import SEGMENTATION
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import BayesBiNNStrategy, STEStrategy, TaskAware, ensemble_of
from cl_bnn.strategies.loading import view_behind


def learner(kind: Any = BayesBiNNStrategy, outputs: int = 2, **more: Any) -> Any:
    torch.manual_seed(0)
    network = mlp(in_features=784, out_features=outputs, width=16)
    return kind(model=TaskAware(network), evaluator=Recorder(), **more)


def view(name: str = "test") -> Any:
    return view_behind(getattr(stream(n_experiences=1), name)[0].dataset)


def test_other_kinds_are_test_images_turned_and_inverted() -> None:
    rows = torch.tensor([3, 5])
    raw = view().raw(rows)
    turned, negative = (kind(view(), rows) for kind in (uncertainty.rotated, uncertainty.inverted))
    assert torch.equal(turned[1, 0, 0], raw[1, 0, :, -1])  # the last column becomes the first row
    assert torch.equal(negative.int(), 255 - raw.int())


def test_entropies_are_those_of_the_sampled_networks() -> None:
    strategy, tests = learner(eval_samples=3), list(stream(n_experiences=2).test)
    before = [p.detach().clone() for p in strategy.model.parameters()]
    found = uncertainty.measure(strategy, tests, None)
    inputs = view().finish(view().raw())
    generator = torch.Generator().manual_seed(strategy.eval_seed)
    with torch.no_grad(), strategy.optimizer.posterior_samples(3, generator) as networks:
        outputs = torch.stack(
            [strategy.model(inputs, torch.zeros(len(inputs), dtype=torch.int64)) for _ in networks]
        )
    total, epistemic = entropies(outputs)
    assert found[0]["epistemic"] == pytest.approx(epistemic.mean().item())
    assert found[0]["aleatoric"] == pytest.approx((total - epistemic).mean().item())
    assert found[0]["epistemic"] > 0 and found[0] != found[1]
    for p, held in zip(strategy.model.parameters(), before, strict=True):
        assert torch.equal(p, held)


@pytest.mark.parametrize("kind", ["ste", "bagging", "posterior"])
def test_networks_that_predict_are_asked(kind: str) -> None:
    if kind == "ste":
        strategy, networks = learner(STEStrategy), 1
    else:
        mode: Any = "independent" if kind == "bagging" else "posterior"
        member = STEStrategy if kind == "bagging" else BayesBiNNStrategy
        strategy, networks = learner(ensemble_of(member, mode), size=3, train_mb_size=50), 3
    strategy.train(stream(n_experiences=1).train[0], eval_streams=[])
    with uncertainty.asked(strategy) as ask:
        outputs = ask(view().finish(view().raw()), stream(n_experiences=1).test[0])
    assert outputs.shape == (networks, len(view()), 2)
    (found,) = uncertainty.measure(strategy, list(stream(n_experiences=1).test), None)
    assert (found["epistemic"] > 1e-6) == (networks > 1)


class Known(nn.Module):
    """Sure of images whose corner is black, and not of others."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        black = (x.flatten(1)[:, 0] < 0).float()
        return torch.stack([20 * black, 0 * black], 1) + 0 * self.weight.sum()


def test_auroc_tells_whether_strange_images_are_known_to_be_strange() -> None:
    strategy = learner(STEStrategy)
    strategy.model = TaskAware(Known())
    (found,) = uncertainty.measure(strategy, list(stream(n_experiences=1).test), None)
    assert found["auroc_inverted"] == 1 and found["auroc_rotated"] == 0.5


def fake(name: str, root: Any) -> Dataset:
    x = torch.randint(256, (300, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator())
    split = Split(x, torch.arange(300) % 10)
    return Dataset(name, split, split, (0.3,), (0.3,), 10)


def test_other_data_sets_stand_for_the_unknown_where_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strategy = learner(STEStrategy, outputs=10)
    tests = list(permuted(n_experiences=2).test)
    mnist = data.load("mnist")
    load = {"mnist": mnist, "fashion_mnist": fake("fashion_mnist", None)}
    monkeypatch.setattr(uncertainty.datasets, "load", lambda name, root: load[name])
    monkeypatch.setattr(uncertainty.datasets, "present", lambda name, root: True)
    found = uncertainty.measure(strategy, tests, None)
    kinds = {"auroc_rotated", "auroc_inverted", "auroc_fashion_mnist"}
    assert set(found[1]) == {"aleatoric", "epistemic"} | kinds
    monkeypatch.setattr(uncertainty.datasets, "present", lambda name, root: name == "mnist")
    assert "auroc_fashion_mnist" not in uncertainty.measure(strategy, tests, None)[0]


def test_what_is_damaged_stands_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has asked for it, and a run does not end for it."""

    def load(name: str, root: Any) -> Dataset:
        raise UserError(f"{name} is damaged")

    tests = list(stream(n_experiences=1).test)
    monkeypatch.setattr(uncertainty.datasets, "load", load)
    monkeypatch.setattr(uncertainty.datasets, "present", lambda name, root: True)
    (found,) = uncertainty.measure(learner(STEStrategy), tests, None)
    assert set(found) == {"aleatoric", "epistemic", "auroc_rotated", "auroc_inverted"}


def test_a_rotated_stream_knows_rotated_images() -> None:
    tests = list(rotated(n_experiences=2).test)
    found = uncertainty.measure(learner(STEStrategy, outputs=10), tests, None)
    assert all("auroc_rotated" not in values for values in found)
    assert all("auroc_inverted" in values for values in found)


def test_images_on_another_scale_or_the_same_ones_do_not_stand_for_the_unknown(
    tmp_path: Path,
) -> None:
    mnist = data.load("mnist").test
    few = Split(mnist.x[:200], mnist.y[:200])
    for scale in (1, 255.0):
        x, y = (few.x / scale if scale > 1 else few.x).numpy(), few.y.numpy()
        np.savez(tmp_path / f"{scale}.npz", x_train=x, y_train=y, x_test=x, y_test=y)
        tests = list(single(data=str(tmp_path / f"{scale}.npz")).test)
        (found,) = uncertainty.measure(learner(STEStrategy, outputs=10), tests, None)
        assert "auroc_mnist" not in found and "auroc_rotated" in found


def test_nothing_is_said_where_there_are_no_classes_or_no_images() -> None:
    strategy, tests = learner(STEStrategy), list(stream(n_experiences=1).test)
    strategy.objective = SEGMENTATION
    assert uncertainty.measure(strategy, tests, None) == [{}]


def test_features_have_entropies_and_nothing_that_is_turned(tmp_path: Path) -> None:
    x, y = np.random.RandomState(0).randn(60, 4).astype("float32"), np.arange(60) % 2
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    tests = list(single(data=str(tmp_path / "mine.npz")).test)
    network = mlp(in_features=4, out_features=2, width=8)
    strategy = STEStrategy(model=TaskAware(network), evaluator=Recorder())
    (found,) = uncertainty.measure(strategy, tests, None)
    assert set(found) == {"aleatoric", "epistemic"}


def test_what_was_learned_and_the_next_task_are_asked_after_every_task(tmp_path: Path) -> None:
    (run,) = plan(tmp_path)
    carry_out([run])
    rows = pd.read_csv(run.path)
    asked = rows[rows["metric"] == "epistemic"]
    assert asked["epoch"].isna().all()
    places = list(zip(asked["after"], asked["on"], strict=True))
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    bins = rows[rows["metric"].str.startswith("bin_share")]
    assert set(bins["after"]) == {2} and set(bins["on"]) == {0, 1, 2}
    assert bins.groupby("on")["value"].sum().tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    assert not rows["metric"].str.match(r"bin_\w+_(mode|val)").any()
