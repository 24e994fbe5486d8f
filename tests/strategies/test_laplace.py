"""The Kronecker-factored Laplace penalty against sums written out."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.benchmarks import tensors_benchmark
from avalanche.models import SimpleMLP, as_multitask
from test_execution import Stop, carry_out, plan, stop_at
from tiny import stream
from torch import nn

from cl_bnn.nn import mlp
from cl_bnn.optim.kronecker import Factors
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import (
    EWC,
    MAS,
    SI,
    AdamStrategy,
    Composed,
    KroneckerLaplace,
    STEStrategy,
    TaskAware,
)


def learned(kind: Any, plugin: Any, n_tasks: int = 3, epochs: int = 5) -> tuple[Any, list[float]]:
    torch.manual_seed(0)
    network = mlp(in_features=784, out_features=2, width=16, norm="layer")
    plugins = [] if plugin is None else [Composed(plugin)]
    strategy = kind(
        model=TaskAware(network), lr=1e-2, train_mb_size=20, train_epochs=epochs,
        evaluator=Recorder(), plugins=plugins,
    )  # fmt: skip
    data = stream(n_experiences=n_tasks)
    for experience in data.train:
        strategy.train(experience, eval_streams=[])
    found = strategy.evaluator.measure(strategy, data.test)
    return strategy, [found[task]["accuracy"] for task in range(n_tasks)]


def test_the_penalty_is_a_quadratic_form_of_both_factors() -> None:
    model = nn.Linear(3, 2, bias=False).double()
    root = torch.randn(3, 3).double()
    a, g = root @ root.t(), torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double()
    plugin = KroneckerLaplace(strength=0.7)
    plugin._consolidate("weight", Factors(a, g))
    plugin.anchor["weight"] = torch.ones(2, 3).double()
    fake: Any = SimpleNamespace(model=model, loss=0 * model.weight.sum())
    plugin.before_backward(fake)
    d = (model.weight - 1).detach()
    expected = sum(
        0.35 * g[i, k] * d[i, j] * a[j, m] * d[k, m]
        for i in range(2) for k in range(2) for j in range(3) for m in range(3)
    )  # fmt: skip
    assert fake.loss.item() == pytest.approx(float(expected))


def test_tasks_add_up_in_one_factor_and_are_averaged_in_the_other() -> None:
    plugin = KroneckerLaplace()
    one, two = (Factors(k * torch.eye(2), k * torch.ones(1, 1)) for k in (1.0, 4.0))
    plugin._consolidate("w", one)
    plugin._consolidate("w", two)
    assert plugin.inputs["w"][0, 0] == 5 and plugin.outputs["w"].item() == 2.5
    grown = Factors(torch.eye(3), torch.ones(2, 2))  # the layer has got an input and an output
    plugin._consolidate("w", grown)
    assert plugin.inputs["w"].diagonal().tolist() == [6, 6, 1]
    assert plugin.outputs["w"].flatten().tolist() == pytest.approx([2, 1 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize("kind", [AdamStrategy, STEStrategy])
@pytest.mark.parametrize(
    "plugin",
    [
        partial(EWC, strength=300, samples=200),
        partial(SI, strength=30),
        partial(MAS, strength=3, samples=200),
    ],
    ids=["ewc", "si", "mas"],
)
def test_with_a_diagonal_penalty_more_of_the_first_task_is_left(kind: Any, plugin: Any) -> None:
    _, naive = learned(kind, None)
    _, held = learned(kind, plugin())
    assert held[0] > naive[0] + 0.1


@pytest.mark.parametrize("kind", [AdamStrategy, STEStrategy])
def test_less_is_forgotten(kind: Any) -> None:
    _, naive = learned(kind, None)
    strategy, held = learned(kind, KroneckerLaplace(samples=200))
    assert sum(held) > sum(naive) + 0.1 and held[2] > 0.8
    (plugin,) = (p.plugin for p in strategy.plugins if isinstance(p, Composed))
    anchors = torch.cat([c.flatten() for c in plugin.anchor.values()])
    assert (anchors.abs() == 1).all() == (kind is STEStrategy), (
        "the network, not its latent weights"
    )
    assert set(plugin.tasks.values()) == {3}


def test_interrupted_runs_end_with_the_same_bytes(tmp_path: Path) -> None:
    more = {"kfl__samples": 60, "model__norm": "layer"}
    (whole,) = plan(tmp_path, "ste+kfl", out="whole", **more)
    carry_out([whole])
    (pieces,) = plan(tmp_path, "ste+kfl", out="pieces", **more)
    for kind, count in (("epoch", 2), ("task", 1), ("epoch", 2)):
        with pytest.raises(Stop):
            carry_out([pieces], stop_at(kind, count))
    carry_out([pieces])
    assert pieces.path.read_bytes() == whole.path.read_bytes()


def test_a_head_that_grows_while_it_is_away_keeps_what_was_measured() -> None:
    """Tasks of the labels 0, 1, 0; an evaluation makes the first head larger in between."""
    torch.manual_seed(0)
    sets = [(torch.randn(20, 10), torch.arange(20) % 2 + first) for first in (0, 0, 2)]
    data = tensors_benchmark(train_tensors=sets, test_tensors=sets, task_labels=[0, 1, 0])
    plugin = KroneckerLaplace(samples=20)
    strategy = STEStrategy(
        model=as_multitask(SimpleMLP(num_classes=2, input_size=10, hidden_size=8), "classifier"),
        plugins=[Composed(plugin)], train_mb_size=10, evaluator=Recorder(),
    )  # fmt: skip
    for experience in data.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(data.test_stream)
    (head,) = [name for name in plugin.anchor if "classifiers.0" in name]
    assert len(plugin.anchor[head]) == len(plugin.outputs[head]) == 4
    assert plugin.tasks[head] == 2


def test_values_out_of_range() -> None:
    with pytest.raises(ValueError, match="strength must be >= 0, got -1"):
        KroneckerLaplace(strength=-1)
    with pytest.raises(ValueError, match="samples must be >= 1, got 0"):
        KroneckerLaplace(samples=0)
