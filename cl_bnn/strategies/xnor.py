"""XNOR weights as an Avalanche strategy, task after task."""

from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from cl_bnn.nn import binary_group, binary_parameters, real_parameters
from cl_bnn.optim import XNOR
from cl_bnn.optim.xnor import Derivative
from cl_bnn.strategies.binary import LatentStrategy
from cl_bnn.strategies.schedules import Schedule


class XNORStrategy(LatentStrategy):
    """Signs of centred latent weights, scaled filter by filter (Rastegari et al. 2016,
    arXiv:1603.05279), as BENN trains its members; nothing done against forgetting.

    Weights of linear and convolutional layers are binary up to a factor for every output; other
    parameters are real, under the same Adam.

    Args:
        model: the network.
        lr: Adam's learning rate, in the first epoch of every task.
        weight_decay: added to the gradients, times latent weights and real parameters.
        derivative: `"published"` or `"exact"`, see `cl_bnn.optim.xnor.latent_gradient`.
        schedule: see `cl_bnn.strategies.schedules`.
        template: every keyword of Avalanche's `SupervisedTemplate`.

    Raises:
        ValueError: a value is outside its range, or a transposed convolution has binary weights.
    """

    elementwise = False  # a filter has a scale

    def __init__(
        self, *, model: nn.Module, lr: float = 1e-3, weight_decay: float = 1e-5,
        derivative: Derivative = "published", schedule: Schedule = "constant", **template: Any,
    ) -> None:  # fmt: skip
        binary = {id(p) for p in binary_parameters(model)}
        transposed = [m.weight for m in model.modules() if isinstance(m, _ConvTransposeNd)]
        if binary.intersection(map(id, transposed)):
            raise ValueError(
                "XNOR scales the weights of an output, which come second in a transposed "
                "convolution: take ste, or a network without one"
            )
        groups = [binary_group(model), {"params": real_parameters(model), "binary": False}]
        optimizer = XNOR(groups, lr, weight_decay=weight_decay, derivative=derivative)
        super().__init__(model=model, optimizer=optimizer, schedule=schedule, **template)
