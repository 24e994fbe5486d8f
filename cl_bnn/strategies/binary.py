"""What strategies share whose optimiser has binary weights of its own and an inner optimiser."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim import Adam

from cl_bnn.nn import real_parameters
from cl_bnn.optim.binary import BinaryOptimizer
from cl_bnn.optim.weights import replace_in_groups
from cl_bnn.strategies.template import Template


class BinaryStrategy(Template):
    """Trains a `BinaryOptimizer` and predicts with the mode of its weights.

    Weights of linear and convolutional layers are binary; other parameters (biases, gains of norms)
    are real and trained by the inner optimiser. A new weight matrix becomes binary, and one that
    grows keeps what the optimiser knows about it.

    Args:
        model: the network.
        optimizer: the optimiser of its binary weights.
        template: every keyword of `Template`.
    """

    predictors: tuple[str, ...] = ("mode",)

    def __init__(self, *, model: nn.Module, optimizer: BinaryOptimizer, **template: Any) -> None:
        super().__init__(model=model, optimizer=optimizer, **template)

    def _before_forward(self, **kwargs: Any) -> None:
        self.optimizer.draw()
        super()._before_forward(**kwargs)

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Inside, the binary weights."""
        with self.optimizer.mode():
            yield

    def add_parameter(self, parameter: nn.Parameter, *, binary: bool) -> None:
        """A new weight matrix becomes binary, anything else is trained by the inner optimiser."""
        if binary:
            self.optimizer.param_groups[0]["params"].append(parameter)
        elif self.optimizer.inner is None:
            self.optimizer.inner = Adam([parameter])
        else:
            self.optimizer.inner.param_groups[0]["params"].append(parameter)

    def replace_parameter(self, old: nn.Parameter, new: nn.Parameter) -> None:
        """A weight matrix that grew keeps the state of what it was."""
        if any(old is p for group in self.optimizer.param_groups for p in group["params"]):
            self.optimizer.grow(old, new)
        else:
            self.optimizer.inner.state.pop(old, None)
            replace_in_groups(self.optimizer.inner, old, new)


def inner_adam(model: nn.Module, lr: float) -> Adam | None:
    """Adam for the real parameters of a model; None if it has none.

    Args:
        model: the network.
        lr: learning rate > 0.

    Raises:
        ValueError: `lr` is out of range.
    """
    if lr <= 0:
        raise ValueError(f"real_lr must be > 0, got {lr!r}")
    real = real_parameters(model)
    return Adam(real, lr) if real else None
