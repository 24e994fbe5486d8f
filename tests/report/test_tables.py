"""Tables as text: cells, what stands where there is nothing, terminal and Markdown."""

import io
import math

from frames import frame_of, matrix_rows, plausible
from rich.console import Console

from cl_bnn.report import tables
from cl_bnn.report.summary import Interval, summary
from cl_bnn.report.tables import Table
from cl_bnn.results import Row

MATRIX = [[0.8, 0.1], [0.5, 0.9]]


def test_cell_shows_unit_interval_and_absence() -> None:
    assert tables.cell(Interval(0.8974, 0.0041, 5), "ACC") == "89.7 ± 0.4"
    assert tables.cell(Interval(0.8974, math.nan, 1), "ACC") == "89.7 ± –"
    assert tables.cell(Interval(math.nan, math.nan, 0), "ACC") == "–"
    assert tables.cell(Interval(0.79, 0.01, 2), "entropy") == "0.790 ± 0.010"
    assert tables.cell(Interval(-1e-9, 0.0, 2), "BWT") == "0.0 ± 0.0"
    assert tables.cell(Interval(3.0, 0.5, 2), "some_new_metric") == "3.0000 ± 0.5000"


def test_matrix_table_is_in_percent_and_counts_from_one() -> None:
    table = tables.matrix_table(frame_of(matrix_rows(MATRIX)), "title")
    assert table.head == ["", "task 1", "task 2"]
    assert table.rows == [["after task 1", "80.0", "10.0"], ["after task 2", "50.0", "90.0"]]


def test_matrix_table_of_joint_has_one_row() -> None:
    table = tables.matrix_table(plausible(strategies=["joint"]), "title")
    assert [row[0] for row in table.rows] == ["after task 3"]


def test_final_table_has_the_last_row_of_the_matrix_with_intervals() -> None:
    frame = frame_of(matrix_rows(MATRIX, seed=0) + matrix_rows(MATRIX, seed=1))
    table = tables.final_table(frame)
    assert table.head == ["strategy", "seeds", "task 1", "task 2"]
    assert table.rows == [["ste", "2", "50.0 ± 0.0", "90.0 ± 0.0"]]


def test_posterior_tables_leave_out_strategies_without_posterior() -> None:
    entropy, saturated, flipped = tables.posterior_tables(plausible())
    for table in (entropy, saturated, flipped):
        assert [row[0] for row in table.rows] == ["bayesbinn", "bayesbinn_fixed_prior"]
    assert entropy.rows[0][2:] == ["0.800 ± 0.000", "0.700 ± 0.000", "0.600 ± 0.000"]
    assert flipped.head[2:] == ["after task 2", "after task 3"]
    assert flipped.rows[0][2:] == ["10.00 ± 0.00", "5.00 ± 0.00"]
    assert tables.posterior_tables(plausible(strategies=["ste"])) == []


def test_variants_stand_side_by_side_with_a_dash_where_not_run() -> None:
    task = matrix_rows(MATRIX)
    other = [row._replace(benchmark="toy[scenario=class]", strategy="adam") for row in task]
    runs = summary(frame_of(task + other))
    table = tables.variants_table(runs, "toy", "scenario=task")
    assert table.head == ["strategy", "scenario=task", "scenario=class"]
    assert table.rows == [["ste", "70.0 ± –", "–"], ["adam", "–", "70.0 ± –"]]
    assert table.title.endswith("seeds: 1")


def test_a_number_that_some_seeds_lack_says_of_how_many_it_is() -> None:
    rows = [row for seed in (0, 1, 2) for row in matrix_rows([[0.5, 0.1], [0.5, 0.9]], seed=seed)]
    untrained = [
        Row("toy", "ste", seed, -1, on, None, "accuracy_untrained", 0.2)
        for seed in (0, 1) for on in (0, 1)
    ]  # fmt: skip
    table = tables.measure_table(summary(frame_of([*rows, *untrained])), ["ACC", "FWT"], "title")
    assert table.rows == [["ste", "3", "70.0 ± 0.0", "-10.0 ± 0.0 (2 of 3 seeds)"]]


def test_terminal_tables_are_every_matrix_and_one_summary() -> None:
    shown = tables.terminal_tables(plausible(strategies=["bayesbinn", "joint"]))
    assert len(shown) == 3
    assert "bayesbinn: accuracy [%], mean of 3 seeds" in shown[0].title
    assert shown[2].head[2:] == [
        "ACC [%]",
        "BWT [points]",
        "forgetting, first − last [points]",
        "forgetting, max − last [points]",
    ]
    assert shown[2].rows[1][3:] == ["–", "–", "–"]


def test_text_lines_are_aligned() -> None:
    table = Table("title", ["", "task 1"], [["after task 1", "9.5"], ["b", "100.0"]])
    assert tables.text_lines(table) == [
        "title",
        "              task 1",
        "after task 1     9.5",
        "b              100.0",
        "",
    ]


def test_markdown_aligns_numbers_and_escapes_bars() -> None:
    table = Table("title", ["strategy", "ACC"], [["a|b", "1"]])
    assert tables.markdown(table) == (
        "**title**\n\n| strategy | ACC |\n| --- | ---: |\n| a\\|b | 1 |\n"
    )


def test_rich_table_shows_labels_in_brackets_and_whole_names_on_80_columns() -> None:
    names = ["bayesbinn[lr=0.01]", "bayesbinn_fixed_prior"]
    screen = io.StringIO()
    for table in tables.terminal_tables(plausible(strategies=names)):
        Console(file=screen, width=80).print(tables.rich_table(table))
    text = screen.getvalue()
    assert "[lr=0.01]" in text and "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_metric_measured_in_another_way_is_shown_like_itself() -> None:
    assert tables.format_of("iou_mean_mode") == ("mean IoU [%], mode", 100, 1)
    assert tables.format_of("fit_rmse_mode_batch").heading.endswith(", mode, batch statistics")
    assert tables.format_of("ece_mode") == tables.FORMATS["ece_mode"]
    assert tables.format_of("something_mode") == tables.UNKNOWN
