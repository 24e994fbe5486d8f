"""Published numbers beside ours: which of our runs answer, the verdict, the section of the page."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from frames import frame_of, plausible

from cl_bnn.errors import UserError
from cl_bnn.report import ledger, ledger_page
from cl_bnn.report.ledger import Ours, Published
from cl_bnn.report.summary import MEASURES, Interval
from cl_bnn.results import Row

PERMUTED = "permuted_mnist[n_experiences=3]"
SHIPPED = Path(__file__).parents[2] / "results" / "reference.csv"
HEADINGS = ",".join(Published._fields)


def number(**changes: Any) -> Published:
    """A published accuracy of `ste` on `mnist` after training, with these changes."""
    fields: dict[str, Any] = dict.fromkeys(Published._fields, "")
    fields |= {"benchmark": "mnist", "strategy": "ste", "metric": "accuracy", "epoch": None}
    fields |= {"after": 0, "on": 0, "value": 0.98, "spread": math.nan, "tolerance": 0.01}
    return Published(**(fields | {"evidence": "PAPER", "source": "Somewhere"} | changes))


def run(benchmark: str, value: float, seed: int = 0, epochs: int = 0) -> list[Row]:
    """A run of `ste` on one task: `value` at the end, 0.01 less for every epoch before the last."""
    key = (benchmark, "ste", seed, 0, 0)
    rows = [Row(*key, None, "accuracy", value)]
    for epoch in range(epochs):
        here = value - 0.01 * (epochs - 1 - epoch)
        rows += [Row(*key, epoch, "accuracy", here), Row(*key, epoch, "val_accuracy", here)]
    return rows


def ours(published: Published, *runs: list[Row]) -> Ours:
    frame = frame_of(row for rows in runs for row in rows)
    return ledger.ours(published, ledger.group_runs(frame))


def test_the_mean_over_seeds_of_the_same_benchmark_and_strategy_answers() -> None:
    mine = ours(number(), run("mnist", 0.97, 0), run("mnist", 0.99, 1), run("cifar10", 0.5))
    assert (mine.value.mean, mine.value.n, mine.differs) == (pytest.approx(0.98), 2, "")


def test_another_variant_of_the_benchmark_stands_in_and_is_named() -> None:
    runs = (run("mnist[epochs=5,stop_after=2]", 0.5), run("mnist[stop_after=2]", 0.6))
    mine = ours(number(), *runs, run("cifar10", 0.7))
    assert (mine.value.mean, mine.differs) == (0.6, "ours is mnist[stop_after=2]")
    assert mine.stands_in
    assert ledger.verdict(number(), mine) == "protocol differs"
    exact = ours(number(), *runs, run("mnist", 0.8))
    assert (exact.value.mean, exact.differs, exact.stands_in) == (0.8, "", False)


@pytest.mark.parametrize(
    ("published", "run_on"),
    [
        ("split_mnist[scenario=class]", "split_mnist"),
        ("permuted_mnist[n_experiences=10]", "permuted_mnist[n_experiences=3]"),
        ("cifar10[network=binarynet]", "cifar10"),
        ("mnist", "permuted_mnist"),
    ],
)
def test_another_problem_never_stands_in(published: str, run_on: str) -> None:
    mine = ours(number(benchmark=published), run(run_on, 0.9))
    assert ledger.verdict(number(benchmark=published), mine) == "not run"


def test_another_setting_of_the_strategy_never_stands_in() -> None:
    published = number(strategy="ste[lr=0.1]")
    assert ours(published, run("mnist", 0.9)).value.n == 0


def test_a_run_stopped_early_measured_its_epochs_under_the_full_protocol() -> None:
    stopped = run("mnist[stop_after=3]", 0.98, epochs=3)
    early = ours(number(epoch=1), stopped)
    assert (early.value.mean, early.differs) == (pytest.approx(0.97), "")
    assert ours(number(epoch=3), stopped).value.n == 0
    assert ours(number(), stopped).differs == "ours is mnist[stop_after=3]"
    both = stopped + run("mnist[batch_size=5]", 0.5, epochs=3)
    assert ours(number(epoch=1), both).differs == "", "another protocol does not come before it"


def test_the_accuracy_at_best_validation_is_that_of_the_selected_epoch() -> None:
    rows = run("mnist", 0.98, epochs=3)
    rows += [Row("mnist", "ste", 0, 0, 0, 3, name, 0.5) for name in ("accuracy", "val_accuracy")]
    published = number(metric="accuracy_best_val", after=None, on=None)
    assert ours(published, rows).value.mean == pytest.approx(0.98)


def test_task_and_epoch_choose_among_our_rows() -> None:
    frame = plausible(strategies=["bayesbinn"], seeds=[0, 1], epochs=2)
    runs = ledger.group_runs(frame)
    published = number(benchmark=PERMUTED, strategy="bayesbinn", after=2, on=0, epoch=0)
    mine = ledger.ours(published, runs).value
    wanted = frame.query("metric == 'accuracy' and after == 2 and on == 0 and epoch == 0")
    assert (mine.n, mine.mean) == (2, pytest.approx(wanted["value"].mean()))
    assert ledger.ours(published._replace(epoch=None), runs).value.mean != mine.mean


def test_measures_can_be_asked_for_after_any_task() -> None:
    matrix = [[0.9, 0.1, 0.1], [0.7, 0.8, 0.1], [0.5, 0.6, 1.0]]
    rows = [
        Row("toy", "ste", 0, after, on, None, "accuracy", value)
        for after, line in enumerate(matrix)
        for on, value in enumerate(line)
    ]
    published = number(benchmark="toy", metric="ACC", on=None)
    for after, mean in ((0, 0.9), (1, 0.75), (2, 0.7), (None, 0.7)):
        assert ours(published._replace(after=after), rows).value.mean == pytest.approx(mean)
    assert ours(published._replace(after=3), rows).value.n == 0
    for metric, value in (("BWT", -0.2), ("AAA", (0.9 + 0.75) / 2), ("zero_shot", 0.1)):
        mine = ours(published._replace(metric=metric, after=1), rows)
        assert mine.value.mean == pytest.approx(value)


def test_verdict_takes_the_tolerance_as_still_within() -> None:
    published = number(value=0.897, tolerance=0.015)
    for mean, wanted in ((0.882, "within"), (0.8819, "outside"), (0.9121, "outside")):
        assert ledger.verdict(published, Ours(Interval(mean, 0.0, 5), "")) == wanted
    nothing = Ours(Interval(math.nan, math.nan, 0), "")
    assert ledger.verdict(published, nothing) == "not run"


def test_more_than_a_threshold_is_within() -> None:
    published = number(evidence="THRESHOLD", value=0.83, tolerance=0.03)
    for mean, wanted in ((0.99, "within"), (0.80, "within"), (0.79, "outside")):
        assert ledger.verdict(published, Ours(Interval(mean, 0.0, 5), "")) == wanted


@pytest.mark.parametrize(
    ("mean", "half", "n", "wanted"),
    [
        (0.98, 0.01, 5, True),
        (0.98, 0.011, 5, False),  # reaches beyond
        (0.90, 0.05, 5, True),
        (0.90, 0.08, 5, False),  # reaches what is within
        (0.90, 0.20, 5, False),  # and beyond it again
        (0.98, math.nan, 1, False),
    ],
)
def test_a_verdict_is_firm_if_all_of_the_interval_shares_it(
    mean: float, half: float, n: int, wanted: bool
) -> None:
    mine = Ours(Interval(mean, half, n), "")
    assert ledger.firm(number(), mine) == wanted
    assert ledger_page.judged(number(), mine).endswith(", not firm") != wanted
    assert ledger.firm(number(), mine._replace(differs="no gradient clipping"))
    assert ledger.firm(number(evidence="MEMORY"), mine)


def test_the_protocol_of_ours_is_named_where_nothing_is_judged() -> None:
    recalled = number(evidence="MEMORY", tolerance=math.nan)
    mine = ours(recalled, run("mnist[stop_after=2]", 0.98))
    assert ledger_page.judged(recalled, mine) == "–: ours is mnist[stop_after=2]"


def test_a_recalled_number_has_no_verdict() -> None:
    published = number(evidence="MEMORY", tolerance=math.nan)
    assert ledger.verdict(published, Ours(Interval(0.98, 0.0, 5), "")) == "–"


def test_a_measure_that_we_do_not_have_is_not_said_to_be_missing(shipped: list[Published]) -> None:
    assert {p.metric for p in shipped} >= ledger.UNMEASURED
    for metric in ledger.UNMEASURED:
        assert ledger.verdict(number(metric=metric), ours(number(metric=metric))) == "–"


def test_the_last_tasks_are_averaged_alone() -> None:
    rows = [Row("toy", "ste", 0, after, on, None, "accuracy", on / 10)
            for after in range(8) for on in range(8)]  # fmt: skip
    published = number(benchmark="toy", metric="ACC_last5", after=None, on=None)
    assert ours(published, rows).value.mean == pytest.approx((3 + 4 + 5 + 6 + 7) / 50)
    assert ours(published._replace(after=3), rows).value.mean == pytest.approx(0.15)  # of four
    twenty = published._replace(metric="ACC_last20")
    assert ours(twenty, rows).value.mean == pytest.approx(0.35)


def test_what_ours_does_otherwise_can_be_said_in_the_file() -> None:
    published = number(differs="no gradient clipping")
    mine = ours(published, run("mnist", 0.98))
    assert ledger.verdict(published, mine) == "protocol differs"
    assert mine.differs == "no gradient clipping"
    both = ours(published, run("mnist[stop_after=2]", 0.98))
    assert both.differs == "ours is mnist[stop_after=2]; no gradient clipping"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([HEADINGS, *lines]) + "\n", encoding="utf-8")
    return path


LINES = (
    "mnist,ste,accuracy,0,0,,0.9886,0.0005,0.002,PAPER,Table 1,5 runs,,best of all",
    "mnist,ste,accuracy,0,0,0,0.5,,0.1,LOG,A log,,,",
    "mnist,ste,accuracy,0,0,1,0.981,,,MEMORY,Somebody,,,",
    "mnist[epochs=9],ste,accuracy,0,0,,0.99,,0.01,DIGIT,Figure 2,,,",
    "split_mnist,ste,accuracy,4,2,,0.9,,0.02,README,A readme,,,",
    "split_mnist,ste,forged,4,,,0.25,,0.02,README,A readme,,,",
)


def test_file_is_read_field_by_field(tmp_path: Path) -> None:
    first, second, *_ = ledger.read(write(tmp_path / "reference.csv", *LINES))
    assert first == Published(
        *("mnist", "ste", "accuracy", 0, 0, None, 0.9886, 0.0005, 0.002),
        *("PAPER", "Table 1", "5 runs", "", "best of all"),
    )
    assert second.epoch == 0 and math.isnan(second.spread)
    assert ledger.read(tmp_path / "none.csv") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mnist,ste,accuracy,0,0,,x,,1,PAPER,S,,,", "line 3.*value.*'x'"),
        ("mnist,ste,accuracy,one,0,,1,,1,PAPER,S,,,", "line 3.*after.*'one'"),
        ("mnist,ste,accuracy,0,0,,,,1,PAPER,S,,,", "line 3.*needs a value and a source"),
        ("mnist,ste,accuracy,0,0,,1,,1,PAPER,,,,", "line 3.*needs a value and a source"),
        ("mnist,ste,accuracy,0,0,,1,,,PAPER,S,,,", "line 3.*needs a tolerance"),
        ("mnist,ste,accuracy,0,0,,1,,1,RUMOUR,S,,,", "line 3.*'RUMOUR'; known: PAPER"),
        ("mnist,ste", "line 3.*evidence ''"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "reference.csv", LINES[0], line)
    with pytest.raises(UserError, match=message) as caught:
        ledger.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"benchmark,value\nx,1\n", b"\xff\xfe"])
def test_a_file_that_is_no_ledger_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "reference.csv").write_bytes(data)
    with pytest.raises(UserError, match=r"reference\.csv") as caught:
        ledger.read(tmp_path / "reference.csv")
    assert "\n" not in str(caught.value)


def page_of(tmp_path: Path) -> str:
    rows = run("mnist", 0.98, 0, epochs=2) + run("mnist", 0.99, 1, epochs=2)
    path = write(tmp_path / "reference.csv", *LINES)
    return ledger_page.render(ledger_page.beside(path, frame_of(rows)))


def test_section_shows_first_what_was_run(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    first = page.partition("<details>")[0]
    rows = [line for line in first.splitlines() if line.startswith("| mnist")]
    assert rows == [
        "| mnist | ste | accuracy [%] after training | 98.86 ± 0.05 PAPER | 0.2 | 98.50 ± 6.35 | 2 "
        "| outside, not firm | [1] best of all |",
        "| mnist | ste | accuracy [%] after epoch 1 | 50 LOG | 10 | 97.5 ± 6.4 | 2 | outside "
        "| [2] |",
        "| mnist | ste | accuracy [%] after epoch 2 | 98.1 MEMORY | – | 98.5 ± 6.4 | 2 | – | [3] |",
        "| mnist[epochs=9] | ste | accuracy [%] after training | 99 DIGIT | 1 | 98.5 ± 6.4 | 2 "
        "| protocol differs: ours is mnist | [4] |",
    ]
    counts = "0 within, 2 outside (1 not firm), 1 protocol differs, 2 not run, 1 without a verdict"
    assert f"6 published numbers in `reference.csv`: {counts}." in first


def test_section_folds_what_was_not_run_and_explains_itself(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert "<summary>split_mnist: published numbers without one of ours (2)</summary>" in page
    assert "| split_mnist | ste | accuracy [%] on task 3 after task 5 | 90 README | [5] |" in page
    assert "| split_mnist | ste | forged after task 5 | 0.25 README | [5] |" in page
    for explained in ("- [1] Table 1: 5 runs.", "- [2] A log.", "- MEMORY: recalled", "*not run*"):
        assert explained in page
    assert "- QUOTED" not in page  # a tag that no number has
    assert page.count("<details>") == page.count("</details>") == 2


def test_there_is_no_section_without_published_numbers(tmp_path: Path) -> None:
    assert ledger_page.beside(tmp_path / "reference.csv", frame_of([])) == []


# The ledger that comes with the package.


@pytest.fixture(scope="module")
def shipped() -> list[Published]:
    return ledger.read(SHIPPED)


def test_no_published_number_is_there_twice(shipped: list[Published]) -> None:
    keys = Counter((*published[:6], published.source) for published in shipped)
    assert [key for key, count in keys.items() if count > 1] == []


def test_published_numbers_are_in_the_units_of_the_results(shipped: list[Published]) -> None:
    signed = {"BWT"}
    unbounded = {"memory", "train_loss"}
    for published in shipped:
        least = -1 if published.metric in signed else 0
        assert published.metric in unbounded or least <= published.value <= 1, published
        assert published.tolerance > 0 or published.evidence == "MEMORY", published
        assert math.isnan(published.spread) or published.spread >= 0, published
        known = published.metric in ledger_page.SHOWN
        assert known, f"{published.metric} is not described in ledger_page.SHOWN"


def test_labels_of_published_numbers_are_written_as_runs_are_named(
    shipped: list[Published],
) -> None:
    for label in {label for published in shipped for label in published[:2]}:
        name, settings = ledger.settings(label)
        inside = ",".join(f"{key}={settings[key]}" for key in sorted(settings))
        assert label == (f"{name}[{inside}]" if settings else name)


def test_figure_5_is_there_and_its_means_are_those_of_its_tasks(shipped: list[Published]) -> None:
    figure = [n for n in shipped if n.source.endswith("Figure 5") and n.after == 2]
    for strategy, mean, tolerance in (
        ("bayesbinn_reference", 0.897, 0.015),
        ("bayesbinn_fixed_prior", 0.388, 0.04),
    ):
        mine = [n for n in figure if n.strategy == strategy]
        (average,) = (n for n in mine if n.metric == "ACC")
        assert (average.value, average.tolerance) == (mean, tolerance)
        tasks = [n.value for n in mine if n.metric == "accuracy"]
        assert sum(tasks) / 3 == pytest.approx(mean, abs=0.001)


def test_table_10_agrees_with_the_published_logs(shipped: list[Published]) -> None:
    """Test accuracies at best validation: the table rounds what the logs give."""
    wanted = {"metric": "accuracy_best_val", "strategy": "bayesbinn_reference"}
    found = [n for n in shipped if all(getattr(n, key) == wanted[key] for key in wanted)]
    table = {n.benchmark: n for n in found if n.source.endswith("Table 10")}
    logs = {n.benchmark: n for n in found if n.evidence == "LOG"}
    assert set(table) == set(logs) == {"mnist", "cifar10", "cifar100"}
    for benchmark, printed in table.items():
        assert printed.value == pytest.approx(logs[benchmark].value, abs=5.1e-5)
        assert printed.spread == pytest.approx(logs[benchmark].spread, abs=5.1e-5)
    assert {n.tolerance for n in (*table.values(), *logs.values())} == {0.0015, 0.004, 0.008}


def test_last_epochs_are_the_mean_of_the_single_runs_beside_them(shipped: list[Published]) -> None:
    last = [n for n in shipped if "single runs" in n.note]
    assert len(last) == 3
    for published in last:
        runs = [float(text) / 100 for text in published.note.split("single runs ")[1].split()]
        assert sum(runs) / len(runs) == pytest.approx(published.value, abs=5e-6)


def test_every_measure_of_the_summary_can_be_published(shipped: list[Published]) -> None:
    assert set(MEASURES) <= set(ledger_page.SHOWN)
    assert {"ACC", "BWT"} <= {published.metric for published in shipped}
