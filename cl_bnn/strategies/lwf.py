"""Learning without forgetting: the network before the task teaches, and its norms learn nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from avalanche.training.plugins import LwFPlugin
from torch import nn

from cl_bnn.errors import require


class LwF(LwFPlugin):
    """Learning without forgetting (Li and Hoiem 2016, arXiv:1606.09282), Avalanche's plugin but for
    what the norms of old tasks learn.

    The images of a new task go through the heads of old ones, which shall answer as the network
    before the task did. With Avalanche's plugin alone, a BatchNorm of such a head, or one that has
    statistics of every task, takes these images for images of the old task. Here its statistics
    stay those of the task. Both networks normalise by the batch at hand while they are compared.

    Args:
        alpha: weight of the distillation, >= 0.
        temperature: of the softmax that is compared, > 0.

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(self, *, alpha: float = 1.0, temperature: float = 2.0) -> None:
        require(alpha >= 0, "alpha", alpha, ">= 0")
        require(temperature > 0, "temperature", temperature, "> 0")
        super().__init__(alpha, temperature)

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the distillation to the loss."""
        with _buffers_kept(strategy.model):
            super().before_backward(strategy, **kwargs)


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Inside, copies stand in for the buffers of a network; what happens to them is forgotten."""
    held = [(module, dict(module._buffers)) for module in model.modules() if module._buffers]
    for module, buffers in held:
        module._buffers.update({k: b if b is None else b.clone() for k, b in buffers.items()})
    try:
        yield
    finally:
        for module, buffers in held:
            module._buffers.update(buffers)
