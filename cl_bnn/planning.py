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
    refused: list[str] = []
    waiting = _waiting(runs, data_root, refused)
    for run in runs:
        print(f"{run.name} -> {run.path}{'' if run in waiting else ' (on file)'}")
    first = {(run.spec.benchmark, run.spec.strategy): run for run in reversed(runs)}
    total, unknown = 0.0, False
    for (benchmark, strategy), run in reversed(first.items()):
        print(f"\n{benchmark}/{strategy}")
        for key, value in run.spec.as_dict().items():
            print(f"  {key} = {value}")
        count = sum(other.spec == run.spec for other in waiting)
        try:
            seconds = expected(run, device, data_root) if count else 0.0
        except Absent as error:
            print(f"time unknown: {error}")
            unknown = True
            continue
        except UserError as error:
            print(f"cannot be run: {error}")
            refused.append(f"{run.name} first: {error}")
            continue
        total += count * seconds
        time = f"expected time: about {in_words(seconds)} a run, {count} to be run"
        print(time if count else "all on file")
    if refused:
        raise UserError(f"{len(refused)} cannot be run, {refused[0]}")
    if not unknown:
        at_once = min(jobs, max(len(waiting), 1))
        print(f"\nexpected time of all: about {in_words(total / at_once)} (--jobs {jobs})")


def _waiting(runs: Sequence["Run"], data_root: Path | None, refused: list[str]) -> list["Run"]:
    """The runs that are not on file; what lies in the place of one and is not it, is told."""
    found = []
    for run in runs:
        try:
            if not run.on_file(data_root):
                found.append(run)
        except UserError as error:
            found.append(run)
            refused.append(f"{run.name} first: {error}")
    return found


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

    named = run.spec.stream.get("data", [])
    for name in named if isinstance(named, list) else [named]:
        if isinstance(name, str) and name in FEATURES:
            data.load(name, data_root)  # not `features.load`: none are made for a plan
    torch.set_num_threads(1)
    return Estimate(run, find_device(device), data_root).expected()


def in_words(seconds: float) -> str:
    """A duration as one reads it: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
