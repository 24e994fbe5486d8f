"""CIFAR-10 and CIFAR-100, read and checked by torchvision; the pixels are taken as whole arrays."""

from pathlib import Path
from typing import Any

import torch

from cl_bnn.data.dataset import Split
from cl_bnn.data.idx import damaged
from cl_bnn.errors import Absent, UserError


def torchvision_class(name: str) -> Any:
    """The data-set class of torchvision, imported here because it takes a second."""
    import torchvision

    return getattr(torchvision.datasets, name)


def files(name: str) -> dict[str, str]:
    """The name and md5 of every file of the data set, as torchvision's class `name` has them."""
    source = torchvision_class(name)
    return dict(
        [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]
    )


def read(name: str, root: Path, mend: str) -> tuple[Split, Split]:
    """Training and test split of torchvision's class `name`.

    UserError if a file is missing or its md5 is not torchvision's; the message names it and ends in
    `mend`.
    """
    source = torchvision_class(name)
    try:
        return _split(source(root, train=True)), _split(source(root, train=False))
    except RuntimeError:  # torchvision's message does not say which file it is.
        check(name, root / source.base_folder, mend)
        raise
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}; {mend}") from error


def check(name: str, folder: Path, mend: str) -> None:
    """UserError that names the first file in `folder` that is missing or whose md5 is wrong."""
    from torchvision.datasets.utils import calculate_md5

    for filename, expected in files(name).items():
        path = folder / filename
        if not path.is_file():
            raise Absent(f"{path} is missing; {mend}")
        digest = calculate_md5(path)
        if digest != expected:
            raise damaged(
                path, f"{path.stat().st_size} bytes with md5 {digest}, expected {expected}", mend
            )


def _split(source: Any) -> Split:
    # torchvision's array is (n, height, width, channels), a view of the planes that the file has.
    pixels = torch.from_numpy(source.data.transpose(0, 3, 1, 2))
    return Split(pixels.contiguous(), torch.tensor(source.targets))
