"""Data of the user's own: files of arrays, classes of torchvision, and what is wrong with them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cl_bnn  # noqa: F401  (before torchvision)
from cl_bnn.data import fetch, load, own_digests
from cl_bnn.data.scaling import scaling_of
from cl_bnn.errors import UserError

REAL = os.environ.get("CL_BNN_DATA")


def arrays(**changed: Any) -> dict[str, Any]:
    """Images of 4 x 3 pixels, three classes."""
    random = np.random.RandomState(0)
    made = {
        "x_train": random.randint(0, 256, (12, 4, 3)).astype(np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": random.randint(0, 256, (6, 4, 3)).astype(np.uint8),
        "y_test": np.arange(6) % 3,
    }
    return {key: value for key, value in (made | changed).items() if value is not None}


def written(folder: Path, **changed: Any) -> Path:
    np.savez(folder / "mine.npz", **arrays(**changed))
    return folder


# What is read ------------------------------------------------------------------------------------


def test_arrays_become_a_data_set(tmp_path: Path) -> None:
    data = load("mine.npz", written(tmp_path))
    x = arrays()["x_train"]
    assert data.train.x.shape == (12, 1, 4, 3) and data.train.x.dtype == torch.uint8
    assert data.train.x[:, 0].tolist() == x.tolist()
    assert data.test.y.tolist() == [0, 1, 2, 0, 1, 2] and data.test.y.dtype == torch.int64
    assert data.n_classes == 3
    assert data.mean == pytest.approx((x.mean() / 255,))
    assert data.std == pytest.approx((x.std() / 255,))


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.int16])
@pytest.mark.parametrize("shape", [(7,), (4, 3), (2, 4, 3), (4, 3, 2), (3, 1, 2), (16, 16, 3)])
def test_inputs_are_standardised_whatever_their_type_and_shape(
    tmp_path: Path, shape: tuple[int, ...], dtype: Any
) -> None:
    random = np.random.RandomState(0)
    x = random.randint(0, 200, (12, *shape)).astype(dtype)
    data = load("mine.npz", written(tmp_path, x_train=x, x_test=x[:6]))
    normed = data.normalise(data.train.x).double()
    axes = [0, *range(2, normed.dim())]
    assert normed.mean(axes).abs().max() < 1e-5
    torch.testing.assert_close(
        normed.std(axes, correction=0), torch.ones(normed.shape[1]).double(), rtol=0, atol=1e-5
    )
    assert data.train.x.dtype == (torch.uint8 if dtype is np.uint8 else torch.float32)


@pytest.mark.parametrize(
    ("shape", "channels"), [((4, 3, 2), 2), ((2, 4, 3), 2), ((2, 2, 2), 2), ((13, 32, 32), 13)]
)
def test_the_shorter_of_two_axes_is_that_of_the_channels(
    tmp_path: Path, shape: tuple[int, ...], channels: int
) -> None:
    x = np.random.RandomState(0).rand(12, *shape)
    data = load("mine.npz", written(tmp_path, x_train=x, x_test=x[:6]))
    assert data.train.x.shape[1] == channels
    if shape[2] < shape[0]:
        x = x.transpose(0, 3, 1, 2)
    assert torch.equal(data.train.x, torch.from_numpy(x.astype(np.float32)))


@pytest.mark.parametrize("value", [0.1, 1e6, 0.0])
def test_a_feature_that_never_varies_becomes_nought(tmp_path: Path, value: float) -> None:
    x = np.random.RandomState(0).rand(12, 2)
    x[:, 1] = value
    data = load("mine.npz", written(tmp_path, x_train=x, x_test=x[:6]))
    assert data.normalise(data.train.x)[:, 1].abs().max() < 1e-5
    assert data.std[1] == 1


def test_a_file_is_below_the_data_root_or_where_its_path_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, here = tmp_path / "root", tmp_path / "here"
    for folder in (root, here):
        folder.mkdir()
    monkeypatch.chdir(here)
    written(here)
    assert load("mine.npz", root).train.x is load(str(here / "mine.npz"), root).train.x
    written(root, y_train=np.arange(12) % 4)
    assert load("mine.npz", root).n_classes == 4


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    assert load("mine.npz", written(tmp_path)).n_classes == 3
    path = written(tmp_path, y_train=np.arange(12) % 4) / "mine.npz"
    os.utime(path, ns=(0, 0))
    assert load("mine.npz", tmp_path).n_classes == 4


# What is refused ---------------------------------------------------------------------------------


def test_a_missing_file_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        load("no.npz", tmp_path / "root")
    assert str(error.value) == (
        f"no file at {tmp_path}/root/no.npz nor at {tmp_path}/no.npz: it must hold the arrays "
        "x_train, y_train, x_test, y_test; give its path, or the folder above it as --data-root or "
        "in CL_BNN_DATA"
    )


NAN = np.where(np.arange(144).reshape(12, 12) % 50 == 49, np.nan, 1.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"x_test": None, "xtest": np.zeros(3)},
            "no array 'x_test'; did you mean 'xtest'? known: x_train, xtest, y_test, y_train",
        ),
        (
            {"x_train": np.zeros(12)},
            "x_train has the shape (12,): expected (n, features), (n, height, width), "
            "(n, channels, height, width) or (n, height, width, channels)",
        ),
        ({"x_train": np.zeros((0, 4, 3))}, "x_train has the shape (0, 4, 3): expected (n, "),
        (
            {"x_test": np.zeros((6, 3, 4), np.uint8)},
            "x_train holds samples of the shape (1, 4, 3) and type uint8 and x_test samples of the "
            "shape (1, 3, 4) and type uint8",
        ),
        (
            {"x_test": np.zeros((6, 4, 3))},
            "and x_test samples of the shape (1, 4, 3) and type floa",
        ),
        ({"x_train": np.full((12, 4), "a")}, "x_train has the type <U1: expected numbers"),
        ({"x_train": NAN, "x_test": NAN}, "2 of 12 samples of x_train hold NaN or infinity"),
        ({"y_train": np.arange(11)}, "x_train has 12 samples and y_train 11 labels"),
        (
            {"y_train": np.eye(12)},
            "y_train has the shape (12, 12) and the type float64: expected (n,) whole numbers",
        ),
        ({"y_test": np.zeros(6)}, "y_test has the shape (6,) and the type float64: expected (n,)"),
        (
            {"y_test": np.arange(6)},
            "y_test holds the label 3, out of range: the 3 classes of y_train must be 0 to 2",
        ),
        (
            {"y_train": np.arange(12) % 3 + 1},
            "y_train holds the label 3, out of range: the 3 classes of y_train must be 0 to 2",
        ),
        ({"y_train": np.arange(12) % 3 - 1}, "y_train holds the label -1, out of range"),
        ({"y_train": np.zeros(12, int)}, "y_train has a single class ([0])"),
    ],
)
def test_what_is_wrong_with_the_arrays_is_one_line(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        load("mine.npz", written(tmp_path, **changed))
    assert str(error.value).startswith(f"{tmp_path}/mine.npz: ") and "\n" not in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(UserError, match="mine.npz cannot be read as .npz file: ") as error:
        load("mine.npz", tmp_path)
    assert "\n" not in str(error.value)


def test_an_array_cut_short_is_one_line(tmp_path: Path) -> None:
    path = written(tmp_path) / "mine.npz"
    path.write_bytes(path.read_bytes().replace(b"\x93NUMPY", b"\x93NUMPX"))
    with pytest.raises(UserError, match="mine.npz cannot be read as .npz file: "):
        load("mine.npz", tmp_path)


def test_python_objects_are_not_unpickled(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read as .npz file: Object arrays cannot be"):
        load("mine.npz", written(tmp_path, y_test=np.array([object()] * 6)))


@pytest.mark.parametrize("beside", [False, True])
def test_arrays_of_ones_own_have_a_digest(tmp_path: Path, beside: bool) -> None:
    """For a stream of the user's own, which reads them."""
    found = []
    more = arrays() if beside else {}
    for value in (1, 2, 1):
        np.savez(tmp_path / "mine.npz", images=np.full(3, value), **more)
        os.utime(tmp_path / "mine.npz", ns=(len(found), len(found)))
        found.append(own_digests(["mine.npz"], tmp_path)["mine.npz"])
    assert found[0] == found[2] != found[1]


def test_dates_have_a_digest_and_are_no_numbers(tmp_path: Path) -> None:
    folder = written(tmp_path, x_train=arrays()["x_train"].astype("datetime64[s]"))
    assert own_digests(["mine.npz"], folder)
    with pytest.raises(UserError, match=r"has the type datetime64\[s\]: expected numbers"):
        load("mine.npz", folder)


@pytest.mark.parametrize("scaling", ["unit", "symmetric"])
def test_numbers_that_are_no_bytes_are_not_scaled_as_such(tmp_path: Path, scaling: Any) -> None:
    x = arrays()["x_train"]
    as_int = written(tmp_path, x_train=x.astype(np.int64), x_test=x[:6].astype(np.int64))
    with pytest.raises(UserError, match=f"scaling = '{scaling}' takes bytes, or numbers from 0 to"):
        scaling_of(load("mine.npz", as_int), scaling)


def test_the_test_half_is_held_against_the_scaling_as_well(tmp_path: Path) -> None:
    x = arrays()["x_train"]
    folder = written(tmp_path, x_train=x / 255, x_test=x[:6].astype(np.int64))
    with pytest.raises(
        UserError, match="scaling = 'unit' takes bytes, or numbers from 0 to 1, and"
    ):
        scaling_of(load("mine.npz", folder), "unit")


def test_a_home_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="~nobody.of.this.name/mine.npz: nobody here has this home"):
        load("~nobody.of.this.name/mine.npz", tmp_path)


def test_a_single_array_is_no_data_set(tmp_path: Path) -> None:
    with open(tmp_path / "mine.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UserError, match="mine.npz holds a single array: expected x_train, y_train"):
        load("mine.npz", tmp_path)


# torchvision -------------------------------------------------------------------------------------


class Pictures:
    """A data set like torchvision's that has no arrays: samples one by one, halves by name."""

    sides = (4, 4)

    def __init__(self, root: str, split: str = "train", download: bool = False) -> None:
        if not (Path(root) / "pictures").exists():
            if not download:
                raise RuntimeError("Dataset not found.\nYou can use download=True")
            (Path(root) / "pictures").touch()
        self.count = {"train": 4, "test": 2}[split]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (3, self.sides[index % 2]), (index, 10, 20)), index % 2


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> type[Pictures]:
    """The class above, taken for one of torchvision's."""
    import torchvision

    monkeypatch.setattr(torchvision.datasets, "Pictures", Pictures, raising=False)
    names = (*torchvision.datasets.__all__, "Pictures")
    monkeypatch.setattr(torchvision.datasets, "__all__", names)
    return Pictures


def test_a_class_without_arrays_is_read_sample_by_sample(
    pictures: type[Pictures], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        load("torchvision:Pictures", tmp_path)
    assert str(error.value) == (
        f"torchvision's Pictures cannot be read from {tmp_path} (Dataset not found. You can use "
        "download=True): run `cl-bnn data fetch torchvision:Pictures`, once files of it that are "
        "damaged are deleted, or give the folder that holds it as --data-root or in CL_BNN_DATA"
    )
    line = f"torchvision's Pictures is now in {tmp_path}"
    assert fetch("torchvision:Pictures", tmp_path) == line
    data = load("torchvision:Pictures", tmp_path)
    assert data.train.x.shape == (4, 3, 4, 3) and data.test.x.shape == (2, 3, 4, 3)
    assert data.train.x[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert data.train.y.tolist() == [0, 1, 0, 1]


def test_a_file_of_torchvisions_that_was_cut_short_is_one_line(tmp_path: Path) -> None:
    """torchvision asserts then."""
    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    for half, count in (("train", 3), ("t10k", 2)):
        head = np.array([0x803, count, 28, 28], dtype=">i4").tobytes()
        (raw / f"{half}-images-idx3-ubyte").write_bytes(head + bytes(28))
        (raw / f"{half}-labels-idx1-ubyte").write_bytes(
            np.array([0x801, count], dtype=">i4").tobytes() + bytes(count)
        )
    for action in (load, fetch):
        with pytest.raises(UserError, match="files of it that are damaged"):
            action("torchvision:KMNIST", tmp_path)


def test_samples_that_are_no_pairs_are_refused(
    pictures: type[Pictures], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pictures, "__getitem__", lambda self, index: np.zeros((20, 4, 4)))
    (tmp_path / "pictures").touch()
    with pytest.raises(UserError, match="samples of torchvision's Pictures are no pairs of image"):
        load("torchvision:Pictures", tmp_path)


def test_images_of_different_sizes_are_for_folders(
    pictures: type[Pictures], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pictures, "sides", (4, 5))
    monkeypatch.setattr(Pictures, "__len__", lambda self: 10**9)  # more than could be kept
    (tmp_path / "pictures").touch()
    with pytest.raises(
        UserError, match=r"differ in shape, \(4, 3, 3\) and \(5, 3, 3\) for example"
    ):
        load("torchvision:Pictures", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("KMNST", "no data set 'KMNST' with two halves; did you mean 'KMNIST'? known: CIFAR10, "),
        ("ImageFolder", "torchvision has no data set 'ImageFolder' with two halves"),
        ("EMNIST", "torchvision's EMNIST does not give its halves: Unknown value 'train' for"),
    ],
)
def test_a_class_that_will_not_do(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load(f"torchvision:{name}", tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "folder", "ours"),
    [
        ("FashionMNIST", "FashionMNIST", "fashion_mnist"),
        ("CIFAR10", "cifar-10-batches-py", "cifar10"),
    ],
)
def test_torchvisions_class_gives_what_our_reader_gives(name: str, folder: str, ours: str) -> None:
    if not (REAL and (Path(REAL) / folder).is_dir()):
        pytest.skip(f"{folder} is not in CL_BNN_DATA")
    found, expected = load(f"torchvision:{name}", REAL), load(ours, REAL)
    for one, other in ((found.train, expected.train), (found.test, expected.test)):
        assert torch.equal(one.x, other.x) and torch.equal(one.y, other.y)
    assert found.mean == pytest.approx(expected.mean, abs=1e-4)
    assert found.n_classes == expected.n_classes
