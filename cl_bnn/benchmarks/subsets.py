"""A data set learned piece by piece: every task brings new images of the same classes."""

from pathlib import Path

import numpy as np
import torch

from cl_bnn.benchmarks.held_out import cut
from cl_bnn.benchmarks.stream import Stream, whole_tasks
from cl_bnn.data.scaling import Scaling, scaling_of
from cl_bnn.data.task import TaskView
from cl_bnn.errors import require
from cl_bnn.features import load


def subsets(
    *, data: str = "fashion_mnist", n_experiences: int = 60, validation: float = 0.0,
    scaling: Scaling = "standard", seed: int = 0, data_root: Path | None = None,
) -> Stream:  # fmt: skip
    """The training images in parts, a task each, as in the stream learning of Laborieux et al. 2021
    (arXiv:2003.03533).

    The images are dealt out in the order of a permutation by NumPy's `RandomState(seed + 1)`, each
    to one task; where their number cannot be divided, the first tasks get one more. All tasks share
    one head and one test set, which is that of the data set.

    Args:
        data: name of a data set, or data of the user's own, see `cl_bnn.features.load`.
        n_experiences: number of tasks, at least 1 and at most half the number of training images;
            1: all images at once.
        validation: share of the images of each task held out, in [0, 1).
        scaling: of the values, see `cl_bnn.data.scaling`.
        seed: chooses which images a task gets, and which of them are held out.
        data_root: where the data sets lie.

    Raises:
        ValueError: `n_experiences` or `validation` out of range.
        UserError: the data set is unknown, missing or damaged, or a task has a single class.
    """
    source = load(data, data_root)
    count = len(source.train)
    most = count // 2
    require(1 <= n_experiences <= most, "n_experiences", n_experiences, f"in [1, {most}]")
    order = torch.from_numpy(np.random.RandomState(seed + 1).permutation(count))
    parts = [cut(part, validation) for part in torch.tensor_split(order, n_experiences)]
    learned = torch.cat([kept for kept, _ in parts]) if validation else None
    normalise = scaling_of(source, scaling, learned)
    return whole_tasks(
        source,
        [TaskView(source.train, normalise, rows=kept) for kept, _ in parts],
        [TaskView(source.test, normalise)] * n_experiences,
        [TaskView(source.train, normalise, rows=held) for _, held in parts if len(held)],
        same_test=True,
    )
