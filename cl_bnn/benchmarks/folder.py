"""Images in folders, as one task or several: ImageNet, and whatever is laid out like it."""

import os
from pathlib import Path

from cl_bnn import data as datasets
from cl_bnn.benchmarks.held_out import held_out
from cl_bnn.benchmarks.split import ClassOrder, Part, Scenario, check_scenario, dealt, split_classes
from cl_bnn.benchmarks.stream import Stream
from cl_bnn.data.folder import FolderView
from cl_bnn.errors import Absent, UserError

# More processes that decode bring nothing where one trains.
MOST_WORKERS = 16


def folder(
    *, data: str = "imagenet", train: str = "train", test: str = "val", size: int = 224,
    n_experiences: int = 1, scenario: Scenario = "class", class_order: ClassOrder = "sorted",
    validation: float = 0.0, skip_unreadable: bool = False, seed: int = 0,
    data_root: Path | None = None,
) -> Stream:  # fmt: skip
    """The images below a folder, read from disk while they are needed; as one task, or with their
    classes, sorted by name, dealt out to several as `cl_bnn.benchmarks.split` does.

    They lie in DATA/train/CLASS/ and DATA/val/CLASS/, with a suffix that torchvision takes for an
    image's (.jpg, .png, .tiff, .webp and others), up to 8 bits a channel. Training
    images are cropped and mirrored at random, test images centrally, and all are normalised by
    ImageNet's mean and deviation; see `cl_bnn.data.folder.FolderView`. They are decoded by as many
    processes as there are cores, or as CL_BNN_WORKERS says (0: none); batches are the same whatever
    their number.

    Args:
        data: the folder, below the data root.
        train: the folder of the training images, below `data`.
        test: that of the test images; its classes are those of the training images.
        size: height and width of an input, in pixels.
        n_experiences: number of tasks.
        scenario: `"task"`, `"domain"` or `"class"`, see `split`.
        class_order: `"sorted"` or `"random"`.
        validation: share of the training images held out, in [0, 1); they are cropped centrally.
        skip_unreadable: leave out images that cannot be read, and say which, instead of stopping.
        seed: chooses the images that are held out, and a random order of the classes.
        data_root: where the data sets lie.

    Raises:
        ValueError: a size or share out of range, an unknown scenario, or a number of tasks that
            does not divide the classes.
        UserError: folders that are missing, empty or do not hold the same classes.
    """
    check_scenario(scenario)
    root = datasets.data_root(data_root) / data
    if not root.is_dir():
        raise Absent(
            f"{root} is missing: it must hold {train}/ and {test}/, each with one folder for each "
            "class; give the folder above it as --data-root or in CL_BNN_DATA"
        )
    notes: list[str] = []
    views = [
        FolderView(
            root / name, size=size, augment=augment, workers=_workers(),
            skip_unreadable=skip_unreadable, notes=notes,
        )
        for name, augment in ((train, True), (test, False))
    ]  # fmt: skip
    _check_classes(*views)
    learned, tested = views
    kept, held = held_out(len(learned), validation, seed)
    return split_classes(
        Part(learned.targets, learned.select, kept), Part(tested.targets, tested.select),
        None if held is None else Part(learned.targets, learned.still().select, held),
        dealt(class_order, len(learned.classes), seed), n_experiences, scenario,
        input_shape=(3, size, size), notes=notes,
    )  # fmt: skip


def _check_classes(train: FolderView, test: FolderView) -> None:
    for view, other in ((train, test), (test, train)):
        lacking = sorted(set(other.classes) - set(view.classes))
        if lacking:
            more = f" (and {len(lacking) - 1} more)" if lacking[1:] else ""
            raise UserError(
                f"{view.folder} has no class {lacking[0]!r}{more}, which {other.folder} has"
            )


def _workers() -> int:
    """CL_BNN_WORKERS, or the cores of this process's share of the machine."""
    asked = os.environ.get("CL_BNN_WORKERS", "")
    if asked:
        if not asked.isdecimal():
            raise UserError(f"CL_BNN_WORKERS = {asked!r}: expected a whole number of at least 0")
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MOST_WORKERS, (cores or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
