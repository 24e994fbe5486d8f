"""Random crop and flip against torchvision's."""

from collections import Counter

import torch
from torch import Tensor
from torchvision.transforms import functional as tv

from cl_bnn.data.augment import PADDING, crop_and_flip

SIZE = 6
SHIFTS = 2 * PADDING + 1
IMAGE = (torch.arange(3 * SIZE * SIZE).view(3, SIZE, SIZE) + 1).to(torch.uint8)  # no pixel is black


def key(image: Tensor) -> bytes:
    return image.numpy().tobytes()


def outcomes() -> list[bytes]:
    """Everything that torchvision's padded crop and flip can make of the image."""
    padded = tv.pad(IMAGE, [PADDING])
    crops = [
        tv.crop(padded, top, left, SIZE, SIZE) for top in range(SHIFTS) for left in range(SHIFTS)
    ]
    return [key(crop) for crop in crops] + [key(tv.hflip(crop)) for crop in crops]


def test_every_outcome_of_torchvision_equally_often() -> None:
    possible = outcomes()
    assert len(set(possible)) == len(possible) == 2 * SHIFTS**2
    per_outcome = 100
    generator = torch.Generator().manual_seed(0)
    batch = IMAGE.expand(per_outcome * len(possible), -1, -1, -1)
    found = Counter(key(image) for image in crop_and_flip(batch, generator))
    assert set(found) == set(possible)
    chi_square = sum((found[k] - per_outcome) ** 2 / per_outcome for k in possible)
    assert chi_square < 245  # 161 degrees of freedom: exceeded once in 50,000 times


def test_images_of_a_batch_are_changed_independently_and_all_channels_alike() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.stack([IMAGE, IMAGE.flip(2)]).repeat(2000, 1, 1, 1)
    found = crop_and_flip(x, generator)
    assert found.shape == x.shape and found.dtype == x.dtype
    same_neighbours = sum(key(a) == key(b) for a, b in zip(found[::2], found[1::2], strict=True))
    assert same_neighbours < 40  # of 2000, expected 2000 / 162 = 12
    plane = SIZE * SIZE
    visible = (found[:, 0] > 0) & (found[:, 1] > 0)
    assert ((found[:, 1].int() - found[:, 0].int())[visible] == plane).all()
    assert ((found[:, 0] > 0) == (found[:, 2] > 0)).all()


def test_a_generator_decides_and_nothing_else() -> None:
    x = IMAGE.expand(8, -1, -1, -1)
    state = torch.get_rng_state()
    first, second = (crop_and_flip(x, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    assert torch.equal(crop_and_flip(x), first)


def test_without_padding_only_the_flip_is_left() -> None:
    found = crop_and_flip(IMAGE.expand(50, -1, -1, -1), torch.Generator().manual_seed(0), padding=0)
    assert {key(image) for image in found} == {key(IMAGE), key(IMAGE.flip(2))}
