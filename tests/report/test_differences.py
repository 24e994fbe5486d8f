"""Differences between some strategies on disk: who is compared, with whom, in which measure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from frames import matrix_rows
from scipy import stats

from cl_bnn.errors import UserError
from cl_bnn.report.differences import csv_text, of_directory
from cl_bnn.results import csv_path, write

#: Accuracy on the first of two tasks after the first and after the second, and on the second.
Ends = Sequence[tuple[float, float, float]]


def save(
    out: Path, ends: Mapping[str, Ends], benchmark: str = "toy", spec: Mapping[str, object] = {}
) -> None:
    for strategy, seeds in ends.items():
        for seed, (first, kept, second) in enumerate(seeds):
            rows = matrix_rows([[first, 0.5], [kept, second]], strategy, seed)
            rows = [row._replace(benchmark=benchmark) for row in rows]
            write(csv_path(out, benchmark, strategy, seed), rows, spec, {})


ENDS: dict[str, Ends] = {
    "mine[lr=0.1]": [(0.9, 0.8, 0.9), (0.9, 0.7, 0.9), (0.9, 0.6, 0.9)],
    "ste": [(0.9, 0.6, 0.9), (0.9, 0.6, 0.9), (0.9, 0.6, 0.8)],
    "bop": [(0.8, 0.5, 0.8), (0.7, 0.5, 0.8), (0.8, 0.3, 0.8)],
    "ewc": [(0.8, 0.5, 0.8), (0.7, 0.5, 0.8), (0.8, 0.3, 0.8)],
}


def test_some_strategies_against_the_first(tmp_path: Path) -> None:
    save(tmp_path, ENDS)
    ((table, numbers),) = of_directory(tmp_path, "", ["mine", "ste", "bop"], "", "ACC")
    assert table.title == "toy: Differences to mine[lr=0.1], paired by seed"
    rows = numbers.set_index("strategy")
    assert set(rows.index) == {"ste", "bop"}  # not ewc: it was not named
    gaps = [-0.1, -0.05, -0.05]
    assert rows.loc["ste", "difference"] == pytest.approx(sum(gaps) / 3)
    p = stats.ttest_1samp(gaps, 0).pvalue
    assert rows.loc["ste", "t_p"] == pytest.approx(p)
    assert rows.loc["ste", "t_p_holm"] == pytest.approx(p)  # the larger of two


def test_any_measure_in_its_unit(tmp_path: Path) -> None:
    save(tmp_path, ENDS)
    ((table, numbers),) = of_directory(tmp_path, "toy", ["ste", "mine"], "", "BWT")
    assert table.head[2] == "difference in BWT [points]"
    assert numbers["difference"].tolist() == pytest.approx([0.1])  # -0.2 minus -0.3
    assert table.rows[0][2].startswith("10.0 ± ")


def test_everything_against_bayesbinn_or_who_is_named(tmp_path: Path) -> None:
    save(tmp_path, ENDS | {"bayesbinn": ENDS["ste"]})
    ((_, numbers),) = of_directory(tmp_path, "", [], "", "ACC")
    assert set(numbers["minus"]) == {"bayesbinn"} and len(numbers) == 4
    ((_, numbers),) = of_directory(tmp_path, "", ["ste", "bop"], "ewc", "ACC")
    assert set(numbers["minus"]) == {"ewc"} and len(numbers) == 2


def test_benchmarks_without_the_one_are_left_out(tmp_path: Path) -> None:
    save(tmp_path, ENDS)
    save(tmp_path, {"ste": ENDS["ste"], "bop": ENDS["bop"]}, "other")
    assert [table.title[:4] for table, _ in of_directory(tmp_path, "", [], "mine", "ACC")] == [
        "toy:"
    ]
    both = of_directory(tmp_path, "", ["ste", "bop"], "", "ACC")
    lines = csv_text(both).splitlines()
    assert [line.split(",")[:5] for line in lines] == [
        ["benchmark", "measure", "strategy", "minus", "seeds"],
        ["other", "ACC", "bop", "ste", "3"],
        ["toy", "ACC", "bop", "ste", "3"],
    ]


def test_who_was_named_and_is_not_there_is_told(tmp_path: Path) -> None:
    save(tmp_path, ENDS)
    save(tmp_path, {"ste": ENDS["ste"], "bop": ENDS["bop"]}, "other")
    other, toy = of_directory(tmp_path, "", ["ste", "bop", "mine"], "", "ACC")
    assert other.table.note.endswith("Without ACC here: `mine`.")
    assert "Without" not in toy.table.note


def test_what_cannot_be_compared_is_told(tmp_path: Path) -> None:
    save(tmp_path, {"ste": ENDS["ste"]})
    with pytest.raises(UserError, match="has ACC on the benchmark and with the seed of ste"):
        of_directory(tmp_path, "", [], "ste", "ACC")
    with pytest.raises(UserError, match="seed of another strategy"):
        of_directory(tmp_path, "", [], "", "ACC")
    with pytest.raises(UserError, match="no results of the strategy 'adam'"):
        of_directory(tmp_path, "", [], "adam", "ACC")
    with pytest.raises(UserError, match="did you mean 'nll'"):
        of_directory(tmp_path, "", [], "ste", "nl")


def test_seeds_of_other_settings_are_refused(tmp_path: Path) -> None:
    save(tmp_path, ENDS)
    for seed, lr in ((0, 0.1), (1, 0.2)):
        spec = {"benchmark": "toy", "strategy": "ste", "seed": seed, "settings": {"lr": lr}}
        path = csv_path(tmp_path, "toy", "ste", seed)
        write(path, matrix_rows([[0.9]], "ste", seed), spec, {})
    with pytest.raises(UserError, match="toy/ste: seed 0 has lr = 0.1, and seed 1 0.2"):
        of_directory(tmp_path, "", ["mine", "bop"], "", "ACC")
