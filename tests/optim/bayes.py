"""One weight tensor under BayesBiNN, in double precision unless said otherwise."""

from typing import Any

import torch
from torch import Tensor, nn

from cl_bnn.optim import BayesBiNN

LR, N = 0.1, 50


def vectors(*parameters: nn.Parameter) -> list[dict[str, Any]]:
    """A group that may hold vectors, for tests whose few weights stand in a row."""
    return [{"params": list(parameters), "binary_vectors": True}]


def parameter(*shape: int, dtype: torch.dtype = torch.float64) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape, dtype=dtype))


def optimiser_at(natural: Tensor, **settings: Any) -> tuple[nn.Parameter, BayesBiNN]:
    """One weight tensor whose posterior has this lambda."""
    weights = parameter(*natural.shape, dtype=natural.dtype)
    optimiser = BayesBiNN(vectors(weights), LR, train_set_size=N, **settings)
    optimiser.naturals()  # makes the state
    optimiser.state[weights]["natural"] = natural.clone()
    return weights, optimiser


def linear_step(optimiser: BayesBiNN, weights: nn.Parameter, gradient: Tensor) -> None:
    """One step with the loss `gradient . w`, whose gradient does not depend on w."""
    optimiser.draw()
    (gradient * weights).sum().backward()
    optimiser.step()
