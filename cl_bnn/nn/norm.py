"""Normalisation as an explicit factor, because in continual learning it silently changes the
scenario.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from cl_bnn.errors import one_of

Norm = Literal["shared", "per_task", "batch", "layer", "none"]
NORMS: tuple[Norm, ...] = get_args(Norm)

# The networks of BayesBiNN (PyTorch's convention for momentum: the weight of the new batch).
EPS = 1e-4
MOMENTUM = 0.15


class BatchNorm(_BatchNorm):
    """BatchNorm over (batch, width) or (batch, width, ...), with a gain or a shift only if asked.

    It differs from torch's in two ways: either of gain and shift may be there alone, and a single
    value per channel, which has no variance, is normalised by the running statistics in training
    too, where torch refuses it.

    Args:
        width: number of channels.
        eps: added to the variance.
        momentum: weight of the new batch in the running statistics (Keras counts the other way
            round: its .99 is .01 here).
        scale: whether there is a trained gain.
        shift: whether there is a trained shift.
    """

    momentum: float

    def __init__(
        self, width: int, *, eps: float = 1e-5, momentum: float = 0.1, scale: bool = False,
        shift: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(width, eps=eps, momentum=momentum, affine=scale or shift)
        if not scale:
            self.register_parameter("weight", None)
        if not shift:
            self.register_parameter("bias", None)

    def reset_parameters(self) -> None:
        """The statistics of no batch, a gain of 1, a shift of 0: those of them that there are."""
        self.reset_running_stats()
        for value, initial in ((self.weight, 1.0), (self.bias, 0.0)):
            if value is not None:
                nn.init.constant_(value, initial)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` of shape (batch, width, ...)."""
        # torch's own forward also counts batches, which only an average without momentum needs.
        learn = self.training and x.numel() > self.num_features
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=learn,
            momentum=self.momentum, eps=self.eps,
        )  # fmt: skip


class SharedBatchNorm(BatchNorm):
    """BatchNorm without gain and shift; all tasks share the running statistics, as published."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPS, momentum=MOMENTUM)


class PerTaskBatchNorm(nn.Module):
    """One set of running statistics a task: needs the task label, in training and at test."""

    def __init__(self, width: int, n_tasks: int) -> None:
        super().__init__()
        self.tasks = nn.ModuleList(SharedBatchNorm(width) for _ in range(n_tasks))
        self.task = 0

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` of shape (batch, width) with the statistics of the current task."""
        normed: Tensor = self.tasks[self.task](x)
        return normed


class TestBatchNorm(nn.BatchNorm1d):
    """BatchNorm with the statistics of the batch at hand, at test too: transductive.

    A sample alone, as a head may get one of a task, is its own mean and becomes 0.
    """

    __test__ = False  # not a test case, whatever its name makes pytest think

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPS, affine=False, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` of shape (batch, width)."""
        normed: Tensor = x - x if len(x) == 1 else super().forward(x)
        return normed


class PlainLayerNorm(nn.LayerNorm):
    """LayerNorm without gain and shift: no state, no statistics over samples."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPS, elementwise_affine=False)


def norm_layer(norm: Norm, width: int, n_tasks: int) -> nn.Module:
    """The normalisation layer called `norm` for inputs of shape (batch, width).

    Raises:
        ValueError: an unknown `norm`.
    """
    one_of("norm", norm, NORMS)
    if norm == "shared":
        return SharedBatchNorm(width)
    if norm == "per_task":
        return PerTaskBatchNorm(width, n_tasks)
    if norm == "batch":
        return TestBatchNorm(width)
    if norm == "layer":
        return PlainLayerNorm(width)
    return nn.Identity()


def by_task(task: Tensor) -> list[tuple[int, Tensor]]:
    """The tasks in a batch, each with the indices of its samples."""
    return [(int(t), (task == t).nonzero().flatten()) for t in torch.unique(task)]
