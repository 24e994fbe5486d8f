"""What is on file in `results/`: made by the commands beside it, from the recipes as they are."""

import argparse
import re
import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from cl_bnn import cli, results
from cl_bnn._labels import name_of
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


def test_the_numbers_of_the_readme_are_those_of_the_pages() -> None:
    """Every `a ± b` of a table stands on some page in a row of a strategy that it names, any other
    on some page.
    """
    text = " ".join((ROOT / "README.md").read_text().split())
    page_of_claims = (ROOT / "results" / "tables" / "published_numbers.md").read_text()
    counted = re.search(
        r"(\d+) within(?: \((\d+) not firm\))?, (\d+) outside(?: \((\d+) not firm\))?, "
        r"(\d+) protocol differs",
        page_of_claims,
    )
    assert counted is not None
    within, loose, outside, also_loose, differs = (int(n or 0) for n in counted.groups())
    assert f"For {within + outside} there is a measurement" in text
    assert f"{within} agree within" in text and f"({loose + also_loose} of these" in text
    assert f"For {differs} there is one under a related protocol" in text

    rows: dict[str, set[str]] = defaultdict(set)
    for path in (ROOT / "results" / "tables").glob("*.md"):
        for line in path.read_text().splitlines():
            first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            rows[name_of(first)] |= set(cells)
    everywhere = set().union(*rows.values())
    number = r"\d+\.\d+ ± \d+\.\d+"
    wrong, checked = [], 0
    lines = (ROOT / "README.md").read_text().splitlines()
    for line in (line for line in lines if line.startswith("|")):
        names = re.findall(r"`([^`]+)`", line.split("|")[1])
        for value in re.findall(number, line):
            checked += 1
            if not any(value in rows[name] for name in names):
                wrong.append(value)
    prose = " ".join(line for line in lines if not line.startswith("|"))
    wrong += [value for value in re.findall(number, prose) if value not in everywhere]
    assert not wrong and checked > 80


@pytest.mark.slow
def test_the_pages_are_those_of_the_results_and_of_the_report_as_they_are() -> None:
    directory = ROOT / "results"
    pages = page.render(directory)
    assert {name for name in pages if name.startswith("tables/")} == {
        f"tables/{path.name}" for path in (directory / "tables").iterdir()
    }
    stale = [name for name, text in pages.items() if (directory / name).read_text() != text]
    assert not stale, "`cl-bnn report results` writes them anew"
