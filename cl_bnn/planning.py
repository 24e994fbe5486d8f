"""A plan in print: which runs, with which settings, and how long they will take."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cl_bnn.errors import Absent, UserError
from cl_bnn.machine import find_device

if TYPE_CHECKING:
    from cl_bnn.run import Run


def show(runs: Sequence["Run"], jobs: int, device: str, data_root: Path | None) -> None:
    """Print every run with its file, then every strategy on every benchmark with its settings and
    the time that a run of it takes, and the time of all that is not on file yet.

    Raises:
        UserError: once all is printed: some of it cannot be run.
    """
    refused: dict[str, str] = {}  # why, by the names of runs
    waiting = []
    for run in runs:
        try:
            there = run.on_file(data_root)
        except UserError as error:
            refused[run.name] = str(error)
            print(f"{run.name} -> {run.path} (cannot be run)")
            continue
        print(f"{run.name} -> {run.path}{' (on file)' if there else ''}")
        waiting += [] if there else [run]
    total, unknown = 0.0, False
    firsts: dict[tuple[str, str], Run] = {}
    for run in runs:
        firsts.setdefault((run.spec.benchmark, run.spec.strategy), run)
    for run in firsts.values():
        alike = [other for other in waiting if other.spec == run.spec]
        try:
            seconds = _shown(run, len(alike), device, data_root)
        except Absent as error:
            print(f"time unknown: {error}")
            unknown = True
        except UserError as error:
            print(f"cannot be run: {error}")
            refused |= {other.name: str(error) for other in alike}
        else:
            total += len(alike) * seconds
    if refused:
        name, why = next(iter(refused.items()))
        raise UserError(f"{len(refused)} of {len(runs)} runs cannot be run, {name} first: {why}")
    if not unknown:
        at_once = min(jobs, max(len(waiting), 1))
        print(f"\nexpected time of all: about {in_words(total / at_once)} (--jobs {jobs})")


def _shown(run: "Run", count: int, device: str, data_root: Path | None) -> float:
    """Print the settings of a run, and the time that each of `count` like it takes: that time."""
    print(f"\n{run.spec.benchmark}/{run.spec.strategy}")
    for key, value in run.spec.as_dict().items():
        print(f"  {key} = {value}")
    if not count:
        print("nothing of it is to be run")
        return 0.0
    seconds = expected(run, device, data_root)
    print(f"expected time: about {in_words(seconds)} a run, {count} to be run")
    return seconds


def expected(run: "Run", device: str, data_root: Path | None) -> float:
    """The seconds that a run will take, judged by a few of its steps.

    Raises:
        Absent: data or a device that are missing.
        UserError: a recipe that does not fit.
    """
    import torch

    from cl_bnn import data
    from cl_bnn.data.features import FEATURES
    from cl_bnn.estimate import Estimate

    for name in run.spec.data:
        if name in FEATURES:
            data.load(name, data_root)  # not `features.load`: none are made for a plan
    torch.set_num_threads(1)
    return Estimate(run, find_device(device), data_root).expected()


def in_words(seconds: float) -> str:
    """A duration as one reads it: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
