"""Permuted images: every task shows the same images with its pixels in another order."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cl_bnn.benchmarks.held_out import held_out
from cl_bnn.benchmarks.stream import Stream, whole_tasks
from cl_bnn.data.dataset import Split
from cl_bnn.data.scaling import Scaling, scaling_of
from cl_bnn.data.task import TaskView, spread
from cl_bnn.errors import require
from cl_bnn.features import load


def permuted(
    *, data: str = "mnist", n_experiences: int = 5, validation: float = 0.0,
    limit: int | None = None, test_limit: int | None = None, scaling: Scaling = "standard",
    task_labels: bool = False, seed: int = 0, data_root: Path | None = None,
) -> Stream:  # fmt: skip
    """The permuted stream (Goodfellow et al. 2013) as in BayesBiNN (arXiv:2002.10778, section 4.3).

    All tasks are permuted, the first too: the permutation of task k is the k-th that NumPy's
    `RandomState(seed + 1)` draws, which are the paper's own at seed 0. Where images have several
    channels, their values are permuted all together. All tasks share one head, and the task label
    is not given unless asked for (domain-incremental).

    Args:
        data: name of a data set, or data of the user's own, see `cl_bnn.features.load`.
        n_experiences: number of tasks, >= 1.
        validation: share of the training images held out, in [0, 1), the same ones of all tasks.
        limit: learn from so many images only, the same ones of all tasks; None: from all that are
            not held out.
        test_limit: test images that are looked at, evenly spread; None: all. With 100 tasks there
            are 10,000 tests.
        scaling: of the values, see `cl_bnn.data.scaling`.
        task_labels: whether the task label is given at test, for `model.norm = "per_task"`.
        seed: chooses the permutations, and the images that are held out or left out.
        data_root: where the data sets lie.

    Raises:
        ValueError: `n_experiences`, `validation`, `limit` or `test_limit` out of range.
        UserError: the data set is unknown, missing or damaged.
    """
    require(n_experiences >= 1, "n_experiences", n_experiences, ">= 1")
    require(test_limit is None or test_limit >= 1, "test_limit", test_limit, ">= 1")
    source = load(data, data_root)
    size = source.train.x[0].numel()
    rng = np.random.RandomState(seed + 1)
    orders = [torch.from_numpy(rng.permutation(size)) for _ in range(n_experiences)]
    kept, held = held_out(len(source.train), validation, seed, limit)
    normalise = scaling_of(source, scaling, kept)

    tested = None if test_limit is None else spread(len(source.test), test_limit)

    def views(split: Split, rows: Tensor | None = None) -> list[TaskView]:
        view = TaskView(split, normalise, rows=rows)
        return [view.seen(pixels=order) for order in orders]

    return whole_tasks(
        source, views(source.train, kept), views(source.test, tested),
        [] if held is None else views(source.train, held), task_labels=task_labels,
    )  # fmt: skip
