"""Tables of uncertainty, capacity and cost by hand; many tasks; the page with all of them."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from frames import frame_of, matrix_rows, plausible
from wide_frames import wide

from cl_bnn import report, results
from cl_bnn import uncertainty as measuring
from cl_bnn.errors import UserError
from cl_bnn.report import capacity, cost, single_tables, tables, uncertainty
from cl_bnn.results import Row

HALF = 12.7062  # t(0.975, 1): the half width is this times half the distance of two values


def measured(
    metric: str, values: Iterable[float], seed: int = 0, strategy: str = "ste"
) -> list[Row]:
    """`metric` on the tasks 0, 1, ... after the last of them."""
    found = list(values)
    last = len(found) - 1
    return [
        Row("toy", strategy, seed, last, on, None, metric, value) for on, value in enumerate(found)
    ]


def test_uncertainty_of_old_tasks_and_of_the_current_one() -> None:
    """Old: (1 + 2) / 2 and (2 + 3) / 2, mean 2; current: 0.5 of both seeds."""
    rows = measured("nll", [1, 2, 0.5]) + measured("nll", [2, 3, 0.5], seed=1)
    rows += measured("nll", [4, 4, 4], strategy="adam") + measured("ece", [0.2, 0.4, 0.1])
    table, unseen = uncertainty.tables(frame_of(rows))
    assert table.head == [
        "strategy", "seeds", "NLL [nats], old", "NLL [nats], current", "ECE [%], old",
        "ECE [%], current",
    ]  # fmt: skip
    assert table.rows == [
        [
            "ste",
            "2",
            f"2.000 ± {HALF * 0.5:.3f}",
            "0.500 ± 0.000",
            "30.0 ± – (1 of 2 seeds)",
            "10.0 ± – (1 of 2 seeds)",
        ],  # fmt: skip
        ["adam", "1", "4.000 ± –", "4.000 ± –", "–", "–"],
    ]
    assert not unseen.rows
    assert table.note == (
        "NLL = −ln p[y]; ECE = Σ over 15 equal bins of confidence of share × |accuracy − "
        "confidence|. Old: the mean over i < T; current: i = T."
    )


def test_data_not_seen_have_a_table_by_name() -> None:
    rows = measured("auroc_rotated", [0.5, 0.75]) + measured("auroc_fashion_mnist", [0.9, 1])
    predictive, unseen = uncertainty.tables(frame_of(rows))
    assert not predictive.rows
    assert unseen.head[2:] == [
        "AUROC of fashion mnist, old", "AUROC of fashion mnist, current", "AUROC of rotated, old",
        "AUROC of rotated, current",
    ]  # fmt: skip
    assert unseen.rows == [["ste", "1", "0.900 ± –", "1.000 ± –", "0.500 ± –", "0.750 ± –"]]


def test_a_single_task_has_no_old_ones_and_repeats_nothing() -> None:
    rows = [*measured("accuracy", [0.9]), *measured("nll", [0.5])]
    assert [t.rows for t in uncertainty.single_tables(frame_of(rows))] == [[]]
    rows += [*measured("brier", [0.25]), *measured("bin_share_15", [1])]
    predictive, _ = uncertainty.single_tables(frame_of(rows))
    assert predictive.head[2:] == ["NLL [nats], current", "Brier, current"]
    ends = single_tables.tables(frame_of(rows))[0]
    assert ends.head == ["strategy", "seeds", "accuracy [%]", "NLL [nats]"]


def test_what_some_seeds_were_not_measured_by_says_of_how_many_it_is() -> None:
    """As of images that were not there."""
    frame = plausible()
    lacking = (frame["seed"] == 0) & frame["metric"].isin(["nll", "entropy"])
    found = [*uncertainty.tables(frame[~lacking]), capacity.table(frame[~lacking])]
    cells = [cell for table in found for row in table.rows for cell in row]
    assert sum("(2 of 3 seeds)" in cell for cell in cells) > 3


def test_capacity_after_the_first_and_the_last_task() -> None:
    table = capacity.table(plausible())
    assert table.head[2:] == [
        "mean entropy [bits] after task 1", "mean entropy [bits] after task 3",
        "saturated weights [%] after task 1", "saturated weights [%] after task 3",
        "flipped weights [%] after task 3",
    ]  # fmt: skip
    assert table.rows[0] == [
        "bayesbinn", "3", "0.800 ± 0.000", "0.600 ± 0.000", "20.0 ± 0.0", "30.0 ± 0.0",
        "5.00 ± 0.00",
    ]  # fmt: skip
    assert [row[0] for row in table.rows] == ["bayesbinn", "bayesbinn_fixed_prior"]
    assert len(capacity.table(plausible(tasks=1)).head) == 4
    assert not capacity.table(plausible(strategies=["ste"])).rows


def test_layers_are_found_by_name() -> None:
    frame = frame_of(
        Row("toy", "ste", 0, 0, None, None, metric, 0.5)
        for metric in ("entropy_layer10", "entropy_layer2", "entropy", "saturated_layer1")
    )
    assert capacity.layers_of(frame, "entropy") == [2, 10]


def write(out: Path, strategy: str, seed: int, bits: list[float], info: dict[str, object]) -> None:
    rows = matrix_rows([[0.5]], strategy, seed)
    rows += [Row("toy", strategy, seed, t, None, None, "state_bits", b) for t, b in enumerate(bits)]
    results.write(results.csv_path(out, "toy", strategy, seed), rows, {}, info)


def test_cost_from_rows_and_from_the_json(tmp_path: Path) -> None:
    write(tmp_path, "ste", 0, [1, 32], {"seconds": 10, "train_peak_memory": 4e6, "commit": "x"})
    write(tmp_path, "ste", 1, [1, 34], {"seconds": 14.0})
    write(tmp_path, "adam", 0, [], {"seconds": True})
    write(tmp_path, "sgd", 0, [64], {"eval_seconds": 2})
    table = cost.table(results.read(tmp_path), results.load(tmp_path).info)
    assert table.head == [
        "strategy", "seeds", "state [bits a weight]", "time [s]", "evaluation [s]",
        "memory, training [MB]",
    ]  # fmt: skip
    assert table.rows == [
        ["ste", "2", f"33.0 ± {HALF:.1f}", f"12.0 ± {2 * HALF:.1f}", "–", "4 ± – (1 of 2 seeds)"],
        ["sgd", "1", "64.0 ± –", "–", "2.0 ± –", "–"],
    ]


def test_runs_without_a_json_have_no_cost(tmp_path: Path) -> None:
    write(tmp_path, "ste", 0, [], {"seconds": 10})
    (json_path,) = tmp_path.rglob("seed0.json")
    assert results.load(tmp_path).info["seconds"].tolist() == [10]
    json_path.unlink()
    info = results.load(tmp_path).info
    assert list(info.columns) == results.RUN and not len(info)
    frame = frame_of(matrix_rows([[0.5]]))
    assert not cost.table(frame, info).rows


def test_info_of_an_edited_run_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "ste", 0, [1], {})
    (json_path,) = tmp_path.rglob("seed0.json")
    json_path.write_text(json.dumps({"csv_sha256": "0", "spec": {}}))
    with pytest.raises(UserError, match="was edited"):
        results.load(tmp_path)


def test_of_many_tasks_a_matrix_shows_the_first_every_kth_and_the_last() -> None:
    frame = frame_of(matrix_rows([[(t + i) / 200 for i in range(100)] for t in range(100)]))
    table = tables.matrix_table(frame, "title")
    numbers = [1, *range(10, 101, 10)]
    assert table.head == ["", *(f"task {number}" for number in numbers)]
    assert [row[0] for row in table.rows] == [f"after task {number}" for number in numbers]
    assert table.rows[1][1:3] == ["4.5", "9.0"]  # (9 + 0) / 200 and (9 + 9) / 200
    assert table.title == "title (11 of 100 tasks)"
    final = tables.final_table(frame)
    assert final.head[2:4] == ["task 1", "task 10"] and len(final.head) == 13
    assert final.rows[0][2:4] == ["49.5 ± –", "54.0 ± –"]


@pytest.mark.parametrize("tasks", [12, 60, 100])
def test_a_terminal_of_eighty_columns_shows_many_tasks(tasks: int) -> None:
    shown = tables.terminal_tables(wide(["bayesbinn", "joint"], tasks=tasks, seeds=1))
    lines = [line for table in shown[:2] for line in tables.text_lines(table)]
    assert tasks == 12 or max(map(len, lines)) <= 80
    assert len(shown[0].head) == (13 if tasks == 12 else 8 if tasks == 60 else 7)


def test_posterior_tables_of_many_tasks_are_as_short() -> None:
    frame = wide(["bayesbinn"], tasks=60, seeds=1)
    entropy, _, flipped = tables.posterior_tables(frame)
    assert len(entropy.head) == 2 + 7 and flipped.head[2] == "after task 10"
    assert entropy.title == "Posterior: mean entropy [bits] (7 of 60 tasks)"


def test_a_note_stands_below_its_table() -> None:
    table = tables.Table("title", ["a"], [["1"]], "What it is.")
    assert tables.markdown(table).endswith("| 1 |\n\nWhat it is.\n")
    assert tables.text_lines(table) == ["title", "a", "1", "What it is.", ""]
    assert str(tables.rich_table(table).caption) == "What it is."


def test_the_page_has_all_of_it_in_one_order_and_twice_the_same(tmp_path: Path) -> None:
    frame = wide(["joint", "ste", "bayesbinn", "adam"], tasks=20, seeds=2)
    for (benchmark, strategy, seed), rows in frame.groupby(results.RUN):
        path = results.csv_path(tmp_path, benchmark, strategy, seed)
        kept = rows.astype(object).where(rows.notna(), None)
        lines = [Row(*row) for row in kept.itertuples(index=False)]
        results.write(
            path, lines, {}, {"seconds": 1.5, "train_seconds": 1, "train_peak_memory": 2e6}
        )
    for name in ("average", "layers", "reliability", "state"):
        figure = tmp_path / f"figures/split_mnist_{name}.png"
        figure.parent.mkdir(exist_ok=True)
        figure.write_bytes(b"")
    pages = report.render(tmp_path)
    assert pages == report.render(tmp_path)
    page = pages["tables/split_mnist.md"]
    for text in (
        "**Uncertainty after the last task**", "**Data not seen, told from the tasks learned**",
        "**Capacity of the posterior**", "**Cost of a run**", "Brier = Σ", "AUROC = P(u' > u)",
        "<summary>The posterior after every task</summary>", "1 MB = 10⁶ bytes.",
        "(11 of 20 tasks)", "figures/split_mnist_layers.png", "figures/split_mnist_state.png",
    ):  # fmt: skip
        assert text in page, text
    after = page.partition("**Uncertainty after the last task**")[2]
    places = [after.index(f"| {name} |") for name in ("bayesbinn", "ste", "adam", "joint")]
    assert places == sorted(places)
    widest = max(line.count("|") for line in page.splitlines() if line.startswith("|"))
    assert widest <= 15


def test_pages_say_how_many_images_were_measured() -> None:
    assert uncertainty.IMAGES == measuring.IMAGES


def test_uncertainty_along_the_tasks_on_old_current_and_coming_ones() -> None:
    """Task 2 of 3: old is task 1, to come task 3; values 10 after + on, two seeds 1 apart."""
    rows = [
        Row("toy", "ste", seed, after, on, None, "nll", 10 * after + on + seed)
        for seed in (0, 1)
        for after in range(3)
        for on in range(3)
    ]
    rows += [Row("toy", "ste", 0, 2, on, None, "auroc_rotated", 0.5 + on / 4) for on in range(3)]
    rows += [Row("toy", "ste", 0, t, t + 1, None, "epistemic", 0.5) for t in range(2)]
    nll, epistemic, unseen = uncertainty.along(frame_of(rows))
    assert epistemic.title.startswith("epistemic [nats]: old / current / next")
    assert nll.title.startswith("NLL [nats]: old / current / to come")
    assert nll.head == ["strategy", "after task 1", "after task 2", "after task 3"]
    assert nll.rows == [
        ["ste", "– / 0.500 / 2.000", "10.500 / 11.500 / 12.500", "21.000 / 22.500 / –"]
    ]
    assert unseen.rows == [["ste", "– / – / –", "– / – / –", "0.625 / 1.000 / –"]]
