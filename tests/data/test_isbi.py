"""The slices of ISBI 2012: folders made here, the real one where CL_BNN_DATA has it."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cl_bnn.data import isbi
from cl_bnn.errors import UserError

REAL = os.environ.get("CL_BNN_DATA")


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root whose image k is grey k + 1 but for its first pixel, masks of two halves."""
    root = tmp_path_factory.mktemp("data")
    folder = root / isbi.FOLDER
    folder.mkdir()
    mask = np.zeros((512, 512), np.uint8)
    mask[:, 256:] = 255
    for part, numbers in (("train", range(24)), ("val", range(24, 30))):
        for k in numbers:
            image = np.full((512, 512), k + 1, np.uint8)
            image[0, 0] = 200
            write(folder / f"{part}_imgs" / f"img_{k}.png", image)
            write(folder / f"{part}_labels" / f"label_{k}.png", mask if k else 255 - mask)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_slices_come_in_the_order_of_their_numbers(made: Path) -> None:
    train, validation = isbi.load(made)
    assert train.x.shape == (24, 1, 512, 512) and validation.x.shape == (6, 1, 512, 512)
    assert train.x[:, 0, 0, 1].tolist() == list(range(1, 25)), "10 follows 9, not 1"
    assert validation.x[:, 0, 511, 511].tolist() == list(range(25, 31))
    assert train.x[:, 0, 0, 0].tolist() == [200] * 24
    assert train.x.dtype == train.y.dtype == torch.uint8


def test_a_mask_says_1_inside_a_cell(made: Path) -> None:
    train, validation = isbi.load(made)
    assert train.y.shape == (24, 512, 512)
    left = torch.cat((train.y, validation.y))[:, 17, 255]
    right = torch.cat((train.y, validation.y))[:, 17, 256]
    assert left.tolist() == [1] + [0] * 29
    assert right.tolist() == [0] + [1] * 29


def error(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        isbi.load(root)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_folder_says_where_it_was_looked_for(tmp_path: Path) -> None:
    message = error(tmp_path)
    assert message.startswith(f"there is no folder {tmp_path / 'isbi2012-em'}; ")
    assert "--data-root" in message and "CL_BNN_DATA" in message


@pytest.mark.parametrize("name", ["train_imgs/img_7.png", "val_labels/label_29.png"])
def test_a_missing_file_is_named(root: Path, name: str) -> None:
    path = root / isbi.FOLDER / name
    path.unlink()
    assert error(root).startswith(f"{path} is missing; ISBI 2012 EM is ")


def test_a_file_that_is_no_image_is_named(root: Path) -> None:
    path = root / isbi.FOLDER / "val_imgs" / "img_24.png"
    path.write_bytes(b"half")
    assert error(root).startswith(f"{path} is damaged: cannot identify image file")


def test_half_a_file_is_named(root: Path) -> None:
    path = root / isbi.FOLDER / "train_imgs" / "img_3.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert error(root).startswith(f"{path} is damaged: ")


@pytest.mark.parametrize(
    ("pixels", "finding"),
    [
        (np.zeros((512, 511), np.uint8), "511 x 512 pixels of mode L"),
        (np.zeros((512, 512, 3), np.uint8), "512 x 512 pixels of mode RGB"),
    ],
)
def test_an_image_of_another_kind_is_named(root: Path, pixels: np.ndarray, finding: str) -> None:
    path = root / isbi.FOLDER / "train_imgs" / "img_0.png"
    write(path, pixels)
    assert error(root).startswith(f"{path} is damaged: {finding}; ")


def test_a_mask_with_grey_pixels_is_named(root: Path) -> None:
    path = root / isbi.FOLDER / "train_labels" / "label_5.png"
    mask = np.full((512, 512), 255, np.uint8)
    mask[100, 3] = 254
    write(path, mask)
    assert error(root).startswith(
        f"{path} is damaged: a mask with the value 254, expected 0 and 25"
    )


def test_real_slices_have_the_published_share_of_foreground() -> None:
    if not (REAL and (Path(REAL) / isbi.FOLDER).is_dir()):
        pytest.skip(f"{isbi.FOLDER} is not in CL_BNN_DATA")
    train, validation = isbi.load(REAL)
    assert train.y.float().mean().item() == pytest.approx(0.775, abs=5e-4)
    assert validation.y.float().mean().item() == pytest.approx(0.8036, abs=5e-4)
    dark = validation.x.squeeze(1)[validation.y == 0].float().mean()
    bright = validation.x.squeeze(1)[validation.y == 1].float().mean()
    assert dark + 30 < bright, "membranes are dark: a mask lies on its own image"
