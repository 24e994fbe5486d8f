"""One table of all streams over data in memory, and one set of demands on each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import CLScenario, make_stream

from cl_bnn.benchmarks import Stream, permuted, rotated, sequence, single, split, subsets
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.strategies.loading import task_view

FILE = "six.npz"
# The stream, its settings, the tasks it then has, and whether the seed changes it.
STREAMS: list[tuple[Callable[..., Stream], dict[str, Any], int, bool]] = [
    (single, {"data": FILE}, 1, True),
    (permuted, {"data": FILE, "n_experiences": 4}, 4, True),
    (rotated, {"data": FILE, "n_experiences": 4}, 4, False),
    (rotated, {"data": FILE, "n_experiences": 2, "angles": [0.0, 10.0]}, 2, False),
    (sequence, {"data": [FILE, FILE]}, 2, False),
    (subsets, {"data": FILE, "n_experiences": 7}, 7, True),
    (split, {"data": FILE, "n_experiences": 3, "scenario": "task"}, 3, False),
    (split, {"data": FILE, "n_experiences": 2, "scenario": "domain"}, 2, False),
    (split, {"data": FILE, "n_experiences": 3, "scenario": "class", "scaling": "unit"}, 3, False),
    (split, {"data": FILE, "n_experiences": 1, "scaling": "symmetric"}, 1, False),
]


def six_classes() -> dict[str, np.ndarray[Any, Any]]:
    """120 and 30 images of 5 x 5 pixels in six classes."""
    random = np.random.RandomState(0)
    arrays = {}
    for half, count in (("train", 120), ("test", 30)):
        arrays[f"x_{half}"] = random.randint(0, 256, (count, 5, 5)).astype(np.uint8)
        arrays[f"y_{half}"] = np.arange(count) % 6
    return arrays


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with the file that all streams here are made of."""
    np.savez(tmp_path / FILE, **six_classes())
    return tmp_path


def views(experiences: Any) -> list[TaskView]:
    found = [task_view(experience.dataset) for experience in experiences]
    return [view for view in found if view is not None]


def contents(stream: Stream) -> list[torch.Tensor]:
    """Everything in a stream, in a fixed order."""
    every = [*stream.train, *stream.validation, *stream.test]
    return [values for view in views(every) for values in view.materialise()]


@pytest.mark.parametrize(("build", "settings", "n_tasks", "by_seed"), STREAMS)
def test_every_stream(
    root: Path, build: Callable[..., Stream], settings: dict[str, Any], n_tasks: int, by_seed: bool
) -> None:
    stream = build(**settings, data_root=root)
    train, test = views(stream.train), views(stream.test)
    assert len(train) == len(test) == stream.n_tasks == n_tasks

    shared = {view.split.x.data_ptr() for view in train}, {v.split.x.data_ptr() for v in test}
    assert [len(pointers) for pointers in shared] == [1, 1], "views of one data set, not copies"

    assert stream.n_heads == (n_tasks if stream.task_labels else 1)
    labels = [k if stream.task_labels else 0 for k in range(n_tasks)]
    assert [e.task_label for e in stream.train] == [e.task_label for e in stream.test] == labels
    for view in train + test:
        x, y = view.materialise()
        assert x.shape == (len(view), *stream.input_shape) and x.dtype == torch.float32
        assert y.dtype == torch.int64 and 0 <= int(y.min()) <= int(y.max()) < stream.out_features
    for learned, tested in zip(train, test, strict=True):
        assert set(tested.targets.tolist()) <= set(learned.targets.tolist())

    first, again = contents(stream), contents(build(**settings, data_root=root))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = contents(build(**settings, data_root=root, seed=1))
    assert by_seed != all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("build", "settings"),
    # A sequence is made of one data set twice here.
    [(build, kept) for build, kept, n_tasks, _ in STREAMS if n_tasks > 1 and build is not sequence],
)
def test_streams_that_share_a_test_set_say_so(
    root: Path, build: Callable[..., Stream], settings: dict[str, Any]
) -> None:
    stream = build(**settings, data_root=root)
    tests = [view.materialise() for view in views(stream.test)]
    same = all(torch.equal(a, b) for test in tests for a, b in zip(test, tests[0], strict=True))
    assert stream.same_test == same


def test_every_task_has_data_of_every_kind(root: Path) -> None:
    found = permuted(data=FILE, n_experiences=3, data_root=root)
    train, test = list(found.train), list(found.test)
    one = CLScenario([make_stream("train", train), make_stream("test", test[:1])])
    with pytest.raises(UserError, match="a stream of 3 tasks has 1 sets of test data: give every"):
        replace(found, benchmark=one)
    assert len(replace(found, benchmark=one, same_test=True).test) == 1
    with pytest.raises(UserError, match="a stream needs test data, or training data held out"):
        replace(found, benchmark=CLScenario([make_stream("train", train)]))
