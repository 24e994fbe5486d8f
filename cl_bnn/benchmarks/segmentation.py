"""Segmentation: every pixel of an image is told apart, as a stream of a single task."""

from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from cl_bnn.benchmarks.stream import Stream, build_benchmark
from cl_bnn.data import isbi
from cl_bnn.data.dataset import Split
from cl_bnn.data.task import TaskView
from cl_bnn.errors import one_of, require
from cl_bnn.objectives import SEGMENTATION

Alignment = Literal["published", "aligned"]


def segmentation(
    *, size: int = 572, margin: int = 184, alignment: Alignment = "published", seed: int = 0,
    data_root: Path | None = None,
) -> Stream:  # fmt: skip
    """Membranes in electron microscopy: the labelled slices of ISBI 2012 as one task.

    Images are resized to `size` x `size` and divided by 255, without augmentation, as in
    prateekstark/training-binary-neural-network. A network whose convolutions do not pad labels
    the centre of the frame alone, `margin` pixels less than it: 388 of 572 for the U-Net. What is
    put beside it is

    * `"published"`: the whole label squeezed to that size, so that a pixel is compared with the
      label of another place, up to `margin` / 2 pixels away.
    * `"aligned"`: the centre of the label resized like its image, so that a pixel is compared with
      its own label.

    The test set is the six validation slices of the published split, because the challenge's own
    test slices have no labels: nothing may be chosen by them.

    Args:
        size: pixels a side of the image that the network gets.
        margin: pixels a side by which the network's output is smaller; even, 0 <= margin < size.
        alignment: `"published"` or `"aligned"`.
        seed: not used: the stream does not depend on chance.
        data_root: where the data sets lie.

    Raises:
        ValueError: a setting out of range.
        UserError: a file is missing or damaged.
    """
    require(0 <= margin < size and margin % 2 == 0, "margin", margin, f"even, in [0, {size})")
    one_of("alignment", alignment, get_args(Alignment))

    def view(part: Split) -> TaskView:
        maps = label_maps(part.y, size, margin, alignment)
        return TaskView(Split(nearest(part.x, size), maps.long()), _unit)

    train, test = isbi.load(data_root)
    return Stream(
        benchmark=build_benchmark([view(train)], [view(test)], [0]),
        input_shape=(1, size, size),
        out_features=2,
        n_heads=1,
        task_labels=False,
        objective=SEGMENTATION,
    )


def nearest(x: Tensor, size: int) -> Tensor:
    """Images or maps (..., height, width) resized to (..., size, size) without interpolation.

    Pixel i of the result is pixel floor(i * side / size), as in OpenCV's `INTER_NEAREST`.
    """
    rows, columns = (torch.arange(size) * side // size for side in x.shape[-2:])
    return x[..., rows[:, None], columns]


def label_maps(y: Tensor, size: int, margin: int, alignment: Alignment) -> Tensor:
    """What a network's output for frames of `size` is compared with; see `segmentation`.

    Args:
        y: label maps (n, height, width).
        size: pixels a side of the network's input.
        margin: pixels a side by which its output is smaller, even.
        alignment: `"published"` or `"aligned"`.

    Returns:
        Label maps (n, size - margin, size - margin).
    """
    if alignment == "published":
        return nearest(y, size - margin)
    inside = slice(margin // 2, size - margin // 2)
    return nearest(y, size)[..., inside, inside]


def _unit(x: Tensor) -> Tensor:
    """Bytes to [0, 1]."""
    return torch.div(x, 255)
