"""Every strategy on every benchmark: planned as one product, carried out here or on a Ray cluster.

This file alone knows Ray, which is an optional extra.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cl_bnn import recipes, runner
from cl_bnn.atomic import atomic_write
from cl_bnn.checkpoint import Checkpoint
from cl_bnn.errors import UserError, one_line, reason
from cl_bnn.events import Event
from cl_bnn.machine import find_device
from cl_bnn.run import EvalEvery, Run, distinct


def plan(
    benchmarks: Sequence[str], strategies: Sequence[str], scenarios: Sequence[str],
    seeds: Sequence[int], overrides: Mapping[str, object], eval_every: EvalEvery, out: Path,
    grid: Sequence[tuple[str, Sequence[object]]] = (),
) -> list[Run]:  # fmt: skip
    """The runs of all strategies on all benchmarks, in every scenario where a benchmark has some,
    with every combination of the values in `grid`, which go by the keys of `overrides`.

    All runs of the lowest seed come first, so that every pair has a number early.

    Raises:
        UserError: an unknown name, key or value, a setting that is given twice, scenarios that no
            benchmark has, two runs that would write the same file, or nothing to be run.
    """
    keys = [key for key, _ in grid]
    given = {*overrides, *(["stream.scenario"] if scenarios else [])}
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"--grid {key}: is there twice; give all its values once, as KEY=A,B")
        if key in given:
            raise UserError(f"--grid {key}: is set as well; give one or the other")
    if scenarios and "stream.scenario" in overrides:
        raise UserError("--scenarios: stream.scenario is set as well; give one or the other")
    has = {n: recipes.load_benchmark(n).takes("stream", "scenario") for n in benchmarks}
    if scenarios and benchmarks and not any(has.values()):
        raise UserError(f"--scenarios: none of {', '.join(benchmarks)} has scenarios")
    runs: list[Run] = []
    for benchmark, values in product(benchmarks, product(*(values for _, values in grid))):
        for scenario in (scenarios if has[benchmark] else ()) or ("",):
            told = {"stream.scenario": scenario} if scenario else {}
            changed = {**overrides, **dict(zip(keys, values, strict=True)), **told}
            runs += runner.plan(benchmark, strategies, seeds, changed, eval_every, out)
    if not runs:
        raise UserError("nothing to be run: --strategies and --benchmarks need at least one name")
    return sorted(distinct(runs), key=lambda run: run.seed)


def run_all(
    runs: Sequence[Run], *, jobs: int, device: str, data_root: Path | None,
    on_event: Callable[[Event], None], engine: str, address: str | None,
) -> None:  # fmt: skip
    """Carry out what is not on file yet; a run that breaks down is an event "failed".

    Args:
        runs: what is to be run.
        jobs: processes at once, on this machine; a cluster that is there has its own number.
        device: `"auto"`, `"cpu"` or `"cuda"`, where a run is computed.
        data_root: where the data sets lie, on every machine.
        on_event: called with every event.
        engine: `"processes"` or `"ray"`, whose files are the same.
        address: of the Ray cluster; `"auto"` for the one that runs here, None for a new one.

    Raises:
        UserError: Ray is not installed, no cluster is at the address, or there is an address but no
            `engine = "ray"`.
    """
    if address is not None and engine != "ray":
        raise UserError(f"--address {address} names a Ray cluster: add --engine ray")
    if engine != "ray":
        runner.run_all(
            runs, jobs=jobs, device=device, data_root=data_root, on_event=on_event,
            keep_going=True,
        )  # fmt: skip
        return
    waiting = runner.waiting_of(runs, data_root, on_event, keep_going=True)
    with _cluster(jobs, address) as ray:
        _on_ray(ray, waiting, device, data_root, on_event)


@contextmanager
def _cluster(jobs: int, address: str | None) -> Iterator[Any]:
    """Inside, the module `ray`, connected to a cluster."""
    try:
        import ray
    except ImportError as error:
        raise UserError("--engine ray needs Ray: pip install 'cl_bnn[ray]'") from error
    new: dict[str, Any] = {"num_cpus": jobs, "include_dashboard": False} if address is None else {}
    ends = signal.getsignal(signal.SIGTERM)
    try:  # "local": a new one also beside a cluster that runs already
        ray.init(
            address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **new
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = "Ray did not start" if address is None else f"--address {address}"
        raise UserError(
            f"{where}: no Ray cluster is there that fits ({one_line(error)}); start one with `ray "
            "start --head`, or leave the address out"
        ) from error
    if threading.current_thread() is threading.main_thread():  # Ray has put its own there
        signal.signal(signal.SIGTERM, ends)
    try:
        yield ray
    finally:
        ray.shutdown()


def _on_ray(
    ray: Any, runs: Sequence[Run], device: str, data_root: Path | None,
    on_event: Callable[[Event], None],
) -> None:  # fmt: skip
    from ray.util.queue import Queue

    events = Queue(actor_options={"num_cpus": 0})
    broken: list[BaseException] = []
    reader = threading.Thread(target=runner.forward, args=(events, on_event, broken), daemon=True)
    reader.start()
    task = ray.remote(num_cpus=1, num_gpus=_share_of_gpus(ray, device))(_in_a_worker)
    pending = {task.remote(run, device, data_root, events): run for run in runs}
    while pending:
        (done,), _ = ray.wait(list(pending), num_returns=1)
        run = pending.pop(done)
        try:
            files, failure = ray.get(done)
        except ray.exceptions.RayError as error:
            files, failure = {}, f"its worker was lost: {type(error).__name__}"
        for name, data in files.items():
            atomic_write(run.path.parent / name, data)
        if files:
            Checkpoint(run.path).remove()  # of an earlier start on this machine
        kind: Any = "failed" if failure else "finished"
        events.put(Event(run.name, kind, text=failure))
    events.put(None)
    reader.join()
    for failure in broken:
        raise failure


def _share_of_gpus(ray: Any, device: str) -> float:
    """What a run asks for of a GPU, without which Ray shows it none or all: as many runs as there
    are processors, dealt out evenly.
    """
    there = ray.cluster_resources()
    gpus: float = 0.0 if device == "cpu" else there.get("GPU", 0.0)
    cpus: float = there.get("CPU", 1.0) or 1.0  # those of workers yet to come
    return min(1.0, gpus / cpus)


def _in_a_worker(
    run: Run, device: str, data_root: Path | None, events: Any
) -> tuple[dict[str, bytes], str]:
    """Carry out a run in a folder of the worker's own; its files in the order in which they are to
    be written, or why there are none.
    """

    def tell(event: Event) -> None:
        if event.kind != "finished":  # once its files are where they belong
            events.put(event)

    with TemporaryDirectory() as folder:
        here = replace(run, out=Path(folder))
        here.path.parent.mkdir(parents=True)
        try:
            runner.execute(here, find_device(device), data_root, tell)
        except Exception as error:
            return {}, reason(error)
        written = [path for path in here.path.parent.iterdir() if not path.name.startswith(".")]
        # A run is on file once its JSON is.
        written.sort(key=lambda path: (path.suffix == ".json", path.name))
        return {path.name: path.read_bytes() for path in written}, ""
