"""(e) Training steps on ten million binary weights, beside those of torch's Adam on real ones."""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F

from cl_bnn import recipes
from cl_bnn.bench import Case, interleave
from cl_bnn.nn import mnist_mlp
from cl_bnn.strategies import TaskAware

INPUT, CLASSES, BATCH = (784,), 10, 100
#: Threads that share the work, where the machine has so many.
THREADS = 2
#: Steps a measurement, after two that make the state of the optimiser.
STEPS = 5
TARGET = 1.5


class Steps:
    """Steps of one optimiser on the MLP for MNIST (784-2048x3-10).

    Args:
        recipe: a strategy recipe, with its settings on the benchmark `mnist`; None for Adam.
        width: units of a hidden layer.
    """

    def __init__(self, recipe: str | None, width: int) -> None:
        self.network = mnist_mlp(input_shape=INPUT, out_features=CLASSES, width=width)
        self.optimizer: Any = self._optimizer(recipe)
        self.draw = getattr(self.optimizer, "draw", lambda: None)
        self.x, self.y = torch.randn(BATCH, *INPUT), torch.randint(CLASSES, (BATCH,))
        self.updating: list[float] = []
        for _ in range(2):
            self._step()

    def _optimizer(self, recipe: str | None) -> Any:
        if recipe is None:
            return torch.optim.Adam(self.network.parameters())
        spec = recipes.resolve(
            recipes.load_benchmark("mnist"), recipes.load_strategy(recipe), {"schedule": "constant"}
        )
        strategy = recipes.build(spec.build, model=TaskAware(self.network), **spec.settings)
        for group in strategy.optimizer.param_groups:
            group["train_set_size"] = 54_000
        return strategy.optimizer

    def seconds(self) -> float:
        """Seconds a step, the mean of several."""
        start = time.perf_counter()
        self.updating.append(sum(self._step() for _ in range(STEPS)) / STEPS)
        return (time.perf_counter() - start) / STEPS

    def _step(self) -> float:
        """One training step; the seconds of it that were neither forward nor backward pass."""
        start = time.perf_counter()
        self.draw()
        drawn = time.perf_counter()
        self.optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(self.network(self.x), self.y))
        ready = time.perf_counter()
        self.optimizer.step()
        return time.perf_counter() - ready + drawn - start


def beside_adam(recipe: str, repeats: int, width: int) -> tuple[Case, str]:
    """A whole training step of a recipe beside one of Adam; and a note on the update alone."""
    with threads(min(THREADS, os.cpu_count() or 1)) as count:
        ours, adam = Steps(recipe, width), Steps(None, width)
        pairs = interleave(repeats, ours.seconds, adam.seconds)
    mine, theirs = (statistics.median(s.updating[1:]) for s in (ours, adam))
    size = sum(weights.numel() for weights in ours.network.parameters())
    name = f"(e) training step of {recipe} / of Adam, {size:,} weights, {count} threads"
    note = f"(e) the update alone, without forward and backward pass: {recipe} {1e3 * mine:.1f} ms"
    return Case(name, "s", pairs, TARGET), f"{note}, Adam {1e3 * theirs:.1f} ms"


@contextmanager
def threads(count: int) -> Iterator[int]:
    """Inside, torch computes on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield count
    finally:
        torch.set_num_threads(before)
