"""Runs planned and carried out: in this process or side by side, what is on file left alone."""

import fcntl
import multiprocessing
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_bnn import predictions, recipes, results
from cl_bnn.atomic import atomic_write
from cl_bnn.errors import Absent, UserError, reason
from cl_bnn.events import Event, failed
from cl_bnn.machine import circumstances, find_device
from cl_bnn.quiet import quieten
from cl_bnn.run import EvalEvery, Run, distinct

if TYPE_CHECKING:
    import torch


def plan(
    benchmark: str,
    strategies: Sequence[str],
    seeds: Iterable[int],
    overrides: Mapping[str, object],
    eval_every: EvalEvery,
    out: Path,
) -> list[Run]:
    """The runs of some strategies on a benchmark, every seed of the first strategy first.

    Raises:
        UserError: an unknown name, key or value, or two runs that would write the same file.
    """
    chosen = recipes.load_benchmark(benchmark)
    specs = [recipes.resolve(chosen, recipes.load_strategy(s), overrides) for s in strategies]
    for spec in specs:
        recipes.check(spec)
    return distinct([Run(spec, seed, eval_every, out) for spec in specs for seed in seeds])


def run_all(
    runs: Sequence[Run], *, jobs: int, device: str, data_root: Path | None,
    on_event: Callable[[Event], None], keep_going: bool = False,
) -> None:  # fmt: skip
    """Carry out what is not on file yet, `jobs` runs side by side, each on one thread.

    The bytes written depend neither on `jobs` nor on interruptions. Processes started by torchrun
    share every run, see `cl_bnn.distributed`; the first of them reads and writes the files.

    With `keep_going` a run that breaks down is an event "failed" and does not stop the others.

    Raises:
        UserError: a file on the way, a device that is not there, a run that breaks down. The other
            runs of the same call are finished first if they run in other processes.
    """
    from cl_bnn import distributed

    with distributed.joined(find_device(device)) as where:
        if jobs > 1 and distributed.size() > 1:
            raise UserError(
                f"--jobs {jobs}: the processes of torchrun share one run after the other"
            )
        tell = on_event if distributed.rank() == 0 else partial(_only_notes, on_event)
        waiting = distributed.from_first(lambda: waiting_of(runs, data_root, tell, keep_going))
        if jobs > 1 and len(waiting) > 1:
            _side_by_side(waiting, min(jobs, len(waiting)), where, data_root, tell, keep_going)
            return
        for run in waiting:
            try:
                execute(run, where, data_root, tell)
            except Exception as error:
                if not keep_going or distributed.size() > 1:  # the others wait for this one
                    raise
                tell(failed(run.name, error))


def waiting_of(
    runs: Sequence[Run], data_root: Path | None, on_event: Callable[[Event], None],
    keep_going: bool = False,
) -> list[Run]:  # fmt: skip
    """The runs that are not on file yet, their folders made; with `keep_going` a file that belongs
    to another run, was made of other data, or was edited, is an event "failed".

    Raises:
        UserError: a folder cannot be made; without `keep_going`, such a file.
    """
    waiting = []
    for run in runs:
        try:
            if run.on_file(data_root):
                on_event(Event(run.name, "skipped"))
                continue
        except UserError as error:
            if not keep_going:
                raise
            on_event(Event(run.name, "failed", text=str(error), wanting=True))
            continue
        make_folder(run.path.parent)
        waiting.append(run)
    return waiting


def _only_notes(on_event: Callable[[Event], None], event: Event) -> None:
    if event.kind == "note":
        on_event(event)


def execute(
    run: Run, device: "torch.device", data_root: Path | None, on_event: Callable[[Event], None]
) -> None:
    """Carry out one run, from its checkpoint if there is one, and write its files.

    Raises:
        UserError: as `Execution` does, or another process is at this run.
    """
    import torch

    from cl_bnn import distributed
    from cl_bnn.execution import Execution

    # The same bytes whatever the machine's cores; and two runs beat two threads.
    torch.set_num_threads(1)
    first = distributed.rank() == 0
    with alone(run.path, run.name) if first else nullcontext():
        if distributed.from_first(lambda: run.on_file(data_root)):  # by another process meanwhile
            on_event(Event(run.name, "skipped"))
            return
        info = circumstances(device) | {"processes": distributed.size()}
        execution = Execution(run, device, data_root, on_event)
        rows, found = execution(), execution.predictions()
        if first:
            info |= execution.meter.told()
            if execution.own_files:
                info["own_files"] = execution.own_files
            if found is not None:  # first: a run with a JSON is whole
                atomic_write(predictions.path_beside(run.path), found)
            results.write(run.path, rows, run.as_dict(), info)
            execution.checkpoint.remove()
    on_event(Event(run.name, "finished"))


@contextmanager
def alone(path: Path, name: str) -> Iterator[None]:
    """Keep a second process from writing what belongs to the file at `path`; a dead one holds
    nothing.

    Raises:
        UserError: another process is there already, or the file system knows no locks.
    """
    path = path.with_name(f".{path.stem}.lock")
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{name} is under way in another process: wait for it, or choose another --out"
            ) from error
        except OSError as error:
            raise UserError(
                f"no file can be locked in {path.parent}: {error.strerror}; choose another --out"
            ) from error
        try:
            yield
            path.unlink(missing_ok=True)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # which processes forked meanwhile hold as well


def _side_by_side(
    runs: Sequence[Run], jobs: int, device: "torch.device", data_root: Path | None,
    on_event: Callable[[Event], None], keep_going: bool,
) -> None:  # fmt: skip
    context = multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    broken: list[BaseException] = []
    reader = threading.Thread(target=forward, args=(events, on_event, broken), daemon=True)
    reader.start()
    with ProcessPoolExecutor(jobs, context, _worker_begins, (events,)) as pool:
        try:
            futures = [pool.submit(_work, run, device, data_root, keep_going) for run in runs]
            failures = [future.exception() for future in futures]
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise
    killed = next((f for f in failures if isinstance(f, BrokenExecutor)), None)
    if killed is not None and keep_going:  # events may be locked for good: others are taken
        if len(runs) == 1:
            lost = Absent("its process was killed, perhaps for want of memory")
            on_event(failed(runs[0].name, lost))
            return
        left = [run for run, failure in zip(runs, failures, strict=True) if failure is not None]
        for run in left[:jobs]:  # those that were under way, one of which it was
            _side_by_side([run], 1, device, data_root, on_event, keep_going)
        if left[jobs:]:
            _side_by_side(left[jobs:], jobs, device, data_root, on_event, keep_going)
        return
    if killed is not None:  # and took the lock of the events along, perhaps: not joined
        raise UserError(
            f"one of {jobs} processes was killed, perhaps for want of memory: take fewer --jobs; "
            "the same command goes on"
        ) from killed
    events.put(None)
    reader.join()
    for failure in filter(None, (*failures, *broken)):
        raise failure


def forward(events: Any, on_event: Callable[[Event], None], broken: list[BaseException]) -> None:
    """Hand events on; when the listener breaks down, say why, and take the others in."""
    try:
        for event in iter(events.get, None):
            on_event(event)
    except BaseException as error:  # also one that would end the process: here it ends the thread
        broken.append(error)
        deque(iter(events.get, None), maxlen=0)


def _worker_begins(events: Any) -> None:
    quieten()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    global _events
    _events = events


def _end_with_parent() -> None:
    """Wait for the process that prints; one that was killed cannot tell its workers to stop."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has one"
    parent.join()
    os._exit(1)


_events: Any = None  # of a worker process: the way back to the process that prints


def _work(run: Run, device: "torch.device", data_root: Path | None, keep_going: bool) -> None:
    try:
        execute(run, device, data_root, _events.put)
    except Exception as error:
        if not keep_going:
            told = _sendable(error)
            if told is error:
                raise
            raise told from None
        _events.put(failed(run.name, error))


def _sendable(error: Exception) -> Exception:
    """An exception as the process that prints can read it: a class of the user's may not let it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return UserError(reason(error))
    return error


def make_folder(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        UserError: nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may have made the folder at the same time
    except OSError as error:
        raise UserError(
            f"cannot write results into {folder}: {error.strerror}; choose another --out"
        ) from error
