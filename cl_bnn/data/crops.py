"""The part of an image that a network for ImageNet gets to see."""

from typing import Any

from PIL import Image

# Of the random crop: its share of the image's area, and its width over its height.
AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
# Side of the central crop over the shorter side of the image.
CENTRAL = 224 / 256


def random_crop(size: int) -> Any:
    """What is done to a training image (PIL): torchvision's random resized crop and flip, to bytes
    (3, size, size).
    """
    from torchvision.transforms import v2  # imported here because it takes a second

    crop = v2.RandomResizedCrop(size, AREA, ASPECT, v2.InterpolationMode.BICUBIC)
    return v2.Compose([crop, v2.RandomHorizontalFlip(), v2.PILToTensor()])


def central_crop(image: Image.Image, size: int) -> Image.Image:
    """The square in the middle, 7/8 of the shorter side (rounded down), resized to `size`; of two
    middles, the right and the lower one.
    """
    side = max(1, int(min(image.size) * CENTRAL))
    left, top = ((length - side + 1) // 2 for length in image.size)
    crop = image.crop((left, top, left + side, top + side))
    return crop.resize((size, size), Image.Resampling.BICUBIC)
