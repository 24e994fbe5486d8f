"""The posterior of a task as the prior of the next, with what belongs together in it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_execution import Stop, carry_out, plan, stop_at
from tiny import stream
from torch import nn

from cl_bnn.errors import UserError
from cl_bnn.nn import mlp
from cl_bnn.objectives import SEGMENTATION
from cl_bnn.optim import kronecker_factors
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import (
    EWC,
    BayesBiNNStrategy,
    Composed,
    KroneckerPrior,
    STEStrategy,
    TaskAware,
    ensemble_of,
)


def strategy(n_heads: int = 1, seed: int = 0, **more: Any) -> Any:
    torch.manual_seed(seed)
    network = mlp(in_features=784, out_features=2, width=16, norm="layer", n_heads=n_heads)
    settings: dict[str, Any] = dict(
        model=TaskAware(network), prior="kronecker", prior_samples=150, eval_samples=3,
        train_mb_size=20, train_epochs=2, eval_mb_size=100, evaluator=Recorder(),
    )  # fmt: skip
    return BayesBiNNStrategy(**settings | more)


def accuracies(learner: Any, **settings: Any) -> list[float]:
    data = stream(n_experiences=3, **settings)
    for experience in data.train:
        learner.train(experience, eval_streams=[])
    found = learner.evaluator.measure(learner, data.test)
    return [found[task]["accuracy"] for task in range(3)]


def test_old_tasks_are_remembered_better() -> None:
    """On average: on a network this small, chance and rounding make much of a single seed."""
    settings = {"mode": "straight", "train_set_size": 60_000, "train_epochs": 10}

    def mean(prior: str) -> Any:
        seeds = range(4)
        found = [accuracies(strategy(seed=seed, prior=prior, **settings)) for seed in seeds]
        return np.mean(found, axis=0)

    apart, together = mean("independent"), mean("kronecker")
    assert together[0] > apart[0] + 0.15 and together[2] > 0.9


def test_factors_are_those_of_the_task_just_learned() -> None:
    learner, data = strategy(n_heads=3), stream(n_experiences=3, heads=True)
    heads = [learner.model.network.heads[k][0].weight for k in range(3)]
    for task, experience in enumerate(data.train):
        learner.train(experience, eval_streams=[])
        known = ["inputs" in learner.optimizer.state[head] for head in heads]
        assert known == [k <= task for k in range(3)]
    first, *_, last = (learner.optimizer.state[p] for p in learner.model.network.parameters())
    assert first["factor_tasks"] == 3 and last["factor_tasks"] == 1
    # Pixels that are always black carry no information but that of their constant.
    torch.testing.assert_close(first["inputs"], first["inputs"].t())
    x = torch.stack([x for x, *_ in data.train[0].dataset]).flatten(1)
    n = sum(len(experience.dataset) for experience in data.train)
    corner = n * x[0, 0].square()
    assert first["inputs"][0, 0].item() == pytest.approx(corner.item(), rel=1e-4)


def test_a_layer_without_factors_is_named_before_a_task_is_learned() -> None:
    model = TaskAware(nn.Sequential(nn.Conv2d(1, 4, 3, padding_mode="circular"), nn.Flatten()))
    learner = BayesBiNNStrategy(model=model, prior="kronecker", evaluator=Recorder())
    with pytest.raises(UserError, match=r"shape \(4, 1, 3, 3\) has no .*; take prior = 'indep"):
        learner.train(stream(n_experiences=1).train[0], eval_streams=[])


def test_measuring_leaves_no_trace_but_in_the_prior() -> None:
    learner, data = strategy(), stream(n_experiences=1)
    learner.train(data.train[0], eval_streams=[])
    weights = [p.detach().clone() for p in learner.model.parameters()]
    learner.experience = data.train[0]
    KroneckerPrior(50).factors(learner)
    for p, before in zip(learner.model.parameters(), weights, strict=True):
        assert torch.equal(p, before) and p.grad is None
    assert learner.model.training
    assert not any(module._forward_hooks for module in learner.model.modules())


def test_without_avalanche_the_factors_are_the_same() -> None:
    learner, data = strategy(), stream(n_experiences=1)
    learner.train(data.train[0], eval_streams=[])
    learner.experience = data.train[0]
    torch.manual_seed(3)
    expected = KroneckerPrior(120).factors(learner)
    torch.manual_seed(3)
    rows = torch.randperm(len(data.train[0].dataset))[:120]
    x = torch.stack([data.train[0].dataset[row][0] for row in rows.tolist()])
    found = kronecker_factors(learner.model.network, learner.optimizer, x)
    assert found.keys() == expected.keys() != set()
    for weight, factors in found.items():
        for ours, theirs in zip(factors, expected[weight], strict=True):
            assert torch.equal(ours, theirs)
    learner.optimizer.posterior_to_prior(found)


def test_interrupted_runs_end_with_the_same_bytes(tmp_path: Path) -> None:
    more = {"prior": "kronecker", "prior_samples": 60, "prior_power": 0.9, "model__norm": "layer"}
    (whole,) = plan(tmp_path, out="whole", **more)
    carry_out([whole])
    (pieces,) = plan(tmp_path, out="pieces", **more)
    for kind, count in (("epoch", 2), ("task", 1), ("epoch", 2)):
        with pytest.raises(Stop):
            carry_out([pieces], stop_at(kind, count))
    carry_out([pieces])
    assert pieces.path.read_bytes() == whole.path.read_bytes()


def test_members_of_an_ensemble_have_factors_of_their_own() -> None:
    torch.manual_seed(0)
    network = mlp(in_features=784, out_features=2, width=16, norm="layer")
    learner: Any = ensemble_of(BayesBiNNStrategy, "independent")(
        model=TaskAware(network), size=2, prior="kronecker", prior_samples=50, eval_samples=2,
        train_mb_size=20, train_epochs=1, evaluator=Recorder(),
    )  # fmt: skip
    learner.train(stream(n_experiences=1).train[0], eval_streams=[])
    states = [member.state["optimizer"]["state"][0] for member in learner.members]
    assert all(state["factor_tasks"] == 1 for state in states)
    assert not torch.equal(states[0]["outputs"], states[1]["outputs"])


def test_what_has_no_factors_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="prior must be one of independent, kronecker, got 'kf'"):
        strategy(prior="kf")
    with pytest.raises(ValueError, match="prior_samples must be >= 1, got 0"):
        strategy(prior_samples=0)
    learner = strategy()
    learner.objective = SEGMENTATION
    with pytest.raises(UserError, match="Kronecker factors needs a benchmark of classification"):
        KroneckerPrior().factors(learner)


@pytest.mark.parametrize("plain", [True, False])
def test_networks_that_know_no_tasks_have_importances_too(plain: bool) -> None:
    """As in a pipeline of Avalanche's, whose networks take an input and nothing else."""
    torch.manual_seed(0)
    network: nn.Module = mlp(in_features=784, out_features=2, width=16, norm="layer")
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 2)) if plain else TaskAware(network)
    ewc = EWC(samples=10)
    learner = STEStrategy(
        model=network, train_mb_size=100, evaluator=Recorder(), plugins=[Composed(ewc)]
    )
    learner.train(stream(n_experiences=1).train[0], eval_streams=[])
    assert all(
        a.shape == p.shape
        for a, p in zip(ewc.importance.values(), network.parameters(), strict=True)
    )
