"""What is on file in `results/`: made by the commands beside it, from the recipes as they are."""

import argparse
import shlex
from pathlib import Path
from typing import Any

import pytest

from cl_bnn import cli, results
from cl_bnn.report import page
from cl_bnn.run import Run

ROOT = Path(__file__).parents[1]
COMMANDS = (ROOT / "results" / "COMMANDS.md").read_text().splitlines()


def planned(words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs of a command line, none of which is begun."""
    found: list[Run] = []

    def take(runs: list[Run], *rest: Any, **how: Any) -> None:
        found.extend(runs)

    monkeypatch.setattr(cli, "_carry_out", take)
    arguments: argparse.Namespace = cli.parse(words, cli.COMMANDS)
    cli.COMMANDS[words[0]](arguments)
    return found


def test_every_result_is_that_of_a_command_and_of_the_recipes_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`results.finished` refuses a file whose settings are not those that are asked for."""
    monkeypatch.chdir(ROOT)
    lines = [shlex.split(line)[1:] for line in COMMANDS if line.startswith("cl-bnn ")]
    runs = [
        run
        for words in lines
        if words[0] in ("run", "sweep") and "cuda" not in words
        for run in planned(words, monkeypatch)
    ]
    done = {run.path for run in runs if results.finished(run.path, run.as_dict())}
    assert done == set(Path("results").rglob("seed*.csv"))


@pytest.mark.slow
def test_the_pages_are_those_of_the_results_and_of_the_report_as_they_are() -> None:
    directory = ROOT / "results"
    pages = page.render(directory)
    assert {name for name in pages if name.startswith("tables/")} == {
        f"tables/{path.name}" for path in (directory / "tables").iterdir()
    }
    stale = [name for name, text in pages.items() if (directory / name).read_text() != text]
    assert not stale, "`cl-bnn report results` writes them anew"
