"""Data of the user's own: four arrays in an `.npz` file, or any data set that torchvision has."""

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cl_bnn.data.dataset import Dataset, Split
from cl_bnn.errors import Absent, UserError, near, one_line

SUFFIX = ".npz"
PREFIX = "torchvision:"
"""How a name begins that is that of a class in `torchvision.datasets`."""
SPLITS = ("train", "test")
"""How those of these classes call their halves that do not ask `train=True`."""

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
LAYOUTS = (
    "(n, features), (n, height, width), (n, channels, height, width) or "
    "(n, height, width, channels)"
)
# Images at a time, to sum up what belongs to all of them.
CHUNK = 5000

Array = NDArray[Any]


def load_file(name: str, root: Path) -> Dataset:
    """The data set in the file `name`, below the data root or else where the path leads.

    Raises:
        UserError: the file is missing or damaged, or `dataset_of` refuses what is in it.
    """
    path = _find(name, root)
    if path is None:
        tried = " nor at ".join(dict.fromkeys(str(place) for place in _places(name, root)))
        raise Absent(
            f"no file at {tried}: it must hold the arrays {', '.join(ARRAYS)}; give its path, or "
            "the folder above it as --data-root or in CL_BNN_DATA"
        )
    return _load_file(path, path.stat().st_mtime_ns)


def digests(names: Sequence[str], root: Path) -> dict[str, str]:
    """SHA-256 of the arrays in the files `names`, of those that are there, by name."""
    paths = {name: _find(name, root) for name in names}
    return {name: _digest(p, p.stat().st_mtime_ns) for name, p in paths.items() if p is not None}


def _places(name: str, root: Path) -> list[Path]:
    try:
        path = Path(name).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name}: nobody here has this home ({error})") from error
    return [root / path, path.absolute()]


def _find(name: str, root: Path) -> Path | None:
    return next((place for place in _places(name, root) if place.is_file()), None)


@cache
def _load_file(path: Path, changed: int) -> Dataset:
    """Read once per process, unless it has changed since."""
    return dataset_of(str(path), *read_arrays(path, ARRAYS))


@cache
def _digest(path: Path, changed: int) -> str:
    """Of the arrays and not of the file, which notes the time at which it was written: of `ARRAYS`
    and whatever lies beside them, failing those of all.
    """
    found = hashlib.sha256()
    for array in read_arrays(path):
        found.update(f"{array.dtype.str} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).view(np.uint8).data)
    known = {f"{name}.npy" for name in ARRAYS}
    with zipfile.ZipFile(path) as packed:
        members = set(packed.namelist())
        for name in sorted(members - known) if known <= members else ():
            found.update(packed.read(name))
    return found.hexdigest()


def read_arrays(path: Path, names: Sequence[str] = ()) -> list[Array]:
    """The arrays `names` of an `.npz` file, or `ARRAYS`, failing those all; UserError if it is
    damaged or lacks one that is named.
    """
    try:
        with path.open("rb") as opened:
            file = np.load(opened)
            if isinstance(file, np.ndarray):
                raise UserError(
                    f"{path} holds a single array: expected {', '.join(names or ARRAYS)}"
                )
            names = names or (ARRAYS if {*ARRAYS} <= {*file.files} else sorted(file.files))
            for name in names:
                if name not in file:
                    raise UserError(f"{path}: no array {name!r}{near(name, file.files)}")
            return [file[name] for name in names]
    except UserError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be read as {SUFFIX} file: {one_line(error)}") from error


@cache
def load_torchvision(name: str, root: Path) -> Dataset:
    """The data set of torchvision's class `name`, read from the data root, never downloaded.

    Raises:
        UserError: there is no such class with a training and a test half, its files are missing, or
            `dataset_of` refuses what is in them.
    """
    try:
        halves = [_arrays(name, half) for half in open_halves(name, root)]
    except UNREADABLE as error:
        raise Absent(
            f"torchvision's {name} cannot be read from {root} ({one_line(error)}): run "
            f"`cl-bnn data fetch {PREFIX}{name}`, once files of it that are damaged are deleted, "
            "or give the folder that holds it as --data-root or in CL_BNN_DATA"
        ) from error
    return dataset_of(f"{PREFIX}{name}", *halves[0], *halves[1])


#: What torchvision raises where files are missing, cut short (by `assert`) or not to be fetched.
UNREADABLE = (OSError, RuntimeError, ImportError, AssertionError, EOFError)


def open_halves(name: str, root: Path, **options: Any) -> list[Any]:
    """The training and the test half of torchvision's class `name`, made with these options.

    Raises:
        UserError: there is no such class, or it has no such halves.
    """
    import torchvision  # imported here because it takes a second

    classes = {n: getattr(torchvision.datasets, n) for n in torchvision.datasets.__all__}
    known = {n: c for n, c in classes.items() if {"train", "split"} & set(signature(c).parameters)}
    if name not in known:
        raise UserError(f"torchvision has no data set {name!r} with two halves{near(name, known)}")
    parameters = signature(known[name]).parameters
    key, values = ("train", (True, False)) if "train" in parameters else ("split", SPLITS)
    try:
        return [known[name](root, **{key: value}, **options) for value in values]
    except (ValueError, TypeError) as error:
        raise UserError(
            f"torchvision's {name} does not give its halves: {one_line(error)}"
        ) from error


def _arrays(name: str, half: Any) -> tuple[Array, Array]:
    """Images and labels: the arrays that the data set has, or what its samples put together."""
    x = getattr(half, "data", None)
    y = getattr(half, "targets", getattr(half, "labels", None))
    if isinstance(x, Tensor | np.ndarray) and y is not None and np.ndim(y) == 1:
        return np.asarray(x), np.asarray(y)
    images: list[Array] = []
    labels = []
    for index in range(len(half)):
        sample = half[index]
        if not isinstance(sample, tuple) or len(sample) != 2:
            raise UserError(f"the samples of torchvision's {name} are no pairs of image and label")
        image, label = sample
        images.append(np.asarray(image))
        labels.append(label)
        if images[-1].shape != images[0].shape:  # at once: all of them may not fit into memory
            few = " and ".join(str(shape) for shape in sorted([images[0].shape, images[-1].shape]))
            raise UserError(
                f"the images of torchvision's {name} differ in shape, {few} for example: put them "
                "in folders, one for each class, for cl_bnn.benchmarks:folder"
            )
    return np.stack(images), np.asarray(labels)


def dataset_of(where: str, x_train: Array, y_train: Array, x_test: Array, y_test: Array) -> Dataset:
    """A data set of these arrays.

    Bytes are kept as they are, all other numbers become float32. Of images with channels, the axis
    of the channels is the shorter one of the second and the last. Mean and deviation are those of
    the training data, of each channel or feature; where nothing varies, 1 is taken for 0.

    Args:
        where: what the arrays are, for messages.
        x_train: (n, features), (n, height, width), (n, channels, height, width) or
            (n, height, width, channels).
        y_train: whole numbers (n,), the classes 0, 1, ..., each of them at least once.
        x_test: the same, with other n.
        y_test: the same, but that classes may be missing.

    Raises:
        UserError: shapes, types or labels other than these.
    """
    xs = [_inputs(where, name, x) for name, x in (("x_train", x_train), ("x_test", x_test))]
    if xs[0].shape[1:] != xs[1].shape[1:] or xs[0].dtype != xs[1].dtype:
        raise UserError(f"{where}: x_train holds {_kind(xs[0])} and x_test {_kind(xs[1])}")
    ys = [_labels(where, *named) for named in (("y_train", y_train), ("y_test", y_test))]
    for half, x, y in zip(("train", "test"), xs, ys, strict=True):
        if len(x) != len(y):
            raise UserError(f"{where}: x_{half} has {len(x)} samples and y_{half} {len(y)} labels")
    n_classes = _count_classes(where, *ys)
    unit = 255.0 if xs[0].dtype == torch.uint8 else 1.0
    mean, std = _statistics(xs[0], unit)
    train, test = (Split(x, y) for x, y in zip(xs, ys, strict=True))
    return Dataset(where, train, test, mean, std, n_classes, unit)


def _kind(x: Tensor) -> str:
    return f"samples of the shape {tuple(x.shape[1:])} and type {str(x.dtype).split('.')[-1]}"


def _inputs(where: str, name: str, array: Array) -> Tensor:
    """uint8 or float32, (n, features) or (n, channels, height, width)."""
    if array.dtype.kind not in "buif":
        raise UserError(f"{where}: {name} has the type {array.dtype}: expected numbers")
    if not 2 <= array.ndim <= 4 or 0 in array.shape:
        raise UserError(f"{where}: {name} has the shape {array.shape}: expected {LAYOUTS}")
    if array.dtype != np.uint8:
        array = array.astype(np.float32)
        if bad := int((~np.isfinite(array)).reshape(len(array), -1).any(1).sum()):
            raise UserError(
                f"{where}: {bad} of {len(array)} samples of {name} hold NaN or infinity"
            )
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim == 4 and array.shape[3] < array.shape[1]:
        array = array.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(array))


def _labels(where: str, name: str, array: Array) -> Tensor:
    if array.ndim != 1 or array.dtype.kind not in "ui":
        raise UserError(
            f"{where}: {name} has the shape {array.shape} and the type {array.dtype}: expected "
            "(n,) whole numbers, the class of each sample"
        )
    return torch.from_numpy(array.astype(np.int64))


def _count_classes(where: str, train: Tensor, test: Tensor) -> int:
    """The number of classes in the training data; labels of both halves are held against it."""
    classes = torch.unique(train)
    count = len(classes)
    if count < 2:
        raise UserError(f"{where}: y_train has a single class ({classes.tolist()})")
    for name, y in (("y_train", train), ("y_test", test)):
        wrong = y[(y < 0) | (y >= count)]
        if len(wrong):
            raise UserError(
                f"{where}: {name} holds the label {int(wrong[0])}, out of range: the {count} "
                f"classes of y_train must be 0 to {count - 1}"
            )
    return count


def _statistics(x: Tensor, unit: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel or feature of x / unit."""
    axes = [0, *range(2, x.dim())]
    count, parts = x.numel() / x.shape[1], torch.split(x, CHUNK)
    mean = torch.stack([part.double().sum(axes) for part in parts]).sum(0) / count
    centre = mean.view(-1, *[1] * (x.dim() - 2))
    squares = [(part.double() - centre).square().sum(axes) for part in parts]
    std = (torch.stack(squares).sum(0) / count).sqrt()
    std[x.amax(axes) == x.amin(axes)] = unit
    return tuple((mean / unit).tolist()), tuple((std / unit).tolist())
