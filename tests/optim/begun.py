"""A step of an optimiser that is begun and not ended."""

from typing import Any

import torch


def step_and_begin(left: Any, first: Any, whole: Any, second: Any, seed: int) -> None:
    """Two problems take the same step; on the first, another one is begun and left.

    Args:
        left: a problem with `step(optimiser)` and `loss()`.
        first: its optimiser.
        whole: another such problem.
        second: its optimiser.
        seed: of what the step draws.
    """
    for problem, optimiser in ((left, first), (whole, second)):
        torch.manual_seed(seed)
        problem.step(optimiser)
    first.draw()
    left.loss().backward()
    if hasattr(first, "accumulate"):
        first.accumulate()
        first.draw()
    first.undraw()
