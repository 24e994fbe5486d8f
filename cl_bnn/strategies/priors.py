"""Continual learning as Bayesians see it: what of the posterior becomes the prior."""

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models.utils import avalanche_forward
from torch import Tensor

from cl_bnn.errors import UserError
from cl_bnn.objectives import CLASSIFICATION
from cl_bnn.optim.kronecker import FactorMeter, Factors, layers_of

# Samples that go through one sampled network together.
BATCH = 100


class PosteriorAsPrior(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]
    """After every experience the posterior becomes the prior of the next (arXiv:2002.10778, section
    3.4).

    For any strategy whose optimiser has `posterior_to_prior()`, as `BayesBiNN` has.
    """

    def after_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this when an experience has been learned."""
        strategy.optimizer.posterior_to_prior()


class KroneckerPrior(PosteriorAsPrior):
    """After every experience the posterior becomes the prior, with the Kronecker factors of the
    Fisher information; see `cl_bnn.optim.BayesBiNN`.

    Args:
        samples: of the experience, through which the factors are measured, drawn from torch's
            global generator, >= 1.
    """

    def __init__(self, samples: int = 2000) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"prior_samples must be >= 1, got {samples!r}")
        self.samples = samples

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
        if strategy.objective.hits is not CLASSIFICATION.hits:
            raise UserError("the Kronecker prior needs a benchmark of classification")
        optimizer, data = strategy.optimizer, strategy.experience.dataset
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        meter = FactorMeter(layers_of(strategy.model, weights))
        rows = torch.randperm(len(data))[: self.samples]
        batches = torch.split(rows, BATCH)
        strategy.model.eval()
        with optimizer.posterior_samples(len(batches)) as networks, meter.listening():
            for batch, _ in zip(batches, networks, strict=True):
                self._pass(strategy, batch.tolist())
        strategy.model.train()
        optimizer.zero_grad()
        return meter.factors(len(rows))

    @staticmethod
    def _pass(strategy: Any, rows: list[int]) -> None:
        """Samples through the network and back, the loss that of a label drawn for each."""
        data, device = strategy.experience.dataset, strategy.device
        columns = zip(*((x, task) for x, _, task in (data[row] for row in rows)), strict=True)
        x, tasks = (
            torch.stack([torch.as_tensor(v) for v in column]).to(device) for column in columns
        )
        log_p = avalanche_forward(strategy.model, x, tasks).log_softmax(1)
        labels = torch.multinomial(log_p.detach().exp(), 1)
        (-log_p.gather(1, labels).sum()).backward()
