"""Published claims beside ours, and the commands that measure them."""

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny import recipe

from cl_bnn import cli, recipes, results, verify
from cl_bnn.errors import UserError
from cl_bnn.events import Event
from cl_bnn.report import ledger
from cl_bnn.report.ledger import Published
from cl_bnn.run import Run

ROOT = Path(__file__).parents[1]
COLUMNS = ",".join(Published._fields)


def settings_of(words: list[str]) -> dict[str, object]:
    """What a command changes, as the command line reads it."""
    from cl_bnn.arguments import parse

    return cli._overrides(parse(words, cli.COMMANDS))


def test_every_command_makes_a_run_with_the_labels_of_its_claim() -> None:
    """Else the number would be run, and never be found beside the claim."""
    published = ledger.read(ROOT / "results" / "reference.csv")
    names = dict.fromkeys((number.benchmark, number.strategy) for number in published)
    known = [(name, verify.setup_of(*name)) for name in names]
    found = [(name, setup) for name, setup in known if setup is not None]
    assert len(found) > 100
    for (benchmark, strategy), setup in found:
        words = shlex.split(setup.command(range(5), Path("results")))
        assert words[:2] == ["cl-bnn", "run"]
        assert words[-4:] == ["--seeds", "5", "--out", "results"]
        spec = recipes.resolve(
            recipes.load_benchmark(words[2]),
            recipes.load_strategy(words[4]),
            settings_of(words[1:]),
        )
        assert (spec.benchmark, spec.strategy) == (benchmark, strategy)


def test_what_can_be_run_is_called_as_its_run_would_be() -> None:
    """`meta=0` and `meta=0.0` are one setting, but only one of them is found among our results."""
    for number in ledger.read(ROOT / "results" / "reference.csv"):
        try:
            _, spec = verify._resolved(number.benchmark, number.strategy)
        except UserError:
            continue
        assert (spec.benchmark, spec.strategy) == (number.benchmark, number.strategy)


def test_a_claim_is_wanted_by_name_or_by_label() -> None:
    published = ledger.read(ROOT / "results" / "reference.csv")
    label = "mnist_fmnist", "metaplastic[meta=0.0]"
    (number, *_) = [n for n in published if (n.benchmark, n.strategy) == label]
    assert verify.Wanted(*label).has(number)
    assert verify.Wanted("mnist_fmnist", "metaplastic").has(number)
    assert not verify.Wanted("mnist_fmnist", "metaplastic[meta=1.0]").has(number)


def test_a_setting_finds_its_table() -> None:
    setup = verify.setup_of("split_mnist[norm=none,scenario=class,width=400]", "ste+ewc[lr=0.5]")
    assert setup is not None
    assert setup.overrides == {
        "model.norm": "none", "stream.scenario": "class", "model.width": 400, "lr": 0.5,
    }  # fmt: skip
    assert setup.command([0, 1, 2], Path("mine")) == (
        "cl-bnn run split_mnist --strategy ste+ewc --set model.norm=none --set "
        "stream.scenario=class --set model.width=400 --set lr=0.5 --seeds 3 --out mine"
    )


@pytest.mark.parametrize(
    ("seeds", "given"), [([0], "1"), ([3], "3,"), ([7, 8], "7,8"), ([1, 0], "1,0")]
)
def test_a_command_names_the_seeds(seeds: list[int], given: str) -> None:
    setup = verify.setup_of("split_mnist", "ste")
    assert setup is not None and f" --seeds {given} --out " in setup.command(seeds, Path("mine"))


@pytest.mark.parametrize(
    ("benchmark", "strategy"),
    [
        ("openloris", "ste"),  # no such stream
        ("split_mnist", "icarl"),  # no such strategy
        ("split_mnist[colour=red]", "ste"),  # no such setting
        ("split_mnist[width=100]", "ste"),  # the recipe says so: the run's label would not
    ],
)
def test_what_has_no_recipe_has_no_command(benchmark: str, strategy: str) -> None:
    assert verify.setup_of(benchmark, strategy) is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of one seed of STE on two tasks, and three claims about it."""
    row = results.Row("split_mnist[n_experiences=2]", "ste", 0, 0, 0, None, "accuracy", 0.0)
    rows = [
        row._replace(after=after, on=on, value=value)
        for after, on, value in [(0, 0, 0.9), (0, 1, 0.5), (1, 0, 0.6), (1, 1, 0.8)]
    ]
    out = tmp_path / "found"
    path = results.csv_path(out, row.benchmark, row.strategy, 0)
    path.parent.mkdir(parents=True)
    results.write(path, rows, {"seed": 0}, {})
    claims = [
        f'"{row.benchmark}",ste,ACC,,,,0.71,,0.02,PAPER,here,so,,',
        f'"{row.benchmark}",ste,accuracy,0,0,,0.8,,0.02,PAPER,here,so,,',
        f'"{row.benchmark}",adam,ACC,,,,0.71,,0.02,PAPER,here,so,,',
        "split_mnist,icarl,ACC,,,,0.71,,0.02,LOG,there,so,,",
    ]
    (out / "reference.csv").write_text("\n".join([COLUMNS, *claims]) + "\n")
    return out


def test_what_another_variant_stands_in_for_is_missing_as_well(folder: Path) -> None:
    with open(folder / "reference.csv", "a") as file:
        file.write('"split_mnist[epochs=1,n_experiences=2]",ste,ACC,,,,0.7,,0.02,PAPER,here,so,,\n')
    published = ledger.read(folder / "reference.csv")
    found = verify.claims(published, results.read(folder))
    assert found[-1].verdict == "protocol differs"
    assert [(s.strategy, s.overrides) for s in verify.missing(found)] == [
        ("adam", {"stream.n_experiences": 2}), ("ste", {"epochs": 1, "stream.n_experiences": 2}),
    ]  # fmt: skip


def test_claims_in_print(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(folder), "--seeds", "2"]) == 0
    rest = f"--seeds 2 --out {folder}"
    assert capsys.readouterr().out.splitlines() == [
        "4 published numbers: 1 within (1 not firm), 1 outside (1 not firm), 2 not run",
        "",
        "split_mnist[n_experiences=2] / ste",
        f"  cl-bnn run split_mnist --strategy ste --set stream.n_experiences=2 {rest}",
        "  ACC [%]: reported 71 (PAPER); ours 70.0 ± –, 1 seed: within, not firm",
        "  accuracy [%] on task 1 after task 1: reported 80 (PAPER); ours 90.0 ± –, 1 seed: "
        "outside, not firm",
        "",
        "split_mnist[n_experiences=2] / adam",
        f"  cl-bnn run split_mnist --strategy adam --set stream.n_experiences=2 {rest}",
        "  ACC [%]: reported 71 (PAPER); not run",
        "",
        "split_mnist / icarl",
        "  not to be run here: no such recipe",
        "  ACC [%]: reported 71 (LOG); not run",
    ]


def test_claims_of_a_source(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(folder), "--source", "THERE"]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        "1 published numbers: 1 not run", "", "split_mnist / icarl",
    ]  # fmt: skip


def test_a_dry_run_shows_what_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str], untimed: None
) -> None:
    before = sorted(folder.rglob("*"))
    assert cli.main(["verify", str(folder), "--dry-run", "--seeds", "2"]) == 0
    name = "split_mnist[n_experiences=2]/adam/seed"
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"{name}{seed} -> {folder}/{name}{seed}.csv" for seed in range(2)
    ]
    assert cli.main(["verify", str(folder), "--dry-run", "--source", "there"]) == 0
    assert capsys.readouterr().out == "1 published numbers, and nothing to be run for them\n"
    assert sorted(folder.rglob("*")) == before


def test_what_is_missing_is_run(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a recipe of a small stream in the place of the claim's."""
    small = recipe(folder.parent)
    setup = verify.Setup(small, "adam", {"epochs": 1, "stream.n_experiences": 2})
    spec = recipes.resolve(
        recipes.load_benchmark(small), recipes.load_strategy("adam"), setup.overrides
    )
    claim = f'"{spec.benchmark}",adam,ACC,,,,0.5,,0.5,PAPER,here,so,,'
    (folder / "reference.csv").write_text(f"{COLUMNS}\n{claim}\n")
    monkeypatch.setattr(verify, "setup_of", lambda benchmark, strategy: setup)
    assert cli.main(["verify", str(folder), "--run", "--seeds", "1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "finished" in printed and "1 published numbers: 1 within" in printed
    assert cli.main(["verify", str(folder), "--run", "--seeds", "1", "--device", "cpu"]) == 0
    assert "finished" not in capsys.readouterr().out


def test_a_folder_with_claims_alone_is_run_and_failures_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(folder / "split_mnist[n_experiences=2]")

    def run_all(runs: list[Run], *, on_event: Any, keep_going: bool, **how: Any) -> None:
        for run in runs[:2]:
            on_event(Event(run.name, "failed", text="no data"))

    monkeypatch.setattr(verify.runner, "run_all", run_all)
    assert cli.main(["verify", str(folder)]) == 0
    assert "4 published numbers: 4 not run" in capsys.readouterr().out
    assert cli.main(["verify", str(folder), "--run", "--seeds", "1"]) == 2
    printed = capsys.readouterr()
    assert "4 published numbers: 4 not run" in printed.out
    assert "2 of 2 runs failed, split_mnist[n_experiences=2]/ste/seed0 first: no da" in printed.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--benchmark", "split_mnits"], "benchmark 'split_mnits'; did you mean 'split_mnist'"),
        (["--strategy", "stee"], "strategy 'stee'; did you mean 'ste'"),
        (["--source", "nowhere"], "comes from 'nowhere'; did you mean 'here'? known: here, there"),
        (["--source", "there", "--strategy", "ste"], "strategy 'ste'; known: icarl"),
    ],
)
def test_a_name_without_claims_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert cli.main(["verify", str(folder), *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_sources_with_commas_in_their_names_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "results" / "reference.csv", tmp_path)
    assert cli.main(["verify", str(tmp_path), "--source", "nowhere at all"]) == 2
    assert "Buzzega et al. 2020; Buzzega et al. 2020, as printed in" in capsys.readouterr().err
