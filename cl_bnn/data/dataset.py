"""What a data set is: two splits of images in memory and how to normalise them."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """The training or the test half of a data set: `x` uint8 (n, channels, height, width), `y`
    int64 (n,).
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        """The number of images n."""
        return len(self.y)


@dataclass(frozen=True)
class Dataset:
    """Images as bytes in 0..255 with labels in 0..n_classes-1.

    `mean` and `std` belong to the training images divided by 255, one number a channel.
    """

    name: str
    train: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    n_classes: int

    def normalise(self, x: Tensor) -> Tensor:
        """(x / 255 - mean) / std per channel, as float32 on the device of `x`.

        `x` has the shape (..., channels, height, width) and values in 0..255; it is left as it is.
        """
        mean, std = (_per_channel(values, x.device) for values in (self.mean, self.std))
        # The division makes a new tensor; the rest is done in place, a batch is touched often
        # enough.
        return torch.div(x, 255).sub_(mean).div_(std)


@cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Shape (channels, 1, 1); kept, because a GPU would have to be waited for at every batch."""
    return torch.tensor(values, device=device).view(-1, 1, 1)
