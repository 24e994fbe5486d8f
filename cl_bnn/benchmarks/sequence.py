"""One data set after the other: tasks that share their head but not their images."""

from pathlib import Path

from cl_bnn.benchmarks.stream import Stream, whole_tasks
from cl_bnn.data.scaling import Scaling, scaling_of
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.features import load


def sequence(
    *, data: list[str], scaling: Scaling = "standard", seed: int = 0, data_root: Path | None = None
) -> Stream:
    """Several data sets, a task each, as MNIST and then Fashion-MNIST in Laborieux et al. 2021
    (arXiv:2003.03533).

    All tasks share one head with an output for each class of the data set that has most of them:
    class c of each is output c. The task label is not given (domain-incremental).

    Args:
        data: names of data sets, or data of the user's own, see `cl_bnn.features.load`.
        scaling: of the values, by the constants of each data set; see `cl_bnn.data.scaling`.
        seed: not used: the stream does not depend on chance.
        data_root: where the data sets lie.

    Raises:
        ValueError: no data sets.
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
    scalings = [scaling_of(source, scaling) for source in sources]
    pairs = list(zip(sources, scalings, strict=True))
    return whole_tasks(
        max(sources, key=lambda source: source.n_classes),
        [TaskView(source.train, normalise) for source, normalise in pairs],
        [TaskView(source.test, normalise) for source, normalise in pairs],
    )
