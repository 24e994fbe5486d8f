"""Training images held out of streams of several tasks, and their beginnings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_stream_contract import FILE, six_classes, views

from cl_bnn import data as datasets
from cl_bnn.benchmarks import Stream, folder, permuted, rotated, sequence, single, split, subsets
from cl_bnn.benchmarks.held_out import cut, held_out
from cl_bnn.data.task import TaskView
from cl_bnn.data.whiten import Whitening
from cl_bnn.errors import UserError

SHARE = 0.25
# The stream, its settings, its tasks, and whether all tasks have the same images.
STREAMS: list[tuple[Callable[..., Stream], dict[str, Any], int, bool]] = [
    (permuted, {"data": FILE, "n_experiences": 4}, 4, True),
    (rotated, {"data": FILE, "n_experiences": 4}, 4, True),
    (sequence, {"data": [FILE, FILE]}, 2, True),
    (subsets, {"data": FILE, "n_experiences": 3}, 3, False),
    (split, {"data": FILE, "n_experiences": 3, "scenario": "task"}, 3, False),
    (split, {"data": FILE, "n_experiences": 2, "scenario": "class"}, 2, False),
    (single, {"data": FILE}, 1, True),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    np.savez(tmp_path / FILE, **six_classes())
    return tmp_path


def rows(view: TaskView) -> list[int]:
    assert view.rows is not None
    return view.rows.tolist()


@pytest.mark.parametrize(("build", "settings", "n_tasks", "same"), STREAMS)
def test_learned_and_held_out_images_are_those_of_the_task(
    root: Path, build: Callable[..., Stream], settings: dict[str, Any], n_tasks: int, same: bool
) -> None:
    whole = build(**settings, data_root=root, **({"validation": 0.0} if build is single else {}))
    stream = build(**settings, data_root=root, validation=SHARE)
    train, held = views(stream.train), views(stream.validation)
    assert len(train) == len(held) == stream.n_tasks == n_tasks
    for all_of, learned, other in zip(views(whole.train), train, held, strict=True):
        before = range(120) if all_of.rows is None else rows(all_of)
        assert sorted(rows(learned) + rows(other)) == sorted(before)
        assert set(learned.targets.tolist()) == set(all_of.targets.tolist())
    share = sum(map(len, held)) / sum(map(len, views(whole.train)))
    assert share == pytest.approx(SHARE, abs=0.01)
    sets = {tuple(rows(view)) for view in held}
    assert len(sets) == (1 if same else n_tasks)
    if not same:
        assert not set.intersection(*map(set, sets)), "no task's images are held out for another"
    assert views(stream.test)[0].rows is None or build is split


@pytest.mark.parametrize(("build", "settings", "n_tasks", "same"), STREAMS)
def test_the_seed_chooses_what_is_held_out(
    root: Path, build: Callable[..., Stream], settings: dict[str, Any], n_tasks: int, same: bool
) -> None:
    def held(seed: int) -> list[list[int]]:
        stream = build(**settings, data_root=root, validation=SHARE, seed=seed)
        return [sorted(rows(view)) for view in views(stream.validation)]

    assert held(3) == held(3) != held(4)


def test_permutations_are_those_of_the_stream_without_held_out_images(root: Path) -> None:
    whole, stream = (
        permuted(data=FILE, seed=3, validation=share, data_root=root) for share in (0.0, SHARE)
    )
    for name in ("train", "validation", "test"):
        for k, view in enumerate(views(getattr(stream, name))):
            assert torch.equal(view.pixels, views(whole.train)[k].pixels)  # type: ignore[arg-type]


def test_without_a_share_a_stream_is_what_it_was(root: Path) -> None:
    for build, settings, _, _ in STREAMS[:6]:
        stream = build(**settings, data_root=root)
        assert not stream.validation and set(stream.benchmark.streams) == {"train", "test"}
    for view in views(permuted(data=FILE, data_root=root).train):
        assert view.rows is None, "all images, as they lie"


def test_what_is_held_out_is_not_augmented(root: Path) -> None:
    stream = split(
        data=FILE, n_experiences=3, augment="crop_and_flip", validation=SHARE, data_root=root
    )
    assert all(view.augment is not None for view in views(stream.train))
    assert all(view.augment is None for view in views(stream.validation))


def test_whitening_is_made_from_what_is_learned(root: Path) -> None:
    stream = permuted(data=FILE, validation=SHARE, scaling="whitened", data_root=root)
    (learned, *_), (held, *_) = views(stream.train), views(stream.validation)
    expected = Whitening(datasets.load(FILE, root).train.x[learned.rows])
    for view in (learned, held):
        assert torch.equal(view.normalise(view.raw()), expected(view.raw()))


def test_folders(tmp_path: Path) -> None:
    from PIL import Image

    random = np.random.RandomState(0)
    for half, count in (("train", 8), ("val", 2)):
        for name in ("a", "b", "c", "d"):
            where = tmp_path / "pictures" / half / name
            where.mkdir(parents=True)
            for k in range(count):
                pixels = random.randint(0, 256, (20, 20, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(where / f"{k}.png")
    stream = folder(data="pictures", size=16, n_experiences=2, validation=SHARE, data_root=tmp_path)
    learned, held = (
        [e.dataset._flat_data._datasets[0] for e in s] for s in (stream.train, stream.validation)
    )
    assert sum(map(len, learned)) == 24 and sum(map(len, held)) == 8
    assert not {p for v in learned for p in v.paths} & {p for v in held for p in v.paths}
    assert all(v.augment for v in learned) and not any(v.augment for v in held)
    assert all(set(v.targets.tolist()) == {2 * k, 2 * k + 1} for k, v in enumerate(learned))


@pytest.mark.parametrize("share", [1.0, -0.1, 1e-9])
def test_a_share_out_of_range(root: Path, share: float) -> None:
    for build, settings, _, _ in STREAMS:
        with pytest.raises(ValueError, match="validation must (be in|hold out)"):
            build(**settings, data_root=root, validation=share)


def test_a_task_without_held_out_images(root: Path) -> None:
    with pytest.raises(UserError, match=r"task \d has no validation data"):
        split(data=FILE, n_experiences=3, validation=1 / 120, data_root=root)


def test_the_rows_by_hand() -> None:
    assert held_out(10, 0.0, 0) == (None, None)
    order = torch.from_numpy(np.random.RandomState(5).permutation(10))
    kept, held = held_out(10, 0.3, 5)
    assert torch.equal(torch.cat([held, kept]), order) and len(held) == 3  # type: ignore[list-item, arg-type]
    kept, held = cut(torch.arange(4), 0.5)
    assert kept.tolist() == [2, 3] and held.tolist() == [0, 1]


# Beginnings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_tasks", "asked", "seen"),
    [(5, 3, 3), (5, 1, 1), (5, 5, 4), (5, 99, 4), (3, 3, 2), (2, 3, 2), (2, 1, 1), (1, 3, 1)],
)
def test_a_beginning_never_has_the_last_task_of_a_longer_stream(
    root: Path, n_tasks: int, asked: int, seen: int
) -> None:
    stream = permuted(data=FILE, n_experiences=n_tasks, validation=SHARE, data_root=root)
    first = stream.beginning(asked)
    assert (len(first.train), len(first.validation), first.n_tasks) == (seen, seen, seen)
    assert not first.test and "test" not in first.benchmark.streams


def test_a_beginning_has_the_tasks_and_the_heads_of_the_whole(root: Path) -> None:
    stream = split(data=FILE, n_experiences=3, validation=SHARE, data_root=root)
    first = stream.beginning(2)
    assert (first.n_heads, first.out_features, first.task_labels) == (3, 2, True)
    for name in ("train", "validation"):
        whole, some = views(getattr(stream, name)), views(getattr(first, name))
        assert whole[:2] == some
    assert [e.current_experience for e in first.train] == [0, 1]
    assert [e.task_label for e in first.validation] == [0, 1]


def test_a_beginning_needs_held_out_images(root: Path) -> None:
    with pytest.raises(UserError, match="held-out training data, and this stream holds none out"):
        split(data=FILE, n_experiences=3, data_root=root).beginning(2)
