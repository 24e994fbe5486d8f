"""What the README shows must run."""

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from avalanche.training.plugins import EvaluationPlugin
from tiny import stream

from cl_bnn import cli, data, recipes, results, runner
from cl_bnn.arguments import parse
from cl_bnn.nn import mlp
from cl_bnn.recorder import Recorder
from cl_bnn.report.summary import accuracy_matrix
from cl_bnn.strategies import TaskAware

ROOT = Path(__file__).parents[1]
PAGES = {place: (ROOT / place).read_text() for place in ("README.md", "strategies/README.md")}
README = PAGES["README.md"]


def blocks(language: str, page: str = README) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def test_the_strategy_in_a_pipeline() -> None:
    tasks, evaluator = stream(n_experiences=2), Recorder()
    assert isinstance(evaluator, EvaluationPlugin)
    model = TaskAware(mlp(in_features=784, out_features=2, width=8))
    code, *_ = blocks("python")
    names = {"model": model, "evaluator": evaluator, "benchmark": tasks.benchmark}
    exec(code.replace("train_epochs=5", "train_epochs=1"), names)
    assert len(evaluator.tasks) == 2


def test_the_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    _, code, *_ = blocks("python")
    mnist = data.load("mnist")
    images = mnist.normalise(mnist.train.x[:300])
    names = {
        f"{letter}{part}": values[first : first + 100]
        for first, part in ((0, ""), (100, "_val"), (200, "_test"))
        for letter, values in (("x", images), ("y", mnist.train.y))
    }
    exec(code.replace("epochs=5", "epochs=1"), names)
    assert names["p"].shape == (100, 10)
    assert list(names["history"]["epoch"]) == [0]
    assert "accuracy" in capsys.readouterr().out


def test_the_optimiser_in_plain_pytorch() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3, bias=False)
    batches = [(torch.randn(8, 5), torch.randint(3, (8,))) for _ in range(3)]
    names = {"model": model, "batches": batches, "x_test": torch.randn(4, 5), "torch": torch}
    _, _, code = blocks("python")
    exec(code, names)
    torch.testing.assert_close(names["log_p"].exp().sum(1), torch.ones(4))
    assert set(names["network"]["weight"].flatten().tolist()) == {-1.0, 1.0}


def test_an_optimiser_of_ones_own() -> None:
    (code,) = blocks("python", PAGES["strategies/README.md"])
    names: dict[str, Any] = {}
    exec(code, names)
    torch.manual_seed(0)
    model = TaskAware(mlp(in_features=784, out_features=2, width=8, norm="none"))
    mine = names["Mine"](model=model, train_mb_size=20, train_epochs=3, evaluator=Recorder())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    tasks = stream(n_experiences=1)
    mine.train(tasks.train[0], eval_streams=[])
    with mine.network_weights():
        for name, p in model.named_parameters():
            assert not torch.equal(p, before[name])
            assert p.dim() == 1 or set(p.flatten().tolist()) == {-1.0, 1.0}
    (found,) = mine.evaluator.measure(mine, tasks.test).values()
    assert found["accuracy"] > 0.9


def test_a_stream_of_ones_own(tmp_path: Path) -> None:
    (code,) = blocks("python", (ROOT / "benchmarks" / "README.md").read_text())
    (tmp_path / "flips.py").write_text(code)
    (tmp_path / "mine.toml").write_text(
        'title = "Signs of features"\nepochs = 5\nbatch_size = 20\n'
        'stream = {build = "flips:flipped", n_experiences = 3}\n'
        'model = {build = "cl_bnn.nn:mlp", width = 16, norm = "layer"}\n'
    )
    out = tmp_path / "out"
    runs = runner.plan(str(tmp_path / "mine.toml"), ["adam"], [0], {}, "task", out)
    runner.run_all(runs, jobs=1, device="cpu", data_root=None, on_event=lambda event: None)
    matrix = accuracy_matrix(results.read(out)).to_numpy()
    assert (matrix.diagonal() > 0.85).all() and matrix[0, 1:].max() < 0.85


def test_differences_for_a_paper(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    (command,) = (text for text in blocks("") if text.startswith('cl-bnn compare "results'))
    arguments = shlex.split(command.replace("held_searched", "ste").replace("held.csv", "ste.csv"))
    arguments[-1] = str(tmp_path / arguments[-1])
    assert cli.main(arguments[1:]) == 0
    assert "p (Holm)" in capsys.readouterr().out
    numbers = pd.read_csv(tmp_path / "ste.csv")
    assert sorted(numbers["strategy"]) == ["bop", "ste+lwf", "ste+mas"]


def test_links_lead_somewhere() -> None:
    headings = {
        "#" + re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        known = target.startswith("https://") or target in headings
        assert known or (ROOT / target).exists(), target


LINES = [
    (place, line)
    for place, page in PAGES.items()
    for block in blocks("", page)
    for line in block.splitlines()
    if line.startswith("cl-bnn ")
]


@pytest.mark.parametrize(("place", "line"), LINES)
def test_every_command_line_is_understood(
    place: str, line: str, capsys: pytest.CaptureFixture[str], untimed: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(ROOT)
    _, *words = shlex.split(line.replace("held_searched", "held"), comments=True)
    if "|" in words:  # of several forms the first
        words = words[: words.index("|")]
    parsed = parse(words, cli.COMMANDS)
    shipped = recipes.names("benchmarks")
    if words[0] == "sweep" or (words[0] == "run" and parsed.benchmark in shipped):
        assert cli.main([*words, "--dry-run", "--out", str(tmp_path)]) == 0
        assert "expected time of all" in capsys.readouterr().out


def test_command_lines_are_found() -> None:
    assert {place for place, _ in LINES} == PAGES.keys()
