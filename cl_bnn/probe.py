"""A trained network looked at: what it says where there are no data."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cl_bnn import predictions
from cl_bnn.objectives import BINARY, Objective
from cl_bnn.optim.weights import evaluating

# Where BatchNorm takes its statistics from: running averages of the training (eval mode), the
# inputs at hand (train mode, as BayesBiNN's synthetic experiments were published); "none": there is
# no BatchNorm.
Statistics = Literal["none", "running", "batch"]


@dataclass(frozen=True)
class Probe:
    """Places at which a trained network is looked at, and the data it was trained on.

    Attributes:
        places: coordinates (n, d), in the units that figures show; their order is that of the file.
        inputs: what the network gets there, float32 (n, d).
        away: bool (n,), the places far from the data.
        points: coordinates (m, d) of the training data.
        train: the inputs and targets of the training data, as the network gets them.
        objective: `BINARY` or `REGRESSION`: what the single output of the network means.
    """

    places: Tensor
    inputs: Tensor
    away: Tensor
    points: Tensor
    train: tuple[Tensor, Tensor]
    objective: Objective

    def values(self, outputs: Tensor) -> Tensor:
        """What outputs of one network mean, (n,): of logits (n, 1 or 2) the probability of class 1,
        of numbers (n, 1) these.
        """
        if self.objective is not BINARY:
            return outputs.squeeze(1)
        logits = outputs if outputs.shape[1] == 1 else outputs[:, 1:] - outputs[:, :1]
        return logits.sigmoid().squeeze(1)


class Prediction(NamedTuple):
    """Values (n,) at the places of a probe.

    `predictor` is `"mean"` or, for numbers, `"std"` (with n - 1) over networks sampled from a
    posterior, or the strategy's own name of the one network that predicts, such as `"mode"`.
    """

    predictor: str
    statistics: Statistics
    values: Tensor


def predict(strategy: Any, probe: Probe) -> list[Prediction]:
    """Every prediction that a strategy can make at the places of a probe.

    The networks sampled from a posterior are those of its evaluations. Leaves no trace in the
    strategy: neither weights, nor statistics, nor random numbers.

    Args:
        strategy: a `cl_bnn.strategies.Template`.
        probe: the places.
    """
    found = []
    for statistics in kinds_of_statistics(strategy.model):
        for predictor in strategy.predictors:
            values = _values(strategy, predictor, statistics, probe)
            if predictor != "posterior":
                found.append(Prediction(predictor, statistics, values[0]))
                continue
            found.append(Prediction("mean", statistics, values.mean(0)))
            if probe.objective is not BINARY and len(values) > 1:
                found.append(Prediction("std", statistics, values.std(0)))
    return found


def table(strategy: Any, probe: Probe) -> bytes:
    """The file of the training data and of all predictions; see `cl_bnn.predictions`."""
    targets = probe.train[1].flatten().tolist()
    tables = [predictions.Table(predictions.DATA, "none", probe.points.tolist(), targets)]
    places = probe.places.tolist()
    for predictor, statistics, values in predict(strategy, probe):
        tables.append(predictions.Table(predictor, statistics, places, values.tolist()))
    return predictions.to_bytes(tables)


def measure(strategy: Any, probe: Probe) -> dict[str, float]:
    """How well the training data are fitted, and how sure the network is of itself.

    Names end in the name of the predictor if it is not the preferred one, and in `_batch` for
    BatchNorm's statistics of the inputs at hand where there are others.

    Returns:
        `fit_<score>`: the score of the objective on the training data (`fit_accuracy`,
        `fit_rmse`); `entropy_away`: mean entropy (bits) of the predicted class away from the data;
        `std_near`, `std_away`: mean standard deviation over sampled networks, near and away from
        the data, in units of the target.
    """
    found: dict[str, float] = {}
    inputs, targets = probe.train
    for number, statistics in enumerate(kinds_of_statistics(strategy.model)):
        for predictor in strategy.predictors:
            suffix = "" if predictor == strategy.predictors[0] else f"_{predictor}"
            suffix += f"_{statistics}" if number else ""
            outputs = _outputs(strategy, predictor, statistics, inputs)
            fit = probe.objective.measure(_averaged(strategy, probe.objective, outputs), targets)
            found[f"fit_{probe.objective.score}{suffix}"] = fit[probe.objective.score]
            values = _values(strategy, predictor, statistics, probe)
            found |= {f"{name}{suffix}": value for name, value in _spread(probe, values).items()}
    return found


def _values(strategy: Any, predictor: str, statistics: Statistics, probe: Probe) -> Tensor:
    """What every network (networks, n) that takes part in a prediction says at the places."""
    outputs = _outputs(strategy, predictor, statistics, probe.inputs)
    return torch.stack([probe.values(o) for o in outputs])


def _spread(probe: Probe, values: Tensor) -> dict[str, float]:
    """How sure networks are whose values (networks, n) at the places of a probe are given."""
    if probe.objective is BINARY:
        p = values.mean(0)[probe.away].double()
        entropy = -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)) / math.log(2)
        return {"entropy_away": entropy.mean().item()}
    if len(values) == 1:
        return {}
    std = values.double().std(0)
    return {
        "std_near": std[~probe.away].mean().item(),
        "std_away": std[probe.away].mean().item(),
    }


def _averaged(strategy: Any, objective: Objective, outputs: list[Tensor]) -> Tensor:
    return outputs[0] if len(outputs) == 1 else objective.average(outputs, strategy.average)


def kinds_of_statistics(model: nn.Module) -> tuple[Statistics, ...]:
    """What BatchNorm in a network can normalise by, its eval mode first."""
    norms = _norms(model)
    if not norms:
        return ("none",)
    return ("running", "batch") if any(n.track_running_stats for n in norms) else ("batch",)


def _norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@torch.no_grad()
def _outputs(strategy: Any, predictor: str, statistics: Statistics, inputs: Tensor) -> list[Tensor]:
    """Outputs (n, 1) of every network that takes part in a prediction, on the CPU."""
    x = inputs.to(strategy.device)
    labels = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    with _normalising_by(statistics, strategy.model), _networks(strategy, predictor) as networks:
        return [strategy.model(x, labels).cpu() for _ in networks]


@contextmanager
def _networks(strategy: Any, predictor: str) -> Iterator[Iterable[object]]:
    """Iterating over it loads, one after the other, the networks that predict."""
    if predictor == "posterior":
        with strategy.sampled_networks() as samples:
            yield samples
        return
    before, strategy.predictor = strategy.predictor, predictor
    try:
        with strategy.evaluation_weights():
            yield (None,)
    finally:
        strategy.predictor = before


@contextmanager
def _normalising_by(statistics: Statistics, model: nn.Module) -> Iterator[None]:
    """Inside, the model predicts with these statistics; it is then as it was."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with evaluating(model):
        for norm in _norms(model):
            norm.train(statistics == "batch")
        try:
            yield
        finally:
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
