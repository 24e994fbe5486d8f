"""Random changes of training images, on a whole batch and on its device."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Augmentation = Literal["none", "crop_and_flip"]

#: Black border of the random crop, as in torchvision's `RandomCrop(32, padding=4)`.
PADDING = 4


def crop_and_flip(
    x: Tensor, generator: torch.Generator | None = None, padding: int = PADDING
) -> Tensor:
    """Every image shifted by up to `padding` pixels, black where nothing was, half of them
    mirrored.

    Equal in distribution to torchvision's `RandomCrop(size, padding)` followed by
    `RandomHorizontalFlip()` (the augmentation of CIFAR, arXiv:2002.10778, B.2), without a Python
    call per image.

    Args:
        x: images (batch, channels, height, width), 0 for black: bytes before normalisation.
        generator: source of randomness on the device of `x`; the global one if None.
        padding: the largest shift in each direction.
    """
    n, channels, height, width = x.shape
    device = x.device
    shift = torch.randint(2 * padding + 1, (2, n, 1), generator=generator, device=device)
    mirrored = torch.randint(2, (n, 1), generator=generator, device=device).bool()
    rows = shift[0] + torch.arange(height, device=device)
    columns = shift[1] + torch.arange(width, device=device)
    columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(x, (padding,) * 4)
    image = torch.arange(n, device=device)
    channel = torch.arange(channels, device=device)
    return padded[
        image[:, None, None, None],
        channel[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


AUGMENTATIONS = {"none": None, "crop_and_flip": crop_and_flip}


def augmentation_of(name: Augmentation, x: Tensor) -> Callable[..., Tensor] | None:
    """What is done at random to training data such as `x`; None for `"none"`.

    Raises:
        ValueError: images are to be changed, and the data are none.
    """
    if name != "none" and x.dim() != 4:
        raise ValueError(f"augment must be 'none' where the data are no images, got {name!r}")
    return AUGMENTATIONS[name]
