"""How long a run will take, from a few steps of it."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from cl_bnn.execution import Execution
from cl_bnn.run import Run
from cl_bnn.strategies.ensemble import Ensemble

# Steps that are timed, after some that are not: the first ones bring the data along.
WARM_STEPS, TIMED_STEPS = 3, 30
# Seconds after which no more steps are timed.
PATIENCE = 5.0


class _Enough(Exception):
    """Ends a training that was begun to be timed."""


class Estimate(Execution):
    """A run that is begun, timed, and left; nothing is written.

    Timed are steps of the first task and what is done at its end, then the same of the second,
    which stands for all later ones: penalties and stored samples are at work there. What grows
    from task to task is not seen, nor what an ensemble does at the end of a task.

    Args:
        run: what is to be run.
        device: a torch device.
        data_root: where the data sets lie.
    """

    def __init__(self, run: Run, device: torch.device, data_root: Path | None) -> None:
        super().__init__(run, device, data_root, lambda event: None)
        self.times: list[float] = []  # when a step of the task ended
        self.batches = 0  # of the task, in all epochs

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this after every step."""
        self.times.append(self._now())
        self.batches = len(strategy.dataloader) * strategy.n_epochs
        steps = len(self.times) - WARM_STEPS
        late = steps > 1 and self.times[-1] - self.times[WARM_STEPS] > PATIENCE
        if steps > TIMED_STEPS or late:
            if isinstance(strategy, Ensemble):  # cannot end a task with members missing
                raise _Enough
            strategy.stop_training()

    def after_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this after every epoch; here nothing is measured."""

    def expected(self) -> float:
        """The expected duration of the whole run, in seconds.

        Raises:
            UserError: a recipe that does not fit, or data that are missing.
        """
        begin = self._now()
        self._build()
        building = self._now() - begin
        timed = 1 if isinstance(self.strategy, Ensemble) else 2
        tasks = [self._task(phase) for phase in self.phases[:timed]]
        training = sum(tasks) + (len(self.phases) - len(tasks)) * tasks[-1]
        begin = self._now()
        self._measure(1)
        measured = self._now()
        self._unsure()
        unsure = (self._now() - measured) * self._doubts() / self._doubts(1)
        return building + training + self._evaluations() * (measured - begin) + unsure

    def _task(self, phase: Any) -> float:
        """The expected seconds of training one task, from some steps of it and its end."""
        self.times = []
        begin = self._now()
        with suppress(_Enough):
            self.strategy.train(phase, eval_streams=[])
        end = self._now() - self.times[-1]
        loading = self.times[min(WARM_STEPS, len(self.times)) - 1] - begin
        steps = self.times[WARM_STEPS:] or self.times[-1:]
        step = (steps[-1] - steps[0]) / max(len(steps) - 1, 1)
        return float(loading + self.batches * step + end)

    def _now(self) -> float:
        """The time in seconds at which everything begun so far is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _evaluations(self) -> int:
        """How many test sets are measured in a run, each time that they are."""
        of_all = len(self.phases) + self._asks_untrained
        at_ends: int = of_all * self._sets(self.stream.n_tasks)
        if not self._every_epoch:
            return at_ends
        times: int = (self.strategy.n_epochs - 1) // self.stream.every
        return at_ends + times * sum(self._sets(learned) for learned in self._learned())

    def _sets(self, n_tasks: int) -> int:
        """Of how many tasks the sets are measured each time: held-out sets are never shared."""
        return n_tasks if self.stream.validation else self._distinct(n_tasks)

    def _doubts(self, phases: int | None = None) -> int:
        """Of how many test sets uncertainty is measured, after all tasks or the first ones."""
        counts = (min(learned + 1, self.stream.n_tasks) for learned in self._learned()[:phases])
        return sum(self._distinct(count) for count in counts)

    def _learned(self) -> list[int]:
        """How many tasks are learned after each phase."""
        return [phase[-1].current_experience + 1 for phase in self.phases]
