"""Sweeps: the product, failures that stop nobody, and the same files from a Ray cluster."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import recipe

from cl_bnn import cli, estimate, outcome, planning, results, runner, sweep
from cl_bnn.errors import UserError
from cl_bnn.estimate import Estimate
from cl_bnn.events import Event
from cl_bnn.execution import Execution
from cl_bnn.machine import find_device
from cl_bnn.run import Run
from cl_bnn.strategies import EWC

SHORT = {"epochs": 1, "stream.n_experiences": 2}
# A strategy that its plugin refuses when training begins.
REFUSED = "bayesbinn+si_avalanche"


def swept(folder: Path, strategies: list[str], out: str = "out", seeds: tuple[int, ...] = (0,)):
    return sweep.plan([recipe(folder)], strategies, [], seeds, SHORT, "task", folder / out)


def carry_out(runs: list[Run], engine: str = "processes", jobs: int = 1) -> list[Event]:
    events: list[Event] = []
    sweep.run_all(
        runs, jobs=jobs, device="cpu", data_root=None, on_event=events.append, engine=engine,
        address=None,
    )  # fmt: skip
    return events


def kinds(events: list[Event], *wanted: str) -> list[tuple[str, str]]:
    return [(event.kind, event.run.split("/")[-2]) for event in events if event.kind in wanted]


def test_the_product_has_every_pair_early_and_scenarios_where_there_are_some() -> None:
    runs = sweep.plan(
        ["split_mnist", "two_moons"], ["ste", "adam"], ["domain", "class"], [0, 1], {}, "task",
        Path("out"),
    )  # fmt: skip
    assert [run.seed for run in runs] == [0] * 6 + [1] * 6
    assert [run.spec.benchmark for run in runs[:6:2]] == [
        "split_mnist[scenario=domain]", "split_mnist[scenario=class]", "two_moons",
    ]  # fmt: skip
    with pytest.raises(UserError, match="nothing to be run"):
        sweep.plan([], ["ste"], [], [0], {}, "task", Path("out"))


def test_a_grid_is_every_combination_of_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Run] = []
    monkeypatch.setattr(cli, "_carry_out", lambda runs, *rest, **how: found.extend(runs))
    words = ["sweep", "--strategies", "ste", "--benchmarks", "split_mnist,permuted_mnist"]
    words += ["--grid", "lr=0.01, 0.1,0.1", "--grid", "model.norm=layer,batch", "--scenarios"]
    assert cli.main([*words, "domain,class"]) == 0
    names = [run.name.removesuffix("/seed0") for run in found]
    assert len(names) == len(set(names)) == 2 * 2 * (2 + 1)
    assert names[0] == "split_mnist[norm=layer,scenario=domain]/ste"  # 0.01 is the recipe's own
    assert "permuted_mnist[norm=batch]/ste[lr=0.1]" in names
    assert cli.main(["sweep", "--strategies", "metaplastic", "--benchmarks", "split_mnist",
                     "--grid", "meta=[1.0, 2.0, 3.0],0.5"]) == 0  # fmt: skip
    assert [run.spec.settings["meta"] for run in found[-2:]] == [[1.0, 2.0, 3.0], 0.5]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grid", "lr="], "expected KEY=A,B, as in lr=1e-3,1e-2"),
        (["--grid", "lr=1,,2"], "expected KEY=A,B"),
        (["--grid", "lr=0.1,0.2", "--set", "lr=0.3"], "--grid lr: is set as well; give one or"),
        (["--grid", "lrr=0.1,0.2"], "lrr: no setting of"),
        (
            ["--grid", "lr=0.1", "--grid", "lr=0.2"],
            "--grid lr: is there twice; give all its value",
        ),
        (
            ["--grid", "stream.scenario=task,class", "--scenarios", "domain"],
            "--grid stream.scenario: is set as well",
        ),
        (
            ["--set", "stream.scenario=task", "--scenarios", "domain"],
            "--scenarios: stream.scenario is set as well",
        ),
    ],
)
def test_a_grid_that_will_not_do_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "--strategies", "ste", "--benchmarks", "split_mnist", *words]
    assert cli.main(command) == 2
    assert message in capsys.readouterr().err


def test_scenarios_are_those_of_the_stream_whether_or_not_its_recipe_names_one(
    tmp_path: Path,
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'title = "Mine"\nepochs = 1\nbatch_size = 10\n[stream]\nbuild = "cl_bnn.benchmarks:split"\n'
        '[model]\nbuild = "cl_bnn.nn:mlp"\nwidth = 8\n'
    )
    found = sweep.plan([str(mine)], ["ste"], ["task", "class"], [0], {}, "task", Path("out"))
    labels = [run.spec.benchmark for run in found]
    assert labels == ["mine[scenario=task]", "mine[scenario=class]"]
    with pytest.raises(UserError, match="--scenarios: none of permuted_mnist has scenarios"):
        sweep.plan(["permuted_mnist"], ["ste"], ["task"], [0], {}, "task", Path("out"))


BROKEN = """
from cl_bnn.strategies import STEStrategy
class Broken(STEStrategy):
    def __init__(self, **settings):
        super().__init__(**settings)
        [][0]
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_strategy_with_a_mistake_of_its_own_does_not_stop_the_others(
    tmp_path: Path, jobs: int
) -> None:
    (tmp_path / f"mine{jobs}.py").write_text(BROKEN)
    path = tmp_path / "broken.toml"
    path.write_text(f'title = "Broken"\nbuild = "mine{jobs}:Broken"\n')
    events = carry_out(swept(tmp_path, [str(path), "ste"]), jobs=jobs)
    assert sorted(kinds(events, "failed", "finished")) == [
        ("failed", "broken"),
        ("finished", "ste"),
    ]
    (failed,) = (event for event in events if event.kind == "failed")
    assert failed.text.startswith("IndexError: list index out of range (")
    assert f"mine{jobs}.py, line 6)" in failed.text


def test_an_edited_file_does_not_stop_the_others(tmp_path: Path) -> None:
    (first,) = swept(tmp_path, ["ste"])
    carry_out([first])
    first.path.write_text(first.path.read_text() + "x")
    events = carry_out(swept(tmp_path, ["ste", "adam"]))
    assert kinds(events, "failed", "finished") == [("failed", "ste"), ("finished", "adam")]


def test_where_a_run_failed_no_older_numbers_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of a recipe that had the same name."""
    names = ("s ", "adam ")
    path, words = tmp_path / "s.toml", ["--epochs", "1", "--no-plot", "--out", str(tmp_path / "o")]
    command = ["sweep", "--benchmarks", recipe(tmp_path), "--strategies", f"{path},adam", *words]
    for lr in (0.1, 0.2):
        path.write_text(
            f'title = "S"\nbuild = "cl_bnn.strategies:STEStrategy"\n[defaults]\nlr = {lr}\n'
        )
        capsys.readouterr()
        assert cli.main(command) == (0 if lr == 0.1 else 2)
        said = capsys.readouterr()
        shown = {line.split()[0] for line in said.out.splitlines() if line.startswith(names)}
        assert shown == ({"s", "adam"} if lr == 0.1 else {"adam"})
    assert "1 of 2 runs failed" in said.err


@pytest.mark.parametrize(
    ("address", "found", "message"),
    [
        (None, "local", "Ray did not start: no Ray cluster is there that fits (another Python)"),
        ("auto", "auto", "--address auto: no Ray cluster is there that fits (another Python)"),
    ],
)
def test_a_cluster_that_does_not_fit_is_one_line(
    monkeypatch: pytest.MonkeyPatch, address: str | None, found: str, message: str
) -> None:
    asked: list[str] = []

    def init(address: str, **options: Any) -> None:
        asked.append(address)
        raise RuntimeError("another Python")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with pytest.raises(UserError) as error, sweep._cluster(2, address):
        pass
    assert str(error.value).startswith(message) and asked == [found]


def test_an_address_is_one_of_a_ray_cluster(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--address auto names a Ray cluster: add --engine ray"):
        sweep.run_all(
            swept(tmp_path, ["ste"]), jobs=1, device="cpu", data_root=None, engine="processes",
            on_event=lambda event: None, address="auto",
        )  # fmt: skip


def test_figures_of_several_benchmarks_are_those_of_all_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[bool] = []
    monkeypatch.setattr(outcome, "draw", lambda *_, **how: together.append(how["together"]))
    (first,) = swept(tmp_path, ["adam"])
    carry_out([first])
    outcome.sum_up([first], first.out, drawn=True)
    (other,) = runner.plan(recipe(tmp_path), ["adam"], [0], {"epochs": 2}, "task", first.out)
    carry_out([other])
    outcome.sum_up([first], first.out, drawn=True)
    outcome.sum_up([first, other], first.out, drawn=True)
    assert together == [True, False, True]


@pytest.mark.parametrize(
    ("device", "resources", "share"),
    [
        ("auto", {"CPU": 8.0}, 0), ("cpu", {"CPU": 8.0, "GPU": 2.0}, 0),
        ("cuda", {"CPU": 8.0, "GPU": 2.0}, 0.25), ("auto", {"CPU": 1.0, "GPU": 4.0}, 1),
        ("cpu", {}, 0), ("auto", {"GPU": 4.0}, 1),  # of workers that are yet to come
    ],
)  # fmt: skip
def test_runs_on_ray_share_the_gpus(device: str, resources: dict[str, float], share: float) -> None:
    ray = SimpleNamespace(cluster_resources=lambda: resources)
    assert sweep._share_of_gpus(ray, device) == share


def test_the_same_run_is_planned_once_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    assert len(swept(tmp_path, ["ste", "ste", "adam"])) == 2
    for folder, lr in (("a", 0.1), ("b", 0.2)):
        (tmp_path / folder).mkdir()
        text = f'title = "S"\nbuild = "cl_bnn.strategies:STEStrategy"\n[defaults]\nlr = {lr}\n'
        (tmp_path / folder / "s.toml").write_text(text)
    with pytest.raises(UserError, match=r"settings\.lr = 0\.1 and with 0\.2: give one of the rec"):
        swept(tmp_path, [str(tmp_path / folder / "s.toml") for folder in ("a", "b")])


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path, jobs: int) -> None:
    runs = swept(tmp_path, [REFUSED, "ste"])
    events = carry_out(runs, jobs=jobs)
    assert sorted(kinds(events, "failed", "finished")) == [
        ("failed", REFUSED), ("finished", "ste"),
    ]  # fmt: skip
    (failed,) = (event for event in events if event.kind == "failed")
    assert "take ste, bop, pmf or full precision" in failed.text
    again = carry_out(runs, jobs=jobs)
    assert sorted(kinds(again, "failed", "skipped")) == [
        ("failed", REFUSED), ("skipped", "ste"),
    ]  # fmt: skip


def test_the_command_tells_of_failures_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "--benchmarks", recipe(tmp_path), "--strategies", f"{REFUSED},ste"]
    words += ["--tasks", "2", "--epochs", "1", "--out", str(tmp_path / "out"), "--no-plot"]
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert "/ ste: accuracy" in out
    assert err.startswith("cl-bnn: error: 1 of 2 runs failed") and err.count("\n") == 1


def test_a_ray_cluster_of_two_nodes_writes_the_same_files(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    from ray.cluster_utils import Cluster

    here = swept(tmp_path, ["ste", "adam"], "here", (0, 1))
    carry_out(here)
    there = swept(tmp_path, ["ste", "adam", REFUSED], "there", (0, 1))
    events: list[Event] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        try:
            cluster.add_node(num_cpus=1)
            cluster.wait_for_nodes()
            sweep.run_all(
                there, jobs=1, device="cpu", data_root=None, on_event=events.append, engine="ray",
                address=cluster.address,
            )  # fmt: skip
        finally:
            cluster.shutdown()
    assert not ray.is_initialized()
    ended = kinds(events, "finished", "failed")
    assert sorted(ended) == sorted(
        [("finished", "ste"), ("finished", "adam"), ("failed", REFUSED)] * 2
    )
    for run in here:
        twin = Path(str(run.path).replace("/here/", "/there/"))
        assert twin.read_bytes() == run.path.read_bytes()
        assert results.finished(twin, run.as_dict())


def test_without_ray_one_line_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'cl_bnn\[ray\]'"):
        carry_out(swept(tmp_path, ["ste"]), engine="ray")


# How long it will take ---------------------------------------------------------------------------


@pytest.mark.parametrize("eval_every", ["task", "epoch"])
@pytest.mark.parametrize("strategy", ["ste", "joint"])
def test_an_estimate_counts_the_evaluations_of_the_run(
    tmp_path: Path, strategy: str, eval_every: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    measure: Callable[..., Any] = Execution._measure

    def counted(self: Execution, n_tasks: int) -> Any:
        measured.append(n_tasks)
        return measure(self, n_tasks)

    overrides = {"epochs": 3, "stream.n_experiences": 3}
    if strategy == "joint":
        overrides["eval_samples"] = 2
    (run,) = runner.plan(recipe(tmp_path), [strategy], [0], overrides, eval_every, tmp_path / "out")
    found = Estimate(run, find_device("cpu"), None)
    assert 0 < found.expected() < 600
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(Execution, "_measure", counted)
    runner.run_all([run], jobs=1, device="cpu", data_root=None, on_event=lambda event: None)
    assert sum(measured) == found._evaluations()


def test_a_test_set_that_all_tasks_share_is_expected_once_a_task(tmp_path: Path) -> None:
    (run,) = runner.plan(recipe(tmp_path), ["ste"], [0], {"epochs": 1}, "task", tmp_path / "out")
    found = Estimate(run, find_device("cpu"), None)
    found.expected()
    assert (found._evaluations(), found._doubts()) == (4 * 3, 2 + 3 + 3)
    found.stream = replace(found.stream, same_test=True)
    assert (found._evaluations(), found._doubts()) == (4, 3)


def test_an_estimate_adds_up_steps_ends_of_tasks_and_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that only these move: a step takes 2 s, with EWC's penalty 3 s, the end of a
    task 7 s, a test set 5 s, and its uncertainty 1 s.
    """
    now = [0.0]
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: now[0])
    step: Callable[..., None] = Estimate.after_training_iteration
    ends: list[int] = []

    def stepped(self: Estimate, strategy: Any, **kwargs: Any) -> None:
        now[0] += 3.0 if ends else 2.0
        step(self, strategy, **kwargs)

    def ended(self: EWC, strategy: Any, **kwargs: Any) -> None:
        ends.append(len(strategy.dataloader))
        now[0] += 7.0

    def measured(self: Execution, n_tasks: int) -> dict[int, dict[str, float]]:
        now[0] += 5.0 * n_tasks
        return {}

    def unsure(self: Execution) -> dict[int, dict[str, float]]:
        now[0] += 1.0 * min(self.last_task + 2, self.stream.n_tasks)
        return {}

    monkeypatch.setattr(Estimate, "after_training_iteration", stepped)
    monkeypatch.setattr(EWC, "after_training_exp", ended)
    monkeypatch.setattr(Execution, "_measure", measured)
    monkeypatch.setattr(Execution, "_unsure", unsure)
    overrides = {"epochs": 6, "stream.n_experiences": 4}
    (run,) = runner.plan(recipe(tmp_path), ["ste+ewc"], [0], overrides, "task", tmp_path / "out")
    found = Estimate(run, find_device("cpu"), None)
    expected = found.expected()
    assert ends == [7, 7]  # batches of an epoch, of which 6 have more than are timed
    training = (6 * 7 + estimate.WARM_STEPS) * (2.0 + 3 * 3.0) + 4 * 7.0
    assert expected == training + 5 * 4 * 5.0 + (2 + 3 + 4 + 4) * 1.0


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.4, "3 s"), (89.0, "89 s"), (600.0, "10 min"), (9000.0, "2.5 h")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert planning.in_words(seconds) == words


def test_a_dry_run_tells_the_time_of_what_is_not_on_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "expected", lambda *given: 1200.0)
    runs = swept(tmp_path, ["ste"], seeds=(0, 1, 2))
    carry_out(runs[:1])
    planning.show(runs, 2, "cpu", None)
    printed = capsys.readouterr().out
    assert f"{runs[0].path} (on file)\n" in printed and f"{runs[1].path}\n" in printed
    assert "expected time: about 20 min a run, 2 to be run" in printed
    assert printed.endswith("expected time of all: about 20 min (--jobs 2)\n")


def test_a_dry_run_refuses_what_no_run_accepts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once all is printed: what can be run has its time."""
    times = iter([60.0, UserError("lr must be > 0, got -1.0"), 120.0])

    def expected(*given: object) -> float:
        found = next(times)
        if isinstance(found, UserError):
            raise found
        return found

    monkeypatch.setattr(planning, "expected", expected)
    with pytest.raises(UserError) as caught:
        planning.show(swept(tmp_path, ["ste", "adam", "bop"], seeds=(0,)), 1, "cpu", None)
    told = str(caught.value)
    assert (
        told.startswith("1 of 3 runs cannot be run, tiny[") and "/adam/seed0 first: lr must" in told
    )
    printed = capsys.readouterr().out
    assert "cannot be run: lr must be > 0, got -1.0\n" in printed
    assert "about 60 s a run" in printed and "about 2 min a run" in printed
    assert "expected time of all" not in printed


def test_a_dry_run_tells_of_files_that_are_another_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "expected", lambda *given: 60.0)
    first, second = swept(tmp_path, ["ste", "adam"], seeds=(0,))
    carry_out([first])
    first.path.write_text(first.path.read_text() + "\n")
    with pytest.raises(UserError, match=r"1 of 2 runs cannot be run, .*/ste/seed0 first: .* was e"):
        planning.show([first, second], 1, "cpu", None)
    printed = capsys.readouterr().out
    assert f"{first.path} (cannot be run)\n" in printed
    assert (
        printed.index("/ste\n")
        < printed.index("nothing of it is to be run")
        < printed.index("/adam\n")
    )
    assert "about 60 s a run, 1 to be run" in printed


def test_a_dry_run_without_the_data_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "cifar10", "--strategy", "ste", "--dry-run", "--data-root", str(tmp_path)]
    assert cli.main(words) == 0
    assert "time unknown: CIFAR-10 is not in" in capsys.readouterr().out
