"""Initial weights of the published networks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from cl_bnn.nn.layers import binary_parameters

# Standard deviation of a standard normal that is cut off at +-2.
TRUNCATED_STD = 0.87962566103423978


@contextmanager
def on_the_processor(model: nn.Module) -> Iterator[None]:
    """Inside, the weights lie on the processor: what is drawn into them there does not depend on
    the device that they come back to, so that a seed begins everywhere with the same network.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    model.cpu()
    try:
        yield
    finally:
        model.to(device)


@torch.no_grad()
def init_latent(model: nn.Module) -> None:
    """Initial latent weights of STE, in linear layers with binary weights: weights U(-a, a) with
    a = sqrt(1.5 / (fan_in + fan_out)), biases 0. Convolutions are left as torch makes them.

    As in the BayesBiNN authors' STE baseline (arXiv:2002.10778), after Courbariaux et al. 2015.
    """
    binary = {id(p) for p in binary_parameters(model)}
    with on_the_processor(model):
        for layer in model.modules():
            if isinstance(layer, nn.Linear) and id(layer.weight) in binary:
                bound = (1.5 / (layer.in_features + layer.out_features)) ** 0.5
                layer.weight.uniform_(-bound, bound)
                if layer.bias is not None:
                    layer.bias.zero_()


@torch.no_grad()
def init_uniform(model: nn.Module, bound: float) -> None:
    """Binary weights U(-bound, bound), whatever their layer: the initial latent weights of synaptic
    metaplasticity (arXiv:2003.03533).
    """
    with on_the_processor(model):
        for parameter in binary_parameters(model):
            parameter.uniform_(-bound, bound)


def init_glorot(model: nn.Module, *, normal_convolutions: bool = False) -> None:
    """Weights of linear and convolutional layers as Keras makes them, biases 0.

    Glorot uniform: U(-a, a) with a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010).

    Args:
        model: the network.
        normal_convolutions: convolutions get Keras' `glorot_normal`: a normal distribution cut off
            at two standard deviations, of variance 2 / (fan_in + fan_out) after the cut.
    """
    for layer in _layers(model):
        if normal_convolutions and isinstance(layer, _ConvNd):
            fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)
            std = sqrt(2 / (fan_in + fan_out)) / TRUNCATED_STD
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
        else:
            nn.init.xavier_uniform_(layer.weight)
        _zero_bias(layer)


def init_normal(model: nn.Module, std: float | None) -> None:
    """Weights of linear and convolutional layers N(0, std^2), biases 0, as in BENN
    (arXiv:1806.07550).

    Args:
        model: the network.
        std: standard deviation; None: 1 / `fan_in`, as for BENN's ResNet.
    """
    for layer in _layers(model):
        nn.init.normal_(layer.weight, std=1 / fan_in(layer) if std is None else std)
        _zero_bias(layer)


def fan_in(layer: nn.Linear | _ConvNd) -> int:
    """The number of weights of one filter."""
    if isinstance(layer, _ConvTransposeNd):  # its inputs come first
        return layer.weight[:, 0].numel() // layer.groups
    return layer.weight[0].numel()


T = TypeVar("T", bound=nn.Module)


def initialised(model: T, init: Callable[[nn.Module], None]) -> T:
    """`model`, with initial weights by `init`, which `reinitialise` will call again."""
    init(model)
    model.initialise = init  # type: ignore[assignment]
    return model


def reinitialise(model: nn.Module) -> None:
    """Draw the initial weights of a network once more: those of torch's layers by their
    `reset_parameters`, then what `initialised` has noted. Frozen ones stay.
    """
    frozen = {p: p.detach().clone() for p in model.parameters() if not p.requires_grad}
    resets: list[Any] = [getattr(module, "reset_parameters", None) for module in model.modules()]
    with on_the_processor(model):
        for reset in resets:
            if reset is not None:
                reset()
        for module in model.modules():
            again: Any = getattr(module, "initialise", None)
            if again is not None:
                again(module)
    with torch.no_grad():
        for parameter, value in frozen.items():
            parameter.copy_(value)


def _layers(model: nn.Module) -> list[nn.Linear | _ConvNd]:
    return [m for m in model.modules() if isinstance(m, (nn.Linear, _ConvNd))]


def _zero_bias(layer: nn.Linear | _ConvNd) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
