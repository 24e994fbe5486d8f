"""Normalisation as an explicit factor, because in continual learning it silently changes the
scenario.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["shared", "per_task", "batch", "layer"]
NORMS: tuple[Norm, ...] = ("shared", "per_task", "batch", "layer")

# The networks of BayesBiNN (PyTorch's convention for momentum: the weight of the new batch).
EPS = 1e-4
MOMENTUM = 0.15


class SharedBatchNorm(nn.BatchNorm1d):
    """BatchNorm without gain and shift; all tasks share the running statistics, as published."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPS, momentum=MOMENTUM, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` of shape (batch, width); a single sample, which has no variance, by the
        running statistics, in training too.
        """
        # torch's own forward also counts batches, which only an average without momentum needs.
        learn = self.training and len(x) > 1
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(x, mean, var, training=learn, momentum=MOMENTUM, eps=EPS)


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
    """BatchNorm with the statistics of the batch at hand, at test too: transductive."""

    __test__ = False  # not a test case, whatever its name makes pytest think

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPS, affine=False, track_running_stats=False)


class PlainLayerNorm(nn.LayerNorm):
    """LayerNorm without gain and shift: no state, no statistics over samples."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPS, elementwise_affine=False)


def norm_layer(norm: Norm, width: int, n_tasks: int) -> nn.Module:
    """The normalisation layer called `norm` for inputs of shape (batch, width).

    Raises:
        ValueError: an unknown `norm`.
    """
    if norm == "shared":
        return SharedBatchNorm(width)
    if norm == "per_task":
        return PerTaskBatchNorm(width, n_tasks)
    if norm == "batch":
        return TestBatchNorm(width)
    if norm == "layer":
        return PlainLayerNorm(width)
    raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")


def by_task(task: Tensor) -> list[tuple[int, Tensor]]:
    """The tasks in a batch, each with the indices of its samples."""
    return [(int(t), (task == t).nonzero().flatten()) for t in torch.unique(task)]
