"""The file of a run: bytes, when it counts as finished, and what is refused."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cl_bnn import results
from cl_bnn.atomic import atomic_write
from cl_bnn.errors import UserError
from cl_bnn.results import Row
from cl_bnn.run import digests_of_code

SPEC = {"eval_every": "task", "strategy": {"lr": 1e-3, "name": "ste"}, "stream": {"widths": (1, 2)}}
ROWS = [
    Row("split_mnist", "ste", 0, 0, 1, None, "accuracy", 0.12345678),
    Row("split_mnist", "ste", 0, 0, 0, 2, "train_loss", 1e-9),
    Row("split_mnist", "ste", 0, 1, None, None, "entropy", 1.0),
]
CSV = b"""\
benchmark,strategy,seed,after,on,epoch,metric,value
split_mnist,ste,0,0,1,,accuracy,0.123457
split_mnist,ste,0,0,0,2,train_loss,1e-09
split_mnist,ste,0,1,,,entropy,1
"""


def written(out: Path, **changed: object) -> Path:
    """A run on file below `out`; returns the path of its CSV."""
    path = results.csv_path(out, "split_mnist", "ste", 0)
    results.write(path, ROWS, {**SPEC, **changed}, {"wall_time_s": 1.5})
    return path


def test_csv_path_names_benchmark_strategy_and_seed() -> None:
    path = results.csv_path(Path("runs"), "split_mnist", "ste[lr=0.01]", 7)
    assert path == Path("runs/split_mnist/ste[lr=0.01]/seed7.csv")


def test_csv_is_exactly_these_bytes(tmp_path: Path) -> None:
    assert written(tmp_path).read_bytes() == CSV


def test_json_holds_spec_hash_and_info_with_sorted_keys(tmp_path: Path) -> None:
    text = written(tmp_path).with_suffix(".json").read_text()
    record = json.loads(text)
    assert list(record) == ["csv_sha256", "info", "spec"]
    assert record["spec"]["stream"] == {"widths": [1, 2]}
    assert record["info"] == {"wall_time_s": 1.5}
    assert text.endswith("}\n") and '\n  "csv_sha256"' in text


def test_nothing_but_csv_and_json_is_left_in_the_folder(tmp_path: Path) -> None:
    names = sorted(path.name for path in written(tmp_path).parent.iterdir())
    assert names == ["seed0.csv", "seed0.json"]


@pytest.mark.parametrize(
    ("on_file", "asked", "answer"),
    [
        ("task", "task", True),
        ("epoch", "epoch", True),
        ("epoch", "task", True),
        ("task", "epoch", 0),
    ],
)
def test_finished_compares_the_spec(tmp_path: Path, on_file: str, asked: str, answer: bool) -> None:
    path = written(tmp_path, eval_every=on_file)
    if not answer:
        with pytest.raises(UserError, match="eval_every = 'task', not 'epoch'"):
            results.finished(path, {**SPEC, "eval_every": asked})
    else:
        assert results.finished(path, {**SPEC, "eval_every": asked}) is True


def test_not_finished_without_files_without_json_or_without_csv(tmp_path: Path) -> None:
    path = results.csv_path(tmp_path, "split_mnist", "ste", 0)
    assert not results.finished(path, SPEC)
    written(tmp_path).with_suffix(".json").unlink()
    assert not results.finished(path, SPEC)
    written(tmp_path).unlink()
    assert not results.finished(path, SPEC)


def test_a_kill_between_csv_and_json_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)  # an older run of the same name lies there, JSON and all

    def killed_at_json(target: Path, data: bytes) -> None:
        if target.suffix == ".json":
            raise KeyboardInterrupt
        atomic_write(target, data)

    monkeypatch.setattr(results, "atomic_write", killed_at_json)
    with pytest.raises(KeyboardInterrupt):
        results.write(path, ROWS[:1], SPEC, {})
    assert path.read_bytes() == b"".join(CSV.splitlines(keepends=True)[:2])
    assert not results.finished(path, SPEC)


def test_edited_csv_is_refused_by_finished_and_read(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(CSV.replace(b"0.123457", b"0.923457"))
    with pytest.raises(UserError, match=r"seed0\.csv was edited after it was written"):
        results.finished(path, SPEC)
    with pytest.raises(UserError, match=r"seed0\.csv was edited after it was written"):
        results.read(tmp_path)


NO_INFO = '{"csv_sha256": "0", "spec": {}, "info": null}'


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"csv_sha256": "0", "spec": 3}', "\udcff", NO_INFO]
)
def test_broken_json_is_refused(tmp_path: Path, text: str) -> None:
    path = written(tmp_path)
    path.with_suffix(".json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"seed0\.json is not the JSON of a run") as caught:
        results.finished(path, SPEC)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"seed0\.json is not the JSON of a run"):
        results.read(tmp_path)


def test_other_spec_names_the_first_key_that_differs(tmp_path: Path) -> None:
    path = written(tmp_path)
    other = {**SPEC, "strategy": {"lr": 1e-2, "name": "ste"}, "zeta": 1}
    with pytest.raises(UserError, match=r"strategy\.lr = 0\.001, not 0\.01: use another --out, or"):
        results.finished(path, other)
    with pytest.raises(UserError, match="zeta = None, not 1"):
        results.finished(path, {**SPEC, "zeta": 1})


def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*Not a directory; choose") as caught:
        written(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_file_to_write() -> None:
    with pytest.raises(UserError, match=r"cannot write \.: it names a folder; name a file in it"):
        atomic_write(Path(), b"")


def test_failed_atomic_write_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint"
    atomic_write(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_read_returns_the_rows_with_nullable_columns(tmp_path: Path) -> None:
    written(tmp_path)
    label = "split_mnist[n_experiences=3,epochs=1]"  # the comma is quoted in the CSV
    row = Row(label, "adam", 10, 0, 0, None, "nll", float("nan"))
    results.write(results.csv_path(tmp_path, label, "adam", 10), [row], SPEC, {})
    frame = results.read(tmp_path)
    assert list(frame.columns) == list(Row._fields)
    assert list(frame["benchmark"]) == ["split_mnist"] * 3 + [label]
    assert str(frame["on"].dtype) == str(frame["epoch"].dtype) == "Int64"
    assert list(frame["on"].isna()) == [False, False, True, False]
    assert list(frame["epoch"].isna()) == [True, False, True, True]
    assert list(frame["value"][:3]) == [0.123457, 1e-9, 1.0] and pd.isna(frame["value"][3])


def test_read_takes_a_csv_without_json_and_orders_seeds_as_numbers(tmp_path: Path) -> None:
    for seed in (10, 9):
        path = tmp_path / f"seed{seed}.csv"
        text = CSV.replace(b"ste,0,", f"ste,{seed},".encode()).replace(b"accuracy", b"nll")
        path.write_bytes(text)
    assert list(results.read(tmp_path)["seed"]) == [9, 9, 9, 10, 10, 10]


@pytest.mark.parametrize("kept", [0, 1, 3, 4, 6, 7, 8])
def test_read_refuses_a_csv_without_json_that_is_cut(tmp_path: Path, kept: int) -> None:
    """Of three tasks after each; a stream learned at once is measured after its last task alone."""
    matrix = [f"toy,ste,0,{after},{on},,accuracy,0.5\n" for after in range(3) for on in range(3)]
    head = CSV.decode().splitlines(keepends=True)[0]
    for whole in (matrix, matrix[6:]):
        (tmp_path / "seed0.csv").write_text(head + "".join(whole))
        assert len(results.read(tmp_path)) == len(whole)
    (tmp_path / "seed0.csv").write_text(head + "".join(matrix[:kept]))
    if kept == 1:  # looks as one task does
        assert len(results.read(tmp_path)) == 1
        return
    with pytest.raises(
        UserError, match=r"seed0\.csv is cut short(: not all of its [23] tasks|, no measurement)"
    ):
        results.read(tmp_path)
    before = [f"toy,ste,0,-1,{on},,accuracy_untrained,0.1\n" for on in range(3)]
    for beginning in (before, [*before, matrix[0]]):
        (tmp_path / "seed0.csv").write_text(head + "".join(beginning))
        with pytest.raises(UserError, match=r"cut short: not all of its 3 tasks"):
            results.read(tmp_path)


def test_trials_of_a_search_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    written(tmp_path, tasks_seen=2)
    with pytest.raises(UserError, match="no results in .* other than those of `cl-bnn search`"):
        results.read(tmp_path)
    assert len(results.read(tmp_path, trials=True)) == len(ROWS)
    assert results.csv_paths(tmp_path) == []
    run = results.csv_path(tmp_path, "split_mnist", "ste", 1)
    results.write(run, ROWS, SPEC, {})
    assert results.csv_paths(tmp_path) == [run]


def test_a_recipe_may_be_called_as_pandas_writes_what_is_missing(tmp_path: Path) -> None:
    row = Row("None", "null", 0, 0, None, None, "nan", 0.5)
    results.write(results.csv_path(tmp_path, "None", "null", 0), [row], SPEC, {})
    (found,) = results.read(tmp_path).itertuples(index=False)
    assert (found.benchmark, found.strategy, found.metric) == ("None", "null", "nan")


def test_copies_in_hidden_folders_are_no_runs(tmp_path: Path) -> None:
    """As an editor makes them beside the file that is looked at."""
    written(tmp_path / ".runs")
    (path,) = (tmp_path / ".runs").rglob("seed0.csv")
    copy = path.parent / ".ipynb_checkpoints" / "seed0-checkpoint.csv"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    assert len(results.read(tmp_path / ".runs")) == 3
    assert len(results.load(tmp_path / ".runs").info) == 1


def test_links_to_folders_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    written(tmp_path / "disk")
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "split_mnist").symlink_to(tmp_path / "disk" / "split_mnist")
    (tmp_path / "disk" / "split_mnist" / "back").symlink_to(runs)
    assert len(results.read(runs)) == 3
    disk = tmp_path / "disk"
    (disk / ".old").mkdir()
    (disk / ".old" / "all").symlink_to(disk / "split_mnist")
    (disk / "split_mnist" / "back").unlink()
    (disk / "split_mnist" / "latest").symlink_to(disk / "split_mnist" / "ste")
    assert results.walked(disk, "seed*.csv") == [disk / "split_mnist" / "ste" / "seed0.csv"]
    assert len(results.read(disk)) == 3


def test_results_that_may_not_be_read_are_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    scan = os.scandir

    def refused(path: str) -> Any:
        if os.path.basename(path) == "ste":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError):
        results.read(tmp_path)
    assert results.csv_paths(tmp_path) == []  # after a run others are none of its business
    assert results.walked(tmp_path / "nowhere", "seed*.csv") == []


@pytest.mark.parametrize("changed", [{"epochs": 2}, {"model": {"width": 3}}])
def test_strategies_of_one_benchmark_have_one_stream_and_network(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    for strategy, other in (("ste", {}), ("adam", changed)):
        spec = {"benchmark": "toy", "strategy": strategy, "seed": 0, "epochs": 1, "model": {}}
        rows = [Row("toy", strategy, 0, 0, 0, None, "accuracy", 0.5)]
        path = results.csv_path(tmp_path, "toy", strategy, 0)
        results.write(path, rows, {**spec, **other}, {})
    with pytest.raises(
        UserError, match=r"toy: adam, seed 0, has .* and ste, seed 0, .*: make them"
    ):
        results.read(tmp_path)
    assert len(results.read(tmp_path, alike=False)) == 2


@pytest.mark.parametrize("file", ["net.py", "net/__init__.py", "mine/net.py"])
def test_strategies_of_one_benchmark_have_a_network_of_one_code(tmp_path: Path, file: str) -> None:
    for strategy in ("ste", "adam"):
        spec = {
            "benchmark": "toy", "strategy": strategy, "seed": 0, "stream": {},
            "model": {"build": "net:mlp"},
        }  # fmt: skip
        rows = [Row("toy", strategy, 0, 0, 0, None, "accuracy", 0.5)]
        info = {"own_files": {file: strategy, "learner.py": strategy}}
        results.write(results.csv_path(tmp_path, "toy", strategy, 0), rows, spec, info)
    with pytest.raises(UserError, match=f"were made of another {file} each: make them anew"):
        results.read(tmp_path)


def test_the_digest_of_a_package_has_its_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    found = digests_of_code([tmp_path / name / "__init__.py" for name in ("one", "two")])
    assert set(found) == {"one/__init__.py", "two/__init__.py"}


def test_read_refuses_an_empty_folder_and_a_missing_one(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match="no results in"):
            results.read(directory)


def test_read_refuses_two_files_of_one_run(tmp_path: Path) -> None:
    written(tmp_path / "runs")
    written(tmp_path / "results")
    with pytest.raises(UserError, match="split_mnist/ste, seed 0, is in .* and in .*: name the"):
        results.read(tmp_path)


def test_read_refuses_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "seed0.csv").mkdir()
    with pytest.raises(UserError, match=r"seed0\.csv is not a table of results .*Is a directory"):
        results.read(tmp_path)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", CSV.decode().replace("1e-09", "small")])
def test_read_refuses_what_is_no_table_of_results(tmp_path: Path, text: str) -> None:
    (tmp_path / "seed0.csv").write_text(text)
    with pytest.raises(UserError, match=r"seed0\.csv is not a table of results") as caught:
        results.read(tmp_path)
    assert "\n" not in str(caught.value)
