"""The page of results: what it holds, and the same bytes again."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from frames import run_rows

from cl_bnn import report, results
from cl_bnn.report.ledger import Published
from cl_bnn.results import Row

PERMUTED = "permuted_mnist[n_experiences=3]"
HEADINGS = ",".join(Published._fields)


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
        "| zero-shot accuracy | mean over 1 < i ≤ T of R[i − 1, i] |",
        "<summary>How differences are tested</summary>",
        "With 2 seeds no p of the permutation test is below 0.5000",
    ):
        assert text in page
    joint = next(line for line in page.splitlines() if line.startswith("| joint | 2 | 9"))
    assert joint.count("–") == 6  # AAA, BWT, both forgettings, LA, zero-shot accuracy
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
    head = "| strategy | scenario=task (default) | scenario=domain | scenario=class |"
    assert head in page
    for kind in ("task", "class", "domain"):
        assert page.count(f"Scenario: {kind}-incremental") == 1


def test_commands_are_taken_in_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "COMMANDS.md").write_text("```\ncl-bnn run split_mnist --seeds 5\n```\n")
    page = report.render(results_in(tmp_path))
    assert page.endswith("## Commands\n\n```\ncl-bnn run split_mnist --seeds 5\n```\n")


def test_page_of_a_benchmark_without_accuracies(tmp_path: Path) -> None:
    row = Row("regression", "ste", 0, 0, 0, None, "mse", 0.5)
    results.write(results.csv_path(tmp_path, "regression", "ste", 0), [row], {}, {})
    section = report.render(tmp_path).partition("## regression")[2]
    assert section.split("\n\n")[1:] == [
        "**At the end of training**",
        "| strategy | seeds | mse |\n| --- | ---: | ---: |\n| ste | 1 | 0.5000 ± – |\n",
    ]


def test_only_figures_that_exist_are_linked(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/permuted_mnist_n_experiences=3_curves.png").write_bytes(b"")
    page = report.render(results_in(tmp_path))
    assert "(figures/permuted_mnist_n_experiences=3_curves.png)" in page
    assert "_matrix" not in page and "_posterior" not in page


def test_published_numbers_are_taken_in_after_the_head(tmp_path: Path) -> None:
    number = f"{PERMUTED},bayesbinn,ACC,2,,,0.9,,0.05,DIGIT,Somewhere,,,"
    (tmp_path / "reference.csv").write_text("\n".join([HEADINGS, number]) + "\n")
    page = report.render(results_in(tmp_path))
    at = [page.index(f"## {text}") for text in ("Next to published numbers", PERMUTED)]
    assert at == sorted(at)
    assert "| 90 DIGIT | 5 | 91" in page


def classification_rows(seed: int, val: Sequence[float], test: Sequence[float]) -> list[Row]:
    """A run of `ste` on mnist with these accuracies after its epochs."""
    key = ("mnist", "ste", seed)
    rows = [Row(*key, 0, 0, e, "val_accuracy", value) for e, value in enumerate(val)]
    rows += [Row(*key, 0, 0, e, "accuracy", value) for e, value in enumerate(test)]
    last = [("accuracy", test[-1]), ("val_accuracy", val[-1])]
    return rows + [Row(*key, 0, 0, None, metric, value) for metric, value in last]


def test_page_of_a_single_task_selects_by_validation(tmp_path: Path) -> None:
    runs = (([0.9, 0.8], [0.75, 0.7]), ([0.8, 0.9], [0.5, 0.65]))
    for seed, (val, test) in enumerate(runs):
        path = results.csv_path(tmp_path, "mnist", "ste", seed)
        results.write(path, classification_rows(seed, val, test), {}, {})
    page = report.render(tmp_path)
    assert "| strategy | seeds | epoch | at best validation | last epoch |" in page
    # 75 and 65 are 5 from their mean; 70 and 65 have s = 2.5 sqrt(2) and t(0.975, 1) = 12.706.
    assert "| ste | 2 | 1 to 2 | 70.00 ± 5.00 | 67.50 ± 31.77 |" in page
    assert "**At the end of training**" in page
    for absent in ("BWT [points] |", "accuracy matrix", "task 1", "val_accuracy", "nan"):
        assert absent not in page


def test_one_seed_has_neither_deviation_nor_interval(tmp_path: Path) -> None:
    path = results.csv_path(tmp_path, "mnist", "ste", 0)
    results.write(path, classification_rows(0, [0.9, 0.95], [0.75, 0.7]), {}, {})
    assert "| ste | 1 | 2 | 70.00 ± – | 70.00 ± – |" in report.render(tmp_path)


def test_report_needs_neither_torch_nor_avalanche_nor_matplotlib() -> None:
    code = "import cl_bnn.report, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert not {"torch", "avalanche", "matplotlib"} & set(json.loads(done.stdout))
