"""The page of results: what it holds, next to published numbers, and the same bytes again."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from frames import plausible, run_rows

from cl_bnn import report, results
from cl_bnn.errors import UserError
from cl_bnn.summary import Interval, summary

PERMUTED = "permuted_mnist[n_experiences=3]"
SHIPPED = Path(__file__).parent.parent / "results" / "reference.csv"
HEADINGS = ",".join(report.REFERENCE_COLUMNS)


def results_in(out: Path, benchmark: str = PERMUTED, tasks: int = 3) -> Path:
    """A directory with two strategies and two seeds on one benchmark."""
    for strategy in ("bayesbinn", "joint"):
        for seed in (0, 1):
            path = results.csv_path(out, benchmark, strategy, seed)
            results.write(path, list(run_rows(benchmark, strategy, seed, tasks)), {}, {})
    return out


def test_page_has_every_table_and_the_scenario(tmp_path: Path) -> None:
    page = report.write_readme(results_in(tmp_path)).read_text()
    for text in (
        f"## {PERMUTED}",
        "Scenario: domain-incremental",
        "**After the last task**",
        "**Accuracy on each task after the last [%]**",
        "**Posterior: mean entropy [bits]**",
        "**Differences to bayesbinn, paired by seed**",
        "**joint: accuracy matrix [%], mean over seeds**",
        "mean over i < T of R[T, i] − R[i, i]",
    ):
        assert text in page
    joint = next(line for line in page.splitlines() if line.startswith("| joint | 2 | 9"))
    assert joint.count("–") == 4  # BWT, both forgettings, LA
    for absent in ("published", "## Commands", "figures/", "all variants", "nan"):
        assert absent not in page


def test_page_does_not_depend_on_where_and_when(tmp_path: Path) -> None:
    first = report.render(results_in(tmp_path / "a"))
    assert report.render(results_in(tmp_path / "b")) == first
    report.write_readme(tmp_path / "a")
    assert report.render(tmp_path / "a") == first


def test_variants_of_a_benchmark_share_a_table(tmp_path: Path) -> None:
    for name in ("split_mnist", "split_mnist[scenario=class]", "split_mnist[scenario=domain]"):
        results_in(tmp_path, name, tasks=2)
    page = report.render(tmp_path)
    assert page.count("## split_mnist: all variants") == 1
    head = "| strategy | scenario=task (default) | scenario=class | scenario=domain |"
    assert head in page
    for kind in ("task", "class", "domain"):
        assert page.count(f"Scenario: {kind}-incremental") == 1


def test_commands_are_taken_in_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "COMMANDS.md").write_text("```\ncl-bnn run split_mnist --seeds 5\n```\n")
    page = report.render(results_in(tmp_path))
    assert page.endswith("## Commands\n\n```\ncl-bnn run split_mnist --seeds 5\n```\n")


def test_page_of_a_benchmark_without_accuracies(tmp_path: Path) -> None:
    row = results.Row("regression", "ste", 0, 0, 0, None, "mse", 0.5)
    results.write(results.csv_path(tmp_path, "regression", "ste", 0), [row], {}, {})
    page = report.render(tmp_path)
    assert page.rstrip().endswith("## regression")


def test_only_figures_that_exist_are_linked(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/permuted_mnist_n_experiences=3_curves.png").write_bytes(b"")
    page = report.render(results_in(tmp_path))
    assert "(figures/permuted_mnist_n_experiences=3_curves.png)" in page
    assert "_matrix" not in page and "_posterior" not in page


def test_published_numbers_stand_beside_ours_with_a_verdict(tmp_path: Path) -> None:
    rows = [
        f"{PERMUTED},bayesbinn,ACC,2,,,0.9,0.05,DIGIT,Somewhere,a note",
        f"{PERMUTED},bayesbinn,accuracy,2,0,,0.1,0.05,DIGIT,Somewhere,",
        f"{PERMUTED},bayesbinn,entropy,1,,,0.66,0.05,PAPER,Somewhere,",
        f"{PERMUTED},ste,ACC,2,,,0.9,0.05,DIGIT,Somewhere,",
    ]
    (tmp_path / "reference.csv").write_text("\n".join([HEADINGS, *rows]) + "\n")
    lines = report.render(results_in(tmp_path)).splitlines()
    lines = [line for line in lines if line.startswith(f"| {PERMUTED}")]
    assert [line.split(" | ")[-1] for line in lines] == [
        "within |",
        "outside |",
        "within |",
        "not run |",
    ]
    assert "| ACC [%] after task 3 | 90.0 ± 5.0 DIGIT | 91" in lines[0]
    assert "| accuracy [%] on task 1 after task 3 | 10.0 ± 5.0 DIGIT |" in lines[1]
    assert "| 0.660 ± 0.050 PAPER | 0.700 ± 0.000 | 2 |" in lines[2]
    assert lines[3].endswith("| – | – | not run |")


def test_ours_picks_the_task_the_epoch_and_the_seeds() -> None:
    frame = plausible(strategies=["bayesbinn"], seeds=[0, 1], epochs=2)
    runs = summary(frame)
    row = {"benchmark": PERMUTED, "strategy": "bayesbinn", "metric": "accuracy"}
    at_end = report.ours({**row, "after": 2, "on": 0, "epoch": None}, frame, runs)
    in_epoch = report.ours({**row, "after": 2, "on": 0, "epoch": 0}, frame, runs)
    assert at_end.n == in_epoch.n == 2
    wanted = frame.query("metric == 'accuracy' and after == 2 and on == 0 and epoch == 0")
    assert in_epoch.mean == pytest.approx(wanted["value"].mean())
    assert at_end.mean != in_epoch.mean


def test_verdict_takes_the_tolerance_as_still_within() -> None:
    row = {"value": 0.897, "tolerance": 0.015}
    assert report.verdict(row, Interval(0.882, 0.0, 5)) == "within"
    assert report.verdict(row, Interval(0.8819, 0.0, 5)) == "outside"
    assert report.verdict(row, Interval(math.nan, math.nan, 0)) == "not run"


def test_shipped_reference_holds_figure_5() -> None:
    table = report.read_reference(SHIPPED)
    assert set(table["benchmark"]) == {PERMUTED}
    acc = table[table["metric"] == "ACC"].set_index("strategy")
    assert acc["value"].to_dict() == {"bayesbinn_reference": 0.897, "bayesbinn_fixed_prior": 0.388}
    assert acc["tolerance"].to_dict() == {
        "bayesbinn_reference": 0.015,
        "bayesbinn_fixed_prior": 0.04,
    }
    for strategy, tasks in table[table["metric"] == "accuracy"].groupby("strategy"):
        mean = tasks["value"].mean()  # the published mean is that of the published tasks
        assert mean == pytest.approx(acc["value"][strategy], abs=0.001)
    assert set(table["evidence"]) <= set(report.EVIDENCE)
    assert (table["tolerance"] > 0).all() and table["source"].str.startswith("arXiv:").all()


@pytest.mark.parametrize("text", ["", "benchmark,value\nx,1\n", HEADINGS + "\nb,s,m,0,,,x,1,,,\n"])
def test_damaged_reference_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "reference.csv").write_text(text)
    with pytest.raises(UserError, match=r"reference\.csv is damaged") as caught:
        report.render(results_in(tmp_path))
    assert "\n" not in str(caught.value)


def test_report_needs_neither_torch_nor_avalanche_nor_matplotlib() -> None:
    code = "import cl_bnn.report, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert not {"torch", "avalanche", "matplotlib"} & set(json.loads(done.stdout))
