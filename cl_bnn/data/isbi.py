"""Slices of the ISBI 2012 challenge of electron microscopy, with their cells and membranes."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from cl_bnn.data.dataset import Split
from cl_bnn.data.idx import damaged
from cl_bnn.data.sources import data_root
from cl_bnn.errors import Absent, one_line

FOLDER = "isbi2012-em"
SIDE = 512
TRAIN, VALIDATION = range(24), range(24, 30)
#: What a mask says: 0 on a membrane, 255 inside a cell.
MASK_VALUES = (0, 255)
LAYOUT = (
    "ISBI 2012 EM is 8-bit grey PNG files of 512 x 512 pixels: train_imgs/img_0.png to img_23.png, "
    "val_imgs/img_24.png to img_29.png, masks (0 or 255) in train_labels/label_0.png and so on"
)


def load(root: str | Path | None = None) -> tuple[Split, Split]:
    """The 30 labelled slices of the stack (Cardona et al. 2010): the first 24, and the last 6.

    Split as in prateekstark/training-binary-neural-network. Below the data root lies the folder
    `isbi2012-em` with `train_imgs/img_0.png` to `img_23.png`, `train_labels/label_0.png` to
    `label_23.png`, and 24 to 29 in `val_imgs` and `val_labels`. The challenge's own test slices
    have no labels and are not read.

    Args:
        root: the data root; see `data_root`.

    Returns:
        Training and validation slices: x uint8 (n, 1, 512, 512), y uint8 (n, 512, 512) of 1 inside
        a cell and 0 on a membrane. Read once per process and shared: not to be written to.

    Raises:
        UserError: a file is missing or damaged; the message names it.
    """
    return _load(data_root(root) / FOLDER)


@cache
def _load(folder: Path) -> tuple[Split, Split]:
    if not folder.is_dir():
        raise Absent(
            f"there is no folder {folder}; give the folder that holds {FOLDER} as --data-root or "
            f"in CL_BNN_DATA; {LAYOUT}"
        )
    return _split(folder, "train", TRAIN), _split(folder, "val", VALIDATION)


def _split(folder: Path, part: str, numbers: Sequence[int]) -> Split:
    images = [_grey(folder / f"{part}_imgs" / f"img_{k}.png") for k in numbers]
    masks = [_mask(folder / f"{part}_labels" / f"label_{k}.png") for k in numbers]
    return Split(torch.stack(images).unsqueeze(1), torch.stack(masks))


def _mask(path: Path) -> Tensor:
    values = _grey(path)
    found = torch.unique(values).tolist()
    if not set(found) <= set(MASK_VALUES):
        wrong = next(value for value in found if value not in MASK_VALUES)
        raise damaged(path, f"a mask with the value {wrong}, expected 0 and 255 alone", LAYOUT)
    return values // max(MASK_VALUES)


def _grey(path: Path) -> Tensor:
    """The pixels of a file, uint8 (512, 512)."""
    from PIL import Image  # here, because most runs read no such file

    if not path.is_file():
        raise Absent(f"{path} is missing; {LAYOUT}")
    try:
        with Image.open(path) as image:
            mode, size = image.mode, image.size
            data = image.tobytes() if (mode, size) == ("L", (SIDE, SIDE)) else b""
    except (OSError, SyntaxError, ValueError) as error:  # Pillow has no class for broken files
        raise damaged(path, one_line(error), LAYOUT) from error
    if not data:
        raise damaged(path, f"{size[0]} x {size[1]} pixels of mode {mode}", LAYOUT)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(SIDE, SIDE)
