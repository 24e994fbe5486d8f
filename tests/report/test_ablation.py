"""What single settings change, on hand-made runs."""

from pathlib import Path

import pandas as pd
import pytest
from frames import frame_of

from cl_bnn import results
from cl_bnn.report import page
from cl_bnn.report.ablation import Change, differences, final_accuracy
from cl_bnn.report.scenarios import is_study
from cl_bnn.results import Row


def scores(*runs: tuple[str, str, int, float]) -> pd.DataFrame:
    return pd.DataFrame(runs, columns=["benchmark", "strategy", "seed", "ACC"])


def differences_of(
    *runs: tuple[str, int, float, dict[str, object]],
) -> dict[Change, list[float]]:
    """Of runs by strategy, seed, ACC and settings."""
    labels = [f"{strategy}[{k}]" for k, (strategy, *_) in enumerate(runs)]
    table = scores(
        *(("toy", label, run[1], run[2]) for label, run in zip(labels, runs, strict=True))
    )
    specs = {("toy", label, run[1]): run[3] for label, run in zip(labels, runs, strict=True)}
    return differences(table, specs)


def test_pairs_differ_in_one_setting_and_the_smaller_value_comes_first() -> None:
    found = differences_of(
        ("ste", 0, 0.5, {"lr": 10.0, "model.norm": "layer"}),
        ("ste", 0, 0.75, {"lr": 2.0, "model.norm": "layer"}),
        ("ste", 0, 1.0, {"lr": 2.0, "model.norm": "batch"}),
        ("ste", 1, 0.25, {"lr": 10.0, "model.norm": "layer"}),
        ("ste", 1, 0.375, {"lr": 2.0, "model.norm": "layer"}),
        ("bayesbinn", 0, 0.0, {"lr": 2.0, "model.norm": "layer"}),
    )
    assert found == {
        Change("ste", "lr", "2.0", "10.0"): [-0.25, -0.125],
        Change("ste", "model.norm", "batch", "layer"): [-0.25],
    }


@pytest.mark.parametrize(
    "key", ["stream.scenario", "stream.n_experiences", "stream.validation", "stream.angles"]
)
def test_other_tasks_are_not_compared(key: str) -> None:
    assert not differences_of(("ste", 0, 0.5, {key: 1}), ("ste", 0, 0.6, {key: 2}))


def test_a_setting_that_only_one_of_them_has_is_the_others_default() -> None:
    found = differences_of(("ste", 0, 0.5, {"a": 1, "b": 2}), ("ste", 0, 0.75, {"a": 1}))
    assert found == {Change("ste", "b", "default", "2"): [-0.25]}


def test_a_norm_that_is_told_the_task_is_one_decision() -> None:
    found = differences_of(
        ("ste", 0, 0.5, {"model.norm": "shared"}),
        ("ste", 0, 0.75, {"model.norm": "per_task", "stream.task_labels": True}),
    )
    assert found == {Change("ste", "model.norm", "per_task", "shared"): [-0.25]}


def test_how_often_a_run_was_measured_is_no_difference() -> None:
    found = differences_of(
        ("ste", 0, 0.5, {"lr": 1.0, "eval_every": "epoch"}),
        ("ste", 0, 0.75, {"lr": 2.0, "eval_every": "task"}),
    )
    assert found == {Change("ste", "lr", "1.0", "2.0"): [0.25]}


@pytest.mark.parametrize(
    ("name", "study"),
    [("toy[validation=0.1]", True), ("toy[validation=0]", False), ("toy[validation=0.0]", False)],
)
def test_who_holds_nothing_out_makes_no_study(name: str, study: bool) -> None:
    assert is_study(name) == study


def test_pages_of_results_that_are_gone_are_deleted(tmp_path: Path) -> None:
    for name in ("toy", "other"):
        rows = [Row(name, "ste", 0, 0, 0, None, "accuracy", 0.5)]
        results.write(results.csv_path(tmp_path, name, "ste", 0), rows, {}, {})
    page.write_readme(tmp_path)
    (tmp_path / "tables/mine.md").write_bytes(b"\xe4")
    (tmp_path / "tables/notes.md").write_text((tmp_path / "tables/other.md").read_text())
    (tmp_path / "other").rename(tmp_path / ".other")
    page.write_readme(tmp_path)
    left = {path.name for path in (tmp_path / "tables").iterdir()}
    assert left == {"mine.md", "notes.md", "toy.md"}, "ours are deleted, and a user's own are not"


def test_strategies_come_in_the_order_of_all_tables() -> None:
    runs = [(name, 0, acc, {"lr": acc}) for name in ("adam", "bop", "bayesbinn") for acc in (0, 1)]
    assert [change.strategy for change in differences_of(*runs)] == ["bayesbinn", "bop", "adam"]


def test_a_study_is_measured_on_what_was_held_out() -> None:
    rows = []
    for name in ("toy", "toy[validation=0.1]"):
        for after in (0, 1):
            for on in (0, 1):
                key = (name, "ste", 0, after, on, None)
                rows += [Row(*key, "accuracy", after / 4 + on / 8)]
                rows += [Row(*key, "val_accuracy", after / 2 + on / 4)]
    table = final_accuracy(frame_of(rows)).set_index("benchmark")["ACC"]
    assert table.to_dict() == {"toy": 0.3125, "toy[validation=0.1]": 0.625}


def test_the_page_is_written_and_linked(tmp_path: Path) -> None:
    """And studies are not columns of the overview."""
    for held_out in ("", ",validation=0.1"):
        for lr in (0.1, 0.2):
            names = f"toy[epochs=1{held_out}]", f"ste[lr={lr}]"
            metric = "val_accuracy" if held_out else "accuracy"
            rows = [
                Row(*names, 0, after, on, None, kind, lr if kind == metric else 0.9)
                for kind in ("accuracy", "val_accuracy")
                for after in (0, 1)
                for on in (0, 1)
            ]
            stream = {"validation": 0.1} if held_out else {}
            spec = {
                "benchmark": names[0], "strategy": names[1], "seed": 0, "settings": {"lr": lr},
                "stream": stream, "plugins": {"er": {"memory": 3}},
            }  # fmt: skip
            results.write(results.csv_path(tmp_path, *names, 0), rows, spec, {})
    assert results.load(tmp_path).specs["toy[epochs=1]", "ste[lr=0.1]", 0] == {
        "lr": 0.1, "er.memory": 3,
    }  # fmt: skip
    pages = page.render(tmp_path)
    text = pages["tables/toy_settings.md"]
    assert "| ste | lr | 0.1 | 0.2 | 2 | +10.0 | +10.0 | +10.0 |" in text
    best = text.split("the best first**")[1]
    assert best.index("ste[lr=0.2] | 1 | 20.0") < best.index("ste[lr=0.1] | 1 | 10.0")
    overview = pages["README.md"]
    assert "[what single settings change](tables/toy_settings.md)" in overview
    assert "tables/toy_epochs=1_validation=0.1.md" in overview
    assert "90.0" not in overview  # the test accuracy of the study
