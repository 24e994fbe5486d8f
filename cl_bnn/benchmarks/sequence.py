"""One data set after the other: tasks that share their head but not their images."""

from pathlib import Path

from cl_bnn.benchmarks.held_out import held_out
from cl_bnn.benchmarks.stream import Stream, whole_tasks
from cl_bnn.data.scaling import Scaling, scaling_of
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.features import load


def sequence(
    *, data: list[str], validation: float = 0.0, scaling: Scaling = "standard",
    task_labels: bool = False, seed: int = 0, data_root: Path | None = None,
) -> Stream:  # fmt: skip
    """Several data sets, a task each, as MNIST and then Fashion-MNIST in Laborieux et al. 2021
    (arXiv:2003.03533).

    All tasks share one head with an output for each class of the data set that has most of them:
    class c of each is output c. The task label is not given unless asked for
    (domain-incremental).

    Args:
        data: names of data sets, or data of the user's own, see `cl_bnn.features.load`.
        validation: share of the training images of each held out, in [0, 1).
        scaling: of the values, by the constants of each data set; see `cl_bnn.data.scaling`.
        task_labels: whether the task label is given at test, for `model.norm = "per_task"`.
        seed: chooses the images that are held out; nothing else depends on chance.
        data_root: where the data sets lie.

    Raises:
        ValueError: no data sets, or `validation` out of range.
        UserError: a data set is unknown, missing or damaged, or their inputs differ in shape.
    """
    if not data:
        raise ValueError("data must name at least one data set, got []")
    sources = [load(name, data_root) for name in data]
    first = sources[0].train.x.shape[1:]
    for name, source in zip(data, sources, strict=True):
        shape = source.train.x.shape[1:]
        if shape != first:
            raise UserError(
                f"data: {name!r} has inputs of the shape {tuple(shape)} and {data[0]!r} of "
                f"{tuple(first)}: the data sets of a sequence must have one shape"
            )
    learned, tested, others = [], [], []
    for source in sources:
        kept, held = held_out(len(source.train), validation, seed)
        normalise = scaling_of(source, scaling, kept)
        learned.append(TaskView(source.train, normalise, rows=kept))
        tested.append(TaskView(source.test, normalise))
        if held is not None:
            others.append(TaskView(source.train, normalise, rows=held))
    largest = max(sources, key=lambda source: source.n_classes)
    return whole_tasks(largest, learned, tested, others, task_labels=task_labels)
