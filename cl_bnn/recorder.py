"""Avalanche's loops observed: what was predicted becomes numbers."""

import warnings
from typing import Any

import torch
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor

from cl_bnn import distributed, metrics
from cl_bnn.objectives import CLASSIFICATION, Objective

# Hooks of every iteration in which there is nothing to do. Avalanche's evaluator would make a new
# function for each of them, every time.
IDLE_HOOKS = (
    "before_training_iteration", "before_forward", "after_forward", "before_backward",
    "after_backward", "before_update", "after_update",
    "before_eval_iteration", "before_eval_forward", "after_eval_forward",
)  # fmt: skip
# Hits are counted for many small batches in one go.
BATCHES_AT_ONCE = 50


def _nothing(strategy: Any, **kwargs: Any) -> None:
    """What an idle hook does."""


class Recorder(EvaluationPlugin):
    """The evaluator of our runs: training loss and accuracy, and all predictions of an evaluation.

    Stands where Avalanche's own `EvaluationPlugin` would, which copies the experience ten times an
    iteration whether or not there is a metric.

    Args:
        objective: what the network is asked for.

    Attributes:
        reliability: where there are classes, `cl_bnn.metrics.reliability` of the preferred
            prediction, by task, when it was measured last.
    """

    def __init__(self, objective: Objective = CLASSIFICATION) -> None:
        self.objective = objective
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No loggers specified")
            super().__init__()
        self.tasks: dict[int, dict[str, float]] = {}
        self.reliability: dict[int, dict[str, float]] = {}
        self._preferred = True  # whether the preferred prediction is under way
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        for hook in IDLE_HOOKS:
            setattr(self, hook, _nothing)
        self._reset_training()

    def _update_metrics_and_loggers(self, strategy: Any, callback: str) -> None:
        """No metrics or loggers of Avalanche's to feed."""

    def _reset_training(self) -> None:
        self._loss: Tensor | float = 0.0
        self._correct: Tensor | int = 0
        self._count = 0
        self._seen: list[tuple[Tensor, Tensor]] = []

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Sum up loss and hits of the mini-batch, without waiting for the device."""
        size = len(strategy.mb_y)
        self._loss = self._loss + strategy.loss.detach() * size
        self._count += size
        self._seen.append((strategy.mb_output.detach(), strategy.mb_y))
        if len(self._seen) == BATCHES_AT_ONCE:
            self._count_hits()

    def _count_hits(self) -> None:
        hits = self.objective.hits
        if self._seen and hits is not None:
            outputs, targets = (torch.cat(column) for column in zip(*self._seen, strict=True))
            self._correct = self._correct + hits(outputs, targets)
        self._seen = []

    def training(self) -> dict[str, float]:
        """Mean loss, and accuracy where there is one, of the training batches since the last
        call.
        """
        self._count_hits()
        loss, correct, count = distributed.totals(
            float(self._loss), float(self._correct), float(self._count)
        )
        found = {"train_loss": loss / count}
        if self.objective.hits is not None:
            found["train_accuracy"] = correct / count
        self._reset_training()
        return found

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Forget the predictions of the last experience."""
        self._outputs, self._targets = [], []

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Keep the predictions of the mini-batch."""
        self._outputs.append(strategy.mb_output)
        self._targets.append(strategy.mb_y)

    def after_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Measure the predictions of the experience."""
        outputs, targets = (
            distributed.gather(torch.cat(parts)) for parts in (self._outputs, self._targets)
        )
        found = self.objective.measure(outputs, targets) | strategy.measured(targets)
        task = strategy.experience.current_experience
        self.tasks[task] = found
        if self._preferred and self.objective.of_classes:
            self.reliability[task] = metrics.reliability(outputs.log_softmax(1), targets)

    def measure(self, strategy: Any, experiences: Any) -> dict[int, dict[str, float]]:
        """Evaluate every way of predicting on test experiences.

        Returns:
            For each task the metrics by name: those of the preferred prediction without, those of
            the others with its name as a suffix (`accuracy`, `accuracy_mode`).
        """
        found: dict[int, dict[str, float]] = {}
        self.reliability = {}
        for predictor in strategy.predictors:
            self._preferred = predictor == strategy.predictors[0]
            suffix = "" if self._preferred else f"_{predictor}"
            strategy.predictor, self.tasks = predictor, {}
            strategy.eval(experiences)
            for task, values in self.tasks.items():
                named = {f"{metric}{suffix}": value for metric, value in values.items()}
                found.setdefault(task, {}).update(named)
        strategy.predictor, self._preferred = strategy.predictors[0], True
        return found
