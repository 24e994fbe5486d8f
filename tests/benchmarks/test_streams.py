"""Streams over the MNIST that the package carries: which samples, which labels, which memory."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks.utils.data_loader import TaskBalancedDataLoader
from torch import Tensor
from torch.utils.data import DataLoader

from cl_bnn import data as datasets
from cl_bnn.benchmarks import Stream, permuted, split
from cl_bnn.benchmarks.stream import build_benchmark
from cl_bnn.data import Split
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.strategies.loading import task_view

MNIST = datasets.load("mnist")
MEAN, STD = 0.1307, 0.3081
# Training images of each digit.
COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
INDEX = torch.tensor([0, 1, 500, 7777])


def view(experience: Any) -> TaskView:
    found = task_view(experience.dataset)
    assert found is not None
    return found


def normalised(images: Tensor) -> Tensor:
    return (images.float() / 255 - MEAN) / STD


def tiny(labels: list[int], values: Tensor | None = None) -> TaskView:
    """A task with these labels, on images of 2 x 2 pixels."""
    x = torch.zeros(len(labels), 1, 2, 2) if values is None else values
    part = Split(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), torch.tensor(labels))
    return TaskView(part, lambda images: x[: len(images)])


# Permuted ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 3])
def test_permutation_of_task_k_is_the_kth_of_numpy(seed: int) -> None:
    stream = permuted(n_experiences=3, seed=seed)
    rng = np.random.RandomState(seed + 1)
    flat = normalised(MNIST.train.x[INDEX]).flatten(1)
    for experience in stream.train:
        order = rng.permutation(784)
        x, y = view(experience).batch(INDEX)
        torch.testing.assert_close(x.flatten(1), flat[:, order])
        assert torch.equal(y, MNIST.train.y[INDEX])


def test_first_task_is_permuted_and_test_images_are_permuted_alike() -> None:
    stream = permuted(n_experiences=2)
    for train, test in zip(stream.train, stream.test, strict=True):
        order = view(train).pixels
        assert order is not None and not torch.equal(order, torch.arange(784))
        x, y = view(test).batch(INDEX)
        expected = normalised(MNIST.test.x[INDEX]).flatten(1)[:, order]
        torch.testing.assert_close(x.flatten(1), expected)
        assert torch.equal(y, MNIST.test.y[INDEX])


def test_permuted_stream_has_one_head_for_all_digits() -> None:
    stream = permuted(n_experiences=4)
    assert facts(stream) == (4, 784, 10, 1, False)
    assert [e.task_label for e in stream.train] == [0] * 4
    assert [len(e.dataset) for e in stream.train] == [60_000] * 4
    assert [len(e.dataset) for e in stream.test] == [10_000] * 4
    assert all(e.classes_in_this_experience == list(range(10)) for e in stream.train)


def facts(stream: Stream) -> tuple[int, int, int, int, bool]:
    return (
        stream.n_tasks,
        stream.in_features,
        stream.out_features,
        stream.n_heads,
        stream.task_labels,
    )


# Split -------------------------------------------------------------------------------------------

SCENARIOS = [
    # scenario, outputs of a head, heads, labels of task k, task label of task k
    ("task", 2, 5, lambda k: {0, 1}, lambda k: k),
    ("domain", 2, 1, lambda k: {0, 1}, lambda k: 0),
    ("class", 10, 1, lambda k: {2 * k, 2 * k + 1}, lambda k: 0),
]


@pytest.mark.parametrize("scenario, outputs, heads, labels, task_label", SCENARIOS)
def test_split_scenarios(
    scenario: Any, outputs: int, heads: int, labels: Any, task_label: Any
) -> None:
    stream = split(scenario=scenario)
    assert facts(stream) == (5, 784, outputs, heads, scenario == "task")
    for half, experiences in (("train", stream.train), ("test", stream.test)):
        source = getattr(MNIST, half)
        for k, experience in enumerate(experiences):
            task = view(experience)
            assert experience.task_label == task_label(k)
            assert set(task.targets.tolist()) == labels(k)
            assert experience.classes_in_this_experience == sorted(labels(k))
            digits = source.y[task.rows]
            assert torch.equal(digits // 2, torch.full_like(digits, k))
            expected = digits if scenario == "class" else digits % 2
            assert torch.equal(task.targets, expected)
    assert [len(e.dataset) for e in stream.train] == [
        COUNTS[2 * k] + COUNTS[2 * k + 1] for k in range(5)
    ]
    assert sum(len(e.dataset) for e in stream.test) == 10_000


def test_split_images_are_normalised_and_in_their_order() -> None:
    task = view(split().train[2])
    rows = ((MNIST.train.y == 4) | (MNIST.train.y == 5)).nonzero().flatten()
    x, y = task.batch(INDEX)
    torch.testing.assert_close(x, normalised(MNIST.train.x[rows[INDEX]]))
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert x.shape == (4, 1, 28, 28)


def test_two_tasks_of_five_digits() -> None:
    stream = split(n_experiences=2)
    assert facts(stream) == (2, 784, 5, 2, True)
    assert view(stream.train[1]).targets.unique().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_classes_may_be_dealt_out_in_a_random_order(scenario: Any) -> None:
    order = np.random.RandomState(4).permutation(10).tolist()
    stream = split(scenario=scenario, class_order="random", seed=3)
    for half, experiences in (("train", stream.train), ("test", stream.test)):
        for k, experience in enumerate(experiences):
            task, pair = view(experience), order[2 * k : 2 * k + 2]
            digits = getattr(MNIST, half).y[task.rows].tolist()
            assert set(digits) == set(pair)
            expected = digits if scenario == "class" else [pair.index(d) for d in digits]
            assert task.targets.tolist() == expected
    assert sum(len(e.dataset) for e in stream.train) == 60_000


# What Avalanche sees -----------------------------------------------------------------------------


def test_a_loader_over_the_experience_gives_the_same_samples() -> None:
    experience = split().train[3]
    x, y = view(experience).batch(torch.arange(50))
    loaders = [
        DataLoader(experience.dataset, batch_size=50),
        TaskBalancedDataLoader(experience.dataset, batch_size=50),
    ]
    for loader in loaders:
        images, targets, task_labels = next(iter(loader))
        assert torch.equal(images, x)
        assert torch.equal(targets, y)
        assert task_labels.tolist() == [3] * 50


def test_a_subset_gives_the_same_samples() -> None:
    dataset = permuted(n_experiences=1).test[0].dataset
    x, y = view(permuted(n_experiences=1).test[0]).batch(INDEX)
    subset = dataset.subset(INDEX.tolist())
    assert subset.targets.val_to_idx.keys() == set(y.tolist())
    for k in range(len(INDEX)):
        image, label, task_label = subset[k]
        assert torch.equal(image, x[k])
        assert (label, task_label) == (y[k].item(), 0)


def test_all_tasks_share_the_bytes_of_one_data_set() -> None:
    streams = [permuted(n_experiences=6), split(), split(scenario="class")]
    source = datasets.load("mnist")
    views = [view(e) for stream in streams for e in stream.train]
    assert {v.split.x.data_ptr() for v in views} == {source.train.x.data_ptr()}
    tests = [view(e) for stream in streams for e in stream.test]
    assert {v.split.x.data_ptr() for v in tests} == {source.test.x.data_ptr()}


def test_long_streams_may_look_at_some_test_images_only() -> None:
    few, whole = permuted(n_experiences=2, test_limit=4), permuted(n_experiences=2)
    x, y = view(few.test[1]).materialise()
    all_x, all_y = view(whole.test[1]).materialise()
    rows = [0, 2500, 5000, 7500]
    assert torch.equal(x, all_x[rows]) and torch.equal(y, all_y[rows])
    assert len(view(few.train[0])) == 60_000
    assert len(view(permuted(n_experiences=1, test_limit=20_000).test[0])) == 10_000
    with pytest.raises(ValueError, match="test_limit must be >= 1, got 0"):
        permuted(test_limit=0)


def test_permuted_tasks_may_learn_from_some_images_only() -> None:
    few, held_out = (
        permuted(n_experiences=2, limit=100, validation=share, seed=3) for share in (0.0, 0.1)
    )
    rows = [view(task).rows.tolist() for task in few.train]
    order = np.random.RandomState(3).permutation(60_000).tolist()
    assert rows == [order[:100]] * 2
    assert view(held_out.train[0]).rows.tolist() == order[6_000:6_100]
    assert view(held_out.validation[0]).rows.tolist() == order[:6_000]
    assert not few.validation and len(view(few.test[0])) == 10_000
    with pytest.raises(ValueError, match=r"limit must be in \[1, 54000\], got 54001"):
        permuted(limit=54_001, validation=0.1)


def test_whole_task_is_its_batches() -> None:
    task = view(split().test[4])
    x, y = task.materialise()
    assert len(x) == len(y) == len(task)
    index = torch.tensor([0, 17, len(task) - 1])
    some, labels = task.batch(index)
    assert torch.equal(x[index], some) and torch.equal(y[index], labels)
    image, label = task[17]
    assert torch.equal(image, x[17]) and label == y[17].item()


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_a_task_with_a_single_class_is_refused(scenario: Any) -> None:
    with pytest.raises(UserError) as error:
        split(n_experiences=10, scenario=scenario)
    assert str(error.value) == "task 0 has a single class ([0]): a task needs at least two"


def test_the_task_with_a_single_class_is_named() -> None:
    tasks = [tiny([0, 1]), tiny([3, 3, 3])]
    with pytest.raises(UserError) as error:
        build_benchmark(tasks, tasks, [0, 0])
    assert str(error.value) == "task 1 has a single class ([3]): a task needs at least two"


@pytest.mark.parametrize("count", [-1, 0, 3, 11])
def test_a_number_of_tasks_that_does_not_divide_the_classes_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"^n_experiences must .* 10 classes, got {count};"):
        split(n_experiences=count)


@pytest.mark.parametrize("count", [-1, 0])
def test_a_permuted_stream_without_tasks_is_refused(count: int) -> None:
    with pytest.raises(ValueError) as error:
        permuted(n_experiences=count)
    assert str(error.value) == f"n_experiences must be >= 1, got {count}"


def test_an_unknown_order_of_the_classes_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        split(class_order="reversed")  # type: ignore[arg-type]
    assert str(error.value) == "class_order must be one of sorted, random, got 'reversed'"


def test_an_unknown_scenario_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        split(scenario="online")  # type: ignore[arg-type]
    assert str(error.value) == "scenario must be one of task, domain, class, got 'online'"


@pytest.mark.parametrize("wrong", [[float("nan")], [float("inf")], [float("inf"), -float("inf")]])
def test_inputs_that_are_no_numbers_are_refused(wrong: list[float]) -> None:
    values = torch.zeros(4, 1, 2, 2)
    values[1].view(-1)[: len(wrong)] = torch.tensor(wrong)
    values[3, 0, 1, 1] = float("nan")
    with pytest.raises(UserError) as error:
        tiny([0, 1, 0, 1], values).materialise()
    message = "2 of 4 inputs hold NaN or infinity: remove them from the data"
    assert str(error.value) == message


def test_a_data_set_whose_normalisation_divides_by_zero_is_refused() -> None:
    flat = dataclasses.replace(MNIST, std=(0.0,))
    with pytest.raises(UserError, match="^10000 of 10000 inputs hold NaN or infinity"):
        TaskView(flat.test, flat.normalise).materialise()
