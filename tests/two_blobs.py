"""Tasks of two classes in ten dimensions as Avalanche's own benchmark, and what watches them."""

import copy
import io
from collections.abc import Callable
from typing import Any

import torch
from avalanche.benchmarks import tensors_benchmark
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import TextLogger
from avalanche.models import IncrementalClassifier
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor, nn


def blobs(task: int, count: int = 60, *, new_classes: bool = False) -> tuple[Tensor, Tensor]:
    """Two well separated classes in ten dimensions, other dimensions for every task."""
    y = torch.arange(count) % 2
    x = torch.randn(count, 10) * 0.3
    x[torch.arange(count), 2 * task + y] += 3
    return x, y + 2 * task if new_classes else y


def benchmark(n_tasks: int, labels: bool = False, *, new_classes: bool = False) -> Any:
    """So many tasks, with task labels if wanted; classes 0 and 1, or new ones for every task."""
    return tensors_benchmark(
        train_tensors=[blobs(task, new_classes=new_classes) for task in range(n_tasks)],
        test_tensors=[blobs(task, 20, new_classes=new_classes) for task in range(n_tasks)],
        task_labels=list(range(n_tasks)) if labels else [0] * n_tasks,
    )


def quiet() -> EvaluationPlugin:
    """Avalanche's evaluator, which measures accuracies and prints nothing."""
    metrics = accuracy_metrics(experience=True, stream=True)
    return EvaluationPlugin(metrics, loggers=[TextLogger(io.StringIO())])


def settings(**more: Any) -> dict[str, Any]:
    """Keywords of a strategy that learns such a task."""
    return dict(evaluator=quiet(), train_mb_size=10, train_epochs=2, eval_mb_size=20) | more


class Growing(nn.Module):
    """A network whose head grows with the classes, as Avalanche's users write it."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(10, 20, bias=False), nn.ReLU())
        self.head = IncrementalClassifier(20, 2, masking=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.trunk(x))
        return logits


class At(SupervisedPlugin):
    """Calls a function with the strategy at a hook, the beginning of every epoch unless said."""

    def __init__(self, look: Callable[[Any], None], hook: str = "before_training_epoch") -> None:
        super().__init__()
        setattr(self, hook, lambda strategy, *args, **kwargs: look(strategy))


def continued(build: Callable[..., Any], data: Any, epoch: int) -> tuple[Any, Any]:
    """A strategy that has learned two tasks, and another one that took over from a saved state at
    this epoch of the second.

    Args:
        build: makes a strategy that has not learned anything, with the plugins it is given.
        data: a benchmark of two tasks.
        epoch: of the second task.
    """
    saved: dict[str, Any] = {}

    def save(strategy: Any) -> None:
        if strategy.epoch == epoch and strategy.experience.current_experience == 1:
            saved.update(
                model=copy.deepcopy(strategy.model.state_dict()), rng=torch.get_rng_state(),
                optimizer=copy.deepcopy(strategy.optimizer.state_dict()),
            )  # fmt: skip

    whole = build(plugins=[At(save)])
    whole.train(data.train_stream, eval_streams=[])
    torch.manual_seed(1)
    again = build(plugins=[])
    again.model.load_state_dict(saved["model"])
    again.optimizer.load_state_dict(saved["optimizer"])
    again.resume(epoch, lambda: torch.set_rng_state(saved["rng"]))
    again.train(data.train_stream[1], eval_streams=[])
    return whole, again
