"""A stream small enough to train on in a test, as a user's own recipe and module would bring it."""

from pathlib import Path

import torch

from cl_bnn import data
from cl_bnn.benchmarks.stream import Stream, build_benchmark
from cl_bnn.data.augment import crop_and_flip
from cl_bnn.data.dataset import Split
from cl_bnn.data.task import Augment, TaskView

RECIPE = """
title = "Two digits a task, few images"
epochs = 3
batch_size = 20
[stream]
build = "tiny:stream"
n_experiences = 3
[model]
build = "cl_bnn.nn:mlp"
width = 16
norm = "shared"
"""


def few(split: Split, count: int) -> Split:
    """The first images of a split."""
    return Split(split.x[:count], split.y[:count])


def stream(
    *, n_experiences: int = 3, heads: bool = False, held_out: bool = False, broken: str = "",
    seed: int = 0, data_root: Path | None = None,
) -> Stream:  # fmt: skip
    """Split MNIST of 600 training images; `broken` is a mistake in the data, for tests.

    With `held_out`, 300 other images to validate on, and both kinds augmented.
    """
    source = data.load("mnist", data_root)
    train, test = few(source.train, 600), few(source.test, 300)
    other = Split(source.train.x[600:900], source.train.y[600:900])

    def view(split: Split, task: int, augment: Augment | None = None) -> TaskView:
        first = 2 * task
        last = first if broken == "single class" and task == 1 else first + 1
        rows = ((split.y >= first) & (split.y <= last)).nonzero().flatten()
        labels = torch.arange(10) % 2 - int(broken == "label")
        return TaskView(split, normalise, rows=rows, labels=labels, augment=augment)

    def normalise(x: torch.Tensor) -> torch.Tensor:
        return source.normalise(x) * (float("nan") if broken == "nan" else 1.0)

    tasks = range(n_experiences)
    return Stream(
        benchmark=build_benchmark(
            [view(train, k, crop_and_flip if held_out else None) for k in tasks],
            [view(test, k) for k in tasks],
            list(tasks) if heads else [0] * n_experiences,
            [view(other, k, crop_and_flip) for k in tasks] if held_out else [],
        ),
        input_shape=(1, 28, 28),
        out_features=2,
        n_heads=n_experiences if heads else 1,
        task_labels=heads,
    )


def recipe(folder: Path) -> str:
    """Write the recipe and its module into a folder; the path to give to the command line."""
    (folder / "tiny.py").write_bytes(Path(__file__).read_bytes())
    path = folder / "tiny.toml"
    path.write_text(RECIPE)
    return str(path)
