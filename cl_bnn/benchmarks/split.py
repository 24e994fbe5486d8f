"""Split data: every task brings classes of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from cl_bnn.benchmarks.held_out import held_out
from cl_bnn.benchmarks.stream import Stream, build_benchmark
from cl_bnn.data.augment import Augmentation, augmentation_of
from cl_bnn.data.dataset import Split
from cl_bnn.data.folder import View
from cl_bnn.data.scaling import Scaling, scaling_of
from cl_bnn.data.task import Augment, TaskView
from cl_bnn.errors import one_of
from cl_bnn.features import load

Scenario = Literal["task", "domain", "class"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
ClassOrder = Literal["sorted", "random"]


class Part(NamedTuple):
    """Part of a data set: the class of every sample, what makes a view of the samples in some rows
    (their classes under other labels if these are given), and the rows of the part; None: all.
    """

    targets: Tensor
    view: Callable[[Tensor, Tensor | None], View]
    rows: Tensor | None = None


def split(
    *, data: str = "mnist", n_experiences: int = 5, scenario: Scenario = "task",
    class_order: ClassOrder = "sorted", validation: float = 0.0, augment: Augmentation = "none",
    scaling: Scaling = "standard", seed: int = 0, data_root: Path | None = None,
) -> Stream:  # fmt: skip
    """The split stream in the three scenarios of van de Ven and Tolias (arXiv:1904.07734).

    The classes are dealt out in an order: with five tasks of sorted digits 0/1, 2/3, ..., 8/9. The
    images of a task are the same in all scenarios; what differs is what is asked and what is told:

    * `"task"`: which of the task's classes? The task label is given and every task has a head of
      its own.
    * `"domain"`: which class within its task? One head; the task label is not given.
    * `"class"`: which class of all? One head for all classes; the task label is not given.

    Args:
        data: name of a data set, or data of the user's own, see `cl_bnn.features.load`.
        n_experiences: number of tasks; must leave each task at least two classes.
        scenario: `"task"`, `"domain"` or `"class"`.
        class_order: in which classes are dealt out, `"sorted"` or `"random"`.
        validation: share of the training images held out, in [0, 1); they are not augmented.
        augment: what is done to training images at random: `"none"`, or `"crop_and_flip"` as usual
            for CIFAR.
        scaling: of the values, see `cl_bnn.data.scaling`.
        seed: chooses the images that are held out, and a random order of the classes.
        data_root: where the data sets lie.

    Raises:
        ValueError: an unknown scenario or order of the classes, a number of tasks that does not
            divide them, or `validation` out of range.
        UserError: the data set is unknown, missing or damaged, or a task has a single class or
            nothing held out.
    """
    check_scenario(scenario)
    source = load(data, data_root)
    kept, held = held_out(len(source.train), validation, seed)
    normalise = scaling_of(source, scaling, kept)

    def part(half: Split, rows: Tensor | None = None, change: Augment | None = None) -> Part:
        def view(rows: Tensor, labels: Tensor | None) -> TaskView:
            return TaskView(half, normalise, rows=rows, labels=labels, augment=change)

        return Part(half.y, view, rows)

    return split_classes(
        part(source.train, kept, augmentation_of(augment, source.train.x)), part(source.test),
        None if held is None else part(source.train, held),
        dealt(class_order, source.n_classes, seed), n_experiences, scenario,
        input_shape=tuple(source.train.x.shape[1:]),
    )  # fmt: skip


def check_scenario(scenario: str) -> None:
    """ValueError if there is no such scenario."""
    one_of("scenario", scenario, SCENARIOS)


def dealt(class_order: ClassOrder, n_classes: int, seed: int) -> Tensor:
    """The classes in the order in which they are dealt out, int64 (n_classes,).

    Raises:
        ValueError: an unknown order.
    """
    one_of("class_order", class_order, get_args(ClassOrder))
    if class_order == "sorted":
        return torch.arange(n_classes)
    return torch.from_numpy(np.random.RandomState(seed + 1).permutation(n_classes))


def split_classes(
    train: Part, test: Part, validation: Part | None, order: Tensor, n_experiences: int,
    scenario: Scenario, **facts: Any,
) -> Stream:  # fmt: skip
    """The stream that deals the classes out to the tasks in an order; see `split`.

    Args:
        train: the training data.
        test: the test data.
        validation: training data that were held out; None: there are none.
        order: the classes, see `dealt`.
        n_experiences: number of tasks.
        scenario: `"task"`, `"domain"` or `"class"`.
        facts: the input shape, and whatever else there is to say of the `Stream`.

    Raises:
        ValueError: a number of tasks that does not divide the classes.
        UserError: a task has a single class.
    """
    n_classes, place = len(order), order.argsort()  # place: that of each class in the order
    if n_experiences < 1 or n_classes % n_experiences:
        raise ValueError(
            f"n_experiences must divide the {n_classes} classes, got {n_experiences!r}; possible "
            f"are {_possible(n_classes)}"
        )
    per_task = n_classes // n_experiences
    labels = None if scenario == "class" else place % per_task

    def views(part: Part) -> list[View]:
        rows = torch.arange(len(part.targets)) if part.rows is None else part.rows
        tasks = place[part.targets[rows]] // per_task
        return [part.view(rows[tasks == task], labels) for task in range(n_experiences)]

    others = [] if validation is None else views(validation)
    told = scenario == "task"
    task_labels = [task if told else 0 for task in range(n_experiences)]
    return Stream(
        benchmark=build_benchmark(views(train), views(test), task_labels, others),
        out_features=n_classes if scenario == "class" else per_task,
        n_heads=n_experiences if told else 1,
        task_labels=told,
        **facts,
    )


def _possible(n_classes: int) -> str:
    """The numbers of tasks that leave each task at least two classes, and how many."""
    counts = [n for n in range(2, n_classes // 2 + 1) if n_classes % n == 0]
    return ", ".join([f"1 task of {n_classes}", *(f"{n} of {n_classes // n}" for n in counts)])
