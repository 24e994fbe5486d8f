"""A share of the training images held out, by which epochs and settings can be chosen."""

import numpy as np
import torch
from torch import Tensor


def held_out(count: int, share: float, seed: int) -> tuple[Tensor | None, Tensor | None]:
    """The rows to learn from and those held out of `count`, drawn by NumPy's `RandomState(seed)`.

    Where the share is 0, both are None: all are learned from, as a `TaskView` understands it.

    Raises:
        ValueError: see `cut`.
    """
    if share == 0:
        return None, None
    return cut(torch.from_numpy(np.random.RandomState(seed).permutation(count)), share)


def cut(rows: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Rows to learn from, and the first round(share * n) of the n rows, which are held out.

    Raises:
        ValueError: a share that is not in [0, 1), or so small that nothing is held out.
    """
    if not 0 <= share < 1:
        raise ValueError(f"validation must be in [0, 1), got {share!r}")
    count = round(share * len(rows))
    if share and not count:
        raise ValueError(f"validation must hold out an image of {len(rows)}, got {share!r}")
    return rows[count:], rows[:count]
