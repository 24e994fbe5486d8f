"""Full-precision weights: what a single bit costs can be read off."""

from typing import Any

import torch
from torch import nn

from cl_bnn.errors import require
from cl_bnn.strategies.schedules import Schedule
from cl_bnn.strategies.template import Template


class AdamStrategy(Template):
    """Full-precision weights under Adam (Kingma and Ba 2015, arXiv:1412.6980), task after task,
    nothing done against forgetting.

    Args:
        model: the network.
        lr: Adam's learning rate, in the first epoch of every task, > 0.
        schedule: see `cl_bnn.strategies.schedules`.
        grad_clip: gradients are clipped element by element to plus or minus this value, > 0; None:
            not at all.
        weight_clip: all parameters stay within plus or minus this value, > 0; None: anywhere.
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
        grad_clip: float | None = None,
        weight_clip: float | None = None,
        **template: Any,
    ) -> None:
        require(lr > 0, "lr", lr, "> 0")
        require(grad_clip is None or grad_clip > 0, "grad_clip", grad_clip, "> 0 or None")
        require(weight_clip is None or weight_clip > 0, "weight_clip", weight_clip, "> 0 or None")
        self.grad_clip, self.weight_clip = grad_clip, weight_clip
        optimizer = torch.optim.Adam(model.parameters(), lr)
        super().__init__(model=model, optimizer=optimizer, schedule=schedule, **template)

    def _before_update(self, **kwargs: Any) -> None:
        super()._before_update(**kwargs)
        if self.grad_clip is not None:
            nn.utils.clip_grad_value_(self.model.parameters(), self.grad_clip)

    def _after_update(self, **kwargs: Any) -> None:
        if self.weight_clip is not None:
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.clamp_(-self.weight_clip, self.weight_clip)
        super()._after_update(**kwargs)


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
        require(lr > 0, "lr", lr, "> 0")
        require(0 <= momentum < 1, "momentum", momentum, "in [0, 1)")
        require(weight_decay >= 0, "weight_decay", weight_decay, ">= 0")
        optimizer = torch.optim.SGD(
            model.parameters(), lr, momentum=momentum, weight_decay=weight_decay
        )
        super().__init__(model=model, optimizer=optimizer, schedule=schedule, **template)
