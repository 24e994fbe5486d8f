"""Split data: every task brings classes of its own."""

from pathlib import Path
from typing import Literal

import torch

from cl_bnn import data as datasets
from cl_bnn.benchmarks.stream import Stream, build_benchmark
from cl_bnn.data.dataset import Split
from cl_bnn.data.task import TaskView

Scenario = Literal["task", "domain", "class"]
SCENARIOS: tuple[Scenario, ...] = ("task", "domain", "class")


def split(
    *, data: str = "mnist", n_experiences: int = 5, scenario: Scenario = "task",
    seed: int = 0, data_root: Path | None = None,
) -> Stream:  # fmt: skip
    """The split stream in the three scenarios of van de Ven and Tolias (arXiv:1904.07734).

    The classes are dealt out in their order: with five tasks of digits 0/1, 2/3, ..., 8/9. The
    images of a task are the same in all scenarios; what differs is what is asked and what is told:

    * `"task"`: which of the task's classes? The task label is given and every task has a head of
      its own.
    * `"domain"`: which class within its task? One head; the task label is not given.
    * `"class"`: which class of all? One head for all classes; the task label is not given.

    Args:
        data: name of a data set.
        n_experiences: number of tasks; must leave each task at least two classes.
        scenario: `"task"`, `"domain"` or `"class"`.
        seed: not used: the split does not depend on chance.
        data_root: where the data sets lie.

    Raises:
        ValueError: an unknown scenario, or a number of tasks that does not divide the classes.
        UserError: the data set is unknown, missing or damaged, or a task has a single class.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f"scenario must be one of {', '.join(SCENARIOS)}, got {scenario!r}")
    source = datasets.load(data, data_root)
    if n_experiences < 1 or source.n_classes % n_experiences:
        raise ValueError(
            f"n_experiences must divide the {source.n_classes} classes, got {n_experiences!r}"
        )
    per_task = source.n_classes // n_experiences
    classes = torch.arange(source.n_classes)
    labels = None if scenario == "class" else classes % per_task

    def view(part: Split, task: int) -> TaskView:
        rows = (part.y // per_task == task).nonzero().flatten()
        return TaskView(part, source.normalise, rows=rows, labels=labels)

    tasks = range(n_experiences)
    return Stream(
        benchmark=build_benchmark(
            [view(source.train, k) for k in tasks],
            [view(source.test, k) for k in tasks],
            list(tasks) if scenario == "task" else [0] * n_experiences,
        ),
        input_shape=tuple(source.train.x.shape[1:]),
        out_features=source.n_classes if scenario == "class" else per_task,
        n_heads=n_experiences if scenario == "task" else 1,
        task_labels=scenario == "task",
    )
