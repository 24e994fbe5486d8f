"""The data sets there are, where their files lie, and how they are read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path

from cl_bnn.data import cifar, files, own
from cl_bnn.data.dataset import Dataset, Split
from cl_bnn.data.features import FEATURES, Features
from cl_bnn.data.idx import IdxFile
from cl_bnn.errors import Absent, UserError, near


@dataclass(frozen=True)
class Source:
    """One data set: its names, its folder below the data root, and the constants of `Dataset`.

    `files` are the four IDX files (training images and labels, test images and labels); a data set
    without them is read by torchvision's class `torchvision`. The package carries the data set that
    has no such class.
    """

    name: str
    title: str
    content: str
    folder: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    n_classes: int
    torchvision: str | None = None
    files: tuple[IdxFile, ...] = ()

    def where(self, root: Path) -> Path:
        """The folder of the files: below the data root, or in the package if it carries them."""
        return root / self.folder if self.torchvision else Path(__file__).with_name(self.folder)

    def present(self, root: Path) -> bool:
        """Whether the folder is there with a file in it; whether it is whole, `read` tells."""
        return files.has_files(self.where(root))

    def read(self, root: Path) -> tuple[Split, Split]:
        """Training and test split, every byte checked; UserError if one is missing or damaged."""
        folder = self.where(root)
        if not self.present(root):
            raise files.missing(self.name, self.title, folder, self.folder)
        if self.files:
            return self._read_idx(folder)
        return cifar.read(str(self.torchvision), root, self.mend)

    def _read_idx(self, folder: Path) -> tuple[Split, Split]:
        values = []
        for file in self.files:
            path = file.find(folder)
            if path is None:
                raise Absent(f"{folder / file.name} is missing; {self.mend}")
            values.append(file.read(path, self.mend))
        x_train, y_train, x_test, y_test = values
        return Split(x_train.unsqueeze(1), y_train.long()), Split(
            x_test.unsqueeze(1), y_test.long()
        )

    @property
    def mend(self) -> str:
        """What to do about a damaged file, as the end of a message."""
        if self.torchvision is None:
            return "mend it by installing cl_bnn again"
        return files.mend(self.name)


def _idx_files(train_x: str, train_y: str, test_x: str, test_y: str) -> tuple[IdxFile, ...]:
    """The four files of MNIST and of its look-alikes, which differ in their sha256 only."""
    return (
        IdxFile("train-images-idx3-ubyte", (60_000, 28, 28), train_x),
        IdxFile("train-labels-idx1-ubyte", (60_000,), train_y),
        IdxFile("t10k-images-idx3-ubyte", (10_000, 28, 28), test_x),
        IdxFile("t10k-labels-idx1-ubyte", (10_000,), test_y),
    )


MNIST = Source(
    name="mnist",
    title="MNIST",
    content="60,000 + 10,000 grey images, 28 x 28, 10 classes",
    folder="mnist",
    mean=(0.1307,),
    std=(0.3081,),
    n_classes=10,
    files=_idx_files(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)

FASHION_MNIST = Source(
    name="fashion_mnist",
    title="Fashion-MNIST",
    content="60,000 + 10,000 grey images, 28 x 28, 10 classes",
    folder="FashionMNIST/raw",
    mean=(0.2860,),
    std=(0.3530,),
    n_classes=10,
    torchvision="FashionMNIST",
    files=_idx_files(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)

CIFAR10 = Source(
    name="cifar10",
    title="CIFAR-10",
    content="50,000 + 10,000 colour images, 32 x 32, 10 classes",
    folder="cifar-10-batches-py",
    mean=(0.4914, 0.4822, 0.4465),
    # Usual in the literature: the mean of the images' own deviations, not that of all pixels.
    std=(0.2023, 0.1994, 0.2010),
    n_classes=10,
    torchvision="CIFAR10",
)

CIFAR100 = Source(
    name="cifar100",
    title="CIFAR-100",
    content="50,000 + 10,000 colour images, 32 x 32, 100 classes",
    folder="cifar-100-python",
    mean=(0.507, 0.487, 0.441),
    std=(0.267, 0.256, 0.276),
    n_classes=100,
    torchvision="CIFAR100",
)

SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100)}

NAMES = (*SOURCES, *FEATURES)
"""The names that `load` knows."""


def source_of(name: str) -> Source | Features:
    """The entry of `SOURCES` or of `FEATURES`; an unknown name is a UserError that offers those
    there are.
    """
    if name not in NAMES:
        raise UserError(
            f"unknown data set {name!r}{near(name, NAMES)}; or a file NAME{own.SUFFIX}, or "
            f"{own.PREFIX}CLASS"
        )
    return SOURCES[name] if name in SOURCES else FEATURES[name]


def data_root(root: str | Path | None = None) -> Path:
    """The folder of the data sets: `root` if given, else CL_BNN_DATA, else the user's cache folder
    for cl_bnn.
    """
    chosen = root or os.environ.get("CL_BNN_DATA") or user_cache_path("cl_bnn")
    try:
        return Path(chosen).expanduser().absolute()
    except RuntimeError as error:  # An unknown user after "~".
        raise UserError(f"data root {str(chosen)!r}: there is no such home") from error


def load(name: str, root: str | Path | None = None) -> Dataset:
    """The data set `name` from the data root: one of `NAMES`, of which MNIST comes with the
    package, or data of the user's own, see `cl_bnn.data.own`: "FILE.npz" or "torchvision:CLASS".
    Features are read if they have been made, see `cl_bnn.features`.

    Read once per process: everybody gets the same tensors, which are therefore not to be written
    to. UserError if the name is unknown, the data set is not there, or a file is damaged.
    """
    if name.startswith(own.PREFIX):
        return own.load_torchvision(name.removeprefix(own.PREFIX), data_root(root))
    if name.endswith(own.SUFFIX):
        return own.load_file(name, data_root(root))
    return _load(source_of(name), data_root(root))


def own_digests(names: Sequence[str], root: str | Path | None = None) -> dict[str, str]:
    """SHA-256 of the arrays in the user's own files `names`, of those that are there, by name.
    UserError if one of them is damaged.
    """
    return own.digests(names, data_root(root))


def present(name: str, root: str | Path | None = None) -> bool:
    """Whether the files of the data set `name`, one of `NAMES`, are in the data root."""
    return source_of(name).present(data_root(root))


@cache
def _load(source: Source | Features, root: Path) -> Dataset:
    if isinstance(source, Features):
        return source.read(root)
    train, test = source.read(root)
    return Dataset(source.name, train, test, source.mean, source.std, source.n_classes)
