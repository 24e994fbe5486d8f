import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import cl_bnn
from cl_bnn import recipes, results
from cl_bnn.arguments import _names, parse
from cl_bnn.cli import COMMANDS, main
from cl_bnn.errors import UserError
from cl_bnn.events import Event
from cl_bnn.progress import _Bars, line, progress
from cl_bnn.run import EvalEvery, Run


class FakeRunner(types.ModuleType):
    """Plans real recipes, and instead of training writes accuracies that are known."""

    def __init__(self) -> None:
        super().__init__("cl_bnn.runner")
        self.planned: tuple[Any, ...] = ()
        self.options: dict[str, Any] = {}

    def plan(
        self,
        benchmark: str,
        strategies: list[str],
        seeds: list[int],
        overrides: dict[str, object],
        eval_every: EvalEvery,
        out: Path,
    ) -> list[Run]:
        self.planned = benchmark, strategies, seeds, overrides, eval_every, out
        on = recipes.load_benchmark(benchmark)
        specs = [recipes.resolve(on, recipes.load_strategy(n), overrides) for n in strategies]
        return [Run(spec, seed, eval_every, out) for spec in specs for seed in seeds]

    def run_all(
        self, runs: list[Run], *, on_event: Callable[[Event], None], **options: Any
    ) -> None:
        self.options = options
        for run in runs:
            on_event(Event(run.name, "started", n_tasks=2, n_epochs=1))
            key = run.spec.benchmark, run.spec.strategy, run.seed
            rows = [
                results.Row(*key, after, on, None, "accuracy", 0.5 + 0.25 * (after == on))
                for after in (0, 1)
                for on in (0, 1)
            ]
            results.write(run.path, rows, run.as_dict(), {})
            on_event(Event(run.name, "task", task=1, n_tasks=2, accuracy=0.625))
            on_event(Event(run.name, "finished"))


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, untimed: None) -> FakeRunner:
    fake = FakeRunner()
    monkeypatch.setitem(sys.modules, "cl_bnn.runner", fake)
    monkeypatch.setattr(cl_bnn, "runner", fake, raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):  # either makes rich believe in a terminal
        monkeypatch.delenv(name, raising=False)
    return fake


def run(*words: str) -> int:
    return main(["run", "split_mnist", "--strategy", "bayesbinn", *words])


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr, without the program's name."""
    captured = capsys.readouterr().err
    assert captured.startswith("cl-bnn: error: ")
    assert captured.count("\n") == 1
    return captured.removeprefix("cl-bnn: error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "a command is missing: one of run, sweep, list"),
        ("rum", "unknown command 'rum'; did you mean 'run'? known: bench, "),
        ("--frob", "unknown argument '--frob'"),
        ("run", "the following arguments are required: BENCHMARK"),
        ("run split_mnist", "--strategy NAME is missing"),
        ("run split_mnist --strategy ,", "--strategy NAME is missing"),
        ("run split_mnist --strategi ste", "did you mean '--strategy'?"),
        ("run split_mnist --strategy ste --see 3", "did you mean '--seeds'?"),
        ("run split_mnist --strategy ste extra", "unknown argument 'extra'"),
        ("run split_mnist --strategy ste --seeds 0", "'0': expected a number of seeds, as 5"),
        ("run split_mnist --strategy ste --seeds 1,x", "argument --seeds: '1,x': expected"),
        ("run split_mnist --strategy ste --seeds 1,-3", "argument --seeds: '1,-3': expected"),
        ("run split_mnist --strategy ste --seeds 99999999999", "'99999999999': expected a number"),
        ("run split_mnist --strategy ste --seeds 4294967295,", "'4294967295,': expected a number"),
        ("run split_mnist --strategy ste --seeds ,", "argument --seeds: ',': expected"),
        ("run split_mnist --strategy ste --jobs 0", "'0': expected a whole number of at least 1"),
        ("run split_mnist --strategy ste --epochs 1.5", "'1.5': expected a whole number"),
        ("run split_mnist --strategy ste --tasks -1", "'-1': expected a whole number"),
        ("run split_mnist --strategy ste --set lr", "'lr': expected KEY=VALUE, as in lr=1e-3"),
        ("run split_mnist --strategy ste --set =3", "'=3': expected KEY=VALUE"),
        ("run split_mnist --strategy ste --device gpu", "invalid choice: 'gpu'"),
        ("run split_mnist --strategy ste --eval-every day", "invalid choice: 'day'"),
        ("report a b", "unknown argument 'b'"),
        ("data", "the following arguments are required: action"),
        ("data frob", "invalid choice: 'frob'"),
        ("data fetch", "data fetch: which data set? known: mnist"),
        ("data fetch mnits", "unknown data set 'mnits'; did you mean 'mnist'?"),
        ("report /no/where", "no results in /no/where"),
        ("plot /no/where", "no results in /no/where"),
    ],
)
def test_misuse_is_one_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert message in error(capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run split_mnits --strategy ste", "unknown benchmark 'split_mnits'; did you mean"),
        ("run split_mnist --strategy stee", "unknown strategy 'stee'; did you mean 'ste'?"),
        ("run split_mnist --strategy ./none.toml", "none.toml: cannot read the recipe"),
        ("run split_mnist --strategy ste --set streem.x=1", "did you mean 'stream'?"),
    ],
)
def test_unknown_names(
    words: str, message: str, runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    assert message in error(capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--scenario tsk", "stream.scenario = 'tsk': expected one of 'task', 'domain', 'class'"),
        ("--set lrr=1", "lrr: no setting of"),
        ("--set lr=fast", "lr = 'fast': expected a finite number"),
        (
            "--set batch_size=1 --set model.norm=batch",
            "learns from the images of a batch, and b",
        ),
        (f"--set lr={'x' * 300}", "put settings as long as these into a recipe file"),
        ("--set lr=-1", "lr must be > 0, got -1.0"),
        ("--set model.width=0.5", "model.width = 0.5: expected a whole number"),
    ],
)
def test_the_real_runner_refuses_before_it_trains(
    words: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words.split(), "--tasks", "1", "--epochs", "1") == 2
    assert message in error(capsys)
    assert not list(tmp_path.rglob("seed*.csv"))


def test_a_run_prints_tables_paths_and_figures(
    runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--seeds", "2") == 0
    printed = capsys.readouterr().out
    assert "split_mnist/bayesbinn/seed1: finished" in printed
    assert "50.0" in printed and "75.0" in printed  # the accuracy matrix, in percent
    assert "62.5" in printed  # ACC
    assert "runs/split_mnist/bayesbinn/seed1.csv" in printed.splitlines()
    figures = [Path(text) for text in printed.splitlines() if text.endswith((".png", ".svg"))]
    assert figures
    assert all(path.stat().st_size for path in figures)


def test_a_terminal_gets_bars_and_framed_tables(
    runner: FakeRunner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    assert run("--no-plot") == 0
    printed = capsys.readouterr().out
    assert "┏" in printed
    assert "\x1b[?25l" in printed, "bars hide the cursor while they move"
    assert "62.5" in printed


def test_no_plot_draws_nothing(
    runner: FakeRunner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--no-plot") == 0
    assert ".png" not in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.png"))


def test_the_tables_show_only_the_runs_asked_for(
    runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--seeds", "3", "--no-plot") == 0
    capsys.readouterr()
    assert run("--seeds", "1,", "--no-plot") == 0
    assert "mean of 1 seed" in capsys.readouterr().out


def test_dry_run_prints_the_plan_and_writes_nothing(
    runner: FakeRunner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--seeds", "0,3", "--set", "lr=0.01", "--dry-run") == 0
    printed = capsys.readouterr().out
    name = "split_mnist/bayesbinn[lr=0.01]/seed3"
    assert f"{name} -> runs/{name}.csv" in printed
    assert "'lr': 0.01" in printed
    assert runner.options == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("1", [0]), ("3", [0, 1, 2]), ("0,3,7", [0, 3, 7]), ("4,", [4]), ("2,2,1", [2, 1])],
)
def test_seeds(text: str, seeds: list[int], runner: FakeRunner) -> None:
    assert run("--seeds", text, "--dry-run") == 0
    assert runner.planned[2] == seeds


def test_without_options_there_is_one_seed(runner: FakeRunner) -> None:
    assert run("--no-plot") == 0
    assert runner.planned == ("split_mnist", ["bayesbinn"], [0], {}, "task", Path("runs"))
    assert runner.options == {"jobs": 1, "device": "auto", "data_root": None}


def test_strategies_by_comma_and_by_repetition(runner: FakeRunner) -> None:
    assert run("--strategy", "ste,adam", "--dry-run") == 0
    assert runner.planned[1] == ["bayesbinn", "ste", "adam"]


def test_settings_are_read_as_toml_or_else_as_text(runner: FakeRunner) -> None:
    words = ["lr=1e-2", "mc_samples=3", "posterior_as_prior=false", "average=logits", "x=a=b"]
    words += ['mode="sound"', "y=2020-01-01", "model.width=7"]
    assert run(*(word for text in words for word in ("--set", text)), "--dry-run") == 0
    assert runner.planned[3] == {
        "lr": 0.01,
        "mc_samples": 3,
        "posterior_as_prior": False,
        "average": "logits",
        "x": "a=b",
        "mode": "sound",
        "y": "2020-01-01",
        "model.width": 7,
    }


def test_short_forms_win_over_set(runner: FakeRunner) -> None:
    words = "--tasks 2 --epochs 1 --scenario class --set stream.n_experiences=3 --set epochs=9"
    assert run(*words.split(), "--dry-run") == 0
    assert runner.planned[3] == {
        "stream.n_experiences": 2,
        "epochs": 1,
        "stream.scenario": "class",
    }


def test_runners_options(runner: FakeRunner, tmp_path: Path) -> None:
    words = f"--jobs 2 --device cpu --data-root {tmp_path} --eval-every epoch --out o --no-plot"
    assert run(*words.split()) == 0
    assert runner.options == {"jobs": 2, "device": "cpu", "data_root": tmp_path}
    assert runner.planned[4:] == ("epoch", Path("o"))


def test_a_users_recipe_file(runner: FakeRunner, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('title = "Mine"\nbuild = "mine:Learner"\n')
    assert main(["run", "split_mnist", "--strategy", "./mine.toml", "--no-plot"]) == 0
    assert (tmp_path / "runs/split_mnist/mine/seed0.csv").exists()


def test_a_recipe_file_with_broken_toml(
    runner: FakeRunner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.toml").write_text('title = "Bad"\nbuild = nothing\n')
    assert main(["run", "split_mnist", "--strategy", "bad.toml"]) == 2
    assert "bad.toml: broken TOML: Invalid value (at line 2, column 9)" in error(capsys)


def test_cuda_without_cuda(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert run("--device", "cuda") == 2
    assert "--device cuda: torch finds no CUDA device" in error(capsys)
    assert list(tmp_path.iterdir()) == []


def test_an_output_directory_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert run("--out", "file/below") == 2
    message = error(capsys)
    assert "file/below" in message and "Not a directory" in message


def test_a_results_file_edited_by_hand(
    runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--no-plot") == 0
    path = Path("runs/split_mnist/bayesbinn/seed0.csv")
    path.write_text(path.read_text().replace("0.75", "0.95"))
    capsys.readouterr()
    assert main(["report", "runs"]) == 2
    assert "seed0.csv" in error(capsys)


def test_report_and_plot_of_a_directory(
    runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--no-plot") == 0
    capsys.readouterr()
    assert main(["plot", "runs"]) == 0
    assert all(Path(text).exists() for text in capsys.readouterr().out.splitlines())
    assert main(["report", "runs"]) == 0
    assert capsys.readouterr().out == "runs/README.md\n"
    assert "62.5" in Path("runs/README.md").read_text()


def test_report_leaves_a_readme_of_ones_own_alone(
    runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--no-plot") == 0
    Path("runs/README.md").write_text("mine")
    assert main(["report", "runs"]) == 2
    assert "runs/README.md was not written by `cl-bnn report`" in error(capsys)
    assert Path("runs/README.md").read_text() == "mine"


def test_plot_of_some_strategies_goes_where_it_is_told(
    runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--no-plot", "--strategy", "ste,adam") == 0
    capsys.readouterr()
    assert main(["plot", "runs", "--benchmark", "split_mnist", "--out", "both"]) == 0
    both = capsys.readouterr().out.splitlines()
    assert main(["plot", "runs", "--strategies", "ste", "--out", "one"]) == 0
    one = capsys.readouterr().out.splitlines()
    assert "both/split_mnist_average.png" in both  # which needs two strategies
    assert "one/split_mnist_curves.png" in one and "one/split_mnist_average.png" not in one
    assert main(["plot", "runs", "--strategies", "ste"]) == 2
    assert "say with --out where they go" in error(capsys)
    assert not Path("runs/figures").exists()
    for option, name, near in (
        ("--benchmark", "split_mnits", "split_mnist"), ("--strategies", "ste,adma", "adam"),
    ):  # fmt: skip
        assert main(["plot", "runs", option, name, "--out", "one"]) == 2
        assert f"did you mean {near!r}" in error(capsys)


def test_compare_prints_and_writes_differences(
    runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--no-plot", "--strategy", "ste,adam", "--seeds", "2") == 0
    capsys.readouterr()
    assert main(["compare", "runs", "--strategies", "ste,adam", "--csv", "mine.csv"]) == 0
    table = "Differences to ste, paired by seed", "adam", "0.0 ± 0.0", "mine.csv"
    printed = capsys.readouterr().out
    assert all(text in printed for text in table)
    assert (
        Path("mine.csv").read_text().splitlines()[1].startswith("split_mnist,ACC,adam,ste,2,0.0,")
    )
    for words, message in (
        (["--strategies", "ste,adma"], "did you mean 'adam'"),
        (["--against", "ewc"], "no results of the strategy 'ewc'"),
        (
            ["--strategies", "ste"],
            "nothing in runs has ACC on the benchmark and with",
        ),
        (["--measure", "ACCC"], "unknown measure 'ACCC'; did you mean 'ACC'"),
    ):
        assert main(["compare", "runs", *words]) == 2
        assert message in error(capsys)


def test_list_shows_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for kind in ("benchmarks", "strategies"):
        assert f"{kind}:" in printed
        for name in recipes.names(kind):  # type: ignore[arg-type]
            assert f"  {name} " in printed


def test_data_list_and_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list", "--data-root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if line} >= {"mnist", "fashion_mnist", "cifar10"}
    assert main(["data", "verify", "mnist", "--data-root", str(tmp_path)]) == 0
    assert "mnist: every file in " in capsys.readouterr().out


def test_ctrl_c(
    runner: FakeRunner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_all", interrupted)
    assert run() == 130
    captured = capsys.readouterr().err
    assert (
        "interrupted: the same command continues from the epoch saved last, if one was" in captured
    )


def test_an_error_within_a_run(
    runner: FakeRunner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise UserError("task 2 holds one class")

    monkeypatch.setattr(runner, "run_all", refused)
    assert run() == 2
    assert error(capsys) == "task 2 holds one class"


@pytest.mark.parametrize(
    "raised", [MemoryError(), RuntimeError("CUDA out of memory.\nTried to allocate 20.00 MiB")]
)
def test_want_of_memory_is_one_line(
    runner: FakeRunner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    raised: Exception,
) -> None:  # fmt: skip
    def refused(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(runner, "run_all", refused)
    assert run() == 2
    assert error(capsys).startswith("not enough memory: take a smaller network or batch_size")


def test_a_path_that_the_system_refuses_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    name = 300 * "x"
    assert main(["run", "mnist_small", "--strategy", f"{name}.toml"]) == 2
    assert error(capsys) == f"{name}.toml: File name too long"


def test_commas_in_brackets_belong_to_a_label() -> None:
    assert _names("ste[clamp=2.0,lr=0.1],adam,") == ["ste[clamp=2.0,lr=0.1]", "adam"]


def test_commas_in_the_name_of_a_file_belong_to_it(tmp_path: Path) -> None:
    path = tmp_path / "s, t.toml"
    assert _names(f"{path}") == [str(tmp_path / "s"), " t.toml"]
    path.touch()
    assert _names(f"{path}") == [str(path)]
    assert len(_names(",".join(["ste"] * 100 + ["mine.toml"]))) == 101


def test_lists_of_a_sweep_by_comma_and_by_repetition() -> None:
    words = [
        "sweep",
        "--strategies",
        "ste,bop",
        "--strategies",
        "adam",
        "--benchmarks",
        "a",
        "--benchmarks",
        "b",
    ]
    found = parse([*words, "--scenarios", "task", "--scenarios", "class"], COMMANDS)
    assert (found.strategies, found.benchmarks) == (["ste", "bop", "adam"], ["a", "b"])
    assert found.scenarios == ["task", "class"]
    assert parse(words, COMMANDS).scenarios == []
    for command in ("compare", "plot"):
        words = [command, "runs", "--strategies", "ste,bop", "--strategies", "adam"]
        assert parse(words, COMMANDS).strategies == ["ste", "bop", "adam"]


def test_a_tilde_is_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert parse(["run", "mnist_small", "--out=~/runs"], COMMANDS).out == Path("/somewhere/runs")


def test_other_errors_keep_their_traceback(
    runner: FakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(runner, "run_all", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        run()


READERS = ("report", "compare")


@pytest.mark.parametrize("command", ["--help", "--version", "run --help", "list", *READERS])
def test_quick_commands_import_neither_torch_nor_avalanche(command: str, tmp_path: Path) -> None:
    for strategy in ("bayesbinn", "ste"):
        row = results.Row("toy", strategy, 0, 0, 0, None, "accuracy", 0.5)
        results.write(results.csv_path(tmp_path, "toy", strategy, 0), [row], {}, {})
    words = [*command.split(), *([str(tmp_path)] if command in READERS else [])]
    code = f"""
import sys
from cl_bnn.cli import main
try:
    main({words!r})
finally:
    slow = {{"torch", "torchvision", "avalanche"}} & set(sys.modules)
    assert not slow, slow
    heavy = {{"pandas", "matplotlib", "numpy"}} & set(sys.modules)
    assert {command in READERS} or not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = [sys.executable, "-m", "cl_bnn", "list"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_no_room_for_what_is_printed_is_one_line() -> None:
    command = [sys.executable, "-m", "cl_bnn", "list"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "cl-bnn: error: output: No space left on device\n")


def test_nowhere_to_print_to_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["list"]) == 0


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_training_goes_on_when_the_reader_stops_early(tmp_path: Path, jobs: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [
        sys.executable, "-m", "cl_bnn", "run", "mnist_small", "--strategy", "adam", "--epochs", "1",
        "--set", "stream.limit=500", "--seeds", "2", "--jobs", jobs, "--no-plot",
        "--out", str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(tmp_path.rglob("seed*.json"))) == 2


def test_events_as_lines() -> None:
    name = "split_mnist/bayesbinn[lr=0.01]/seed0"
    lines = {
        Event(name, "skipped"): "on file already, skipped",
        Event(name, "started", n_tasks=5, n_epochs=3): "started: 5 tasks, 3 epochs each",
        Event(name, "resumed", 1, 5, 2, 3): "continues at task 2/5, epoch 3/3",
        Event(name, "resumed", 1, 5, 3, 3): "continues at task 2/5, evaluation",
        Event(name, "task", 1, 5, score="accuracy", value=0.9876): (
            "task 2/5 learned, accuracy 98.8 % on the tasks so far"
        ),
        Event(name, "started", n_tasks=1, n_epochs=1): "started: 1 task, 1 epoch each",
        Event(name, "task", 0, 1, score="rmse", value=0.25): "task 1/1 learned, rmse 0.25",
        Event(name, "finished"): "finished",
        Event(name, "note", text="checkpoint set aside"): "checkpoint set aside",
    }
    for event, text in lines.items():
        assert line(event) == f"{name}: {text}"
    assert line(Event(name, "epoch", 0, 5, 0, 3, 0.5, 0.9)) == ""


def story(name: str) -> list[Event]:
    """A run of two tasks of two epochs, from its start to its last epoch."""
    epochs = [Event(name, "epoch", task, 2, e, 2, 0.25, 0.5) for task in (0, 1) for e in (0, 1)]
    return [Event(name, "started", 0, 2, 0, 2), *epochs]


def test_progress_without_a_terminal_is_plain_text() -> None:
    console = Console(record=True, force_terminal=False, width=200)
    with progress(1, console) as show:
        for event in [*story("a[lr=1]"), Event("a[lr=1]", "finished")]:
            show(event)
    assert console.export_text() == (
        "a[lr=1]: started: 2 tasks, 2 epochs each\na[lr=1]: finished\n"
    )


def test_progress_on_a_terminal_shows_bars() -> None:
    console = Console(record=True, force_terminal=True, width=200)
    with progress(2, console) as show:
        for event in story("a[lr=1]"):
            show(event)
    shown = console.export_text()
    assert "task 2/2 epoch 2/2, loss 0.250, accuracy 50.0 %" in shown
    assert "a[lr=1]  ━" in shown
    assert "all runs" in shown and "0/2" in shown
    assert "ETA" in shown


def test_the_remaining_time_counts_what_was_done_here() -> None:
    """Of ten runs six are on file; one of 1000 s a run is half done: 3.5 x 1000 s are left."""
    bars = _Bars(10, Console(force_terminal=True, width=200))
    clock = [0.0]
    bars.display.get_time = lambda: clock[0]
    bars.display._tasks[bars.all_runs]._get_time = bars.display.get_time  # type: ignore[index]
    for k in range(6):
        bars(Event(f"old{k}", "skipped"))
    for event in story("a"):
        bars(event)
        clock[0] += 250
        if event.task == 1:
            break
    assert bars.all_runs is not None
    left = bars.display.tasks[0].time_remaining
    assert left is not None and 3000 <= left <= 3500


def test_a_finished_run_leaves_its_bar_and_counts() -> None:
    console = Console(record=True, force_terminal=True, width=200)
    with progress(2, console) as show:
        show(Event("b", "skipped"))
        for event in [*story("a"), Event("a", "finished")]:
            show(event)
    last = console.export_text().splitlines()[-1]
    assert "all runs" in last and "2/2" in last


def test_a_resumed_run_starts_where_it_stopped() -> None:
    console = Console(record=True, force_terminal=True, width=200)
    with progress(1, console) as show:
        show(Event("a", "resumed", 1, 2, 0, 2))
    assert "task 2/2 epoch 1/2" in console.export_text()
