"""Features of a frozen network: what they are, made once, and what can go wrong with their file.

CIFAR-10 and CIFAR-100 are tiny ones made up here, and the network is trained on them for an epoch.
"""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch

import cl_bnn  # noqa: F401  (before torchvision)
from cl_bnn import data, features, planning, runner
from cl_bnn.benchmarks import split
from cl_bnn.cli import main
from cl_bnn.data import Split, sources
from cl_bnn.data import features as files
from cl_bnn.data.features import FEATURES, Extractor, Features
from cl_bnn.errors import UserError
from cl_bnn.strategies.loading import task_view

NAME = "cifar10_features"
REAL = os.environ.get("CL_BNN_DATA")
# Images of the tiny data sets, to learn and to test.
COUNTS = {"CIFAR10": (40, 20), "CIFAR100": (200, 100)}


def write_cifar(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny data set for torchvision's class `name`, every class as often as every other."""
    import torchvision

    source = getattr(torchvision.datasets, name)
    folder = root / source.base_folder
    folder.mkdir()
    random = np.random.RandomState(len(name))
    key = "labels" if name == "CIFAR10" else "fine_labels"
    n_classes = int(name.removeprefix("CIFAR"))

    def write(filename: str, content: dict[str, Any]) -> list[str]:
        packed = pickle.dumps(content)
        (folder / filename).write_bytes(packed)
        return [filename, md5(packed).hexdigest()]

    for half, count in zip(("train", "test"), COUNTS[name], strict=True):
        pixels = random.randint(0, 256, (count, 3072)).astype(np.uint8)
        labels = [label % n_classes for label in range(count)]
        written = write(half, {"data": pixels, key: labels})
        monkeypatch.setattr(source, f"{half}_list", [written])
    key = source.meta["key"]
    filename, digest = write("meta", {key: [str(label) for label in range(n_classes)]})
    monkeypatch.setattr(source, "meta", {"filename": filename, "key": key, "md5": digest})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with both data sets; an extractor of an epoch; a cache of the user's own."""
    folder = tmp_path / "root"
    folder.mkdir()
    for name in COUNTS:
        write_cifar(folder, name, monkeypatch)
    small = Extractor(width=1 / 64, epochs=1, batch_size=20)
    for name, found in list(FEATURES.items()):
        monkeypatch.setitem(FEATURES, name, replace(found, extractor=small))
    monkeypatch.setattr(files, "user_cache_path", lambda name: tmp_path / "cache")
    return folder


def made(root: Path, name: str = NAME) -> Path:
    """The file of the features, which are made if need be."""
    features.load(name, root)
    sources._load.cache_clear()
    path = FEATURES[name].find(root)
    assert path is not None
    return path


def no_training(*given: object) -> None:
    raise AssertionError("trained once more")


# What they are -----------------------------------------------------------------------------------


def test_features_are_what_the_first_dense_layer_of_the_network_gets(root: Path) -> None:
    found, images = features.load(NAME, root), data.load("cifar10", root)
    network = features.train(data.load("cifar100", root), FEATURES[NAME].extractor)
    first, *_, last = (layer for layer in network if isinstance(layer, torch.nn.Linear))
    assert last.out_features == 100
    inputs: list[torch.Tensor] = []
    first.register_forward_pre_hook(lambda layer, given: inputs.append(given[0]))
    for half, of in ((found.train, images.train), (found.test, images.test)):
        network(images.normalise(of.x))
        torch.testing.assert_close(half.x, inputs.pop().detach())
        assert half.x.dtype == torch.float32 and half.x.shape == (len(of), 128)
        assert torch.equal(half.y, of.y)
    assert (found.name, found.n_classes, found.unit) == (NAME, 10, 1)
    assert features.load("cifar100_features", root).n_classes == 100


def test_training_lowers_the_loss_and_the_last_step_is_the_smallest(root: Path) -> None:
    """The learning rate is lr, then falls by lr / steps with every step."""
    source, rates = data.load("cifar10", root), []
    step = features._step

    def watched(network: Any, optimizer: Any, *batch: torch.Tensor) -> float:
        rates.append(optimizer.param_groups[0]["lr"])
        return step(network, optimizer, *batch)

    extractor = Extractor(width=1 / 64, epochs=8, batch_size=20, lr=0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "_step", watched)
        network = features.train(source, extractor)
    assert rates == pytest.approx([0.01 * (16 - k) / 16 for k in range(16)])
    begin = features.train(source, replace(extractor, epochs=0))
    x, y = source.normalise(source.train.x), source.train.y
    before, after = (torch.nn.functional.cross_entropy(n(x), y) for n in (begin, network))
    assert after < before


def test_a_stream_of_features_is_standardised_by_the_training_data(root: Path) -> None:
    stream = split(data=NAME, data_root=root)
    views = [task_view(experience.dataset) for experience in stream.train]
    x = torch.cat([view.materialise()[0] for view in views if view is not None]).double()
    assert stream.input_shape == (128,) and x.shape == (40, 128)
    assert x.mean(0).abs().max() < 1e-5
    varies = x.std(0) > 0
    assert varies.sum() > 64
    torch.testing.assert_close(
        x.std(0, correction=0)[varies], torch.ones(int(varies.sum())).double(), rtol=0, atol=1e-5
    )
    test = task_view(stream.test[3].dataset)
    assert test is not None
    found = features.load(NAME, root)
    mean, std = (torch.tensor(values) for values in (found.mean, found.std))
    rows = (found.test.y == 6) | (found.test.y == 7)
    torch.testing.assert_close(test.materialise()[0], (found.test.x[rows] - mean) / std)


def test_the_network_has_not_seen_what_is_to_be_learned(root: Path) -> None:
    """Whatever the training images and labels of CIFAR-10 are, its test images have the same
    features.
    """
    images, others = data.load("cifar10", root), data.load("cifar100", root)
    changed = replace(images, train=Split(255 - images.train.x, images.train.y.flip(0)))
    small = FEATURES[NAME].extractor
    first, second = (features.compute(given, others, small) for given in (images, changed))
    assert np.array_equal(first["x_test"], second["x_test"])
    assert not np.array_equal(first["x_train"], second["x_train"])


def test_the_network_is_trained_on_the_other_data_set(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, train = [], features.train

    def watched(source: data.Dataset, extractor: Extractor) -> torch.nn.Sequential:
        seen.append(source.name)
        return train(source, extractor)

    monkeypatch.setattr(features, "train", watched)
    for name in FEATURES:
        made(root, name)
    assert dict(zip(FEATURES, seen, strict=True)) == {
        "cifar10_features": "cifar100",
        "cifar100_features": "cifar10",
    }


# Made once ---------------------------------------------------------------------------------------


def test_the_same_bytes_whatever_was_drawn_before(root: Path) -> None:
    path = made(root)
    first = path.read_bytes()
    path.unlink()
    torch.manual_seed(7)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert made(root).read_bytes() == first
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state), "what is drawn afterwards stays the same"


def test_the_second_time_they_are_read(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(root)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == (
        f"CIFAR-10 as features: training a small network on cifar100, about {features.MINUTES} "
        f"minutes of one core; done once and kept in {path}"
    )
    assert told[1].startswith("  epoch 1 of 1: loss ")
    assert told[2].startswith("CIFAR-10 as features: made in ")
    assert [file.name for file in path.parent.iterdir()] == [path.name], "nothing is left behind"
    monkeypatch.setattr(features, "train", no_training)
    for folder in ("cifar-10-batches-py", "cifar-100-python"):
        (root / folder).rename(root / f"{folder}.away")  # nor are the images needed any more
    assert features.load(NAME, root).train.x.shape == (40, 128)
    assert capsys.readouterr().err == ""


def test_other_constants_make_other_features(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = FEATURES[NAME]
    changed = [{"width": 0.5}, {"epochs": 2}, {"batch_size": 5}, {"lr": 0.1}, {"seed": 2}]
    others = [replace(small.extractor, **change) for change in [*changed, {"version": 2}]]
    names = {replace(small, extractor=other).filename for other in others}
    assert len(names | {small.filename, replace(small, learned_from="mnist").filename}) == 8
    first = made(root)
    monkeypatch.setitem(FEATURES, NAME, replace(small, extractor=others[4]))
    second = made(root)
    assert first.is_file() and first.read_bytes() != second.read_bytes()


def test_of_two_at_once_one_makes_them_and_the_other_waits(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, calls, compute = Event(), Event(), [], features.compute

    def slow(*given: Any) -> Any:
        calls.append(given)
        begun.set()
        assert go_on.wait(30)
        return compute(*given)

    monkeypatch.setattr(features, "compute", slow)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(features.make, FEATURES[NAME], root)
        assert begun.wait(30)
        second = pool.submit(features.make, FEATURES[NAME], root)
        assert not second.done() and not FEATURES[NAME].present(root)
        go_on.set()
        first.result(30), second.result(30)
    assert len(calls) == 1
    FEATURES[NAME].read(root)


def test_a_root_that_cannot_be_written_to_leaves_the_cache(root: Path, tmp_path: Path) -> None:
    (root / "cifar-10-features").write_text("in the way")
    path = made(root)
    assert path.parent == tmp_path / "cache" / "cifar-10-features"
    assert data.load(NAME, root).train.x.shape == (40, 128)
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("in the way, too")
    with pytest.raises(UserError) as error:
        features.load(NAME, root)
    assert str(error.value) == (
        f"CIFAR-10 as features cannot be written to {root}/cifar-10-features (File exists) nor to "
        f"{tmp_path}/cache/cifar-10-features (File exists): give a folder you can write to as "
        "--data-root or in CL_BNN_DATA"
    )


def test_a_plan_makes_none(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "train", no_training)
    (run,) = runner.plan("split_cifar10_features", ["adam"], [0], {}, "task", tmp_path / "out")
    with pytest.raises(UserError, match="^CIFAR-10 as features is not in .*; run `cl-bnn data fe"):
        planning.expected(run, "cpu", root)


# What is wrong with them -------------------------------------------------------------------------

MEND = "mend it with `cl-bnn data fetch cifar10_features`"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:2000] + bytes([b[2000] ^ 1]) + b[2001:], "Bad CRC-32 for file 'x_train.npy'"),
        (lambda b: b[:-100], "File is not a zip file"),
        (lambda b: b"", "No data left in file"),
    ],
)
def test_a_damaged_file_is_one_line_and_is_mended(root: Path, damage: Any, message: str) -> None:
    path = made(root)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.raises(UserError) as error:
        features.load(NAME, root)
    assert str(error.value) == f"{path} cannot be read as .npz file: {message}; {MEND}"
    assert features.fetch(NAME, root) == f"CIFAR-10 as features is now in {path.parent}"
    assert path.read_bytes() == whole


def test_a_file_of_other_constants_is_refused(root: Path) -> None:
    path = made(root)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | {"made_by": "by hand"}))
    with pytest.raises(UserError) as error:
        data.load(NAME, root)
    constants = FEATURES[NAME].constants
    assert str(error.value) == f"{path} was made by by hand, expected {constants}; {MEND}"
    del arrays["made_by"]
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=f"^{path}: no array 'made_by'; known: .*; {MEND}$"):
        data.load(NAME, root)


@pytest.mark.parametrize(
    ("missing", "title", "name"),
    [
        ("cifar-10-batches-py", "CIFAR-10", "cifar10"),
        ("cifar-100-python", "CIFAR-100", "cifar100"),
    ],
)
def test_images_that_are_missing_are_named(root: Path, missing: str, title: str, name: str) -> None:
    (root / missing).rename(root / "away")
    with pytest.raises(UserError) as error:
        features.load(NAME, root)
    assert str(error.value) == (
        f"{title} is not in {root}/{missing}; run `cl-bnn data fetch {name}`, or give the folder "
        f"that holds {missing} as --data-root or in CL_BNN_DATA"
    )
    assert not (root / "cifar-10-features").exists()


# The command line --------------------------------------------------------------------------------


def test_list_fetch_and_verify(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> list[str]:
        assert main(["data", *words, "--data-root", str(root)]) == 0
        return capsys.readouterr().out.splitlines()

    folder = root / "cifar-10-features"
    line = next(line for line in said("list") if line.startswith(f"{NAME} "))
    assert line.endswith(f"not in {folder}: `cl-bnn data fetch {NAME}`")
    assert said("fetch", NAME) == [f"CIFAR-10 as features is now in {folder}"]
    nothing = f"CIFAR-10 as features is whole in {folder}: nothing to fetch"
    assert said("fetch", NAME) == [nothing] and data.fetch(NAME, root) == nothing
    line = next(line for line in said("list") if line.startswith(f"{NAME} "))
    assert line.endswith(f"in {folder}, 0.03 MB")
    assert said("verify", NAME) == [f"{NAME}: every file in {folder} is whole"]
    assert f"{NAME}: every file in {folder} is whole" in said("verify")
    path = FEATURES[NAME].find(root)
    assert path is not None
    path.write_bytes(b"half")
    assert main(["data", "verify", NAME, "--data-root", str(root)]) == 2
    assert MEND in capsys.readouterr().err


# The real ones -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("cifar10", 10), ("cifar100", 100)])
def test_real_features(name: str, count: int) -> None:
    found: Features = FEATURES[f"{name}_features"]
    if not (REAL and found.present(Path(REAL))):
        pytest.skip(f"{found.name} are not in CL_BNN_DATA")
    images, seen = data.load(name, REAL), data.load(found.name, REAL)
    assert seen.n_classes == count
    assert seen.train.x.shape == (50_000, 1024) and seen.test.x.shape == (10_000, 1024)
    assert torch.equal(seen.train.y, images.train.y) and torch.equal(seen.test.y, images.test.y)
