"""Learning rates within a task: the factor of epoch e of E, restarted with every task."""

import math
from collections.abc import Callable
from typing import Literal

Schedule = Literal["cosine", "cosine_early", "constant"]
# The smallest factor of the reference's cosine: it ends at a learning rate of 1e-16, from 1e-3.
EARLY_END = 1e-13


def _cosine(epoch: int, epochs: int) -> float:
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


def _cosine_early(epoch: int, epochs: int) -> float:
    return EARLY_END + (1 - EARLY_END) * _cosine(epoch + 1, epochs)


SCHEDULES: dict[Schedule, Callable[[int, int], float]] = {
    # From 1 in the first epoch towards 0, which would be reached after the last.
    "cosine": _cosine,
    # As in the BayesBiNN authors' code, which steps the scheduler before the epoch: the full
    # learning rate is never used, and the last epoch of a task learns nothing.
    "cosine_early": _cosine_early,
    "constant": lambda epoch, epochs: 1.0,
}
