"""What the penalties on single weights share: every weight is held at an anchor, as it mattered."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models.utils import avalanche_forward
from torch import Tensor

from cl_bnn.errors import UserError
from cl_bnn.objectives import CLASSIFICATION
from cl_bnn.strategies.loading import samples_of

State = dict[str, Tensor]


class Anchored(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]
    """A plugin that adds to the loss

        factor sum_i A_i (w_i - c_i)^2

    Args:
        factor: of the penalty, >= 0.

    Attributes:
        importance: A by the name of the parameter; a parameter that is missing is free, and so is
            what a parameter has grown by since.
        anchor: c.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.importance: State = {}
        self.anchor: State = {}

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the penalty to the loss."""
        for name, w in strategy.model.named_parameters():
            if name in self.importance:
                cost = (self.importance[name] * self.away(name, w).square()).sum()
                strategy.loss = strategy.loss + self.factor * cost

    def away(self, name: str, w: Tensor) -> Tensor:
        """How far the weights that are held are from c."""
        return w[self.held(name)] - self.anchor[name]

    def held(self, name: str) -> tuple[slice, ...]:
        """Where in a parameter the weights are that it had when it was anchored."""
        return tuple(map(slice, self.anchor[name].shape))

    def state_dict(self) -> dict[str, Any]:
        """A and c, for `load_state_dict`."""
        return {"importance": self.importance, "anchor": self.anchor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.importance, self.anchor = state["importance"], state["anchor"]


def mean_over_samples(
    plugin: str,
    strategy: Any,
    n_samples: int,
    terms: Callable[[Tensor, int], Iterable[tuple[float, Tensor]]],
    add: Callable[[Tensor, Tensor, float], object],
) -> State:
    """What the gradients of functions of the outputs amount to, one sample of the current
    experience at a time, in evaluation mode.

    Args:
        plugin: the name of what needs it.
        strategy: whose model and experience are meant.
        n_samples: drawn from torch's global generator; all of them if there are fewer.
        terms: of the outputs of a sample, shape (n_outputs,), and its label: weights and scalars.
        add: to a total the gradient of one of the scalars, that counts as often as said.

    Returns:
        The totals by the name of the parameter; parameters that no scalar depends on are left out.

    Raises:
        UserError: the network does not predict classes.
    """
    if not getattr(strategy, "objective", CLASSIFICATION).of_classes:
        raise UserError(f"{plugin} needs a benchmark of classification: this one has no classes")
    named = {name: p for name, p in strategy.model.named_parameters() if p.requires_grad}
    data = strategy.experience.dataset
    total = {name: torch.zeros_like(p) for name, p in named.items()}
    touched: set[str] = set()
    strategy.model.eval()
    rows = torch.randperm(len(data))[:n_samples]
    for row in torch.split(rows, 1):
        x, y, task = samples_of(data, row, strategy.device)
        outputs = avalanche_forward(strategy.model, x, task)[0]
        for weight, scalar in terms(outputs, int(y)):
            found = torch.autograd.grad(
                scalar, list(named.values()), retain_graph=True, allow_unused=True
            )
            for name, gradient in zip(named, found, strict=True):
                if gradient is not None:
                    add(total[name], gradient, weight / len(rows))
                    touched.add(name)
    strategy.model.train()
    return {name: total[name] for name in touched}
