"""A stream: an Avalanche benchmark built from tensors, and what a network must know of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from avalanche.benchmarks import (
    CLScenario,
    benchmark_from_datasets,
    with_classes_timeline,
    with_task_labels,
)
from avalanche.benchmarks.scenarios.generic_scenario import make_stream
from avalanche.benchmarks.utils import ConstantSequence, DataAttribute
from avalanche.benchmarks.utils.classification_dataset import (
    TaskAwareSupervisedClassificationDataset,
)
from torch import Tensor

from cl_bnn.data.dataset import Dataset
from cl_bnn.data.folder import View
from cl_bnn.errors import UserError
from cl_bnn.objectives import CLASSIFICATION, Objective
from cl_bnn.probe import Probe

#: Tasks below which nothing is forgotten.
FEWEST = 2


@dataclass(frozen=True)
class Stream:
    """An Avalanche benchmark and the facts from which a network for it is built.

    Attributes:
        benchmark: an Avalanche `CLScenario` with a train and a test stream, and where parts of the
            training data are held out, a stream "validation".
        input_shape: of one input, (channels, height, width) or (features,).
        out_features: outputs of each head.
        n_heads: 1, or one head a task.
        task_labels: whether the task label is given at test (task-incremental).
        objective: what is asked of the network.
        same_test: whether all tasks have one test set, which is then measured once for all.
        every: epochs from one record and saved state to the next; more than 1 where an epoch is a
            single step.
        notes: what the user should read; more may come while the data are read.
        probe: where the trained network is looked at, on a stream of length one; None: nowhere.

    Raises:
        UserError: a label that no output stands for.
    """

    benchmark: CLScenario
    input_shape: tuple[int, ...]
    out_features: int
    n_heads: int
    task_labels: bool
    objective: Objective = CLASSIFICATION
    same_test: bool = False
    every: int = 1
    notes: list[str] = field(default_factory=list)
    probe: Probe | None = None

    def __post_init__(self) -> None:
        """Every task has data of every kind, and labels are held against the outputs, of which a
        single one stands for the classes 0 and 1.
        """
        if not self.test and not self.validation:
            raise UserError("a stream needs test data, or training data held out")
        for kind, stream in (("test", self.test), ("validation", self.validation)):
            one = kind == "test" and self.same_test
            if len(stream) not in (0, self.n_tasks, *[1] * one):
                raise UserError(
                    f"a stream of {self.n_tasks} tasks has {len(stream)} sets of {kind} data: "
                    "give every task one, or say same_test = True"
                )
        n_classes = max(self.out_features, 2)
        for name, stream in self.benchmark.streams.items():
            for k, experience in enumerate(stream):
                if not hasattr(experience, "classes_in_this_experience"):
                    raise UserError(
                        f"{name} data of task {k} do not name their classes: make the benchmark "
                        "with cl_bnn.benchmarks.build_benchmark, or pass Avalanche's "
                        "through with_classes_timeline"
                    )
                for label in experience.classes_in_this_experience:
                    if not 0 <= label < n_classes:
                        raise UserError(
                            f"{name} data of task {k}: label {label} is out of range, the network "
                            f"tells {n_classes} classes apart: labels are 0 to {n_classes - 1}"
                        )

    @property
    def in_features(self) -> int:
        """The length of a flattened input."""
        return math.prod(self.input_shape)

    @property
    def train(self) -> Any:
        """The training experiences, in order."""
        return self.benchmark.train_stream

    @property
    def test(self) -> Any:
        """The test experiences: number k belongs to task k; empty at the beginning of a stream that
        settings are chosen on.
        """
        return self.benchmark.streams.get("test", [])

    @property
    def validation(self) -> Any:
        """The held-out training data, one experience a task; empty where nothing is held out."""
        return self.benchmark.streams.get("validation", [])

    @property
    def n_tasks(self) -> int:
        """The number of tasks."""
        return len(self.train)

    def beginning(self, n_tasks: int) -> "Stream":
        """The first `n_tasks` tasks, to choose settings by what is held out of them: there are no
        test data, and the last task of a stream of more than two is left out, whatever is asked.

        Raises:
            UserError: nothing is held out.
        """
        if not self.validation:
            raise UserError(
                "settings are chosen on held-out training data, and this stream holds none out: "
                "--set stream.validation=0.1 where it can"
            )
        seen = min(n_tasks, max(self.n_tasks - 1, min(self.n_tasks, FEWEST)))
        halves = {"train": self.train, "validation": self.validation}
        streams = [make_stream(name, list(half[:seen])) for name, half in halves.items()]
        return replace(self, benchmark=CLScenario(streams), probe=None)


def _experience_data(
    view: View, targets: DataAttribute[int], task_label: int
) -> TaskAwareSupervisedClassificationDataset:
    label = ConstantSequence(task_label, len(view))
    return TaskAwareSupervisedClassificationDataset(
        [view],
        data_attributes=[
            targets,
            DataAttribute(label, "targets_task_labels", use_in_getitem=True),
        ],
    )


def _labels(targets: Tensor) -> list[int]:
    """The class of every sample, for Avalanche; one for all where targets are maps or numbers."""
    if targets.dim() == 1 and not targets.is_floating_point():
        found: list[int] = targets.tolist()
        return found
    return [0] * len(targets)


def build_benchmark(
    train: Sequence[View],
    test: Sequence[View],
    task_labels: Sequence[int],
    validation: Sequence[View] = (),
) -> CLScenario:
    """The benchmark of these tasks; `task_labels[k]` is the label of task k.

    Raises:
        UserError: a task with fewer than two classes, of samples or of the pixels of their maps; or
            without test data, or without held-out data where other tasks have some.
    """
    for name, views in (("test", test), ("validation", validation)):
        for k, view in enumerate(views):
            if not len(view):
                raise UserError(f"task {k} has no {name} data")
    for k, view in enumerate(train):
        classes = torch.unique(view.targets).tolist()
        if len(classes) < 2:
            raise UserError(f"task {k} has a single class ({classes}): a task needs at least two")
    streams = {"train": train, "test": test, "validation": validation}
    targets = {  # shared where they can be: Avalanche counts their classes one by one
        id(v.targets): DataAttribute(_labels(v.targets), "targets")
        for views in streams.values()
        for v in views
    }
    sets = {
        name: [
            _experience_data(view, targets[id(view.targets)], label)
            for view, label in zip(views, task_labels, strict=True)
        ]
        for name, views in streams.items()
        if views
    }
    benchmark = with_classes_timeline(with_task_labels(benchmark_from_datasets(**sets)))
    for stream in benchmark.streams.values():
        for experience in stream:
            # Avalanche gives a set, with which its own MultiHeadClassifier cannot index.
            experience.classes_in_this_experience = sorted(experience.classes_in_this_experience)
    return benchmark


def whole_tasks(
    source: Dataset, train: Sequence[View], test: Sequence[View],
    validation: Sequence[View] = (), *, task_labels: bool = False, **facts: Any,
) -> Stream:  # fmt: skip
    """The stream of tasks that all have the classes of `source`, with one head.

    Args:
        source: the data set, or one like it.
        train: the training data of each task.
        test: the test data of each task.
        validation: the held-out training data of each task, if any.
        task_labels: whether the task label is given at test; only a norm per task looks at it.
        facts: whatever else there is to say of the `Stream`.
    """
    return Stream(
        benchmark=build_benchmark(
            train, test, [task if task_labels else 0 for task in range(len(train))], validation
        ),
        input_shape=tuple(source.train.x.shape[1:]),
        out_features=source.n_classes,
        n_heads=1,
        task_labels=task_labels,
        **facts,
    )
