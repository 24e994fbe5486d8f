"""BiMU and the BayesBiNN of its study as strategies: summed losses, new heads, stops, recipes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from avalanche.benchmarks import tensors_benchmark
from avalanche.models import SimpleMLP, as_multitask
from torch import nn
from two_blobs import benchmark, continued, settings

from cl_bnn import recipes
from cl_bnn.nn import mlp
from cl_bnn.strategies import BayesBiNNStrategy, BiMUStrategy, TaskAware


def network() -> nn.Module:
    """A small network of the study, but for its gates, of which 30 say too little."""
    return TaskAware(mlp(in_features=10, out_features=4, width=30, depth=1, norm="layer"))


def study(**more: Any) -> BayesBiNNStrategy:
    """BayesBiNN with the settings of its recipe."""
    return BayesBiNNStrategy(**recipes.load_strategy("bayesbinn_bimu").defaults | more)


STRATEGIES: dict[str, Callable[..., Any]] = {"bimu": BiMUStrategy, "bayesbinn_bimu": study}


@pytest.fixture(params=list(STRATEGIES))
def build(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return STRATEGIES[request.param]


@pytest.mark.parametrize("predictor", ["posterior", "mode"])
def test_learns_one_sample_at_a_time(build: Callable[..., Any], predictor: str) -> None:
    data = benchmark(1)
    strategy = build(model=network(), **settings(train_mb_size=1))
    strategy.train(data.train_stream, eval_streams=[])
    strategy.predictor = predictor
    found = strategy.eval(data.test_stream)
    assert found["Top1_Acc_Stream/eval_phase/test_stream/Task000"] >= 0.9


@pytest.mark.parametrize("name", ["likelihood_weight", "lr"])
def test_losses_of_a_batch_are_summed(name: str) -> None:
    """A batch of four times the same sample: as one with four times the weight L in BiMU, and in
    BayesBiNN, without a prior, with four times the learning rate.
    """
    build = BiMUStrategy if name == "likelihood_weight" else study
    learned = []
    for copies, factor in ((4, 1.0), (1, 4.0)):
        torch.manual_seed(0)
        model = nn.Linear(3, 2, bias=False)
        x, y = torch.tensor([[1.0, -2.0, 0.5]]).repeat(copies, 1), torch.zeros(copies).long()
        data = tensors_benchmark(
            train_tensors=[(x, y)], test_tensors=[(x, y)], task_labels=[0]
        )  # fmt: skip
        strategy = build(
            model=model, init_lambda=0.5, kl_weight=0.0, **{name: factor * 0.3},
            **settings(train_mb_size=copies, train_epochs=1),
        )  # fmt: skip
        strategy.optimizer.uniform = lambda like: torch.full_like(like, 0.3)
        strategy.train(data.train_stream, eval_streams=[])
        learned.append(strategy.naturals()[0])
    assert (learned[0].abs() != 0.5).all()
    torch.testing.assert_close(*learned)


@pytest.mark.parametrize(
    ("more", "n_samples"),
    [
        ({}, 60), ({"likelihood": "batch"}, 12), ({"likelihood": "batch", "trainset_scale": 2}, 24),
        ({"likelihood": "batch", "train_set_size": 7}, 7),
    ],
)  # fmt: skip
def test_what_the_mean_loss_stands_for(more: dict[str, Any], n_samples: int) -> None:
    strategy = BayesBiNNStrategy(model=network(), **more, **settings(train_mb_size=12))
    strategy.train(benchmark(1).train_stream, eval_streams=[])
    (group,) = strategy.optimizer.param_groups
    assert group["train_set_size"] == n_samples


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lr": 0.0}, "lr must be > 0, got 0.0"),
        ({"memory": 0.0}, "memory must be >= 1, got 0.0"),
        ({"mc_samples": 0}, "mc_samples must be >= 1, got 0"),
        ({"eval_samples": -1}, "eval_samples must be >= 0, got -1"),
        ({"average": "median"}, "average must be one of probabilities, logits, got 'median'"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        BiMUStrategy(model=network(), **wrong, **settings())
    assert str(caught.value) == message


def test_an_unknown_likelihood_is_named() -> None:
    with pytest.raises(ValueError, match="likelihood must be one of task, batch, got 'sum'"):
        BayesBiNNStrategy(model=network(), likelihood="sum", **settings())  # type: ignore[arg-type]


def test_heads_that_appear_become_binary_and_learn(build: Callable[..., Any]) -> None:
    data = benchmark(2, labels=True)
    model = as_multitask(
        SimpleMLP(num_classes=2, input_size=10, hidden_size=30, drop_rate=0.0), "classifier"
    )
    strategy = build(model=model, **settings(train_epochs=5))
    strategy.train(data.train_stream, eval_streams=[])
    heads = [head.classifier for head in model.classifier.classifiers.values()]
    held = {p for group in strategy.optimizer.param_groups for p in group["params"]}
    real = {p for group in strategy.optimizer.inner.param_groups for p in group["params"]}
    assert len(heads) == 2
    assert all(head.weight in held and head.bias in real for head in heads)
    assert held | real == set(model.parameters())
    found = strategy.eval(data.test_stream)
    assert found["Top1_Acc_Stream/eval_phase/test_stream/Task001"] >= 0.8


def test_priors_after_a_task() -> None:
    """BayesBiNN's is what it has learned; BiMU has none."""
    for build in STRATEGIES.values():
        strategy = build(model=network(), **settings())
        strategy.train(benchmark(1).train_stream, eval_streams=[])
        for state in strategy.optimizer.state.values():
            assert (state["natural"] != 0).any()
            assert build is BiMUStrategy or torch.equal(state["prior"], state["natural"])
            assert ("prior" in state) == (build is not BiMUStrategy)


def test_continues_within_a_task_as_if_never_stopped(build: Callable[..., Any]) -> None:
    whole, again = continued(
        lambda plugins: build(model=network(), plugins=plugins, **settings()), benchmark(2), 1
    )
    for ours, theirs in zip(again.naturals(), whole.naturals(), strict=True):
        assert torch.equal(ours, theirs)


def test_recipes_hold_the_published_constants() -> None:
    """arXiv:2605.30198, the network of 100 hidden units."""
    published = {
        "bimu": {
            "lr": 4.9, "likelihood_weight": 161.3, "kl_weight": 3.76, "lr_max": 0.0023,
            "memory": 700, "temperature": 1.0, "mc_samples": 5, "eval_samples": 5,
        },
        "bayesbinn_bimu": {
            "lr": 0.77, "kl_weight": 1.25e-5, "init_lambda": 0.0, "temperature": 1.0,
            "mc_samples": 5, "eval_samples": 5, "likelihood": "batch", "schedule": "constant",
        },
    }  # fmt: skip
    for name, constants in published.items():
        assert recipes.load_strategy(name).defaults.items() >= constants.items()
