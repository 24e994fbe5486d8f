"""What strategies share whose optimiser has binary weights of its own and an inner optimiser."""

from contextlib import AbstractContextManager
from typing import Any

from torch import nn
from torch.optim import Adam

from cl_bnn.errors import require
from cl_bnn.nn import real_parameters, vectors
from cl_bnn.optim.weights import replace_in_groups
from cl_bnn.strategies.mixin import Mixin
from cl_bnn.strategies.template import Template


class GrowsBesideInner(Mixin):
    """For an optimiser of binary weights with an inner optimiser of the real parameters: a new
    weight matrix becomes binary, anything else is trained by the inner one, and a weight matrix
    that grew keeps what the optimiser knows about it.
    """

    optimizer: Any
    real_lr = 1e-3  # of Adam, where the first real parameter comes late

    def add_parameter(self, parameter: nn.Parameter, *, binary: bool) -> None:
        """A new weight matrix becomes binary, anything else is trained by Adam if by nothing
        yet.
        """
        if binary:
            self.optimizer.param_groups[0]["params"].append(parameter)
        elif self.optimizer.inner is None:
            self.optimizer.inner = Adam([parameter], self.real_lr)
        else:
            self.optimizer.inner.param_groups[0]["params"].append(parameter)

    def replace_parameter(self, old: nn.Parameter, new: nn.Parameter) -> None:
        """A weight matrix that grew keeps the state of what it was."""
        if any(old is p for group in self.optimizer.param_groups for p in group["params"]):
            self.optimizer.grow(old, new)
        else:
            self.optimizer.inner.state.pop(old, None)
            replace_in_groups(self.optimizer.inner, old, new)


class DrawingStrategy(Template):
    """Trains an optimiser that draws weights before every forward pass, and predicts with the
    mode.

    Args:
        optimizer: with the verbs `draw` and `mode`.
        template: every keyword of `Template`.
    """

    predictors: tuple[str, ...] = ("mode",)
    optimizer: Any
    restart = False  # whether the optimiser begins anew with every task, by its verb `restart`

    def _before_training_epoch(self, **kwargs: Any) -> None:
        # Not before the experience: one that is continued from a checkpoint must not begin anew.
        if self.restart and self.epoch == 0:
            self.optimizer.restart()
        super()._before_training_epoch(**kwargs)

    def _before_forward(self, **kwargs: Any) -> None:
        self.optimizer.draw()
        super()._before_forward(**kwargs)

    def network_weights(self) -> AbstractContextManager[None]:
        """Inside, between two steps, the model holds the binary weights."""
        found: AbstractContextManager[None] = self.optimizer.mode()
        return found

    def evaluation_weights(self) -> AbstractContextManager[None]:
        """Inside, the binary weights."""
        return self.network_weights()


class LatentStrategy(DrawingStrategy):
    """Trains an optimiser with latent weights: its last group is real, those before are binary."""

    def add_parameter(self, parameter: nn.Parameter, *, binary: bool) -> None:
        """A new weight matrix becomes binary, in the last of these; anything else is real."""
        self.optimizer.param_groups[-2 if binary else -1]["params"].append(parameter)


class BinaryStrategy(GrowsBesideInner, DrawingStrategy):
    """Trains a `BinaryOptimizer` and predicts with the mode of its weights.

    Weights of linear and convolutional layers are binary; other parameters (biases, gains of norms)
    are real and trained by the inner optimiser. A new weight matrix becomes binary, and one that
    grows keeps what the optimiser knows about it.

    Args:
        template: every keyword of `Template`.
    """


def inner_adam(model: nn.Module, lr: float, weight_decay: float = 0.0) -> Adam | None:
    """Adam for the real parameters of a model; None if it has none.

    Args:
        model: the network.
        lr: learning rate > 0.
        weight_decay: d >= 0; d w is added to the gradient of real weight matrices and kernels, as a
            penalty of d/2 times their squares does. Biases, gains and shifts get none.

    Raises:
        ValueError: a value is out of range.
    """
    require(lr > 0, "real_lr", lr, "> 0")
    require(weight_decay >= 0, "real_weight_decay", weight_decay, ">= 0")
    real = real_parameters(model)
    if not real:
        return None
    if not weight_decay:
        return Adam(real, lr)
    known = {id(p) for p in vectors(model)}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in real if id(p) in known]},
        {"params": [p for p in real if id(p) not in known], "weight_decay": weight_decay},
    ]
    return Adam(groups, lr)
