"""`cl-bnn bench`: our costs beside a bare loop, stock Avalanche, matrix products alone, and Adam.

Targets are set for ratios of what is measured in one run, in turns: they depend little on the
machine, while seconds do.
"""

import multiprocessing
import os
import platform
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cl_bnn.quiet import quieten
from cl_bnn.report.tables import NOTHING, Table

T = TypeVar("T")

#: Tasks of the two streams whose memory is compared.
MEMORY_TASKS = (2, 20)
#: Networks drawn from the posterior for an evaluation.
EVAL_SAMPLES = 100
#: Hidden units of the MLP for MNIST, which has ten million weights.
STEP_WIDTH = 2048
#: Members of the ensemble that is trained in two ways.
MEMBERS = 8
KIB_PER_MIB = 1024
#: A task of permuted MNIST as float32.
TASK_BYTES = 60_000 * 784 * 4
#: Memory of many tasks / memory of few; a second task held would add a quarter.
MEMORY_TARGET = 1.05


class Case(NamedTuple):
    """One line of the table: two costs measured in turns, and a bound on their ratio.

    Attributes:
        name: what is compared.
        unit: of both costs, "s" (CPU time; wall time where two threads are at work) or "MiB".
        pairs: both costs, one pair a repetition.
        target: the bound on the median of first / second.
        upper: whether the ratio is to stay below the bound, else above.
    """

    name: str
    unit: str
    pairs: list[tuple[float, float]]
    target: float
    upper: bool = True

    @property
    def ratios(self) -> list[float]:
        """First cost / second cost of every repetition."""
        return [first / second for first, second in self.pairs]

    @property
    def met(self) -> bool:
        """Whether the median ratio keeps to the target."""
        ratio = statistics.median(self.ratios)
        return ratio <= self.target if self.upper else ratio >= self.target


def main(
    repeats: int = 5,
    *,
    memory_tasks: tuple[int, int] = MEMORY_TASKS,
    eval_samples: int = EVAL_SAMPLES,
    width: int = STEP_WIDTH,
) -> list[Case]:
    """Measure everything, on one thread but for (e) and (f), and print a table and the machine it
    belongs to.

    Args:
        repeats: how often each pair is measured, after one warm-up; memory is measured once.
        memory_tasks: lengths of the two streams of which the memory is compared.
        eval_samples: networks drawn for an evaluation.
        width: hidden units of the network whose steps are compared with Adam's.
    """
    from cl_bnn.outcome import print_table
    from cl_bnn.progress import Terminal

    with _cases().threads(1):
        cases, notes = _measure(repeats, memory_tasks, eval_samples, width)
        print_table(table(cases), Terminal())
        print(*notes, machine(), sep="\n")
    return cases


def _measure(
    repeats: int, memory_tasks: tuple[int, int], eval_samples: int, width: int
) -> tuple[list[Case], list[str]]:
    found = _cases()
    reference, _ = found.training(found.REFERENCE, repeats)
    sound, ready = found.training(found.SOUND, repeats)
    stock = found.stock(repeats)
    evaluation, drawn = found.evaluation(eval_samples, repeats)
    peaks = memory(*memory_tasks)
    recipes = (found.REFERENCE, found.SOUND)
    steps = [found.beside_adam(recipe, repeats, width) for recipe in recipes]
    beside = found.members(MEMBERS, repeats, min(2, os.cpu_count() or 1))
    notes = [ready, drawn, memory_note(peaks, *memory_tasks), *(note for _, note in steps)]
    cases = [reference, sound, stock, evaluation, peaks, *(case for case, _ in steps), beside]
    return cases, notes


def _cases() -> Any:
    """The module that measures, imported only now because it takes torch and Avalanche along."""
    with warnings.catch_warnings():
        quieten()
        from cl_bnn.bench import cases
    return cases


def interleave(
    repeats: int, first: Callable[[], float], second: Callable[[], float]
) -> list[tuple[float, float]]:
    """Costs of `first` and `second`, called in turns, so that what disturbs one disturbs the other.

    Both are called once more before, to warm up.
    """
    return [(first(), second()) for _ in range(repeats + 1)][1:]


def table(cases: list[Case]) -> Table:
    """All cases with the medians of both costs and of their ratio, and the range of the ratios."""
    head = ["A / B", "A", "B", "ratio", "min – max", "target", "met"]
    return Table("Speed and memory: medians; A and B measured in turns", head, [*map(_row, cases)])


def machine() -> str:
    """The machine in one line: processor, threads and versions."""
    import torch

    return (
        f"{_processor()}, {torch.get_num_threads()} thread, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )


# Memory: a peak cannot be reset, so each measurement has a process of its own -------------------


def memory(few: int, many: int) -> Case:
    """(d) Peak memory of learning a stream of `many` tasks beside that of a stream of `few`."""
    pairs = [(in_fresh_process(_stream_peak, many), in_fresh_process(_stream_peak, few))]
    return Case(f"(d) peak memory: {many} tasks / {few} tasks", "MiB", pairs, MEMORY_TARGET)


def _stream_peak(n_tasks: int) -> float:
    peak: float = _cases().stream_peak(n_tasks)
    return peak


def memory_note(case: Case, few: int, many: int) -> str:
    """How much the peak grows with every task, beside the size of a task ready for training."""
    ((most, least),) = case.pairs
    growth, task = (most - least) / (many - few), TASK_BYTES / KIB_PER_MIB**2
    return (
        f"(d) {growth:.2f} MiB for each further task; ready for training, one takes {task:.0f} MiB"
    )


def in_fresh_process(function: Callable[..., T], *arguments: object) -> T:
    """The result of `function(*arguments)` in a new process, which shares nothing with this one."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_mib() -> float:
    """The largest resident memory (MiB) of this process since its program was loaded."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux: `getrusage` would also count what the parent held when it started this process.
        (peak,) = (s for s in status.read_text().splitlines() if s.startswith("VmHWM:"))
        return int(peak.split()[1]) / KIB_PER_MIB
    import resource

    peak_of_self = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_of_self / (KIB_PER_MIB**2 if sys.platform == "darwin" else KIB_PER_MIB)


# Showing ---------------------------------------------------------------------------------------


def _row(case: Case) -> list[str]:
    first, second = (statistics.median(costs) for costs in zip(*case.pairs, strict=True))
    ratios = case.ratios
    decimals = 3 if case.unit == "s" else 0
    return [
        case.name,
        f"{first:.{decimals}f} {case.unit}",
        f"{second:.{decimals}f} {case.unit}",
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f} – {max(ratios):.2f}" if len(ratios) > 1 else NOTHING,
        f"{'≤' if case.upper else '≥'} {case.target:g}",
        "yes" if case.met else "no",
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor() or platform.machine()
