"""What learning costs: seconds, peak memory, and the bits that are held to go on."""

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from torch import Tensor, nn

from cl_bnn.data.task import TaskView

Kind = Literal["train", "eval"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# Linux tells the largest resident size of a process, and forgets it when "5" is written.
STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Meter:
    """Seconds and peak memory of training and of evaluation, whichever is under way.

    The peak is that of the process on a processor, of which Linux alone tells it, and that of the
    tensors on a GPU; in bytes, 0 where it is not told.

    Args:
        device: where the network is.

    Attributes:
        seconds, peaks: by kind.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(KINDS, 0.0)
        self.peaks = dict.fromkeys(KINDS, 0)
        self._kind: Kind = "train"
        self._begin()

    def _begin(self) -> None:
        self._clock = time.perf_counter()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        with suppress(OSError, AttributeError):  # what was freed is not in use: glibc keeps it
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):
            FORGET.write_text("5")

    def read(self) -> None:
        """Bring `seconds` and `peaks` up to date."""
        kind = self._kind
        self.seconds[kind] += time.perf_counter() - self._clock
        self.peaks[kind] = max(self.peaks[kind], _peak(self.device))
        self._begin()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside is evaluation, outside training."""
        self.read()
        before, self._kind = self._kind, "eval"
        try:
            yield
        finally:
            self.read()
            self._kind = before

    def state_dict(self) -> dict[str, Any]:
        """What has been measured so far."""
        return {"seconds": dict(self.seconds), "peaks": dict(self.peaks)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.seconds, self.peaks = dict(state["seconds"]), dict(state["peaks"])

    def told(self) -> dict[str, float]:
        """`seconds`, and of training and evaluation `<kind>_seconds` and `<kind>_peak_memory`."""
        found: dict[str, float] = {"seconds": round(sum(self.seconds.values()), 3)}
        for kind in KINDS:
            found[f"{kind}_seconds"] = round(self.seconds[kind], 3)
            if self.peaks[kind]:
                found[f"{kind}_peak_memory"] = self.peaks[kind]
        return found


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0


def state_bits(strategy: Any) -> float:
    """Bits that are held to learn another task, for every weight of the network.

    Counted are all numbers of network, optimiser, plugins and members at their size in memory, and
    stored samples at their size in the data set or, in a memory of our own, as it holds them.
    Weights that are nothing but +-1 take a bit each, also where a plugin remembers them; numbers of
    an optimiser do not, wherever they have got to. What could be done without counts if it is
    there: the prior of `BayesBiNN`, which equals lambda after a task, and a momentum of 0. Weights
    that are drawn anew from a posterior before every use are not held.

    Args:
        strategy: a `cl_bnn.strategies.Template` between two tasks; of its plugins those count that
            are `Composed`, as all of a recipe's are.
    """
    state = strategy.optimizer.state
    drawn = {id(p) for p in strategy.model.parameters() if "natural" in state.get(p, {})}
    network = [p for p in strategy.model.parameters() if id(p) not in drawn]
    plugins = [vars(p.plugin) for p in strategy.plugins if hasattr(p, "plugin")]
    learner = strategy.optimizer.state_dict()
    others = [
        network, list(strategy.model.buffers()), strategy.parts(), strategy.extra_state(), plugins,
    ]  # fmt: skip
    seen: set[tuple[str, int]] = set()
    n_weights: int = strategy.n_weights
    return (_bits(learner, seen, signs=False) + _bits(others, seen)) / n_weights


def _bits(value: Any, seen: set[tuple[str, int]], signs: bool = True) -> int:
    """Bits of all numbers that are reached from a value, each tensor and object counted once; with
    `signs` those of a tensor of nothing but +-1 take one each.
    """
    own = ("memory", value.data_ptr()) if isinstance(value, Tensor) else ("object", id(value))
    if own in seen:
        return 0
    seen.add(own)
    if isinstance(value, Tensor):
        binary = signs and value.is_floating_point() and bool((value.detach().abs() == 1).all())
        return value.numel() * (1 if binary else 8 * value.element_size())
    if isinstance(value, AvalancheDataset):
        return len(value) * _sample_bits(value) if len(value) else 0
    return sum(_bits(part, seen, signs) for part in _parts(value))


def _parts(value: Any) -> list[Any]:
    """What a container, or an object of Avalanche's plugins, is made of."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple | set):
        return list(value)
    if isinstance(value, nn.Module):
        return [*value.parameters(), *value.buffers()]
    known = ("avalanche.training", "avalanche.models", "cl_bnn.strategies")
    return list(vars(value).values()) if type(value).__module__.startswith(known) else []


def _sample_bits(data: AvalancheDataset[Any]) -> int:
    """Bits of a sample as the data set holds it; as the network sees it where that is unknown. With
    what the network said of it, where that is kept.
    """
    said = 8 * data.logits[0].nbytes if hasattr(data, "logits") else 0
    for leaf in data._flat_data._datasets:
        if isinstance(leaf, TaskView):
            x = leaf.split.x
            return 8 * x[0].numel() * x.element_size() + said
    x = torch.as_tensor(data[0][0])
    return 8 * x.numel() * x.element_size() + said
