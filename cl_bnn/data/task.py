"""One task of a stream as a view of a shared data set: indices, never a copy."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils import data

from cl_bnn.data.dataset import Split
from cl_bnn.errors import UserError

# Samples brought to floats at a time: few enough for the cache of a processor.
CHUNK = 500


class TaskView(data.Dataset[tuple[Tensor, int]]):
    """Some samples of a split, their pixels in some order, their labels under some names.

    Args:
        split: the bytes, shared by all tasks: x uint8 (n, channels, height, width), y int64 (n,).
        normalise: bytes to float32 of the same shape.
        rows: indices of the samples that belong to the task, int64; all of them if None.
        pixels: order of the flattened, normalised inputs, int64 (channels * height * width,); None:
            as they are.
        labels: int64 (n_classes,), the label that each class has within the task; None: as they
            are.
    """

    def __init__(
        self, split: Split, normalise: Callable[[Tensor], Tensor], *,
        rows: Tensor | None = None, pixels: Tensor | None = None, labels: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.split, self.normalise = split, normalise
        self.rows, self.pixels = rows, pixels
        classes = split.y if rows is None else split.y[rows]
        self.targets = classes if labels is None else labels[classes]

    def __len__(self) -> int:
        """The number of samples of the task."""
        return len(self.targets)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs float32 (b, channels, height, width) and labels (b,) of the samples at `index`
        (b,).
        """
        x = self.normalise(self.split.x[index if self.rows is None else self.rows[index]])
        if self.pixels is not None:
            x = x.flatten(1).index_select(1, self.pixels).view_as(x)
        return x, self.targets[index]

    def materialise(self) -> tuple[Tensor, Tensor]:
        """The whole task, ready to be cut into batches.

        Raises:
            UserError: an input is not a finite number.
        """
        x = torch.empty((len(self), *self.split.x.shape[1:]))
        for chunk in torch.split(torch.arange(len(self)), CHUNK):
            x[chunk[0] : chunk[-1] + 1] = self.batch(chunk)[0]
        if not bool(torch.isfinite(x.sum())):  # one pass; a NaN or an infinity survives a sum
            bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
            raise UserError(
                f"{bad} of {len(x)} inputs hold NaN or infinity: remove them from the data"
            )
        return x, self.targets

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One sample, for loaders that fetch sample by sample."""
        x, y = self.batch(torch.tensor([index]))
        return x[0], int(y[0])
