"""Small image folders, made up for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

RECIPE = """
title = "Images in folders"
epochs = 3
batch_size = 8
[stream]
build = "cl_bnn.benchmarks:folder"
data = "pictures"
size = 12
[model]
build = "cl_bnn.nn:mlp"
width = 8
"""


def write(folder: Path, classes: dict[str, int], size: tuple[int, int] = (20, 16)) -> None:
    """JPEGs of colours that tell the classes apart, with noise; names 0.JPEG, 1.JPEG, ..."""
    random = np.random.RandomState(0)
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for image in range(count):
            pixels = random.randint(0, 128, (size[1], size[0], 3))
            pixels[..., number % 3] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{image}.JPEG")


def pictures(root: Path, n_train: int = 7, n_test: int = 3) -> Path:
    """A data set of three classes below `root`: 21 training and 9 test images; its folder."""
    folder = root / "pictures"
    for name, count in (("train", n_train), ("val", n_test)):
        write(folder / name, {"ape": count, "bee": count, "cat": count})
    return folder


def recipe(folder: Path) -> str:
    """Write a benchmark of `pictures` into a folder; its path."""
    path = folder / "pictures.toml"
    path.write_text(RECIPE)
    return str(path)
