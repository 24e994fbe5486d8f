"""What networks learn, here or in each of the processes of torchrun; see test_distributed.py.

As a script: `torchrun --nproc-per-node 2 two_processes.py FOLDER`, with the data set of
`images.pictures` in FOLDER. Writes FOLDER/<rank>.pt and the runs in FOLDER/shared.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import images
import torch
from torch import Tensor, nn

import cl_bnn  # noqa: F401  (makes Avalanche importable)
from cl_bnn import distributed
from cl_bnn.benchmarks.stream import build_benchmark
from cl_bnn.cli import main
from cl_bnn.data.dataset import Split
from cl_bnn.data.folder import FolderView
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.nn.norm import BatchNorm, norm_layer
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import (
    DER,
    AdamStrategy,
    BayesBiNNStrategy,
    BopStrategy,
    SGDStrategy,
    TaskAware,
    Template,
)

# With batches of 8, the last of 21 samples holds 5: two processes get 3 and 2 of them.
SAMPLES, BATCH, EPOCHS = 21, 8, 2


def memory(folder: Path) -> TaskView:
    """Random vectors in three classes."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(SAMPLES, 6, generator=generator)
    return TaskView(Split(x, torch.arange(SAMPLES) % 3), torch.clone)


def pictures(folder: Path) -> FolderView:
    """Small images, changed at random."""
    return FolderView(folder / "pictures" / "train", size=12, augment=True)


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def normed() -> nn.Module:
    """Two norms: ours, and torch's with an average without momentum.

    No bias before a norm: its gradient is nothing but rounding, and Adam makes steps of it.
    """
    ours = BatchNorm(8, momentum=0.2, scale=True, shift=True)
    theirs = nn.BatchNorm1d(8, momentum=None)
    return nn.Sequential(
        nn.Linear(6, 8, False),
        ours,
        nn.Tanh(),
        nn.Linear(8, 8, False),
        theirs,
        nn.Tanh(),
        nn.Linear(8, 3),
    )


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, bias=False), BatchNorm(4), nn.Tanh(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


def with_dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 3))


def sgd(**given: Any) -> Template:
    return SGDStrategy(lr=0.2, **given)


def remembering(**given: Any) -> Template:
    """All that came by, and all of it at every step."""
    return SGDStrategy(lr=0.2, plugins=[DER(memory=100, batch_size=100)], **given)


def adam(**given: Any) -> Template:
    return AdamStrategy(lr=1e-2, **given)


def bayesbinn(**given: Any) -> Template:
    """At this temperature weights are smooth functions of lambda, and rounding stays small."""
    return BayesBiNNStrategy(lr=1e-2, temperature=1.0, mc_samples=2, eval_samples=3, **given)


def bop(**given: Any) -> Template:
    return BopStrategy(threshold=1e-3, gamma=0.1, **given)


Case = tuple[Callable[[Path], Any], Callable[[], nn.Module], Callable[..., Template]]
CASES: dict[str, Case] = {
    "plain": (memory, plain, sgd),
    "norms": (memory, normed, sgd),
    "memory": (memory, plain, remembering),
    "images": (pictures, convolutional, adam),
    "bayesbinn": (memory, normed, bayesbinn),
    "bop": (memory, normed, bop),
    "dropout, bayesbinn": (memory, with_dropout, bayesbinn),
}


def learn(case: str, folder: Path) -> dict[str, Tensor]:
    """Train and measure; weights, what the optimiser knows, and the measurements.

    In float64, where the data are in memory, so that rounding explains no difference.
    """
    try:
        return _learn(case, folder)
    finally:
        torch.set_default_dtype(torch.float32)


def _learn(case: str, folder: Path) -> dict[str, Tensor]:
    data, network, method = CASES[case]
    torch.set_default_dtype(torch.float32 if data is pictures else torch.float64)
    view = data(folder)
    stream = build_benchmark([view], [view], [0])
    torch.manual_seed(0)
    model = TaskAware(network())
    distributed.share_statistics(model)
    recorder = Recorder()
    strategy = method(
        model=model, train_mb_size=BATCH, eval_mb_size=BATCH, train_epochs=EPOCHS,
        device=torch.device("cpu"), evaluator=recorder,
    )  # fmt: skip
    strategy.train(stream.train_stream[0], eval_streams=[])
    found = recorder.training() | recorder.measure(strategy, stream.test_stream)[0]
    return {
        **{f"weights.{name}": value.detach() for name, value in model.state_dict().items()},
        **{f"lambda.{k}": value for k, value in enumerate(strategy.naturals() or [])},
        **{f"measured.{name}": torch.tensor(value) for name, value in found.items()},
    }


def message(action: Callable[[], object]) -> str:
    """Of the UserError that the action raises."""
    try:
        action()
    except UserError as error:
        return str(error)
    return ""


def command(folder: Path, out: str, *more: str) -> int:
    """Run the images through the command line."""
    return main(
        ["run", images.recipe(folder), "--strategy", "adam", "--data-root", str(folder),
         "--out", str(folder / out), "--no-plot", "--device", "cpu", *more]
    )  # fmt: skip


def errors(folder: Path) -> dict[str, str]:
    """What is refused where there are several processes."""
    order = torch.arange(5)
    return {
        "batch": message(lambda: distributed.batches(order, 1, training=True)),
        "whole": message(lambda: distributed.batches(order[:1], 8, training=False)),
        "norm": message(lambda: distributed.share_statistics(norm_layer("batch", 4, 1))),
    }


def everything(folder: Path) -> None:
    """What one of several processes does."""
    with distributed.joined(torch.device("cpu")):
        rank = distributed.rank()
        rows = distributed.gather(torch.arange(3 + rank).view(-1, 1) + 10 * rank)
        order = torch.arange(11)
        found = {
            **{case: learn(case, folder) for case in CASES},
            "gathered": rows,
            "totals": distributed.totals(1.5, rank),
            "from first": distributed.from_first(lambda: {"rank": rank}),
            "training": distributed.batches(order, 5, training=True),
            "test": distributed.batches(order, 5, training=False),
            "errors": errors(folder),
        }
    found["exit"] = command(folder, "shared", "--eval-every", "epoch")
    found["exit with jobs"] = command(folder, "jobs", "--jobs", "2", "--seeds", "2")
    torch.save(found, folder / f"{rank}.pt")


if __name__ == "__main__":
    everything(Path(sys.argv[1]))
