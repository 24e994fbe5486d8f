"""Synaptic intelligence: its sums by hand, its path against the loss, what it holds."""

from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.models import IncrementalClassifier, SimpleMLP
from avalanche.training.plugins import SynapticIntelligencePlugin
from avalanche.training.supervised import Naive
from tiny import stream
from torch import Tensor, nn
from torch.nn import functional as F
from two_blobs import benchmark, quiet

from cl_bnn.nn import mlp
from cl_bnn.strategies import SI, AdamStrategy, Composed, SGDStrategy, TaskAware


def taught(plugin: Any, data: Any, lr: float, epochs: int) -> nn.Linear:
    """SGD on a linear model, all samples of a task in one batch."""
    model = nn.Linear(10, 2, bias=False)
    strategy = SGDStrategy(
        model=model, lr=lr, momentum=0.0, plugins=[Composed(plugin)], train_mb_size=60,
        train_epochs=epochs, evaluator=quiet(),
    )  # fmt: skip
    for experience in data.train_stream:
        strategy.train(experience, eval_streams=[])
    return model


def whole(data: Any, task: int) -> tuple[Tensor, Tensor]:
    samples = [data.train_stream[task].dataset[k] for k in range(60)]
    return torch.stack([x for x, *_ in samples]), torch.tensor([y for _, y, _ in samples])


def test_the_head_of_a_task_to_come_is_not_held() -> None:
    """A penalty of 0 would give it gradients of 0, which Adam counts as steps."""
    network = mlp(in_features=784, out_features=2, width=8, n_heads=3, norm="none")
    plugin = SI()
    strategy = AdamStrategy(
        model=TaskAware(network), plugins=[Composed(plugin)], train_mb_size=20, evaluator=quiet()
    )  # fmt: skip
    first, second, _ = stream(n_experiences=3, heads=True).train
    strategy.train(first, eval_streams=[])
    assert not any("heads.1" in name or "heads.2" in name for name in plugin.importance)
    assert any("heads.0" in name for name in plugin.importance)
    strategy.train(second, eval_streams=[])
    third = [p for name, p in network.named_parameters() if "heads.2" in name]
    assert third and not any(p in strategy.optimizer.state for p in third)


def test_two_tasks_by_hand() -> None:
    """Three steps a task: omega, Omega and c as in the paper, g without the penalty."""
    data, c, xi, lr = benchmark(2), 0.7, 0.05, 0.3
    plugin = SI(strength=c, damping=xi)
    model = taught(plugin, data, lr, epochs=3)
    torch.manual_seed(0)
    benchmark(2)  # the same draws
    w = nn.Linear(10, 2, bias=False).weight.detach().double()
    big, anchor = torch.zeros_like(w), w
    for task in range(2):
        x, y = whole(data, task)
        x, start, omega = x.double(), w, torch.zeros_like(w)
        for _ in range(3):
            p = (x @ w.T).softmax(1)
            g = (p - F.one_hot(y, 2)).T @ x / len(x)
            after = w - lr * (g + 2 * c * big * (w - anchor))
            omega, w = omega - g * (after - w), after
        big, anchor = big + omega.clamp_min(0) / ((w - start) ** 2 + xi), w
    assert torch.allclose(model.weight.double(), w, atol=1e-6)
    assert torch.allclose(plugin.importance["weight"].double(), big, rtol=1e-4, atol=1e-6)
    assert torch.allclose(plugin.anchor["weight"].double(), anchor, atol=1e-6)


def test_small_steps_add_up_to_what_the_loss_has_lost() -> None:
    """The path integral of the gradient is the difference of the loss (eq. 3)."""
    data, plugin = benchmark(1), SI(damping=1e-3)
    paths: list[Tensor] = []
    end = plugin.after_training_exp

    def keep(strategy: Any, **kwargs: Any) -> None:
        paths.append(plugin.path["weight"].clone())
        end(strategy, **kwargs)

    plugin.after_training_exp = keep  # type: ignore[method-assign]
    state = torch.get_rng_state()
    model = taught(plugin, data, lr=1e-3, epochs=200)
    torch.set_rng_state(state)
    before = nn.Linear(10, 2, bias=False).weight.detach()
    x, y = whole(data, 0)
    lost = F.cross_entropy(x @ before.T, y) - F.cross_entropy(model(x), y)
    assert paths[0].sum().item() == pytest.approx(lost.item(), rel=2e-3)


@pytest.mark.parametrize("strength", [0.0, 1e4])
def test_real_weights_are_held_where_avalanches_plugin_lets_go(strength: float) -> None:
    """Its views of the weights change with them: every strength gives the same network."""

    def learned(plugin: Any) -> Tensor:
        torch.manual_seed(1)
        data = benchmark(2)
        model = SimpleMLP(num_classes=2, input_size=10, hidden_size=20, drop_rate=0.0)
        strategy = AdamStrategy(
            model=model, lr=1e-2, plugins=[Composed(plugin)], train_mb_size=10, train_epochs=4,
            evaluator=quiet(),
        )  # fmt: skip
        strategy.train(data.train_stream[0], eval_streams=[])
        before = nn.utils.parameters_to_vector(model.parameters()).detach()
        strategy.train(data.train_stream[1], eval_streams=[])
        return (nn.utils.parameters_to_vector(model.parameters()).detach() - before).norm()

    free = learned(SI(strength=0.0))
    ours, theirs = learned(SI(strength=strength)), learned(SynapticIntelligencePlugin(strength))
    assert torch.equal(theirs, free)
    assert torch.equal(ours, free) if strength == 0 else ours < 0.5 * free


class Growing(nn.Module):
    """A head that grows with the classes, in evaluations too."""

    def __init__(self) -> None:
        super().__init__()
        self.head = IncrementalClassifier(10, 2, masking=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x)
        return logits


def test_a_head_may_grow_while_a_task_is_learned() -> None:
    """As where a test set of classes to come is evaluated after an epoch: the way goes on, and what
    is new sets out where it came.
    """
    data, model, plugin = benchmark(3, new_classes=True), Growing(), SI(damping=0.05)
    steps: list[tuple[Tensor, Tensor, Tensor]] = []  # before, after, gradient

    class Watch(SupervisedPlugin):  # type: ignore[misc]
        def before_update(self, strategy: Any, **kwargs: Any) -> None:
            w = model.head.classifier.weight
            self.found = w.detach().clone(), w.grad.clone()

        def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
            before, g = self.found
            steps.append((before, model.head.classifier.weight.detach().clone(), g))

        def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
            inside = strategy._save_train_state()
            strategy.eval(data.test_stream)
            strategy._load_train_state(inside)

    strategy = SGDStrategy(
        model=model, lr=0.3, momentum=0.0, plugins=[Watch(), Composed(plugin)], train_mb_size=60,
        train_epochs=3, evaluator=quiet(),
    )  # fmt: skip
    strategy.train(data.train_stream[0], eval_streams=[])
    shapes = [len(after) for _, after, _ in steps]
    assert shapes == [2, 6, 6]
    omega, start = torch.zeros(6, 10), steps[1][0].clone()
    start[:2] = steps[0][0]
    for before, after, g in steps:
        omega[: len(g)] -= g * (after - before)
    expected = omega.clamp_min(0) / ((steps[-1][1] - start).square() + 0.05)
    torch.testing.assert_close(plugin.importance["head.classifier.weight"], expected)
    strategy.train(data.train_stream[1], eval_streams=[])


def test_stock_strategies_take_it() -> None:
    data, plugin = benchmark(2), SI()
    model = SimpleMLP(num_classes=2, input_size=10, hidden_size=20, drop_rate=0.0)
    strategy = Naive(
        model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), plugins=[plugin],
        train_mb_size=10, evaluator=quiet(),
    )  # fmt: skip
    strategy.train(data.train_stream)
    assert set(plugin.importance) == {name for name, _ in model.named_parameters()}
    assert all((value >= 0).all() for value in plugin.importance.values())
    assert not plugin.path and not plugin.start


@pytest.mark.parametrize(
    ("name", "value", "allowed"), [("strength", -1.0, ">= 0"), ("damping", 0.0, "> 0")]
)
def test_wrong_values_are_named(name: str, value: float, allowed: str) -> None:
    with pytest.raises(ValueError) as caught:
        SI(**{name: value})
    assert str(caught.value) == f"{name} must be {allowed}, got {value!r}"
