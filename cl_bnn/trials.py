"""Trials of a strategy's settings: runs on the beginning of a stream, judged by training data that
are held out of it, and their files.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cl_bnn import recipes, results, runner
from cl_bnn._search_space import VALIDATION, Axis, Choices, Value
from cl_bnn.atomic import atomic_write
from cl_bnn.checkpoint import Checkpoint
from cl_bnn.errors import UserError
from cl_bnn.events import Event, Failures
from cl_bnn.machine import circumstances, find_device
from cl_bnn.report.summary import at_end
from cl_bnn.run import Run, distinct

#: What is maximised: its mean over the tasks seen, once the last of them is learned.
MEASURE = "val_accuracy"


@dataclass(frozen=True)
class Search:
    """What is searched: a strategy's settings on a benchmark.

    Attributes:
        benchmark: the benchmark's recipe.
        strategy: the strategy's.
        overrides: what the user has set, by the keys of `--set`; it is not searched.
        added: what the search sets besides, so that training images are held out.
        space: where each setting is searched.
        own: the value that the recipes give to each of these; the first trial has these values.
        seeds: of the runs of every trial.
        seen: number of tasks that a trial learns, the first ones.
        n_tasks: number of tasks of the stream.
        out: the folder below which all files go.
        own_files: the digests of the user's own files that it is made of, data and code, by name.
    """

    benchmark: recipes.BenchmarkRecipe
    strategy: recipes.StrategyRecipe
    overrides: dict[str, object]
    added: dict[str, object]
    space: dict[str, Axis]
    own: dict[str, Value]
    seeds: tuple[int, ...]
    seen: int
    n_tasks: int
    out: Path
    own_files: dict[str, str]

    @property
    def name(self) -> str:
        """For example `split_mnist[validation=0.1]/ste`."""
        spec = self.spec({})
        return f"{spec.benchmark}/{spec.strategy}"

    @property
    def folder(self) -> Path:
        """Where the files go."""
        return self.out / self.name

    def spec(self, settings: Mapping[str, Value]) -> recipes.Spec:
        """What is run with these settings."""
        overrides = {**self.added, **self.overrides, **settings}
        return recipes.resolve(self.benchmark, self.strategy, overrides)

    def runs(self, settings: Mapping[str, Value]) -> list[Run]:
        """The runs of a trial, one for each seed."""
        spec, out = self.spec(settings), self.folder / "runs"
        return [Run(spec, seed, "task", out, self.seen) for seed in self.seeds]

    def as_dict(self) -> dict[str, Any]:
        """Everything that determines the trials but how they are proposed, ready for JSON."""
        space = {key: asdict(axis) for key, axis in self.space.items()}
        return ({"own_files": self.own_files} if self.own_files else {}) | {
            "base": self.spec({}).as_dict(), "space": space, "first": self.own,
            "seeds": list(self.seeds), "tasks_seen": self.seen, "tasks": self.n_tasks,
            "maximised": MEASURE,
        }  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One try: its settings, the validation accuracy of each seed, and why it failed if it did."""

    number: int
    settings: dict[str, Value]
    accuracies: dict[str, float]
    message: str = ""

    @property
    def value(self) -> float | None:
        """The mean over the seeds; None if the trial failed."""
        if self.message:
            return None
        return sum(self.accuracies.values()) / len(self.accuracies)


def plan(
    benchmark: str, strategy: str, overrides: Mapping[str, object], seeds: Sequence[int],
    tasks_seen: int, out: Path, data_root: Path | None,
) -> Search:  # fmt: skip
    """A search, everything that can be judged beforehand judged.

    Raises:
        UserError: an unknown name, key or value; a recipe with nothing to be searched, or whose
            own values lie outside; a stream on which settings cannot be chosen honestly.
    """
    chosen, learner = recipes.load_benchmark(benchmark), recipes.load_strategy(strategy)
    axes = {key: axis for key, axis in learner.space.items() if key not in overrides}
    if not axes:
        left = "all that it has is set by --set" if learner.space else "its recipe has no [search]"
        raise UserError(f"{learner.name}: nothing to be searched, {left}")
    added = _held_out(chosen, overrides)
    changed = {**added, **overrides}
    spec = recipes.resolve(chosen, learner, changed)
    recipes.check(spec)
    own = {key: _own(spec, key) for key in axes}
    space = {key: _around(axis, own[key], key, spec) for key, axis in axes.items()}
    for key, axis in space.items():
        for value in axis.extremes:
            recipes.check(recipes.resolve(chosen, learner, {**changed, key: value}))
    seen, n_tasks = _tasks(spec, seeds[0], tasks_seen, data_root)
    own_files = Run(spec, seeds[0], "task", out, seen).own_files(data_root)
    return Search(
        chosen, learner, dict(overrides), added, space, own, tuple(seeds), seen, n_tasks, out,
        own_files,
    )  # fmt: skip


def _held_out(
    benchmark: recipes.BenchmarkRecipe, overrides: Mapping[str, object]
) -> dict[str, object]:
    """The setting by which training images are held out, if the benchmark holds out none."""
    known = benchmark.stream.get("validation") or "stream.validation" in overrides
    if known or not benchmark.takes("stream", "validation"):
        return {}
    return {"stream.validation": VALIDATION}


def _own(spec: recipes.Spec, key: str) -> Value:
    """The value of a setting, by its key for `--set`."""
    plugin, dot, short = key.partition(".")
    found: Value = spec.plugins[plugin][short] if dot else spec.settings[key]
    return found


def _around(axis: Axis, own: Value, key: str, spec: recipes.Spec) -> Axis:
    """The axis, which the recipe's own value belongs to; of choices it becomes one."""
    if axis.holds(own):
        return axis
    if isinstance(axis, Choices):
        return Choices((*axis.values, own))
    raise UserError(
        f"{spec.strategy} on {spec.benchmark}: {key} = {own!r} lies outside of its [search], "
        f"{axis}: widen that, or --set {key}={own} and search the others"
    )


def _tasks(
    spec: recipes.Spec, seed: int, tasks_seen: int, data_root: Path | None
) -> tuple[int, int]:
    """How many tasks a trial learns, and of how many."""
    from cl_bnn.benchmarks import Stream  # slow to import

    stream = recipes.made(spec, spec.stream, Stream, seed=seed, data_root=data_root)
    if stream.objective.score != "accuracy":
        raise UserError(
            f"{spec.benchmark} measures {stream.objective.score}: a search compares accuracies"
        )
    return len(stream.beginning(tasks_seen).train), len(stream.train)


# Files -------------------------------------------------------------------------------------------


def begin(
    search: Search, proposals: Mapping[str, Any], device: str, versions: dict[str, str]
) -> None:
    """Write what is searched and how, or hold it against what is on file.

    Args:
        search: what is searched.
        proposals: how trials are proposed.
        device: `"auto"`, `"cpu"` or `"cuda"`.
        versions: of packages that matter here only; they do not count as a difference.

    Raises:
        UserError: another search is on file there, or nothing can be written.
    """
    path = search.folder / "search.json"
    spec = json.loads(json.dumps({**search.as_dict(), "proposals": proposals}))
    if path.is_file():
        found = results.difference(_json(path, "spec"), spec)
        if found is not None:
            raise UserError(
                f"{path} is of a search with {found[0]} = {found[1]!r}, not {found[2]!r}: use "
                "another --out, or delete the folder"
            )
        return
    info = circumstances(find_device(device))
    info["versions"] |= versions
    _write(path, {"spec": spec, "info": info})


def on_file(search: Search) -> list[Trial]:
    """The trials that have been made, in order, up to the first that is missing.

    Raises:
        UserError: a file of theirs is damaged.
    """
    found: list[Trial] = []
    while (path := _path(search, len(found))).is_file():
        fields = {key: _json(path, key) for key in ("number", "settings", "accuracies", "message")}
        found.append(Trial(**fields))
    return found


def _path(search: Search, number: int) -> Path:
    return search.folder / f"trial{number:03d}.json"


def _json(path: Path, key: str) -> Any:
    try:
        return json.loads(path.read_bytes())[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error!r}): delete it and search again") from error


def _write(path: Path, content: Mapping[str, Any]) -> None:
    atomic_write(path, (json.dumps(content, indent=2) + "\n").encode())


# Carrying out ------------------------------------------------------------------------------------


def carry_out(
    search: Search, proposed: Mapping[int, Mapping[str, Value]], *, jobs: int, device: str,
    data_root: Path | None, on_event: Callable[[Event], None],
) -> list[Trial]:  # fmt: skip
    """Make the trials with these numbers and settings, and write their files in order.

    A trial whose training breaks down has failed; the others go on.

    Raises:
        UserError: a device that is not there, a file on the way, settings that a label cannot tell
            apart, or runs that wanted data, a file, a device or memory: that says nothing of
            their settings, and no trial is written.
    """
    failures = Failures(on_event)
    runs = {number: search.runs(settings) for number, settings in proposed.items()}
    runner.run_all(
        distinct(run for several in runs.values() for run in several), jobs=jobs, device=device,
        data_root=data_root, on_event=failures, keep_going=True,
    )  # fmt: skip
    wanting = [f"{event.run}: {event.text}" for event in failures.found if event.wanting]
    if wanting:
        raise UserError(f"{'; '.join(wanting)}; the same command goes on")
    failed = {event.run: event.text for event in failures.found}
    made = []
    for number, settings in proposed.items():
        said = [failed[run.name] for run in runs[number] if run.name in failed]
        measured = {str(r.seed): accuracy(r) for r in runs[number] if r.name not in failed}
        made.append(Trial(number, dict(settings), measured, said[0] if said else ""))
        _write(_path(search, number), {**asdict(made[-1]), "value": made[-1].value})
        for run in runs[number]:
            Checkpoint(run.path).remove()  # of one that failed, which is not made again
    return made


def accuracy(run: Run) -> float:
    """The validation accuracy of the preferred way to predict, averaged over the tasks seen after
    the last of them.
    """
    frame = results.read(run.path.parent, trials=True)
    return float(at_end(frame[frame["seed"] == run.seed], MEASURE)["value"].mean())
