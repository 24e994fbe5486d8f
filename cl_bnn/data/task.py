"""One task of a stream as a view of a shared data set: indices, never a copy."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils import data

from cl_bnn.data.dataset import Split
from cl_bnn.errors import UserError

# Samples brought to floats at a time: few enough for the cache of a processor.
CHUNK = 500

Augment = Callable[[Tensor, torch.Generator | None], Tensor]


def spread(available: int, count: int) -> Tensor:
    """Evenly spread rows, at most so many: int64."""
    count = min(available, count)
    return torch.arange(count) * available // count


class TaskView(data.Dataset[tuple[Tensor, Tensor | int]]):
    """Some samples of a split, their pixels in some order, their labels under some names.

    Args:
        split: the data, shared by all tasks: x (n, ...) of any type, y (n, ...).
        normalise: samples of x to float32 of the same shape.
        rows: indices of the samples that belong to the task, int64; all of them if None.
        pixels: order of the flattened, normalised inputs, int64 (channels * height * width,); None:
            as they are.
        labels: int64 (n_classes,), the label that each class has within the task; None: as they
            are.
        augment: changes a batch of samples of x at random, before they are normalised, every time
            it is trained on; called with the samples and a generator or None.
    """

    def __init__(
        self, split: Split, normalise: Callable[[Tensor], Tensor], *,
        rows: Tensor | None = None, pixels: Tensor | None = None, labels: Tensor | None = None,
        augment: Augment | None = None,
    ) -> None:  # fmt: skip
        self.split, self.normalise, self.augment = split, normalise, augment
        self.rows, self.pixels = rows, pixels
        classes = split.y if rows is None else split.y[rows]
        self.targets = classes if labels is None else labels[classes]

    def __len__(self) -> int:
        """The number of samples of the task."""
        return len(self.targets)

    def seen(
        self, *, pixels: Tensor | None = None, normalise: Callable[[Tensor], Tensor] | None = None
    ) -> "TaskView":
        """The same samples, and one tensor of their labels, with another order of the pixels, or
        normalised in another way.
        """
        other = copy.copy(self)
        other.pixels = self.pixels if pixels is None else pixels
        other.normalise = normalise or self.normalise
        return other

    def still(self) -> "TaskView":
        """The same samples, not augmented."""
        other = copy.copy(self)
        other.augment = None
        return other

    def raw(self, index: Tensor | slice = slice(None)) -> Tensor:
        """The samples at `index` (b,), or all, as they are in the split; not to be written to."""
        return self.split.x[index if self.rows is None else self.rows[index]]

    def finish(self, x: Tensor) -> Tensor:
        """Inputs float32 from samples of the split: normalised, their pixels in order."""
        x = self.normalise(x)
        if self.pixels is not None:
            x = x.flatten(1).index_select(1, self.pixels.to(x.device)).view_as(x)
        return x

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs float32 (b, ...), augmented, and targets (b, ...) of the samples at `index`
        (b,).
        """
        x = self.raw(index)
        if self.augment is not None:
            x = self.augment(x, None)
        return self.finish(x), self.targets[index]

    def materialise(self) -> tuple[Tensor, Tensor]:
        """The whole task, not augmented, ready to be cut into batches.

        Raises:
            UserError: an input is not a finite number.
        """
        x = torch.empty((len(self), *self.split.x.shape[1:]))
        for start in range(0, len(self), CHUNK):
            chunk = slice(start, start + CHUNK)  # of shared bytes, where rows do not pick them
            x[chunk] = self.finish(self.raw(chunk))
        if not bool(torch.isfinite(x.sum())):  # one pass; a NaN or an infinity survives a sum
            bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
            raise UserError(
                f"{bad} of {len(x)} inputs hold NaN or infinity: remove them from the data"
            )
        return x, self.targets

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor | int]:
        """One sample, for loaders that fetch sample by sample."""
        x, y = self.batch(torch.tensor([index]))
        return x[0], int(y[0]) if y.dim() == 1 and not y.is_floating_point() else y[0]
