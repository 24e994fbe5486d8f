"""Naive fine-tuning of binary weights by the straight-through estimator."""

from typing import Any

import torch
from torch import nn

from cl_bnn.nn import binary_group, init_latent, real_parameters, vectors
from cl_bnn.optim import STE
from cl_bnn.optim.ste import Backward
from cl_bnn.strategies.binary import LatentStrategy
from cl_bnn.strategies.schedules import Schedule


class STEStrategy(LatentStrategy):
    """Binary weights by the straight-through estimator (Bengio et al. 2013, arXiv:1308.3432, in the
    form of Hubara et al. 2016, arXiv:1602.02830), task after task, nothing done against forgetting.

    Weights of linear and convolutional layers are binary; other parameters are real, under plain
    Adam.

    Args:
        model: the network; its linear layers with binary weights begin anew, see `initialise`.
        lr: Adam's learning rate on the latent weights, in the first epoch of every task.
        backward: `"identity"` or `"hard_tanh"`, which differ with a clamp above 1 only.
        clamp: latent weights stay within plus or minus this value.
        grad_clip: gradients are clipped element by element to plus or minus this value; None: not
            at all.
        weight_decay: added to the gradients, times the latent weights and the real parameters.
        schedule: see `cl_bnn.strategies.schedules`.
        real_biases: biases that the network declares binary are real-valued, and clamped like
            latent weights, as in the BayesBiNN authors' synthetic experiments.
        template: every keyword of Avalanche's `SupervisedTemplate`.

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(
        self, *, model: nn.Module, lr: float = 1e-2, backward: Backward = "identity",
        clamp: float = 1.0, grad_clip: float | None = None, weight_decay: float = 0.0,
        schedule: Schedule = "cosine", real_biases: bool = False, **template: Any,
    ) -> None:  # fmt: skip
        self.initialise(model)
        binary = binary_group(model)
        biases = {id(p) for p in vectors(model)} if real_biases else set()
        self._clamped = [p for p in binary["params"] if id(p) in biases]
        kept = [p for p in binary["params"] if id(p) not in biases]
        real = [*self._clamped, *real_parameters(model)]
        groups = [{**binary, "params": kept}, {"params": real, "binary": False}]
        optimizer = STE(
            groups, lr, backward=backward, clamp=clamp, grad_clip=grad_clip,
            weight_decay=weight_decay,
        )  # fmt: skip
        super().__init__(model=model, optimizer=optimizer, schedule=schedule, **template)

    @staticmethod
    def initialise(model: nn.Module) -> None:
        """Initial latent weights, see `cl_bnn.nn.init_latent`."""
        init_latent(model)

    def _after_update(self, **kwargs: Any) -> None:
        limit = self.optimizer.clamp
        with torch.no_grad():
            for bias in self._clamped:
                bias.clamp_(-limit, limit)
        super()._after_update(**kwargs)
