"""Synaptic metaplasticity as an Avalanche strategy, with a new optimiser for every task."""

from typing import Any

from torch import nn

from cl_bnn.nn import binary_group, init_uniform, real_parameters, vectors
from cl_bnn.optim import MetaplasticAdam
from cl_bnn.strategies.binary import LatentStrategy
from cl_bnn.strategies.schedules import Schedule

# Initial latent weights lie within plus or minus this value: half of the authors' "width" 0.1.
LATENT_BOUND = 0.05


class MetaplasticStrategy(LatentStrategy):
    """Binary weights that are the harder to turn the larger their latent weights are (Laborieux et
    al. 2021, arXiv:2003.03533): what earlier tasks have pushed far stays, what they left near zero
    is free to learn the next.

    Weights of linear and convolutional layers are binary; other parameters (biases, gains of norms)
    are real, under plain Adam. The authors make a new optimiser for every task, and their BatchNorm
    belongs to a task (`model.norm = "per_task"` here), which is picked by the task label at test.

    Args:
        model: the network; its binary weights begin anew, see `initialise`.
        lr: Adam's learning rate, in the first epoch of every task.
        meta: how fast a weight hardens as its latent weight grows; a list has one value for each
            layer with binary weights, in the order of the network.
        weight_decay: added to the gradients, times latent weights and real parameters.
        restart: whether the moments of the gradients, and the count of steps that corrects them,
            begin anew with every task, as published; the latent weights stay.
        schedule: see `cl_bnn.strategies.schedules`.
        template: every keyword of Avalanche's `SupervisedTemplate`.

    Raises:
        ValueError: a value is outside its range, or a list of another length than the network has
            layers.
    """

    def __init__(
        self, *, model: nn.Module, lr: float = 5e-3, meta: float | list[float] = 1.35,
        weight_decay: float = 1e-7, restart: bool = True, schedule: Schedule = "constant",
        **template: Any,
    ) -> None:  # fmt: skip
        self.initialise(model)
        real = {"params": real_parameters(model), "binary": False}
        groups = [*_layers(model, meta), real]
        optimizer = MetaplasticAdam(groups, lr, weight_decay=weight_decay)
        super().__init__(model=model, optimizer=optimizer, schedule=schedule, **template)
        self.restart = restart

    @staticmethod
    def initialise(model: nn.Module) -> None:
        """Initial latent weights U(-0.05, 0.05), as published."""
        init_uniform(model, LATENT_BOUND)


def _layers(model: nn.Module, meta: float | list[float]) -> list[dict[str, Any]]:
    """The binary weights as one group, or as one for each layer with a value of its own.

    A bias that its layer declares binary has the value of that layer.
    """
    group = binary_group(model)
    if not isinstance(meta, list):
        return [{**group, "meta": meta}]
    biases = {id(p) for p in vectors(model)}
    layers: list[list[nn.Parameter]] = []
    for parameter in group["params"]:
        if id(parameter) not in biases or not layers:
            layers.append([])
        layers[-1].append(parameter)
    if len(meta) != len(layers):
        raise ValueError(
            f"meta must be one value or a list of {len(layers)}, one for each layer with binary "
            f"weights, got {meta!r}"
        )
    return [{**group, "params": params, "meta": m} for params, m in zip(layers, meta, strict=True)]
