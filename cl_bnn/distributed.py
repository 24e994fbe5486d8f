"""Training by several processes, as `torchrun` starts them: N processes learn what one would.

Every process holds the whole network, draws the same random numbers and takes every N-th sample of
each mini-batch, so that the batch size of a recipe is that of all processes together. Gradients,
the statistics of BatchNorm and what is measured are those of all samples. Random changes of
activations (dropout) or of whole batches (`crop_and_flip`) are drawn alike in every process, and
are therefore not those of a single one.

Each function does nothing in particular where there is one process.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from cl_bnn.errors import UserError, one_line

T = TypeVar("T")


def is_first() -> bool:
    """Whether this process is the one that prints and draws; before and after `joined` as well."""
    return not launched() or os.environ.get("RANK", "0") == "0"


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Inside, the processes that torchrun has started work together; the device of this one.

    Raises:
        UserError: more processes on a machine than GPUs, or one of the others has ended.
    """
    if not launched() or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = _own_gpu()
    store, number, count = _meeting_place()
    # Under a name of its own: in what is left of an earlier meeting, addresses are out of date.
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", rank=number, world_size=count,
        store=dist.PrefixStore(f"cl_bnn {next(_MEETINGS)}", store),  # type: ignore[attr-defined]
    )  # fmt: skip
    try:
        yield device
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise UserError("another process has ended, and has said why") from error
        raise
    finally:
        dist.destroy_process_group()


def _own_gpu() -> torch.device:
    """A GPU for each process of a machine."""
    place, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if place >= gpus:
        raise UserError(
            f"torchrun started a process number {place + 1} on a machine with {gpus} GPUs: "
            f"--nproc-per-node {gpus}, or --device cpu"
        )
    device = torch.device("cuda", place)
    torch.cuda.set_device(device)
    return device


_MEETINGS = itertools.count()


@cache
def _meeting_place() -> tuple[Any, int, int]:
    """Where processes find each other, the number of this one, and how many there are."""
    try:
        place: tuple[Any, int, int] = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    except ValueError as error:
        raise UserError(
            f"WORLD_SIZE = {os.environ['WORLD_SIZE']} asks for several processes, but "
            f"{one_line(error)}: start them with torchrun, or unset WORLD_SIZE"
        ) from error
    return place


def launched() -> bool:
    """Whether this is one of several processes, as torchrun starts them.

    Raises:
        UserError: `WORLD_SIZE` is no number.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal():
        raise UserError(f"WORLD_SIZE = {text!r}: expected a whole number, as torchrun sets it")
    return int(text) > 1 and dist.is_available()


def from_first(make: Callable[[], T]) -> T:
    """What `make()` returns in the first process, in all of them; it must be picklable."""
    if size() == 1:
        return make()
    box: list[Any] = [make() if rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    made: T = box[0]
    return made


# Data --------------------------------------------------------------------------------------------


def n_batches(count: int, batch_size: int, *, networks: int = 1) -> int:
    """How many mini-batches so many samples are; see `cut`."""
    left_over = count % batch_size == networks < batch_size < count
    return -(-count // batch_size) - left_over


def cut(samples: Tensor, batch_size: int, *, networks: int = 1, dim: int = 0) -> list[Tensor]:
    """Samples along a dimension, cut into mini-batches.

    A single sample that is left over, which has no variance for a norm, joins the batch before;
    with several networks that share every batch, a single one for each.
    """
    found, count = list(torch.split(samples, batch_size, dim)), samples.shape[dim]
    if len(found) > n_batches(count, batch_size, networks=networks):
        found[-2:] = [torch.cat(found[-2:], dim)]
    return found


def batches(order: Tensor, batch_size: int, *, training: bool, networks: int = 1) -> list[Tensor]:
    """Mini-batches of the samples in `order` (n,), see `cut`, of each the part of this process.

    In training every process gets the same number of batches, because they wait for each other: a
    last batch with fewer samples than processes is left out.

    Raises:
        UserError: a mini-batch, or the whole, has fewer samples than there are processes.
    """
    n = size()
    if min(batch_size, len(order)) < n:
        raise UserError(
            f"a batch of {min(batch_size, len(order))} cannot be shared by {n} processes: start "
            "fewer, or make it larger"
        )
    whole = cut(order, batch_size, networks=networks)
    parts = [batch[rank() :: n] for batch in whole if len(batch) >= n * training]
    return [part for part in parts if len(part)]


# Gradients ---------------------------------------------------------------------------------------


def differentiate(loss: Tensor, parameters: Iterable[Tensor], count: int) -> None:
    """Give every parameter the gradient of the mean loss of a mini-batch.

    Args:
        loss: the mean loss of the samples of this process.
        parameters: whose gradients are exchanged.
        count: the number of samples of this process. Shares need not be equal.
    """
    n = size()
    if n == 1:
        loss.backward()  # type: ignore[no-untyped-call]
        return
    total = torch.full((), float(count), device=loss.device)
    dist.all_reduce(total)
    # Scaled before and not after: through the statistics of a norm, gradients reach other samples.
    (loss * (count * n / total)).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in parameters if p.grad is not None]
    for work in [dist.all_reduce(gradient, async_op=True) for gradient in gradients]:
        work.wait()
    torch._foreach_div_(gradients, n)
    _same_random_numbers(loss.device)


def _same_random_numbers(device: torch.device) -> None:
    """Go on with the generators of the first process; dropout draws as many as there are samples,
    and shares may differ.
    """
    state = torch.get_rng_state()
    dist.broadcast(state, 0)
    torch.set_rng_state(state)
    if device.type == "cuda":
        state = torch.cuda.get_rng_state(device)
        dist.broadcast(state, 0)
        torch.cuda.set_rng_state(state, device)


# Statistics of norms -----------------------------------------------------------------------------


def share_statistics(model: nn.Module) -> None:
    """Let every BatchNorm of `model` normalise by the mini-batches of all processes in training.

    torch's own `SyncBatchNorm` does so on CUDA only.

    Raises:
        UserError: a norm by the statistics of test batches, of which processes have parts.
    """
    if size() > 1:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                if not module.track_running_stats:
                    raise UserError(
                        "a norm by the statistics of test batches (norm = 'batch') needs them "
                        "whole: take one process, or another norm"
                    )
                shared = partial(_shared_norm, module, module.forward)
                module.forward = shared  # type: ignore[method-assign]


def _shared_norm(module: _BatchNorm, alone: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """BatchNorm of `x` (batch, width, ...) by mean and variance over all processes."""
    if not module.training:
        return alone(x)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    inner = [d for d in range(x.dim()) if d != 1]
    shape = [-1 if d == 1 else 1 for d in range(x.dim())]
    n = torch.full((), x.numel() / x.shape[1], device=x.device)
    dist.all_reduce(n)
    mean = _Sum.apply(wide.sum(inner)) / n  # type: ignore[no-untyped-call]
    centred = wide - mean.view(shape)
    var = _Sum.apply(centred.square().sum(inner)) / n  # type: ignore[no-untyped-call]
    _remember(module, mean.detach(), var.detach() * n / (n - 1))
    y = centred * (var + module.eps).rsqrt().view(shape)
    if module.weight is not None:
        y = y * module.weight.view(shape)
    if module.bias is not None:
        y = y + module.bias.view(shape)
    normalised: Tensor = y.to(x.dtype)
    return normalised


def _remember(module: _BatchNorm, mean: Tensor, var: Tensor) -> None:
    """Update the running statistics, if there are any."""
    if module.running_mean is None or module.running_var is None:
        return
    momentum = module.momentum
    if momentum is None:  # the plain average of all batches
        assert module.num_batches_tracked is not None
        momentum = 1 / int(module.num_batches_tracked.add_(1))
    module.running_mean.lerp_(mean, momentum)
    module.running_var.lerp_(var, momentum)


class _Sum(torch.autograd.Function):
    """The sum over all processes, of values and of gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        total: Tensor = gradients[0].clone()
        dist.all_reduce(total)
        return total


# Measurements ------------------------------------------------------------------------------------


def totals(*values: float) -> list[float]:
    """The sums of these numbers over all processes."""
    if size() == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(total)
    return total.tolist()


def gather(x: Tensor) -> Tensor:
    """The rows of `x` (n, ...) of all processes, one process after the other; n may differ."""
    if size() == 1:
        return x
    counts = [torch.zeros((), dtype=torch.int64) for _ in range(size())]
    dist.all_gather(counts, torch.tensor(len(x)))
    longest = int(max(counts))
    padded = F.pad(x, (0, 0) * (x.dim() - 1) + (0, longest - len(x)))
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded.contiguous())
    return torch.cat([part[: int(n)] for part, n in zip(parts, counts, strict=True)])
