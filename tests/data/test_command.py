"""List, verify and fetch, with a server on this machine in the place of the real ones."""

import gzip
import io
import pickle
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from hashlib import md5, sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

import cl_bnn  # noqa: F401  (before torchvision)
from cl_bnn.data import NAMES, features, fetch, list_lines, load, sources, verify
from cl_bnn.data.idx import IdxFile
from cl_bnn.errors import UserError

IDX = {
    "train-images-idx3-ubyte": bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 11, 12]),
    "train-labels-idx1-ubyte": bytes([0, 0, 8, 1, 0, 0, 0, 1, 3]),
    "t10k-images-idx3-ubyte": bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 13, 14]),
    "t10k-labels-idx1-ubyte": bytes([0, 0, 8, 1, 0, 0, 0, 1, 4]),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """In silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as http:
        thread = Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/", folder
        http.shutdown()
        thread.join()


@pytest.fixture
def fashion_server(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a server that has a tiny Fashion-MNIST, taken for the real one."""
    from torchvision.datasets import FashionMNIST

    url, folder = server
    resources = []
    for name, data in IDX.items():
        packed = gzip.compress(data)
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", md5(packed).hexdigest()))
    monkeypatch.setattr(FashionMNIST, "resources", resources)
    monkeypatch.setattr(FashionMNIST, "mirrors", [url])
    shapes = ((1, 1, 2), (1,), (1, 1, 2), (1,))
    files = tuple(
        IdxFile(name, shape, sha256(data).hexdigest())
        for (name, data), shape in zip(IDX.items(), shapes, strict=True)
    )
    source = replace(sources.FASHION_MNIST, files=files)
    monkeypatch.setitem(sources.SOURCES, "fashion_mnist", source)
    return folder


def test_fetch_downloads_then_leaves_alone(fashion_server: Path, tmp_path: Path) -> None:
    root = tmp_path / "new" / "root"
    where = root / "FashionMNIST" / "raw"
    assert fetch("fashion_mnist", root) == f"Fashion-MNIST is now in {where}"
    assert load("fashion_mnist", root).train.x.tolist() == [[[[11, 12]]]]
    for file in fashion_server.iterdir():
        file.unlink()
    line = f"Fashion-MNIST is whole in {where}: nothing to fetch"
    assert fetch("fashion_mnist", root) == line


def test_fetch_mends_what_is_damaged(fashion_server: Path, tmp_path: Path) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"half")
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(b"half")
    fetch("fashion_mnist", tmp_path)
    assert {name: (folder / name).read_bytes() for name in IDX} == IDX


def test_fetch_that_fails_keeps_what_is_whole(fashion_server: Path, tmp_path: Path) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    whole, damaged = folder / "train-labels-idx1-ubyte", folder / "t10k-labels-idx1-ubyte"
    whole.write_bytes(IDX[whole.name])
    damaged.write_bytes(b"half")
    for file in fashion_server.iterdir():
        file.write_bytes(b"not what was published")
    with pytest.raises(UserError) as caught:
        fetch("fashion_mnist", tmp_path)
    message = str(caught.value)
    assert message.startswith(f"Fashion-MNIST cannot be fetched into {folder}: ")
    assert "corrupted" in message
    assert "\n" not in message
    assert whole.read_bytes() == IDX[whole.name]


def test_fetch_of_cifar_replaces_a_damaged_file(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the file of names, which torchvision itself would not replace."""
    from torchvision.datasets import CIFAR10

    def batch(label: int) -> bytes:
        return pickle.dumps({"data": np.full((1, 3072), label, np.uint8), "labels": [label]})

    names = pickle.dumps({"label_names": ["plane", "car"]})
    content = {"data_batch_1": batch(0), "test_batch": batch(1), "batches.meta": names}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, data in content.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    url, served = server
    (served / "cifar.tar.gz").write_bytes(archive.getvalue())
    sums = {name: md5(data).hexdigest() for name, data in content.items()}
    monkeypatch.setattr(CIFAR10, "url", f"{url}cifar.tar.gz")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive.getvalue()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "batches.meta").write_bytes(b"half")
    assert fetch("cifar10", tmp_path) == f"CIFAR-10 is now in {folder}"
    assert {name: (folder / name).read_bytes() for name in content} == content
    assert load("cifar10", tmp_path).test.y.tolist() == [1]


def test_fetch_of_mnist_has_nothing_to_do(tmp_path: Path) -> None:
    assert fetch("mnist", tmp_path) == "MNIST is part of cl_bnn: nothing to fetch"


def test_fetch_into_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    root = tmp_path / "file" / "root"
    with pytest.raises(UserError, match=f"cannot be fetched into {root}/cifar-100-python: .*Not a"):
        fetch("cifar100", root)


def test_verify_without_names_takes_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "user_cache_path", lambda name: tmp_path)
    assert list(verify((), tmp_path)) == [
        f"mnist: every file in {sources.MNIST.where(tmp_path)} is whole"
    ]


def test_verify_goes_on_after_a_damaged_data_set(fashion_server: Path, tmp_path: Path) -> None:
    fetch("fashion_mnist", tmp_path)
    path = tmp_path / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    lines = verify(["fashion_mnist", "mnist"], tmp_path)
    found = [next(lines), next(lines)]
    with pytest.raises(UserError, match=f"^{path} is damaged: sha256 .*, expected .*; mend it"):
        next(lines)
    assert found[0].startswith(f"fashion_mnist: {path} is damaged")
    assert found[1].startswith("mnist: every file in")


def test_verify_of_a_missing_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="CIFAR-100 is not in"):
        list(verify(["cifar100"], tmp_path))


@pytest.mark.parametrize("command", [lambda: verify(["cifar"]), lambda: fetch("cifar")])
def test_unknown_name(command: object) -> None:
    assert callable(command)
    with pytest.raises(UserError, match="unknown data set 'cifar'; did you mean 'cifar10'"):
        command()


def test_list_has_a_line_for_each(
    fashion_server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "user_cache_path", lambda name: tmp_path)
    fetch("fashion_mnist", tmp_path)
    (tmp_path / "isbi2012-em" / "train_imgs").mkdir(parents=True)
    (tmp_path / "isbi2012-em" / "train_imgs" / "img_0.png").write_bytes(bytes(2_000_000))
    lines = list_lines(tmp_path)
    assert [line.split()[0] for line in lines] == [*NAMES, "isbi2012_em", "snelson"]
    assert lines[0].endswith(f"in {sources.MNIST.where(tmp_path)}, 12 MB")
    assert f"in {tmp_path}/FashionMNIST/raw, 0.00 MB" in lines[1]
    assert lines[2].endswith(f"not in {tmp_path}/cifar-10-batches-py: `cl-bnn data fetch cifar10`")
    assert lines[-2].endswith(f"in {tmp_path}/isbi2012-em, 2 MB")
    assert lines[-1].endswith(f"not in {tmp_path}/snelson: by hand")


def test_what_cannot_be_fetched_says_what_its_files_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^Snelson's regression is not in {tmp_path}/snelson; .*"
                       r"three files of a number a line: train_inputs \(200\)"):  # fmt: skip
        fetch("snelson", tmp_path)
    folder = tmp_path / "snelson"
    folder.mkdir()
    for name, count in (("train_inputs", 200), ("train_outputs", 200), ("test_inputs", 301)):
        (folder / name).write_text("\n".join(["0.5"] * count))
    whole = f"Snelson's regression is whole in {folder}: nothing to fetch"
    assert fetch("snelson", tmp_path) == whole
    assert list(verify(["snelson"], tmp_path)) == [f"snelson: every file in {folder} is whole"]
    (folder / "test_inputs").write_text("0.5")
    with pytest.raises(
        UserError, match=f"^{folder}/test_inputs is damaged: 1 numbers, expected 301"
    ):
        fetch("snelson", tmp_path)
