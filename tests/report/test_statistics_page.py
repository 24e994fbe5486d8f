"""The part of the page on differences: what is shown, what is folded, what is left out."""

import re

import pandas as pd
from frames import frame_of, matrix_rows, plausible

from cl_bnn.report import statistics_page
from cl_bnn.report.summary import summary


def section(*strategies: str, seeds: int = 3) -> str:
    """The section on made-up runs of these strategies."""
    return "\n".join(
        statistics_page.section(summary(plausible(strategies=strategies, seeds=range(seeds))))
    )


def rows_of(page: str) -> list[list[str]]:
    """The cells of the rows of all tables, headings included."""
    lines = [line for line in page.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_differences_stand_with_both_tests_and_a_verdict() -> None:
    head, row = rows_of(section("bayesbinn", "ste", seeds=5))
    assert head == [
        *("strategy", "seeds", "difference in ACC [points]", "bootstrap"),
        *("t test: p (Holm)", "permutation: p (Holm)", "verdict", "seeds needed"),
    ]
    assert row[:2] == ["ste", "5"] and row[2].startswith("-")
    assert row[4:] == ["< 0.0001 (< 0.0001)", "0.0625 (0.0625)", "real if normal", "–"]
    low, _, high = row[3].partition(" to ")
    assert float(low) <= float(row[2].split()[0]) <= float(high)


def test_a_line_says_how_many_seeds_the_permutation_test_takes() -> None:
    one = section("bayesbinn", "ste", seeds=5)
    assert "With 5 seeds no p of the permutation test is below 0.0625; with 6 seeds" in one
    several = section("bayesbinn", "ste", "adam", seeds=5)
    assert "below 0.0625 (0.1250 corrected for 2 comparisons); with 7 seeds" in several
    enough = section("bayesbinn", "ste", seeds=6)
    assert "With" not in enough and rows_of(enough)[1][5:7] == ["0.0312 (0.0312)", "real"]


def test_the_line_holds_where_seeds_are_unequal() -> None:
    """Of two and six seeds the first p, 0.5 at least, is the larger one, which Holm lets be."""
    frame = plausible(strategies=["bayesbinn", "ste", "adam"], seeds=range(6))
    frame = frame[(frame["strategy"] != "adam") | (frame["seed"] < 2)]
    page = "\n".join(statistics_page.section(summary(frame)))
    assert "With 2 seeds no p of the permutation test is below 0.5000 (0.5000 corrected" in page
    found = {row[0]: row[5] for row in rows_of(page.partition("<details>")[0])[1:]}
    assert found["adam"] == "0.5000 (0.5000)" and found["ste"] == "0.0312 (0.0625)"


def test_all_pairs_are_folded_and_left_out_where_they_say_nothing_new() -> None:
    page = section("bayesbinn", "ste", "adam")
    shown, _, hidden = page.partition("<details>")
    assert [row[0] for row in rows_of(shown)] == ["strategy", "ste", "adam"]
    assert "<summary>All 3 pairs with two seeds in common, corrected together</summary>" in hidden
    assert [row[:2] for row in rows_of(hidden)] == [
        ["strategy", "minus"], ["bayesbinn", "ste"], ["bayesbinn", "adam"], ["ste", "adam"],
    ]  # fmt: skip
    assert "<details>" not in section("bayesbinn", "ste")


def test_strategies_without_a_common_seed_are_named() -> None:
    first = plausible(strategies=["bayesbinn"], seeds=[0, 1])
    apart = plausible(strategies=["ste"], seeds=[2, 3])
    line = "Without a seed in common with `bayesbinn`: `ste`.\n"
    assert statistics_page.section(summary(pd.concat([first, apart]))) == [line]
    met = plausible(strategies=["adam"], seeds=[0, 1])
    page = statistics_page.section(summary(pd.concat([first, apart, met])))
    assert line in page and rows_of(page[0])[1][0] == "adam"


def test_one_seed_has_a_difference_and_no_test() -> None:
    page = section("bayesbinn", "ste", "adam", seeds=1)
    assert rows_of(page)[0] == ["strategy", "seeds", "difference in ACC [points]"]
    assert [row[1] for row in rows_of(page)[1:]] == ["1", "1"]
    assert "details" not in page and "With" not in page


def test_a_strategy_with_one_seed_stands_untested_beside_tested_ones() -> None:
    tested = plausible(strategies=["bayesbinn", "ste"])
    alone = plausible(strategies=["adam"], seeds=[0])
    page = "\n".join(statistics_page.section(summary(pd.concat([tested, alone]))))
    _, ste, adam = rows_of(page)
    assert adam[1] == "1" and adam[3:] == ["–"] * 5
    assert ste[1] == "3" and ste[6] == "real if normal"
    assert "0.2500; with 6 seeds" in page  # one comparison is tested


def test_strategies_of_one_seed_do_not_hide_the_pairs_of_the_others() -> None:
    """Two differences to the yardstick are tested and three are not: 3 pairs say more."""
    tested = plausible(strategies=["bayesbinn", "ste", "adam"])
    alone = plausible(strategies=["bop", "ewc", "si"], seeds=[0])
    page = "\n".join(statistics_page.section(summary(pd.concat([tested, alone]))))
    assert "<summary>All 3 pairs with two seeds in common, corrected together</summary>" in page


def test_open_differences_say_how_many_seeds_they_need() -> None:
    """Differences of 0, 1 and 2 points: an effect of 1, for which tables of power give 10."""
    rows = [
        row
        for strategy, values in {"bayesbinn": (0.5, 0.6, 0.7), "ste": (0.5, 0.61, 0.72)}.items()
        for seed, value in enumerate(values)
        for row in matrix_rows([[value]], strategy, seed)
    ]
    row = rows_of("\n".join(statistics_page.section(summary(frame_of(rows)))))[1]
    assert row[3:] == ["0.0 to 2.0", "0.2254 (0.2254)", "0.5000 (0.5000)", "open", "10"]


def test_one_strategy_or_no_accuracy_has_no_section() -> None:
    assert section("bayesbinn") == ""
    frame = plausible(strategies=["bayesbinn", "ste"])
    frame["metric"] = frame["metric"].replace("accuracy", "rmse")
    assert statistics_page.section(summary(frame)) == []


def test_legend_explains_every_column_and_verdict() -> None:
    _, *gap = statistics_page._gap("ACC")  # how many seeds there are needs no explanation
    for heading in (*gap, *statistics_page.TESTS):
        name = re.split(r":| in ", heading)[0]
        known = f"- *{name}*" in statistics_page.LEGEND
        assert known or f"The {name}s:" in statistics_page.LEGEND, heading
    assert "- *(Holm)*" in statistics_page.LEGEND
