"""Sizes that the builders of networks check and compute."""

import math

from cl_bnn.errors import require


def features(input_shape: tuple[int, ...]) -> int:
    """The length of a flattened input.

    Raises:
        ValueError: an empty shape, or a size below 1.
    """
    if not input_shape or min(input_shape) < 1:
        raise ValueError(f"input_shape must hold sizes >= 1, got {tuple(input_shape)}")
    return math.prod(input_shape)


def image_shape(input_shape: tuple[int, ...], network: str, minimum: int) -> tuple[int, int, int]:
    """`input_shape` as (channels, height, width).

    Args:
        input_shape: the shape to check.
        network: its name, for the message.
        minimum: smallest height and width that the network can take, in pixels.

    Raises:
        ValueError: not three sizes >= 1, or an image that is too small.
    """
    features(input_shape)
    if len(input_shape) != 3:
        raise ValueError(
            f"input_shape must be (channels, height, width) for {network}, got {tuple(input_shape)}"
        )
    channels, height, width = input_shape
    if min(height, width) < minimum:
        raise ValueError(
            f"{network} needs images of at least {minimum} x {minimum} pixels, "
            f"got {height} x {width}"
        )
    return channels, height, width


def scaled(units: int, factor: float) -> int:
    """`units` times `factor`, rounded, at least 1.

    Raises:
        ValueError: `factor` is not positive.
    """
    require(factor > 0, "width", factor, "> 0")
    return max(1, round(units * factor))
