"""What a data set is: two splits of images in memory and how to normalise them."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """The training or the test half of a data set: `x` uint8 (n, channels, height, width), `y`
    int64 (n,). Of a user's own data, `x` may be float32, and (n, features).
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        """The number of images n."""
        return len(self.y)


@dataclass(frozen=True)
class Dataset:
    """Images as bytes in 0..255 with labels in 0..n_classes-1; or other numbers, or features.

    `mean` and `std` belong to the training images divided by `unit`, which is 255 for bytes: one
    number a channel, or a feature.
    """

    name: str
    train: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    n_classes: int
    unit: float = 255

    def normalise(self, x: Tensor) -> Tensor:
        """(x / unit - mean) / std per channel or feature, as float32 on the device of `x`.

        `x` has the shape (..., channels, height, width), or (..., features) where the data set has
        features, and values as they are in the data set; it is left as it is.
        """
        axes = self.train.x.dim() - 2
        mean, std = (_per_channel(values, axes, x.device) for values in (self.mean, self.std))
        # The division makes a new tensor; the rest is done in place, a batch is touched often
        # enough.
        return torch.div(x, self.unit).sub_(mean).div_(std)


@cache
def _per_channel(values: tuple[float, ...], axes: int, device: torch.device) -> Tensor:
    """Shape (channels, 1, ...) with so many axes of length 1; kept, because a GPU would have to be
    waited for at every batch; whatever torch's default type is at that time.
    """
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, *[1] * axes)
