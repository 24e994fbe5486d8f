"""Permuted images: every task shows the same images with its pixels in another order."""

from pathlib import Path

import numpy as np
import torch

from cl_bnn import data as datasets
from cl_bnn.benchmarks.stream import Stream, build_benchmark
from cl_bnn.data.task import TaskView


def permuted(
    *, data: str = "mnist", n_experiences: int = 5, seed: int = 0, data_root: Path | None = None
) -> Stream:
    """The permuted stream (Goodfellow et al. 2013) as in BayesBiNN (arXiv:2002.10778, section 4.3).

    All tasks are permuted, the first too: the permutation of task k is the k-th that NumPy's
    `RandomState(seed + 1)` draws, which are the paper's own at seed 0. All tasks share one head,
    and the task label is not given (domain-incremental).

    Args:
        data: name of a data set.
        n_experiences: number of tasks, >= 1.
        seed: chooses the permutations.
        data_root: where the data sets lie.

    Raises:
        ValueError: `n_experiences` out of range.
        UserError: the data set is unknown, missing or damaged.
    """
    if n_experiences < 1:
        raise ValueError(f"n_experiences must be >= 1, got {n_experiences!r}")
    source = datasets.load(data, data_root)
    size = source.train.x[0].numel()
    rng = np.random.RandomState(seed + 1)
    orders = [torch.from_numpy(rng.permutation(size)) for _ in range(n_experiences)]
    train, test = (
        [TaskView(split, source.normalise, pixels=order) for order in orders]
        for split in (source.train, source.test)
    )
    return Stream(
        benchmark=build_benchmark(train, test, [0] * n_experiences),
        input_shape=tuple(source.train.x.shape[1:]),
        out_features=source.n_classes,
        n_heads=1,
        task_labels=False,
    )
