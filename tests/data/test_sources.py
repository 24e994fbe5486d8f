"""Data sets in the data root: tiny ones made here, and the real ones where CL_BNN_DATA has them."""

import os
import pickle
from dataclasses import replace
from hashlib import md5, sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from platformdirs import user_cache_path

import cl_bnn  # noqa: F401  (before torchvision)
from cl_bnn.data import NAMES, Dataset, data_root, features, load, sources
from cl_bnn.data.idx import IdxFile
from cl_bnn.errors import UserError

REAL = os.environ.get("CL_BNN_DATA")


@pytest.fixture
def tiny_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a CIFAR-10 of five times 2 and 3 images, and torchvision told of it."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)

    def write(name: str, content: dict[str, object]) -> list[str]:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, md5(data).hexdigest()]

    def batch(name: str, n: int) -> list[str]:
        pixels = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
        return write(name, {"data": pixels, "labels": list(range(n))})

    names = [f"data_batch_{k}" for k in range(1, 6)]
    monkeypatch.setattr(CIFAR10, "train_list", [batch(name, 2) for name in names])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch", 3)])
    filename, digest = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(
        CIFAR10, "meta", {"filename": filename, "key": "label_names", "md5": digest}
    )
    return tmp_path


@pytest.fixture
def tiny_fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a Fashion-MNIST of 2 and 1 images of 1 x 2 pixels."""
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)

    def write(name: str, shape: tuple[int, ...], values: list[int]) -> IdxFile:
        sizes = b"".join(size.to_bytes(4, "big") for size in shape)
        data = bytes([0, 0, 8, len(shape)]) + sizes + bytes(values)
        (folder / name).write_bytes(data)
        return IdxFile(name, shape, sha256(data).hexdigest())

    files = (
        write("train-images-idx3-ubyte", (2, 1, 2), [1, 2, 3, 4]),
        write("train-labels-idx1-ubyte", (2,), [7, 8]),
        write("t10k-images-idx3-ubyte", (1, 1, 2), [5, 6]),
        write("t10k-labels-idx1-ubyte", (1,), [9]),
    )
    monkeypatch.setitem(
        sources.SOURCES, "fashion_mnist", replace(sources.FASHION_MNIST, files=files)
    )
    return tmp_path


def test_cifar_has_its_channels_first_and_its_batches_in_order(tiny_cifar10: Path) -> None:
    data = load("cifar10", tiny_cifar10)
    file = tiny_cifar10 / "cifar-10-batches-py" / "data_batch_2"
    batch = pickle.loads(file.read_bytes())
    assert data.train.x.shape == (10, 3, 32, 32)
    assert data.test.x.shape == (3, 3, 32, 32)
    assert data.train.x.dtype == torch.uint8
    assert data.train.x[2:4].flatten(1).tolist() == batch["data"].tolist()
    assert data.train.y.tolist() == [0, 1] * 5
    assert data.test.y.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_damaged_cifar_file_is_named(tiny_cifar10: Path, name: str) -> None:
    path = tiny_cifar10 / "cifar-10-batches-py" / name
    expected = md5(path.read_bytes()).hexdigest()
    path.write_bytes(b"half")
    with pytest.raises(UserError) as caught:
        load("cifar10", tiny_cifar10)
    assert str(caught.value) == (
        f"{path} is damaged: 4 bytes with md5 {md5(b'half').hexdigest()}, expected {expected}; "
        "mend it with `cl-bnn data fetch cifar10`"
    )
    path.unlink()
    with pytest.raises(UserError, match=f"^{path} is missing; mend it with"):
        load("cifar10", tiny_cifar10)


def test_fashion_mnist_is_read_in_torchvisions_layout(tiny_fashion: Path) -> None:
    data = load("fashion_mnist", tiny_fashion)
    assert data.train.x.tolist() == [[[[1, 2]]], [[[3, 4]]]]
    assert data.train.y.tolist() == [7, 8]
    assert data.test.x.tolist() == [[[[5, 6]]]]
    assert data.test.y.tolist() == [9]


def test_a_missing_idx_file_is_named(tiny_fashion: Path) -> None:
    path = tiny_fashion / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte"
    path.unlink()
    expected = f"{path} is missing; mend it with `cl-bnn data fetch fashion_mnist`"
    with pytest.raises(UserError, match=f"^{expected}$"):
        load("fashion_mnist", tiny_fashion)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mnist"])
def test_a_missing_data_set_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(features, "user_cache_path", lambda name: tmp_path)
    with pytest.raises(UserError) as caught:
        load(name, tmp_path)
    message = str(caught.value)
    assert f"is not in {tmp_path}{os.sep}" in message
    assert f"`cl-bnn data fetch {name}`" in message
    assert "--data-root" in message
    assert "CL_BNN_DATA" in message
    assert "\n" not in message


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(UserError, match="unknown data set 'mnits'; did you mean 'mnist'") as caught:
        load("mnits")
    assert all(name in str(caught.value) for name in NAMES)


def test_data_root_takes_the_argument_then_the_environment_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_BNN_DATA", str(tmp_path))
    assert data_root("elsewhere") == Path.cwd() / "elsewhere"
    assert data_root("~/x") == Path.home() / "x"
    assert data_root() == tmp_path
    monkeypatch.delenv("CL_BNN_DATA")
    assert data_root() == user_cache_path("cl_bnn")


def test_data_root_of_an_unknown_user() -> None:
    with pytest.raises(UserError, match="data root '~nobody-here/x': there is no such home"):
        data_root("~nobody-here/x")


def real(name: str) -> Dataset:
    """The real data set, where the environment says it is."""
    if not (REAL and sources.SOURCES[name].present(Path(REAL))):
        pytest.skip(f"{name} is not in CL_BNN_DATA")
    return load(name, REAL)


def test_real_fashion_mnist() -> None:
    data = real("fashion_mnist")
    assert data.train.y[:5].tolist() == [9, 0, 0, 3, 0]
    assert data.train.y.bincount().tolist() == [6000] * 10
    assert data.test.y.bincount().tolist() == [1000] * 10
    x = data.train.x / 255
    assert x.mean().item() == pytest.approx(data.mean[0], abs=5e-5)
    assert x.std().item() == pytest.approx(data.std[0], abs=5e-5)


@pytest.mark.parametrize(("name", "n_classes"), [("cifar10", 10), ("cifar100", 100)])
def test_real_cifar(name: str, n_classes: int) -> None:
    data = real(name)
    assert data.n_classes == n_classes
    assert data.train.x.shape == (50_000, 3, 32, 32)
    assert data.train.y.bincount().tolist() == [50_000 // n_classes] * n_classes
    assert data.test.y.bincount().tolist() == [10_000 // n_classes] * n_classes
    means = [(data.train.x[:, c] / 255).mean().item() for c in range(3)]
    assert means == pytest.approx(data.mean, abs=5e-4)
