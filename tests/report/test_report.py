"""The page of results: what it holds, and the same bytes again."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from frames import run_rows

from cl_bnn import report, results
from cl_bnn.errors import UserError
from cl_bnn.outcome import _tables
from cl_bnn.report.ledger import Published
from cl_bnn.report.summary import FINAL_MEANS, slug
from cl_bnn.results import Row
from cl_bnn.uncertainty import OTHERS

PERMUTED = "permuted_mnist[n_experiences=3]"
PERMUTED_PAGE = "tables/permuted_mnist_n_experiences=3.md"
HEADINGS = ",".join(Published._fields)


def results_in(out: Path, benchmark: str = PERMUTED, tasks: int = 3) -> Path:
    """A directory with two strategies and two seeds on one benchmark."""
    for strategy in ("bayesbinn", "joint"):
        for seed in (0, 1):
            path = results.csv_path(out, benchmark, strategy, seed)
            results.write(path, list(run_rows(benchmark, strategy, seed, tasks)), {}, {})
    return out


def test_page_of_a_benchmark_has_every_table_and_the_scenario(tmp_path: Path) -> None:
    page = report.render(results_in(tmp_path))[PERMUTED_PAGE]
    for text in (
        f"# {PERMUTED}",
        "[all results](../README.md)",
        "Scenario: domain-incremental",
        "**After the last task**",
        "**Accuracy on each task after the last [%]**",
        "**Posterior: mean entropy [bits]**",
        "**Differences to bayesbinn, paired by seed**",
        "<summary>Accuracy matrices</summary>",
        "**joint: accuracy matrix [%], mean over seeds**",
        "With 2 seeds no p of the permutation test is below 0.5000",
    ):
        assert text in page
    joint = next(line for line in page.splitlines() if line.startswith("| joint | 2 | 9"))
    assert joint.count("–") == 7  # AAA, BWT, both forgettings, LA, zero-shot accuracy, FWT
    for absent in ("figures/", "nan"):
        assert absent not in page


def test_overview_explains_measures_and_leads_to_the_pages(tmp_path: Path) -> None:
    path = report.write_readme(results_in(tmp_path))
    assert path == tmp_path / "README.md"
    page = path.read_text()
    for text in (
        "mean over i < T of R[T, i] − R[i, i]",
        "| zero-shot accuracy | mean over 1 < i ≤ T of R[i − 1, i] |",
        "<summary>How differences are tested</summary>",
        "## permuted_mnist\n",
        "**After the last task**",
        f"- [`{PERMUTED}`]({PERMUTED_PAGE})",
    ):
        assert text in page
    assert (tmp_path / PERMUTED_PAGE).is_file()
    for absent in ("published", "commands", "figures/", "accuracy matrix [%]", "nan"):
        assert absent not in page


def test_pages_do_not_depend_on_where_and_when(tmp_path: Path) -> None:
    first = report.render(results_in(tmp_path / "a"))
    assert report.render(results_in(tmp_path / "b")) == first
    report.write_readme(tmp_path / "a")
    assert report.render(tmp_path / "a") == first
    assert {name: (tmp_path / "a" / name).read_text() for name in first} == first


def test_variants_of_a_benchmark_share_a_table(tmp_path: Path) -> None:
    names = ("split_mnist", "split_mnist[scenario=class]", "split_mnist[scenario=domain]")
    for name in names:
        results_in(tmp_path, name, tasks=2)
    pages = report.render(tmp_path)
    page = pages["README.md"]
    assert page.count("## split_mnist\n") == 1
    head = "| strategy | scenario=task (default) | scenario=domain | scenario=class |"
    assert head in page
    for name, kind in zip(names, ("task", "class", "domain"), strict=True):
        place = f"tables/{slug(name)}.md"
        assert f"- [`{name}`]({place})" in page
        assert pages[place].count(f"Scenario: {kind}-incremental") == 1


def test_commands_are_linked_where_there_are_any(tmp_path: Path) -> None:
    results_in(tmp_path)
    assert "COMMANDS.md" not in report.render(tmp_path)["README.md"]
    (tmp_path / "COMMANDS.md").write_text("```\ncl-bnn run split_mnist --seeds 5\n```\n")
    assert "(COMMANDS.md)" in report.render(tmp_path)["README.md"]


def test_page_of_a_benchmark_without_accuracies(tmp_path: Path) -> None:
    row = Row("regression", "ste", 0, 0, 0, None, "mse", 0.5)
    results.write(results.csv_path(tmp_path, "regression", "ste", 0), [row], {}, {})
    pages = report.render(tmp_path)
    table = "| strategy | seeds | mse |\n| --- | ---: | ---: |\n| ste | 1 | 0.5000 ± – |\n"
    body = pages["tables/regression.md"].partition("(../README.md).\n\n")[2]
    assert body == f"**At the end of training**\n\n{table}"
    assert table in pages["README.md"]


def test_tasks_of_a_stream_without_accuracies_stand_side_by_side(tmp_path: Path) -> None:
    rows = [
        Row("regression", "ste", 0, after, on, None, "rmse", after + on / 4)
        for after in range(2)
        for on in range(2)
    ]
    results.write(results.csv_path(tmp_path, "regression", "ste", 0), rows, {}, {})
    table = (
        "**RMSE on each task after the last**\n\n"
        "| strategy | seeds | task 1 | task 2 |\n| --- | ---: | ---: | ---: |\n"
        "| ste | 1 | 1.000 ± – | 1.250 ± – |\n"
    )
    assert table in report.render(tmp_path)["tables/regression.md"]
    (shown,) = _tables(results.read(tmp_path))  # at the end of a run
    assert shown.title == "regression: RMSE on each task after the last"
    assert shown.rows == [["ste", "1", "1.000 ± –", "1.250 ± –"]]


def test_every_measure_of_data_not_seen_can_be_compared() -> None:
    names = {f"auroc_{name}" for name in ("rotated", "inverted", *OTHERS)}
    assert names == {name for name in FINAL_MEANS if name.startswith("auroc_")}


def test_variants_without_accuracies_stand_one_after_the_other(tmp_path: Path) -> None:
    for name, value in (("regression", 0.5), ("regression[epochs=2]", 0.25)):
        row = Row(name, "ste", 0, 0, 0, None, "mse", value)
        results.write(results.csv_path(tmp_path, name, "ste", 0), [row], {}, {})
    page = report.render(tmp_path)["README.md"]
    first, second = (page.index(f"`{name}`:\n") for name in ("regression", "regression[epochs=2]"))
    assert first < page.index("0.5000 ± –") < second < page.index("0.2500 ± –")


def test_seeds_of_other_settings_are_not_averaged(tmp_path: Path) -> None:
    for seed in (0, 1):
        row = Row("toy", "mine", seed, 0, 0, None, "accuracy", 0.5)
        spec = {
            "benchmark": "toy", "strategy": "mine", "seed": seed, "settings": {"lr": seed + 1},
            "eval_every": ("task", "epoch")[seed],
        }  # fmt: skip
        results.write(results.csv_path(tmp_path, "toy", "mine", seed), [row], spec, {})
    with pytest.raises(UserError, match="toy/mine: seed 0 has lr = 1, and seed 1 2: make them"):
        report.render(tmp_path)


def test_only_figures_that_exist_are_linked(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    for name in ("permuted_mnist_n_experiences=3_curves", "streams"):
        (tmp_path / f"figures/{name}.png").write_bytes(b"")
    pages = report.render(results_in(tmp_path))
    page = pages[PERMUTED_PAGE]
    assert "(../figures/permuted_mnist_n_experiences=3_curves.png)" in page
    assert "_matrix" not in page and "_posterior" not in page
    assert "(figures/streams.png)" in pages["README.md"]


def test_published_numbers_have_a_page_and_are_counted_in_the_overview(tmp_path: Path) -> None:
    number = f"{PERMUTED},bayesbinn,ACC,2,,,0.9,,0.05,DIGIT,Somewhere,,,"
    (tmp_path / "reference.csv").write_text("\n".join([HEADINGS, number]) + "\n")
    pages = report.render(results_in(tmp_path))
    counted = "1 published numbers in `reference.csv`: 1 within"
    assert counted in pages["README.md"]
    assert "(tables/published_numbers.md)" in pages["README.md"]
    page = pages["tables/published_numbers.md"]
    assert page.startswith("# Next to published numbers\n") and counted in page
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
    page = report.render(tmp_path)["tables/mnist.md"]
    assert "| strategy | seeds | epoch | at best validation | last epoch |" in page
    # 75 and 65 are 5 from their mean; 70 and 65 have s = 2.5 sqrt(2) and t(0.975, 1) = 12.706.
    assert "| ste | 2 | 1 to 2 | 70.00 ± 5.00 | 67.50 ± 31.77 |" in page
    assert "**At the end of training**" in page
    for absent in ("BWT [points] |", "accuracy matrix", "task 1", "val_accuracy", "nan"):
        assert absent not in page


def test_one_seed_has_neither_deviation_nor_interval(tmp_path: Path) -> None:
    path = results.csv_path(tmp_path, "mnist", "ste", 0)
    results.write(path, classification_rows(0, [0.9, 0.95], [0.75, 0.7]), {}, {})
    assert "| ste | 1 | 2 | 70.00 ± – | 70.00 ± – |" in report.render(tmp_path)["tables/mnist.md"]


def test_report_needs_neither_torch_nor_avalanche_nor_matplotlib() -> None:
    code = "import cl_bnn.report, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert not {"torch", "avalanche", "matplotlib"} & set(json.loads(done.stdout))


def test_the_strategy_that_others_are_compared_with_is_named(tmp_path: Path) -> None:
    folder = results_in(tmp_path)
    report.write_readme(folder, against="joint")
    pages = [path.read_text() for path in sorted((folder / "tables").glob("*.md"))]
    assert sum("Differences to joint, paired by seed" in page for page in pages) > 0
    with pytest.raises(UserError, match="no results of the strategy 'join'.*joint"):
        report.write_readme(folder, against="join")
