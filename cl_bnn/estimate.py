"""How long a run will take, from a few steps of it."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from cl_bnn.execution import Execution

# Steps that are timed, after some that are not: the first ones bring the data along.
WARM_STEPS, TIMED_STEPS = 3, 30
# Seconds after which no more steps are timed.
PATIENCE = 5.0


class _Enough(Exception):
    """Ends a training that was begun to be timed."""


class Estimate(Execution):
    """A run that is begun, timed, and left; nothing is written.

    Its steps are those of the first task: whatever makes later tasks longer (more data, a memory
    that fills) is not seen.

    Args:
        run: what is to be run (`cl_bnn.runner.Run`).
        device: a torch device.
        data_root: where the data sets lie.
    """

    def __init__(self, run: Any, device: torch.device, data_root: Path | None) -> None:
        super().__init__(run, device, data_root, lambda event: None)
        self.times: list[float] = []  # when a step ended

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this after every step."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.times.append(time.perf_counter())
        steps = len(self.times) - WARM_STEPS
        late = steps > 1 and self.times[-1] - self.times[WARM_STEPS] > PATIENCE
        if steps > TIMED_STEPS or late:
            raise _Enough

    def after_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this after every epoch; here nothing is measured."""

    def expected(self) -> float:
        """The expected duration of the whole run, in seconds.

        Raises:
            UserError: a recipe that does not fit, or data that are missing.
        """
        begin = time.perf_counter()
        self._build()
        built = time.perf_counter()
        with suppress(_Enough):
            self.strategy.train(self.phases[0], eval_streams=[])
        steps = self.times[WARM_STEPS:] or self.times[-1:]
        step = (steps[-1] - steps[0]) / max(len(steps) - 1, 1)
        loading = self.times[min(WARM_STEPS, len(self.times)) - 1] - built
        batches = len(self.strategy.dataloader) * self.strategy.n_epochs
        begun = time.perf_counter()
        self._measure(1)
        evaluation = time.perf_counter() - begun
        training = len(self.phases) * (loading + batches * step)
        return float(built - begin + training + self._evaluations() * evaluation)

    def _evaluations(self) -> int:
        """How many test sets are measured in a run, each time that they are."""
        at_ends: int = len(self.phases) * self.stream.n_tasks
        if not self._every_epoch:
            return at_ends
        seen = (phase[-1].current_experience + 1 for phase in self.phases)
        during: int = (self.strategy.n_epochs // self.stream.every - 1) * sum(seen)
        return at_ends + during
