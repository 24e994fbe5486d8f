"""The training images to learn from, and a share of them held out to choose epochs and settings."""

import numpy as np
import torch
from torch import Tensor

from cl_bnn.errors import require


def held_out(
    count: int, share: float, seed: int, limit: int | None = None
) -> tuple[Tensor | None, Tensor | None]:
    """The rows to learn from and those held out of `count`, drawn by NumPy's `RandomState(seed)`.

    Where the share is 0, none are held out, and without a limit all are learned from: None, as a
    `TaskView` understands it.

    Raises:
        ValueError: see `cut` and `first`.
    """
    if share == 0 and limit is None:
        return None, None
    kept, held = cut(torch.from_numpy(np.random.RandomState(seed).permutation(count)), share)
    return first(kept, limit), held if share else None


def cut(rows: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Rows to learn from, and the first round(share * n) of the n rows, which are held out.

    Raises:
        ValueError: a share that is not in [0, 1), or so small that nothing is held out.
    """
    require(0 <= share < 1, "validation", share, "in [0, 1)")
    count = round(share * len(rows))
    if share and not count:
        raise ValueError(f"validation must hold out an image of {len(rows)}, got {share!r}")
    return rows[count:], rows[:count]


def first(rows: Tensor, limit: int | None) -> Tensor:
    """The first `limit` rows; all of them without a limit.

    Raises:
        ValueError: a limit that is less than 1 or more than there are.
    """
    require(limit is None or 1 <= limit <= len(rows), "limit", limit, f"in [1, {len(rows)}]")
    return rows[:limit]
