"""What changes within a task, and begins anew with every task: learning rates as factors of epoch
e of E, and other settings as values.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from cl_bnn.errors import one_of, require

Schedule = Literal["cosine", "cosine_early", "constant", "two_drops", "geometric"]
# The smallest factor of the reference's cosine: it ends at a learning rate of 1e-16, from 1e-3.
EARLY_END = 1e-13


def _cosine(epoch: int, epochs: int) -> float:
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


def _cosine_early(epoch: int, epochs: int) -> float:
    return EARLY_END + (1 - EARLY_END) * _cosine(epoch + 1, epochs)


def _two_drops(epoch: int, epochs: int) -> float:
    drops = (2 * epoch >= epochs) + (6 * epoch >= 5 * epochs)
    return 0.1**drops


SCHEDULES: dict[Schedule, Callable[[int, int], float]] = {
    # From 1 in the first epoch towards 0, which would be reached after the last.
    "cosine": _cosine,
    # As in the BayesBiNN authors' code, which steps the scheduler before the epoch: the full
    # learning rate is never used, and the last epoch of a task learns nothing.
    "cosine_early": _cosine_early,
    "constant": lambda epoch, epochs: 1.0,
    # Two moons (arXiv:2002.10778, B.1): to a tenth after half of the epochs, and again after 5/6.
    "two_drops": _two_drops,
    # Snelson's regression (there, eq. 27): by equal factors towards a tenth after the last epoch.
    "geometric": lambda epoch, epochs: 0.1 ** (epoch / epochs),
}


Course = Literal["constant", "linear", "exponential", "steps"]
# A staircase falls to a tenth, in the papers that use one (arXiv:1906.02107, arXiv:2104.05124).
STEP_FACTOR = 0.1


@dataclass(frozen=True)
class Setting:
    """A setting of an optimiser other than its learning rate, and its course within a task.

    From `start` s and `end` t, after e of E epochs:

    * `"constant"`: s.
    * `"linear"`: s + (t - s) e / E, changing with every iteration, as in the code of Bop.
    * `"exponential"`: s (t / s)^(e / E), changing with every epoch. Like `"linear"` it would reach
      t after the last.
    * `"steps"`: s, multiplied by 0.1 every `every` epochs.

    Attributes:
        name: what messages call it.
        start: its value at the beginning of a task.
        course: one of the four.
        end: where a linear or exponential course leads; others do not look at it.
        every: epochs from one step to the next.

    Raises:
        ValueError: an unknown course, no end where one is needed, an exponential course that does
            not stay positive, or steps of less than an epoch.
    """

    name: str
    start: float
    course: Course = "constant"
    end: float | None = None
    every: int = 100

    def __post_init__(self) -> None:
        one_of(f"{self.name}_schedule", self.course, get_args(Course))
        if self.course in ("linear", "exponential") and self.end is None:
            raise ValueError(
                f"{self.name}_end must be given with {self.name}_schedule = {self.course!r}"
            )
        if self.course == "exponential" and not (self.start > 0 and (self.end or 0) > 0):
            raise ValueError(
                f"{self.name} and {self.name}_end must be > 0 with an exponential schedule, "
                f"got {self.start!r} and {self.end!r}"
            )
        require(self.every >= 1, "steps_every", self.every, ">= 1")

    def at(self, time: float, epochs: int) -> float:
        """The value after `time` epochs of a task of `epochs`; 2.5 in the middle of the third."""
        start, end, epoch = self.start, self.end, int(time)
        if self.course == "linear" and end is not None:
            return start + (end - start) * (time / epochs)
        if self.course == "exponential" and end is not None:
            return start * math.exp(math.log(end / start) * (epoch / epochs))
        if self.course == "steps":
            return start * STEP_FACTOR ** (epoch // self.every)
        return start
