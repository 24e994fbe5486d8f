"""Continual learning as Bayesians see it: what of the posterior becomes the prior."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models.utils import avalanche_forward
from torch import Tensor

from cl_bnn.errors import UserError, require
from cl_bnn.objectives import require_classes
from cl_bnn.optim.kronecker import (
    BATCH,
    Factors,
    Networks,
    factors_of,
    layers_of,
    weights_of,
)
from cl_bnn.strategies.loading import require_single_samples, samples_of


def require_verbs(plugin: object, strategy: Any, *verbs: str) -> None:
    """Raise `TypeError` unless the optimiser of a strategy has these methods."""
    for verb in verbs:
        if not hasattr(strategy.optimizer, verb):
            name = type(strategy.optimizer).__name__
            raise TypeError(
                f"{type(plugin).__name__} needs an optimiser of cl_bnn.optim with {verb}(), which "
                f"{name} has not"
            )


class PosteriorAsPrior(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]
    """After every experience the posterior becomes the prior of the next (arXiv:2002.10778, section
    3.4).

    For any strategy whose optimiser has `posterior_to_prior()`, as `BayesBiNN` has.

    Raises:
        TypeError: when training begins, an optimiser without it.
    """

    def before_training(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this when training begins."""
        require_verbs(self, strategy, "posterior_to_prior")

    def after_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this when an experience has been learned."""
        strategy.optimizer.posterior_to_prior()


class KroneckerPrior(PosteriorAsPrior):
    """After every experience the posterior becomes the prior, with the Kronecker factors of the
    Fisher information (Ritter, Botev, Barber 2018, arXiv:1805.07810); see `cl_bnn.optim.BayesBiNN`.

    Args:
        samples: of the experience, through which the factors are measured, drawn from torch's
            global generator, >= 1.

    Raises:
        ValueError: `samples` is out of range.
        UserError: when training begins, a norm that does not know single samples, a network that
            does not predict classes, or a layer of which the factors are not known.
    """

    def __init__(self, samples: int = 2000) -> None:
        super().__init__()
        require(samples >= 1, "prior_samples", samples, ">= 1")
        self.samples = samples

    def before_training(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this when training begins."""
        super().before_training(strategy, *args, **kwargs)
        require_single_samples("a prior with Kronecker factors", strategy)
        require_classes("a prior with Kronecker factors", strategy)
        try:
            layers_of(strategy.model, weights_of(strategy.optimizer))
        except ValueError as error:
            raise UserError(f"{error}; take prior = 'independent'") from error

    def after_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this when an experience has been learned."""
        strategy.optimizer.posterior_to_prior(self.factors(strategy))

    def factors(self, strategy: Any) -> dict[Tensor, Factors]:
        """The factors of all binary weights on which the outputs for the current experience depend,
        from networks drawn from the posterior, one for every `BATCH` samples, and labels drawn from
        what these say.

        Raises:
            UserError: the network does not predict classes.
            ValueError: a layer of which the factors are not known.
        """
        optimizer = strategy.optimizer
        weights = weights_of(optimizer)
        return measured(strategy, weights, self.samples, optimizer.posterior_samples)


def measured(
    strategy: Any, weights: Iterable[Tensor], samples: int, networks: Networks | None = None
) -> dict[Tensor, Factors]:
    """The Kronecker factors of some weights for the current experience, from samples drawn by
    torch's global generator and labels drawn from what the network says of them.

    Args:
        strategy: under way.
        weights: of layers of its model; those on which the outputs do not depend are left out.
        samples: how many of the experience, >= 1.
        networks: see `factors_of`.

    Raises:
        UserError: the network does not predict classes.
        ValueError: a layer of which the factors are not known.
    """
    require_classes("measuring Kronecker factors", strategy)
    data, model = strategy.experience.dataset, strategy.model

    def outputs(rows: Tensor) -> Tensor:
        x, _, tasks = samples_of(data, rows, strategy.device)
        found: Tensor = avalanche_forward(model, x, tasks)
        return found

    drawn = torch.randperm(len(data))[:samples]
    passes = [partial(outputs, rows) for rows in torch.split(drawn, BATCH)]
    return factors_of(model, weights, passes, networks)
