"""How the values of a data set become the inputs of a network."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from cl_bnn.data.dataset import Dataset
from cl_bnn.data.whiten import Whitening
from cl_bnn.errors import UserError

Scaling = Literal["standard", "unit", "symmetric", "whitened"]


def scaling_of(
    source: Dataset, scaling: Scaling, rows: Tensor | None = None
) -> Callable[[Tensor], Tensor]:
    """A function from samples of `source` to inputs of the same shape, float32.

    * `"standard"`: by mean and deviation of each channel.
    * `"unit"`: from bytes to [0, 1].
    * `"symmetric"`: from bytes to [-1, 1] (plumerai/rethinking-bnn-optimization).
    * `"whitened"`: by `cl_bnn.data.whiten`.

    Args:
        source: the data set.
        scaling: one of these.
        rows: indices of the training images to make the whitening from, int64; None: all.

    Raises:
        UserError: `"unit"` or `"symmetric"` of numbers that are neither bytes nor in [0, 1].
    """
    for half in (source.train, source.test) if scaling in ("unit", "symmetric") else ():
        if not half.x.is_floating_point():  # bytes
            continue
        low, high = (float(found) for found in half.x.aminmax())
        if not 0 <= low <= high <= 1:
            raise UserError(
                f"{source.name}: scaling = {scaling!r} takes bytes, or numbers from 0 to 1, and "
                f"these go from {low:g} to {high:g}: store them as uint8, or take 'standard'"
            )
    if scaling == "whitened":
        return Whitening(source.train.x if rows is None else source.train.x[rows])
    choices: dict[str, Callable[[Tensor], Tensor]] = {
        "standard": source.normalise,
        "unit": lambda x: torch.div(x, source.unit),
        "symmetric": lambda x: x / (source.unit / 2) - 1,
    }
    return choices[scaling]
