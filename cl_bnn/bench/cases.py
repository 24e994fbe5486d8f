"""The comparisons of `cl-bnn bench`: (a) to (d) on permuted MNIST with 784-100-100-10."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from cl_bnn.bench import Case, interleave, peak_mib
from cl_bnn.bench.loops import EVAL_BATCH, BareLoop, Members, Ours, StockNaive, write_mnist
from cl_bnn.bench.steps import beside_adam, threads

__all__ = [
    "REFERENCE", "SOUND", "beside_adam", "evaluation", "members", "stock", "stream_peak",
    "threads", "training",
]  # fmt: skip

#: What is measured: the published recipe, and the default one.
REFERENCE, SOUND = "bayesbinn_reference", "bayesbinn"
#: Samples a training batch where only memory matters: fewer steps on the same data. Much larger
#: batches would leave holes in the heap, and the peak would vary from run to run.
MEMORY_BATCH = 1000


def training(recipe: str, repeats: int) -> tuple[Case, str]:
    """(a) An epoch of a recipe, metrics and progress on, beside the bare loop; and a note."""
    ours = Ours(recipe)
    x, y = ours.materialise(ours.stream.train[0])
    bare = BareLoop(ours.strategy.model.network, ours.strategy.optimizer, x, y)
    pairs = interleave(repeats, ours.epoch, lambda: cpu_seconds(bare.epoch))
    preparing = cpu_seconds(lambda: ours.materialise(ours.stream.train[0]))
    case = Case(f"(a) training epoch of {recipe}: strategy / bare loop", "s", pairs, 1.25)
    return case, f"(a) once per task and not in its epochs: {preparing:.3f} s to make it ready"


def stock(repeats: int) -> Case:
    """(b) A whole epoch of stock Avalanche beside one of the default recipe."""
    ours = Ours(SOUND)
    with TemporaryDirectory(prefix="cl_bnn-bench-") as folder:
        write_mnist(Path(folder))
        naive = StockNaive(Path(folder))
    pairs = interleave(repeats, naive.epoch, ours.epoch)
    return Case("(b) training epoch: stock Avalanche / strategy", "s", pairs, 3.0, upper=False)


def evaluation(count: int, repeats: int) -> tuple[Case, str]:
    """(c) Testing `count` sampled networks beside their matrix products; and what was drawn."""
    ours = Ours(SOUND, eval_samples=count)
    (test,) = ours.stream.test
    size = sum(weights.numel() for weights in ours.strategy.naturals())  # draws the first lambda
    with Draws() as draws:
        ours.strategy.eval([test])
    products = matrix_products(ours, count)
    pairs = interleave(
        repeats,
        lambda: cpu_seconds(lambda: ours.strategy.eval([test])),
        lambda: cpu_seconds(products),
    )
    case = Case(f"(c) test with {count} samples: strategy / matrix products", "s", pairs, 1.5)
    n_batches = -(-len(test.dataset) // EVAL_BATCH)
    note = f"(c) one test of {n_batches} batches draws {draws.count / (count * size):.2f} random "
    return case, note + f"numbers for each of the {size} weights of {count} networks"


def members(count: int, repeats: int, n_threads: int) -> Case:
    """(f) Members of an ensemble trained one after the other beside all at once."""
    apart, beside = Members(count, side_by_side=False), Members(count, side_by_side=True)
    with threads(n_threads):
        pairs = interleave(repeats, apart.seconds, beside.seconds)
    name = f"(f) {count} members one after the other / side by side, {n_threads} threads"
    return Case(name, "s", pairs, 2.0, upper=False)


def matrix_products(ours: Ours, count: int) -> Callable[[], None]:
    """What does the products of `count` sampled networks with the test batches, and no more."""
    batches = torch.split(ours.materialise(ours.stream.test[0])[0].flatten(1), EVAL_BATCH)
    with ours.strategy.optimizer.posterior_samples(count) as samples:
        layers: list[Tensor] = [signs.float() for signs in samples.values]

    @torch.no_grad()
    def products() -> None:
        for batch in batches:
            for sample in range(count):
                hidden = batch
                for weights in layers:
                    hidden = F.linear(hidden, weights[sample])

    return products


class Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the random numbers that torch draws, whichever operator draws them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch calls this for every operator."""
        found = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.count += found.numel()
        return found


def stream_peak(n_tasks: int) -> float:
    """(d) Peak memory (MiB) of this process after learning `n_tasks` tasks and testing all."""
    torch.set_num_threads(1)
    ours = Ours(SOUND, n_tasks, train_mb_size=MEMORY_BATCH, train_epochs=1)
    for task in range(n_tasks):
        ours.learn(task)
    ours.strategy.predictor = "mode"
    ours.strategy.eval(ours.stream.test)
    return peak_mib()


def cpu_seconds(call: Callable[[], object]) -> float:
    """CPU seconds of this process during `call()`."""
    start = time.process_time()
    call()
    return time.process_time() - start
