"""The MNIST that the package carries, against what is known of it."""

import gzip
from hashlib import sha256
from pathlib import Path

import pytest
import torch

import cl_bnn.data
from cl_bnn.data import Dataset, load
from cl_bnn.data.idx import IdxFile
from cl_bnn.data.sources import MNIST
from cl_bnn.errors import UserError

FOLDER = Path(cl_bnn.data.__file__).with_name("mnist")


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    return load("mnist")


def test_shapes_and_types(mnist: Dataset) -> None:
    assert mnist.train.x.shape == (60_000, 1, 28, 28)
    assert mnist.test.x.shape == (10_000, 1, 28, 28)
    assert (len(mnist.train), len(mnist.test)) == (60_000, 10_000)
    assert mnist.train.x.dtype == mnist.test.x.dtype == torch.uint8
    assert mnist.train.y.dtype == mnist.test.y.dtype == torch.int64


def test_labels(mnist: Dataset) -> None:
    assert mnist.train.y[:3].tolist() == [5, 0, 4]
    assert mnist.test.y[:3].tolist() == [7, 2, 1]
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.train.y.bincount().tolist() == train
    assert mnist.test.y.bincount().tolist() == test


def test_training_images_are_the_published_ones(mnist: Dataset) -> None:
    header = bytes([0, 0, 8, 3, 0, 0, 0xEA, 0x60, 0, 0, 0, 28, 0, 0, 0, 28])
    digest = sha256(header + mnist.train.x.numpy().tobytes()).hexdigest()
    assert digest == "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"


def test_normalised_training_images_have_mean_0_and_deviation_1(mnist: Dataset) -> None:
    x = mnist.normalise(mnist.train.x)
    assert x.dtype == torch.float32
    assert x.mean().item() == pytest.approx(0, abs=1e-3)
    assert x.std().item() == pytest.approx(1, abs=1e-3)


def test_it_is_read_once(mnist: Dataset) -> None:
    assert load("mnist") is mnist


def truncated(data: bytes) -> bytes:
    return data[:2000]


def flipped(data: bytes) -> bytes:
    return data[:2000] + bytes([data[2000] ^ 1]) + data[2001:]


def not_compressed(data: bytes) -> bytes:
    return b"<html>Not found</html>"


@pytest.mark.parametrize("spoil", [truncated, flipped, not_compressed, lambda data: b""])
def test_a_damaged_compressed_file_is_named(tmp_path: Path, spoil: object) -> None:
    assert callable(spoil)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(spoil((FOLDER / path.name).read_bytes()))
    with pytest.raises(UserError) as caught:
        MNIST.files[3].read(path, "mend it so")
    message = str(caught.value)
    assert message.startswith(f"{path} is damaged: ")
    assert message.endswith("; mend it so")
    assert "\n" not in message


BYTES = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 20, 30, 40, 50, 60])
TINY = IdxFile("tiny", (2, 3), sha256(BYTES).hexdigest())


@pytest.mark.parametrize("name", ["tiny", "tiny.gz"])
def test_idx_file_is_found_and_read(tmp_path: Path, name: str) -> None:
    assert TINY.find(tmp_path) is None
    path = tmp_path / name
    path.write_bytes(gzip.compress(BYTES) if name.endswith(".gz") else BYTES)
    assert TINY.find(tmp_path) == path
    assert TINY.read(path, "").tolist() == [[10, 20, 30], [40, 50, 60]]


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        (BYTES[:-1], "17 bytes uncompressed, expected 18"),
        (BYTES + b"\0", "19 bytes uncompressed, expected 18"),
        (b"", "0 bytes uncompressed, expected 18"),
        (
            b"\0\0\x09" + BYTES[3:],
            "header 000009020000000200000003, expected 000008020000000200000003",
        ),
        (
            BYTES[:7] + b"\3" + BYTES[8:11] + b"\2" + BYTES[12:],
            "header 000008020000000300000002, expected 000008020000000200000003",
        ),
    ],
)
def test_a_damaged_file_says_what_was_expected(tmp_path: Path, data: bytes, finding: str) -> None:
    path = tmp_path / "tiny"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        TINY.read(path, "mend it so")
    assert str(caught.value) == f"{path} is damaged: {finding}; mend it so"


def test_a_changed_byte_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "tiny"
    path.write_bytes(BYTES[:-1] + b"\0")
    with pytest.raises(UserError, match=f"sha256 .*, expected {TINY.sha256}; mend it so$"):
        TINY.read(path, "mend it so")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path} cannot be read: Is a directory; mend it so$"):
        TINY.read(tmp_path, "mend it so")
