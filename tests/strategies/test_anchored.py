"""The size of every sample's own gradient: layer by layer, and one sample at a time."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import stream
from torch import Tensor, nn
from torch.nn import functional as F
from two_blobs import quiet

from cl_bnn.nn import mlp
from cl_bnn.strategies import (
    EWC,
    MAS,
    SI,
    AdamStrategy,
    Composed,
    KroneckerLaplace,
    STEStrategy,
    TaskAware,
    anchored,
)

N_SAMPLES, N_INPUTS = 130, 6  # more than go through a network together


class Twice(nn.Module):
    """A layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(N_INPUTS, N_INPUTS), nn.Linear(N_INPUTS, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(torch.tanh(self.first(torch.tanh(self.first(x)))))
        return out


class Signed(nn.Linear):
    """A layer that does something to its weights."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, torch.tanh(self.weight), self.bias)


class Borrowed(Twice):
    """A layer whose weights are used without calling it, as well."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        out: Tensor = self.last(torch.tanh(F.linear(hidden, self.first.weight)))
        return out


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(N_INPUTS, 8), nn.ReLU(), nn.Linear(8, 3, bias=False))


def frozen() -> nn.Module:
    model = plain()
    next(model.parameters()).requires_grad_(False)
    return model


def wholly_frozen() -> nn.Module:
    model = plain()
    for parameter in [*model.parameters()][:2]:
        parameter.requires_grad_(False)
    return model


MODELS: dict[str, tuple[Callable[[], nn.Module], bool]] = {  # and whether layer by layer
    "plain": (plain, True),
    "frozen": (frozen, True),
    "wholly frozen": (wholly_frozen, True),
    "dropout": (lambda: nn.Sequential(nn.Dropout(), plain()), True),
    "layer norm": (
        lambda: mlp(in_features=N_INPUTS, out_features=3, width=8, norm="layer"), True,
    ),
    "a head per task": (
        lambda: mlp(in_features=N_INPUTS, out_features=3, width=8, n_heads=2, norm="none"), True,
    ),
    "a gain": (lambda: nn.Sequential(plain(), nn.LayerNorm(3)), False),
    "in place": (
        lambda: nn.Sequential(nn.Linear(N_INPUTS, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)),
        False,
    ),
    "convolution": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, N_INPUTS)), nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)
        ),
        False,
    ),
    "a vector a place": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (2, 3)), nn.Linear(3, 4), nn.Flatten(), nn.Linear(8, 3)
        ),
        False,
    ),
    "twice": (Twice, False),
    "borrowed": (Borrowed, False),
    "signed": (lambda: nn.Sequential(Signed(N_INPUTS, 3)), False),
}  # fmt: skip


def between_tasks(build: Callable[[], nn.Module]) -> Any:
    """What a plugin sees of a strategy, at the end of an experience."""
    torch.manual_seed(0)
    model = TaskAware(build().double())
    x, y = torch.randn(N_SAMPLES, N_INPUTS, dtype=torch.float64), torch.randint(3, (N_SAMPLES,))
    data = [(x[k], int(y[k]), 0) for k in range(N_SAMPLES)]
    experience = SimpleNamespace(dataset=data)
    return SimpleNamespace(model=model, experience=experience, device=torch.device("cpu"))


def by_hand(strategy: Any, kind: str) -> dict[str, Tensor]:
    """Sample by sample, class by class."""
    named = {n: p for n, p in strategy.model.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in named.items()}
    strategy.model.eval()
    for x, _, task in strategy.experience.dataset:
        out = strategy.model(x.unsqueeze(0), torch.tensor([task]))[0]
        p, log_p = out.softmax(0).detach(), out.log_softmax(0)
        terms = [(1.0, out @ out)] if kind == "mas" else list(zip(p, log_p, strict=True))
        for weight, scalar in terms:
            found = torch.autograd.grad(
                scalar, list(named.values()), retain_graph=True, allow_unused=True
            )
            for name, g in zip(named, found, strict=True):
                if g is not None:
                    total[name] += weight * (g.abs() if kind == "mas" else g * g) / N_SAMPLES
    return total


@pytest.mark.parametrize("kind", ["ewc", "mas"])
@pytest.mark.parametrize("name", MODELS)
def test_every_sample_has_a_gradient_of_its_own(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, together = MODELS[name]
    strategy, judged = between_tasks(build), []
    judge = anchored._layer_by_layer
    monkeypatch.setattr(
        anchored, "_layer_by_layer", lambda *given: judged.append(judge(*given)) or judged[0]
    )
    found = EWC().fisher(strategy) if kind == "ewc" else MAS().sensitivity(strategy)
    assert judged == [together] and strategy.model.training
    expected = by_hand(strategy, kind)
    used = {key for key, value in expected.items() if value.any()}
    assert set(found) == used
    for key in used:
        assert torch.allclose(found[key], expected[key], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", [EWC, SI, MAS, KroneckerLaplace])
@pytest.mark.parametrize("learner", [AdamStrategy, STEStrategy])
def test_the_head_of_another_task_takes_no_step(learner: Any, kind: Any) -> None:
    """It is at its anchor; a penalty of 0 would let Adam follow the momentum of its own task."""
    torch.manual_seed(0)
    network = mlp(in_features=784, out_features=2, width=8, n_heads=2, norm="none")
    plugin = Composed(kind(strength=10.0))
    strategy = learner(
        model=TaskAware(network), plugins=[plugin], lr=1e-2, train_mb_size=20, evaluator=quiet()
    )
    first, second = stream(n_experiences=2, heads=True).train
    strategy.train(first, eval_streams=[])
    held = {name: w for name, w in network.named_parameters() if "heads.0" in name}
    trunk = next(w for name, w in network.named_parameters() if "heads" not in name)
    weights, shared = [w.detach().clone() for w in held.values()], trunk.detach().clone()
    strategy.train(second, eval_streams=[])
    assert held and all(map(torch.equal, weights, held.values()))
    assert not torch.equal(shared, trunk)
