"""DER as Avalanche computes it: the numbers of its own strategy, and where it cannot go."""

from typing import Any

import pytest
import torch
from avalanche.models import IncrementalClassifier
from avalanche.training.supervised import DER as Theirs
from avalanche.training.supervised import Naive
from tiny import stream
from torch import nn
from two_blobs import benchmark, settings

from cl_bnn.errors import UserError
from cl_bnn.nn import mlp
from cl_bnn.strategies import AvalancheDER, BayesBiNNStrategy, STEStrategy, TaskAware
from cl_bnn.strategies.loading import view_behind


@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_the_plugin_computes_what_avalanches_strategy_does(beta: float) -> None:
    """Two tasks with a memory, a BatchNorm that sees both, bit by bit."""
    found = []
    for ours in (True, False):
        torch.manual_seed(0)
        data = benchmark(3)
        model = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        given: dict[str, Any] = dict(
            model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), **settings()
        )
        if ours:
            plugin = AvalancheDER(memory=20, batch_size=10, alpha=0.3, beta=beta)
            strategy: Any = Naive(plugins=[plugin], **given)
        else:
            strategy = Theirs(mem_size=20, batch_size_mem=10, alpha=0.3, beta=beta, **given)
        strategy.train(data.train_stream)
        found.append(model.state_dict())
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())


def test_a_memory_smaller_than_a_batch_is_not_asked() -> None:
    weights = []
    for plugins in ([], [AvalancheDER(memory=5, batch_size=10)]):
        torch.manual_seed(0)
        data, model = benchmark(2), nn.Linear(10, 2)
        strategy = Naive(
            model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), plugins=plugins,
            **settings(),
        )  # fmt: skip
        for experience in data.train_stream:
            torch.manual_seed(1)  # what fills the memory draws as well
            strategy.train(experience)
        weights.append(model.weight.detach().clone())
    assert torch.equal(*weights)


def test_it_remembers_what_the_binary_network_said_with_the_label_of_the_task() -> None:
    torch.manual_seed(0)
    data, plugin = stream(n_experiences=2, heads=True), AvalancheDER(memory=20, batch_size=5)
    network = mlp(in_features=784, out_features=2, width=8, n_heads=2)
    strategy = STEStrategy(model=TaskAware(network), plugins=[plugin], **settings())
    for task, experience in enumerate(data.train):
        strategy.train(experience, eval_streams=[])
        kept = [row for row in plugin.storage.buffer if row[2] == task]
        x, z = torch.stack([row[0] for row in kept]), torch.stack([row[3] for row in kept])
        network.eval()
        with strategy.evaluation_weights(), torch.no_grad():
            torch.testing.assert_close(network(x, task), z)
    assert {row[2] for row in plugin.storage.buffer} == {0, 1}


def test_it_is_asked_about_samples_as_they_are_stored() -> None:
    torch.manual_seed(0)
    data, plugin = stream(n_experiences=1), AvalancheDER(memory=20, batch_size=5)
    view = view_behind(data.train[0].dataset)
    assert view is not None
    view.augment = lambda x, generator: torch.zeros_like(x)
    network = mlp(in_features=784, out_features=2, width=8)
    strategy = STEStrategy(model=TaskAware(network), plugins=[plugin], **settings())
    strategy.train(data.train[0], eval_streams=[])
    assert plugin.storage.buffer[0][0].eq(plugin.storage.buffer[1][0]).all(), "augmented again"
    assert not torch.equal(plugin.storage.buffer[0][3], plugin.storage.buffer[1][3])


def test_what_it_cannot_work_with_is_one_line() -> None:
    data = benchmark(1, new_classes=True).train_stream
    growing = nn.Sequential(nn.Linear(10, 8), IncrementalClassifier(8, 2))
    alone: dict[str, Any] = dict(plugins=[AvalancheDER()], **settings())
    with pytest.raises(UserError, match="remembers outputs, and a network that grows gets others"):
        STEStrategy(model=growing, **alone).train(data)
    with pytest.raises(UserError, match="join a step, and BayesBiNNStrategy .* of 2 samples"):
        BayesBiNNStrategy(model=nn.Linear(10, 2), mc_samples=2, **alone).train(data)


@pytest.mark.parametrize("name", ["memory", "batch_size", "alpha", "beta"])
def test_wrong_values_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be >= "):
        AvalancheDER(**{name: -1})  # type: ignore[arg-type]
