"""Full-precision weights: what a single bit costs can be read off."""

from typing import Any

import torch
from torch import nn

from cl_bnn.strategies.schedules import Schedule
from cl_bnn.strategies.template import Template


class AdamStrategy(Template):
    """Full-precision weights under Adam (Kingma and Ba 2015, arXiv:1412.6980), task after task,
    nothing done against forgetting.

    Args:
        model: the network.
        lr: Adam's learning rate, in the first epoch of every task, > 0.
        schedule: see `cl_bnn.strategies.schedules`.
        template: every keyword of Avalanche's `SupervisedTemplate`.

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        lr: float = 1e-3,
        schedule: Schedule = "constant",
        **template: Any,
    ) -> None:
        if lr <= 0:
            raise ValueError(f"lr must be > 0, got {lr!r}")
        optimizer = torch.optim.Adam(model.parameters(), lr)
        super().__init__(model=model, optimizer=optimizer, schedule=schedule, **template)


class SGDStrategy(Template):
    """Full-precision weights under stochastic gradient descent, task after task, nothing done
    against forgetting.

    Args:
        model: the network.
        lr: learning rate, in the first epoch of every task, > 0.
        momentum: in [0, 1); as torch counts it, the gradient enters with weight 1.
        weight_decay: added to the gradient, times the weights; >= 0.
        schedule: see `cl_bnn.strategies.schedules`.
        template: every keyword of Avalanche's `SupervisedTemplate`.

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        schedule: Schedule = "constant",
        **template: Any,
    ) -> None:
        if lr <= 0:
            raise ValueError(f"lr must be > 0, got {lr!r}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum!r}")
        if weight_decay < 0:
            raise ValueError(f"weight_decay must be >= 0, got {weight_decay!r}")
        optimizer = torch.optim.SGD(
            model.parameters(), lr, momentum=momentum, weight_decay=weight_decay
        )
        super().__init__(model=model, optimizer=optimizer, schedule=schedule, **template)
