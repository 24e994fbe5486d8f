"""One data set as one task, with a part held out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cl_bnn.benchmarks import single, split
from cl_bnn.data import load
from cl_bnn.data.whiten import Whitening
from cl_bnn.strategies.loading import Batches, task_view

CPU = torch.device("cpu")


def views(stream):
    """The views behind the training, held-out and test experience."""
    streams = (stream.train, stream.validation, stream.test)
    return [task_view(s[0].dataset) for s in streams]


def test_held_out_images_are_those_of_the_authors() -> None:
    """The authors shuffle a list with NumPy seeded by 1 + the number of the run."""
    for seed in (0, 3):
        np.random.seed(1 + seed)
        expected = list(range(60_000))
        np.random.shuffle(expected)
        train, held_out, test = views(single(seed=seed))
        assert held_out.rows.tolist() == expected[:6000]
        assert train.rows.tolist() == expected[6000:]
        assert test.rows is None and len(test) == 10_000


def test_what_a_network_is_told() -> None:
    stream = single()
    assert stream.input_shape == (1, 28, 28) and stream.in_features == 784
    assert (stream.out_features, stream.n_heads, stream.n_tasks) == (10, 1, 1)
    assert not stream.task_labels
    mnist = load("mnist")
    _, held_out, test = views(stream)
    x, y = test.materialise()
    assert torch.equal(x, mnist.normalise(mnist.test.x)) and torch.equal(y, mnist.test.y)
    x, y = held_out.materialise()
    assert torch.equal(y, mnist.train.y[held_out.rows])


def test_nothing_held_out() -> None:
    stream = single(validation=0.0)
    assert not list(stream.validation)
    assert len(stream.train[0].dataset) == 60_000


def test_limit_takes_the_images_that_come_next() -> None:
    train, held_out, _ = views(single(limit=100))
    whole, held_out_too, _ = views(single())
    assert train.rows.tolist() == whole.rows[:100].tolist()
    assert torch.equal(held_out.rows, held_out_too.rows)
    assert len(single(validation=0.0, limit=60_000).train[0].dataset) == 60_000


@pytest.mark.parametrize("limit", [0, 54_001])
def test_limit_out_of_range(limit: int) -> None:
    with pytest.raises(ValueError, match=rf"limit must be in \[1, 54000\], got {limit}"):
        single(limit=limit)


def test_whitening_is_made_from_the_images_to_learn_from() -> None:
    train, held_out, test = views(single(scaling="whitened", limit=2000))
    expected = Whitening(load("mnist").train.x[train.rows])
    assert torch.equal(train.normalise.matrix, expected.matrix)
    assert held_out.normalise is train.normalise is test.normalise


@pytest.mark.parametrize("build", [single, split])
def test_what_is_no_image_is_not_augmented(build: Any, tmp_path: Path) -> None:
    x, y = np.zeros((20, 5), dtype=np.float32), np.arange(20) % 10
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    with pytest.raises(ValueError, match="augment must be 'none' where the data are no images"):
        build(data="mine.npz", augment="crop_and_flip", data_root=tmp_path)


def test_augmentation_of_training_and_if_asked_of_held_out_images() -> None:
    train, held_out, test = views(single(augment="crop_and_flip"))
    assert train.augment is not None
    assert held_out.augment is None and test.augment is None
    train, held_out, test = views(single(augment="crop_and_flip", augment_validation=True))
    assert held_out.augment is train.augment is not None and test.augment is None


@pytest.mark.parametrize("share", [-0.1, 1.0, 1e-6])
def test_share_out_of_range(share: float) -> None:
    with pytest.raises(ValueError, match="validation must"):
        single(validation=share)


def test_held_out_images_are_augmented_alike_every_time_and_training_is_left_alone() -> None:
    _, held_out, _ = views(single(augment="crop_and_flip", augment_validation=True))
    batches = Batches([(held_out, 0)], 3000, shuffle=False, device=CPU, augment_seed=4)
    state = torch.get_rng_state()
    first, second = (torch.cat([x for x, _, _ in batches]) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, held_out.materialise()[0])


def test_training_images_are_augmented_anew_every_time() -> None:
    train, _, _ = views(single(validation=0.99, augment="crop_and_flip"))
    batches = Batches([(train, 0)], len(train), shuffle=False, device=CPU)
    torch.manual_seed(0)
    (first, y, _), (second, _, _) = next(iter(batches)), next(iter(batches))
    assert torch.equal(y, train.targets)
    assert first.shape == second.shape == (600, 1, 28, 28)
    assert not torch.equal(first, second)
    # Black where nothing was: normalised like any other pixel.
    assert first.min() == second.min() == load("mnist").normalise(torch.zeros(1, 1, 1)).item()


def test_symmetric_scaling() -> None:
    train, held_out, test = views(single(scaling="symmetric"))
    x, _ = test.materialise()
    assert x.min() == -1 and x.max() == 1
    expected = load("mnist").test.x[0].float() / 255 * 2 - 1
    torch.testing.assert_close(x[0], expected, rtol=0, atol=1e-6)
    assert train.normalise is held_out.normalise is test.normalise
