"""Images in folders, one folder a class: read from disk whenever a batch needs them."""

import copy
import re
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils import data

from cl_bnn.data.crops import central_crop, random_crop
from cl_bnn.data.task import TaskView
from cl_bnn.errors import Absent, UserError, one_line, require

# Of the pixels of ImageNet's training images, 0 to 255, red, green and blue.
MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)

# What it takes to read an image: where it is, and the seeds of its augmentation.
Key = tuple[str, tuple[int, int]]


class Read(NamedTuple):
    """Some images: those that can be read, bytes (n, 3, size, size), their places among those asked
    for, and a line on each of the others.
    """

    images: Tensor
    places: list[int]
    failures: list[str]


class FolderView(data.Dataset[tuple[Tensor, int]]):
    """The images in the sub-folders of a folder, the names of the sub-folders being the classes.

    Processes decode them ahead of the training, as bytes; `normalise` makes floats of them, on the
    device where they are needed. Random changes are seeded by image and epoch, so that batches are
    the same whatever the number of processes.

    As in plumerai/rethinking-bnn-optimization (Helwegen et al. 2019, arXiv:1906.02107), with the
    arithmetic of torchvision and Pillow: there, the crop's aspect ratio is uniform and not its
    logarithm, and the bicubic interpolation does not filter where it shrinks an image.

    Args:
        folder: where the sub-folders are.
        size: height and width of an input, in pixels, >= 1.
        augment: whether a random crop (8 to 100 % of the area, aspect ratio 3/4 to 4/3), mirrored
            in half of the cases, is resized; otherwise the central crop, 7/8 of the shorter side.
        workers: processes that decode; 0: none besides this one.
        skip_unreadable: leave images out that cannot be read, instead of stopping.
        notes: gets a line on each image left out.

    Attributes:
        folder: as given.
        classes: the names of the classes, sorted.
        targets: the class of every image, int64 (n,).

    Raises:
        ValueError: a size or number of processes out of range.
        UserError: the folder is missing, has no sub-folders, or one without images.
    """

    def __init__(
        self, folder: Path, *, size: int = 224, augment: bool = False, workers: int = 0,
        skip_unreadable: bool = False, notes: list[str] | None = None,
    ) -> None:  # fmt: skip
        require(size >= 1, "size", size, ">= 1")
        require(workers >= 0, "workers", workers, ">= 0")
        self.folder = folder
        self.classes, self.paths, self.targets = _listing(folder)
        self.augment, self.workers, self.skip_unreadable = augment, workers, skip_unreadable
        self.notes = [] if notes is None else notes
        self._skipped: set[str] = set()
        self.reader = _Reader(size, augment)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One input float32 (3, size, size) and its class, for loaders that fetch one by one.

        Raises:
            UserError: the image cannot be read.
        """
        seed = int(torch.randint(2**31, ())) if self.augment else 0
        found = self.reader.__getitems__([(self.paths[index], (seed, index))])
        if found.failures:
            advice = "mend or remove it: what looks at images one by one leaves none out"
            raise UserError(f"{found.failures[0]}; {advice}")
        return self.normalise(found.images)[0], int(self.targets[index])

    def normalise(self, x: Tensor) -> Tensor:
        """Bytes (n, 3, height, width) less ImageNet's mean, over its deviation, as float32."""
        mean, std = _statistics(x.device)
        return x.float().sub_(mean).div_(std)

    def still(self) -> "FolderView":
        """The same images, cropped centrally and not at random."""
        other = copy.copy(self)
        other.augment, other.reader = False, _Reader(self.reader.size, False)
        return other

    def select(self, rows: Tensor, labels: Tensor | None = None) -> "FolderView":
        """The images at `rows`, int64 (m,), as a task; `labels[c]` is the label of class c there,
        the class itself if None.
        """
        other = copy.copy(self)
        other.paths = [self.paths[row] for row in rows.tolist()]
        other.targets = self.targets[rows] if labels is None else labels[self.targets[rows]]
        return other

    def judge(self, found: Read) -> None:
        """Images that cannot be read are an error, or are noted, once each.

        Raises:
            Absent: they are not to be skipped, or nothing else was asked for.
        """
        if not self.skip_unreadable:
            advice = "mend or remove it, or leave such images out"
            raise Absent(f"{found.failures[0]}; {advice} with --set stream.skip_unreadable=true")
        if not found.places:
            raise Absent(f"no image of a whole batch can be read; {found.failures[0]}")
        for failure in found.failures:
            if failure not in self._skipped:
                self._skipped.add(failure)
                self.notes.append(f"{failure}: left out")


class Decoders:
    """The processes that read the images of a view. They stay until this object goes.

    Args:
        view: the images.
        pin: put images where a GPU fetches them faster.
    """

    def __init__(self, view: FolderView, *, pin: bool = False) -> None:
        self.view, self.pin, self._plan = view, pin, _Plan()
        self._loader: data.DataLoader[Any] | None = None

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images as bytes (b, 3, size, size) and their targets (b,), batch after batch.

        Args:
            batches: the indices of the images of each batch, int64 (b,).
            seed: of the random changes; another one in every epoch.

        Raises:
            Absent: an image cannot be read, or where such images are skipped, none of a batch; a
                process that decodes has died.
        """
        paths, targets = self.view.paths, self.view.targets
        self._plan.batches = ([(paths[i], (seed, i)) for i in b.tolist()] for b in batches)
        reading = self._read()
        try:
            for index, found in zip(batches, reading, strict=True):
                if found.failures:
                    self.view.judge(found)
                yield found.images, targets[index[found.places]]
        except BaseException:
            # Here and now: processes left to the garbage collector are waited for, for seconds.
            reading.close()
            self._loader = None
            raise

    def _read(self) -> Generator[Read, None, None]:
        if self._loader is None:
            self._loader = data.DataLoader(
                self.view.reader, batch_sampler=self._plan, num_workers=self.view.workers,
                collate_fn=_as_it_is, pin_memory=self.pin,
                persistent_workers=self.view.workers > 0,
                generator=torch.Generator(),  # leaves the global one alone
            )  # fmt: skip
        try:
            yield from self._loader
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise Absent(
                "a process that decodes images has died, perhaps for want of memory (or of shared "
                "memory, /dev/shm): set CL_BNN_WORKERS to a smaller number"
            ) from error


View = TaskView | FolderView


class _Plan:
    """The batches of the next epoch, for a loader that outlives it."""

    batches: Iterable[list[Key]] = ()

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)


class _Reader(data.Dataset[Any]):
    """What the processes know: how to read an image."""

    def __init__(self, size: int, augment: bool) -> None:
        self.size, self.change = size, random_crop(size) if augment else None

    def __getitems__(self, keys: list[Key]) -> Read:
        """Read images; their changes are drawn from a generator seeded anew for each."""
        images, places, failures = [], [], []
        for place, (path, seeds) in enumerate(keys):
            try:
                with _seeded(seeds):
                    images.append(self._image(path))
            except Exception as error:  # Pillow's decoders raise whatever they meet
                reason = one_line(error) or type(error).__name__
                failures.append(f"{_printable(path)} cannot be read: {_printable(reason)}")
            else:
                places.append(place)
        empty = torch.empty((0, 3, self.size, self.size), dtype=torch.uint8)
        return Read(torch.stack(images) if images else empty, places, failures)

    def _image(self, path: str) -> Tensor:
        with warnings.catch_warnings():
            # Of metadata that nobody asks for, as broken EXIF.
            warnings.filterwarnings("ignore", module="PIL")
            with Image.open(path) as file:
                if _is_deep(file):
                    raise ValueError(
                        f"its pixels have more than 8 bits (mode {file.mode}): convert it, or put "
                        "the images into an .npz"
                    )
                image = file.convert("RGB")
        if self.change is None:
            image = central_crop(image, self.size)
            return torch.from_numpy(np.array(image)).permute(2, 0, 1)
        changed: Tensor = self.change(image)
        return changed


def _is_deep(file: Any) -> bool:
    """Whether the channels of an image, opened and not yet read, have more than the 8 bits that are
    kept: the mode says so, or what the decoder is told, as `RGB;16B`, or `RGB` up to 65535.
    """
    if file.mode.partition(";")[0] in ("I", "F"):
        return True
    told = [(tile[0], tile[3]) for tile in getattr(file, "tile", [])]
    return any(re.search(";16[BLN]", str(args)) for _, args in told) or any(
        codec == "ppm" and isinstance(args, tuple) and args[-1] > 255 for codec, args in told
    )


def _as_it_is(batch: Any) -> Any:
    return batch


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    both = torch.tensor((MEAN, STD), dtype=torch.float32, device=device)
    mean, std = both.view(2, -1, 1, 1)
    return mean, std


@contextmanager
def _seeded(seeds: tuple[int, int]) -> Iterator[None]:
    """Inside, torch's global generator of the CPU starts at `seeds`; then it goes on as before."""
    seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would seed the GPUs as well
        yield


def _listing(folder: Path) -> tuple[list[str], list[str], Tensor]:
    """The classes, the paths of all images and their classes as numbers."""
    from torchvision.datasets import ImageFolder

    if not folder.is_dir():
        raise Absent(
            f"{_printable(str(folder))} is no folder; stream.train and stream.test name those of "
            "training and test images"
        )

    class Classes(ImageFolder):  # type: ignore[misc]
        """Folders, but for those that file managers and notebooks hide."""

        def find_classes(self, directory: Any) -> tuple[list[str], dict[str, int]]:
            names = [n for n in super().find_classes(directory)[0] if not n.startswith(".")]
            if not names:
                raise FileNotFoundError(directory)
            return names, {name: number for number, name in enumerate(names)}

    try:
        found = Classes(str(folder), allow_empty=True)
    except FileNotFoundError as error:
        raise UserError(
            f"{_printable(str(folder))} holds no folders: expected one for each class, named after "
            "it, with its images in it"
        ) from error
    except OSError as error:
        raise UserError(f"{_printable(str(error.filename))}: {error.strerror}") from error
    paths, targets = zip(*found.samples, strict=True) if found.samples else ((), ())
    empty = sorted(set(range(len(found.classes))) - set(targets))
    if empty:
        raise UserError(
            f"class folder {_printable(str(folder / found.classes[empty[0]]))} holds no images "
            "(*.jpeg, *.jpg, *.png, ...): add some, or remove it"
        )
    return found.classes, list(paths), torch.tensor(targets)


def _printable(text: str) -> str:
    """File names may hold bytes that are no text, which cannot be printed."""
    return text.encode(errors="backslashreplace").decode()
