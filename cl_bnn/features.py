"""Features of images, made by a frozen network that has learned other classes.

They are computed when they are needed for the first time, and kept in a file, see
`cl_bnn.data.features`. All else is read as `cl_bnn.data` reads it.
"""

import fcntl
import io
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cl_bnn import data
from cl_bnn.atomic import atomic_write
from cl_bnn.data.augment import crop_and_flip
from cl_bnn.data.command import is_whole
from cl_bnn.data.dataset import Dataset
from cl_bnn.data.features import CONSTANTS, FEATURES, Extractor, Features
from cl_bnn.data.own import ARRAYS
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.nn import vgg

# Images at a time, to read features off.
CHUNK = 500
# Minutes that it takes on one core, for the note to the user: measured.
MINUTES = 7


def load(name: str, root: str | Path | None = None) -> Dataset:
    """The data set `name`, as `cl_bnn.data.load` has it; features that have not been made yet are
    made first, which takes minutes.

    Raises:
        UserError: the data set is unknown, missing or damaged, or features cannot be written.
    """
    if name in FEATURES and not FEATURES[name].present(data.data_root(root)):
        make(FEATURES[name], data.data_root(root))
    return data.load(name, root)


def fetch(name: str, root: str | Path | None = None) -> str:
    """Download a data set as `cl_bnn.data.fetch` does; features are made, anew if their file is
    damaged. Returns a line that says what was done.
    """
    if name in FEATURES and not is_whole(FEATURES[name], data.data_root(root)):
        features, folder = FEATURES[name], data.data_root(root)
        make(features, folder, anew=True)
        features.read(folder)
        return f"{features.title} is now in {features.where(folder)}"
    return data.fetch(name, root)


def make(features: Features, root: Path, *, anew: bool = False) -> None:
    """Train the network, and write the features to the first of `features.places` that can be
    written to. Of several processes one does, and the others wait.

    Args:
        features: which.
        root: the data root.
        anew: write over a file that is there.

    Raises:
        UserError: one of the data sets is missing or damaged, or nothing can be written.
    """
    images, others = data.load(features.of, root), data.load(features.learned_from, root)
    with _place(features, root) as path:
        if path.is_file() and not anew:  # another process has made it meanwhile
            return
        _say(
            f"{features.title}: training a small network on {features.learned_from}, about "
            f"{MINUTES} minutes of one core; done once and kept in {path}"
        )
        begun = time.perf_counter()
        with _one_thread():
            arrays = compute(images, others, features.extractor)
        packed = io.BytesIO()
        np.savez(packed, **arrays | {CONSTANTS: np.array(features.constants)})
        atomic_write(path, packed.getvalue())
        _say(f"{features.title}: made in {time.perf_counter() - begun:.0f} s")


def compute(images: Dataset, others: Dataset, extractor: Extractor) -> dict[str, Any]:
    """The arrays `cl_bnn.data.own.ARRAYS`: features and labels of `images`, as a network sees them
    that has learned the training images of `others`.
    """
    network = train(others, extractor)
    halves = [
        (activations(network, images, half.x), half.y) for half in (images.train, images.test)
    ]
    arrays = [array.numpy() for half in halves for array in half]
    return dict(zip(ARRAYS, arrays, strict=True))


def train(source: Dataset, extractor: Extractor) -> nn.Sequential:
    """A network that has learned the training images of `source`, in evaluation mode.

    The same bytes on the same machine with the same number of threads. What torch draws afterwards
    does not change.
    """
    shape, count = tuple(source.train.x.shape[1:]), len(source.train)
    view = TaskView(source.train, source.normalise, augment=crop_and_flip)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(extractor.seed)  # that of GPUs is left alone
        network = vgg(input_shape=shape, out_features=source.n_classes, width=extractor.width)
        # Nearly twice as fast on a processor.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.Adam(network.parameters(), extractor.lr)
        steps = extractor.epochs * -(-count // extractor.batch_size)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
        for epoch in range(extractor.epochs):
            total = 0.0
            for rows in torch.split(torch.randperm(count), extractor.batch_size):
                total += _step(network, optimizer, *view.batch(rows)) * len(rows)
                schedule.step()
            _say(f"  epoch {epoch + 1} of {extractor.epochs}: loss {total / count:.3f}")
    return cast(nn.Sequential, network.eval())


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    """One step of training; the loss before it."""
    loss = F.cross_entropy(network(_channels_last(x)), y)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.item()


@torch.inference_mode()
def activations(network: nn.Sequential, source: Dataset, x: Tensor) -> Tensor:
    """What the network's convolutions make of images, flattened: float32 (n, features).

    Args:
        network: in evaluation mode.
        source: the data set of the images, whose constants normalise them.
        x: images as they are in the data set, (n, channels, height, width).
    """
    kinds = [type(layer) for layer in network]
    body = network[: kinds.index(nn.Flatten) + 1]
    return torch.cat([body(_channels_last(source.normalise(p))) for p in torch.split(x, CHUNK)])


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The same bytes whatever the machine's cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _place(features: Features, root: Path) -> Iterator[Path]:
    """The place that can be written to, held against other processes."""
    failures = []
    places = features.places(root)
    damaged = [path for path in places if path.is_file()][:1]  # which everybody would find first
    for path in damaged or places:
        lock = path.with_suffix(".lock")
        with ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(open(lock, "w"))
                fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed, or the process ends
            except OSError as error:
                failures.append(f"{path.parent} ({error.strerror})")
                continue
            yield path
            lock.unlink(missing_ok=True)
            return
    raise UserError(
        f"{features.title} cannot be written to {' nor to '.join(failures)}: give a folder you can "
        "write to as --data-root or in CL_BNN_DATA"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
