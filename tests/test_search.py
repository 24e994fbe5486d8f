"""Settings searched honestly: the objective, what is never read, the same trials every time."""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cl_bnn import cli, data, recipes, results, runner, search, trials
from cl_bnn._search_space import FIRST_SEED, TRIALS, Value
from cl_bnn.arguments import parse
from cl_bnn.benchmarks import permuted, split
from cl_bnn.data.dataset import Dataset, Split
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.events import Event
from cl_bnn.execution import Execution
from cl_bnn.run import Run, digest_of_code
from cl_bnn.strategies.loading import task_view
from cl_bnn.strategies.template import Template
from cl_bnn.trials import Search, Trial

STREAM = {
    "split": 'build = "cl_bnn.benchmarks:split"\ndata = "few.npz"\nn_experiences = 5',
    "permuted": 'build = "cl_bnn.benchmarks:permuted"\ndata = "few.npz"\nn_experiences = 5',
    "rotated": 'build = "cl_bnn.benchmarks:rotated"\ndata = "few.npz"\nn_experiences = 4',
    "subsets": 'build = "cl_bnn.benchmarks:subsets"\ndata = "few.npz"\nn_experiences = 4',
    "sequence": 'build = "cl_bnn.benchmarks:sequence"\ndata = ["few.npz", "few.npz"]',
    "single": 'build = "cl_bnn.benchmarks:single"\ndata = "few.npz"',
}
BENCHMARK = """
title = "Few digits"
epochs = 1
batch_size = 20
[stream]
{stream}
[model]
build = "cl_bnn.nn:mlp"
width = 12
"""
STRATEGY = """
title = "Adam, searched"
build = "cl_bnn.strategies:AdamStrategy"
[defaults]
lr = 1e-3
schedule = "constant"
[search]
{search}
"""
LR = "lr = {low = 1e-4, high = 1e-1, log = true}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recipes and few digits, which is the current one and the data root."""
    mnist = data.load("mnist")
    halves = {"train": (mnist.train, 400), "test": (mnist.test, 150)}
    arrays = {
        f"{name}_{half}": getattr(part, name)[:count].numpy()
        for half, (part, count) in halves.items()
        for name in ("x", "y")
    }
    np.savez(tmp_path / "few.npz", **arrays)
    for name, stream in STREAM.items():
        (tmp_path / f"{name}.toml").write_text(BENCHMARK.format(stream=stream))
    write_strategy(tmp_path, LR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CL_BNN_DATA", str(tmp_path))
    return tmp_path


def write_strategy(folder: Path, text: str) -> None:
    (folder / "searched.toml").write_text(STRATEGY.format(search=text))


def plan(
    benchmark: str = "split", strategy: str = "./searched.toml", out: str = "out",
    seeds: tuple[int, ...] = (FIRST_SEED,), tasks_seen: int = 3, **overrides: object,
) -> Search:  # fmt: skip
    changed = {key.replace("__", "."): value for key, value in overrides.items()}
    return trials.plan(f"./{benchmark}.toml", strategy, changed, seeds, tasks_seen, Path(out), None)


def nothing(event: Event) -> None:
    """What listens to events where nobody does."""


def make(
    planned: Search, n_trials: int, jobs: int = 1, on_event: Callable[[Event], None] = nothing
) -> list[Trial]:
    return search.run_all(
        planned, n_trials, jobs=jobs, device="cpu", data_root=None, on_event=on_event
    )


def files(out: str) -> dict[str, bytes]:
    """All that a search has written but who, when and where."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(Path(out).rglob("*"))
        if path.is_file() and (path.suffix == ".csv" or path.name.startswith("trial"))
    }


# The objective -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("benchmark", "strategy"),
    [
        ("split", "./searched.toml"), ("split", "ste+ewc"), ("permuted", "bayesbinn"),
        ("subsets", "./searched.toml"),
    ],
)  # fmt: skip
def test_it_is_what_the_whole_stream_measures_after_the_last_task_seen(
    folder: Path, benchmark: str, strategy: str
) -> None:
    """The same tasks, networks and random numbers as those of a run of all tasks."""
    few: dict[str, Any] = {"eval_samples": 3} if strategy == "bayesbinn" else {}
    (trial,) = make(plan(benchmark, strategy, seeds=(7, 8), **few), 1)
    overrides = {"stream.validation": 0.1, **few}
    runs = runner.plan(f"./{benchmark}.toml", [strategy], [7, 8], overrides, "task", folder / "all")
    runner.run_all(runs, jobs=1, device="cpu", data_root=None, on_event=nothing)
    frame = results.read(folder / "all")
    end = frame[(frame.metric == "val_accuracy") & (frame.after == 2) & frame.epoch.isna()]
    seen = end[end.on <= 2]
    expected = seen.groupby("seed").value.mean()
    for seed in (7, 8):
        assert trial.accuracies[str(seed)] == pytest.approx(expected[seed], rel=1e-12)
    assert trial.value == pytest.approx(expected.mean(), rel=1e-12)
    assert trial.accuracies["7"] != trial.accuracies["8"]


def test_it_is_the_share_of_held_out_images_told_rightly(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Execution] = []
    call = Execution.__call__

    def kept(self: Execution) -> Any:
        ran.append(self)
        return call(self)

    monkeypatch.setattr(Execution, "__call__", kept)
    (trial,) = make(plan(), 1)
    model, shares = ran[0].strategy.model.eval(), []
    stream = split(data="few.npz", n_experiences=5, validation=0.1, seed=FIRST_SEED)
    for k, experience in enumerate(list(stream.validation)[:3]):
        view = task_view(experience.dataset)
        assert view is not None
        x, y = view.materialise()
        with torch.no_grad():
            outputs = model(x, torch.full((len(x),), k))
        shares.append(float((outputs.argmax(1) == y).float().mean()))
    assert trial.value == pytest.approx(sum(shares) / 3, abs=2e-6)


def test_the_first_trial_has_the_recipes_own_values(folder: Path) -> None:
    (folder / "searched.toml").write_text(STRATEGY.format(search=LR) + "[on.split]\nlr = 2e-3\n")
    first, second = make(plan(), 2)
    assert first.settings == {"lr": 2e-3} != second.settings
    assert (folder / plan().folder / "runs" / "split[validation=0.1]" / "searched").is_dir()


# What is never read ------------------------------------------------------------------------------


class Forbidden:
    """Images that nobody may look at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"somebody reads {name} of the test images")

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("somebody reads the test images")


def changed_data(monkeypatch: pytest.MonkeyPatch, change: Callable[[Dataset], Dataset]) -> None:
    load = data.load
    monkeypatch.setattr(data, "load", lambda name, root=None: change(load(name, root)))


@pytest.mark.parametrize("benchmark", sorted(STREAM))
def test_the_test_images_are_never_read_and_their_labels_change_nothing(
    benchmark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(plan(benchmark, out="before"), 2)

    def forbid(source: Dataset) -> Dataset:
        labels = source.test.y.flip(0)
        return replace(source, test=Split(Forbidden(), labels))  # type: ignore[arg-type]

    changed_data(monkeypatch, forbid)
    make(plan(benchmark, out="after"), 2)
    assert files("before") == files("after") and len(files("after")) == 4
    (run,) = runner.plan(f"./{benchmark}.toml", ["adam"], [0], {}, "task", Path("all"))
    with pytest.raises(AssertionError, match="reads"):
        runner.run_all([run], jobs=1, device="cpu", data_root=None, on_event=nothing)


def test_no_metric_of_the_test_set_is_on_file() -> None:
    planned = plan("permuted")
    make(planned, 2)
    frame = results.read(planned.folder / "runs", trials=True)
    assert set(frame.metric) == {
        "train_loss", "train_accuracy", "val_accuracy", "val_nll", "val_ece", "val_brier",
        "state_bits",
    }  # fmt: skip
    assert frame.after.max() == frame.on.max() == 2, "the first 3 of 5 tasks"
    assert frame[frame.metric == "val_accuracy"].epoch.isna().all(), "not every epoch"


def test_images_of_later_classes_are_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    make(plan(out="before"), 2)

    def garble(source: Dataset) -> Dataset:
        x = source.train.x.clone()
        x[source.train.y >= 6] = 255 - x[source.train.y >= 6]
        return replace(source, train=Split(x, source.train.y))

    changed_data(monkeypatch, garble)
    make(plan(out="after"), 2)
    assert files("before") == files("after")


@pytest.mark.parametrize("benchmark", ["split", "permuted", "rotated", "subsets"])
def test_no_view_of_a_later_task_is_read(benchmark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[TaskView] = []
    raw = TaskView.raw

    def told(self: TaskView, *index: Any) -> Any:
        read.append(self)
        return raw(self, *index)

    built: list[Any] = []
    beginning = recipes.build

    def kept(target: str, *rest: Any, **settings: Any) -> Any:
        found = beginning(target, *rest, **settings)
        if "cl_bnn.benchmarks" in target:
            built.append(found)
        return found

    planned = plan(benchmark, tasks_seen=2)
    monkeypatch.setattr(TaskView, "raw", told)
    monkeypatch.setattr(recipes, "build", kept)
    make(planned, 1)
    (stream,) = built
    assert stream.n_tasks in (4, 5)
    seen = [
        id(task_view(experience.dataset))
        for part in (stream.train, stream.validation)
        for experience in list(part)[:2]
    ]
    assert {id(view) for view in read} == set(seen)


def test_a_seed_that_is_reported_is_not_searched_on() -> None:
    for words, seeds in (
        ([], [1000]), (["--seeds", "2"], [1000, 1001]), (["--seeds", "7,8"], [7, 8]),
    ):  # fmt: skip
        found = parse(["search", "split_mnist", "--strategy", "ste", *words], cli.COMMANDS)
        assert found.seeds == seeds
    report = parse(["run", "split_mnist", "--seeds", "5"], cli.COMMANDS)
    assert report.seeds == [0, 1, 2, 3, 4]


def test_the_budget_is_one_for_all_unless_said() -> None:
    found = parse(["search", "split_mnist", "--strategy", "ste"], cli.COMMANDS)
    assert (found.trials, found.tasks_seen) == (TRIALS, 3)


# The same trials every time ----------------------------------------------------------------------


def test_the_same_search_writes_the_same_bytes_whatever_jobs_is() -> None:
    make(plan(out="one", seeds=(1, 2)), 2)
    make(plan(out="two", seeds=(1, 2)), 2, jobs=2)
    assert files("one") == files("two") and len(files("one")) == 6


@pytest.mark.parametrize(("kind", "count"), [("finished", 2), ("started", 5)])
def test_an_interrupted_search_goes_on(kind: str, count: int) -> None:
    whole = make(plan(out="whole"), 5)
    left = [count]

    def stop(event: Event) -> None:
        left[0] -= event.kind == kind
        if left[0] == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(plan(out="pieces"), 5, on_event=stop)
    skipped: list[str] = []
    assert make(plan(out="pieces"), 5, on_event=lambda e: skipped.append(e.kind)) == whole
    assert files("whole") == files("pieces")
    assert len([k for k in skipped if k == "finished"]) < 5


def test_trials_on_file_are_not_made_again_and_more_may_follow() -> None:
    two = make(plan(), 2)
    events: list[Event] = []
    assert make(plan(), 2, on_event=events.append) == two and not events
    three = make(plan(), 3)
    assert three[:2] == two and make(plan(), 1) == two[:1]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Trials without training: the nearer lr is to 1e-2, the better; some lr cannot be trained."""
    counted = {"trials": 0}

    def run_all(runs: list[Run], *, on_event: Callable[[Event], None], **rest: Any) -> None:
        for run in runs:
            if run.spec.settings["lr"] > 0.05:
                on_event(Event(run.name, "failed", text=f"{run.name}: the loss is nan"))

    def accuracy(run: Run) -> float:
        counted["trials"] += 1
        return 1 - abs(float(np.log10(run.spec.settings["lr"])) + 2) / 10

    monkeypatch.setattr(runner, "run_all", run_all)
    monkeypatch.setattr(trials, "accuracy", accuracy)
    yield counted


def test_proposals_depend_on_the_trials_of_earlier_batches_alone(measured: dict[str, int]) -> None:
    whole = make(plan(out="whole"), 23)
    for n_trials in (1, 3, 11, 13, 18, 23):
        pieces = make(plan(out="pieces"), n_trials)
        assert pieces == whole[:n_trials]
    assert files("whole") == files("pieces")


def test_it_finds_more_than_chance_does(measured: dict[str, int]) -> None:
    made = make(plan(), 40)
    done = [t for t in made if t.value is not None]
    early, late = ([t.value for t in part] for part in (done[1:11], done[-10:]))
    assert np.mean(late) > np.mean(early)  # type: ignore[arg-type]
    assert all(1e-4 <= float(t.settings["lr"]) <= 1e-1 for t in made)


def test_failed_trials_keep_their_message_and_are_not_made_again(measured: dict[str, int]) -> None:
    made = make(plan(), 20)
    failed = [trial for trial in made if trial.message]
    assert failed and all(float(trial.settings["lr"]) > 0.05 for trial in failed)
    assert all(t.value is None and not t.accuracies for t in failed)
    assert "the loss is nan" in failed[0].message
    assert measured["trials"] == 20 - len(failed)
    assert make(plan(), 20) == made and measured["trials"] == 20 - len(failed)


# Failures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lr", "message"),
    [("1e18", "the training loss is (nan|inf)"), ("1e38", "/seed1000: value cannot be converted")],
)
def test_a_trial_that_diverges_has_failed_and_the_others_go_on(
    folder: Path, lr: str, message: str
) -> None:
    write_strategy(folder, f"lr = {{choices = [1e-3, {lr}]}}")
    made = make(plan(model__norm="none", epochs=2), 4)
    said = [t.message for t in made if t.settings["lr"] == float(lr)]
    assert said and all(re.search(message, text) for text in said)
    done = [t for t in made if t.settings["lr"] == 1e-3]
    assert len(said) + len(done) == 4
    assert len({t.value for t in done}) == 1 and done[0].value > 0.5  # type: ignore[operator]


@pytest.mark.parametrize(
    ("lack", "said"),
    [
        (OSError("the network drive is away"), "the network drive is away"),
        (MemoryError("no room"), "no room"),
        (torch.OutOfMemoryError("CUDA out of memory"), "CUDA out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "can't allocate memory"),
    ],
)
def test_what_is_no_fault_of_the_settings_is_no_trial(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lack: Exception, said: str
) -> None:
    def train(*given: Any, **named: Any) -> None:
        raise lack

    with monkeypatch.context() as patched:
        patched.setattr(Template, "train", train)
        with pytest.raises(UserError, match=f"{said}.*the same command goes on"):
            make(plan(), 2)
    assert files("out") == {}
    assert [trial.message for trial in make(plan(), 2)] == ["", ""]


def test_trials_of_own_code_that_has_changed_are_not_taken_for_the_new_ones(folder: Path) -> None:
    code = "from cl_bnn.strategies import STEStrategy\n\n\nclass Mine(STEStrategy):\n    pass\n"
    recipe = 'title = "Mine"\nbuild = "searched_code:Mine"\n[defaults]\nlr = 1e-2\n'
    (folder / "mine.toml").write_text(f"{recipe}[search]\nlr = {{low = 1e-3, high = 1e-1}}\n")
    (folder / "searched_code.py").write_text(code)
    assert len(make(plan(strategy="./mine.toml"), 1)) == 1
    (folder / "searched_code.py").write_text(f"{code}\n# mended\n")
    del sys.modules["searched_code"]  # another process would read it anew
    digest_of_code.cache_clear()
    with pytest.raises(UserError, match=r"is of a search with own_files\.searched_code\.py = "):
        make(plan(strategy="./mine.toml"), 1)


def test_trials_of_other_arrays_are_not_taken_for_the_new_ones(folder: Path) -> None:
    assert len(make(plan(), 1)) == 1
    with np.load("few.npz") as file:
        arrays = dict(file)
    np.savez("few.npz", **arrays | {"y_train": arrays["y_train"][::-1]})
    with pytest.raises(UserError, match=r"is of a search with own_files\.few\.npz = "):
        make(plan(), 1)


def test_a_value_that_the_class_refuses_fails_its_trial(folder: Path) -> None:
    write_strategy(folder, "lr = {low = -1.0, high = 1e-2}")
    made = make(plan(), 3)
    assert not made[0].message
    assert all("lr must be > 0, got -" in t.message for t in made[1:])


def test_the_command_says_so_if_all_failed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = STRATEGY.format(search="lr = {low = -1.0, high = 1e-2}")
    (folder / "searched.toml").write_text(text.replace("lr = 1e-3", "lr = -0.5"))
    words = ["search", "./split.toml", "--strategy", "./searched.toml", "--trials", "1"]
    assert cli.main(words) == 2
    assert "all 1 trials failed, the first: " in capsys.readouterr().err


# What cannot be searched -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strategy": "constant"}, "constant: nothing to be searched, its recipe has no .search."),
        ({"lr": 1e-2}, "searched: nothing to be searched, all that it has is set by --set"),
        ({"schedule": "sometimes"}, "schedule = 'sometimes': expected one of"),
        ({"stream__validation": 0.0}, "held-out training data, and this stream holds none out"),
        ({"stream__validation": 2.0}, r"validation must be in \[0, 1\), got 2.0"),
        ({"benchmark": "gone"}, "cannot read the recipe"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(**given)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr = {low = 1e-2, high = 1e-1}", r"lr = 0.001 lies outside of its \[search\], 0.01 to 0"),
        ('schedule = {choices = ["constant", "cosin"]}', "schedule = 'cosin': expected one of"),
        ("lr = {choices = [0.001, 'x']}", "lr = 'x': expected a finite number"),
    ],
)
def test_a_search_that_does_not_suit_the_class(folder: Path, text: str, message: str) -> None:
    write_strategy(folder, text)
    with pytest.raises(UserError, match=message):
        plan()


def test_the_recipes_own_value_is_one_of_the_choices(folder: Path) -> None:
    write_strategy(folder, 'schedule = {choices = ["cosine"]}')
    assert plan().space["schedule"].extremes == ("cosine", "constant")


def test_what_is_set_is_not_searched() -> None:
    planned = plan(strategy="ste+ewc", ewc__labels="true", lr=1e-2)
    assert list(planned.space) == ["schedule", "backward", "ewc.strength"]
    assert planned.spec({"ewc.strength": 3.0}).plugins["ewc"]["labels"] == "true"


def test_streams_without_held_out_images() -> None:
    with pytest.raises(UserError, match="held-out training data, and this stream holds none out"):
        trials.plan("two_moons", "ste", {}, [0], 3, Path("out"), None)


def test_held_out_images_of_the_benchmark_itself_are_taken() -> None:
    planned = trials.plan(
        "./single.toml", "ste", {"stream.validation": 0.2}, [0], 3, Path("out"), None
    )  # noqa: E501
    assert planned.added == {} and planned.seen == planned.n_tasks == 1
    assert trials.plan("mnist_small", "ste", {}, [0], 3, Path("out"), None).added == {}
    assert plan().added == {"stream.validation": 0.1}


def test_another_search_is_on_file(folder: Path) -> None:
    make(plan(), 1)
    with pytest.raises(UserError, match=r"search.json is of a search with seeds = \[1000\], not"):
        make(plan(seeds=(5,)), 1)
    with pytest.raises(UserError, match="tasks_seen = 3, not 2"):
        make(plan(tasks_seen=2), 1)
    write_strategy(folder, LR.replace("1e-4", "1e-5"))
    with pytest.raises(UserError, match="space.lr.low = 0.0001, not 1e-05"):
        make(plan(), 1)
    assert make(plan(out="another"), 1)


def test_two_processes_do_not_make_the_same_search() -> None:
    def second(event: Event) -> None:
        if event.kind == "started":
            with pytest.raises(UserError, match="the search split.*under way in another process"):
                make(plan(), 1)

    assert not make(plan(), 1, on_event=second)[0].message


def test_a_damaged_trial_is_named() -> None:
    planned = plan()
    make(planned, 1)
    path = planned.folder / "trial000.json"
    path.write_text("{")
    with pytest.raises(UserError, match="trial000.json is damaged"):
        make(planned, 1)


def test_without_optuna_one_line_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert cli.main(["search", "./split.toml", "--strategy", "./searched.toml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "cl-bnn: error: a search needs Optuna: pip install 'cl_bnn[search]'"


def test_processes_of_torchrun_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="cannot share a search"):
        make(plan(), 1)


# Ordinary runs -----------------------------------------------------------------------------------


def test_ordinary_runs_say_nothing_of_searches() -> None:
    (run,) = runner.plan("./split.toml", ["ste"], [0], {}, "task", Path("all"))
    assert "tasks_seen" not in run.as_dict() and "validation" not in run.spec.stream
    assert run.spec == recipes.resolve(
        recipes.load_benchmark("./split.toml"), recipes.load_strategy("ste"), {}
    )
    stream = permuted(data="few.npz", n_experiences=2)
    assert not stream.validation and stream.test


def test_proposals_of_every_kind_of_axis(folder: Path) -> None:
    """Whole numbers on their steps, choices as they are, and all of them sooner or later."""
    write_strategy(folder, LR + '\nschedule = {choices = ["constant", "cosine"]}')
    planned = plan()
    made = [search.proposal(search.load(), planned, [], k) for k in range(1, 20)]
    assert {settings["schedule"] for settings in made} == {"constant", "cosine"}
    assert len({settings["lr"] for settings in made}) == 19
    whole: dict[str, Value] = dict(search.proposal(search.load(), planned, [], 0))
    assert whole == {"lr": 1e-3, "schedule": "constant"}
    pmf = trials.plan("./split.toml", "pmf", {}, [0], 3, Path("out"), None)
    steps = [search.proposal(search.load(), pmf, [], k)["beta_every"] for k in range(1, 20)]
    assert all(type(step) is int and 5 <= step <= 200 for step in steps)
