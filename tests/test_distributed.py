"""Two processes learn what one learns. They are started once, by torchrun, for all tests."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import images
import pandas as pd
import pytest
import torch
import two_processes

from cl_bnn import distributed
from cl_bnn.errors import UserError

SCRIPT = Path(two_processes.__file__)


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have done their work."""
    folder = tmp_path_factory.mktemp("two")
    images.pictures(folder)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(SCRIPT), str(folder)], capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CL_BNN_WORKERS": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.fixture(scope="module")
def ranks(launched: Path) -> list[dict[str, Any]]:
    """What each of the two found."""
    return [torch.load(launched / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("case", [case for case in two_processes.CASES if "dropout" not in case])
def test_two_processes_learn_what_one_learns(
    case: str, ranks: list[dict[str, Any]], launched: Path
) -> None:
    alone = two_processes.learn(case, launched)
    assert alone.keys() == ranks[0][case].keys()
    tolerance = 1e-5 if case == "images" else 1e-10
    for name, value in alone.items():
        torch.testing.assert_close(
            ranks[0][case][name], value, rtol=tolerance, atol=tolerance,
            msg=lambda m, n=name: f"{n}: {m}",
        )  # fmt: skip


@pytest.mark.parametrize("case", two_processes.CASES)
def test_the_two_agree_to_the_last_bit(case: str, ranks: list[dict[str, Any]]) -> None:
    first, second = (rank[case] for rank in ranks)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_every_process_takes_its_share_of_each_batch(ranks: list[dict[str, Any]]) -> None:
    """Batches 0-4, 5-9 and 10: the last cannot be shared, and joins the one before."""
    for rank, wanted in enumerate(([[0, 2, 4], [5, 7, 9]], [[1, 3], [6, 8, 10]])):
        for kind in ("training", "test"):
            assert [batch.tolist() for batch in ranks[rank][kind]] == wanted


def test_what_is_exchanged(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        assert found["gathered"].flatten().tolist() == [0, 1, 2, 10, 11, 12, 13]
        assert found["totals"] == [3.0, 1.0]
        assert found["from first"] == {"rank": 0}


def test_what_cannot_be_shared_is_refused(ranks: list[dict[str, Any]], launched: Path) -> None:
    for found in ranks:
        norm = found["errors"].pop("norm")
        assert norm.startswith("a norm by the statistics of test batches (norm = 'batch')")
        for error in found["errors"].values():
            assert error.startswith("a batch of 1 cannot be shared by 2 processes")
        assert found["exit with jobs"] == 2
    assert "--jobs 2: the processes of torchrun share one run" in (launched / "stderr").read_text()


def test_a_run_of_two_processes_writes_what_one_writes(
    ranks: list[dict[str, Any]], launched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [found["exit"] for found in ranks] == [0, 0]
    assert two_processes.command(launched, "alone", "--eval-every", "epoch") == 0
    shared, alone = (
        pd.read_csv(launched / out / "pictures" / "adam" / "seed0.csv")
        for out in ("shared", "alone")
    )
    columns = ["metric", "after", "on", "epoch"]
    pd.testing.assert_frame_equal(shared[columns], alone[columns])
    pd.testing.assert_series_equal(shared["value"], alone["value"], rtol=1e-3, atol=1e-5)
    told = capsys.readouterr().out.replace("/alone/", "/shared/").splitlines()
    said = (launched / "stdout").read_text().splitlines()
    assert [line for line in said if "finished" in line] == [
        line for line in told if "finished" in line
    ]


@pytest.mark.parametrize("training", [True, False])
def test_a_single_sample_left_over_joins_the_batch_before(training: bool) -> None:
    """Alone it would have no variance for a norm."""
    for count, sizes in ((7, [3, 4]), (8, [3, 3, 2]), (6, [3, 3]), (1, [1]), (3, [3]), (4, [4])):
        found = distributed.batches(torch.arange(count), 3, training=training)
        assert [len(batch) for batch in found] == sizes
        assert distributed.n_batches(count, 3) == len(sizes)
        assert torch.cat(found).tolist() == list(range(count))
    assert len(distributed.batches(torch.arange(4), 1, training=training)) == 4


def test_one_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (distributed.rank(), distributed.size(), distributed.is_first()) == (0, 1, True)
    with distributed.joined(torch.device("cpu")) as device:
        assert device.type == "cpu" and distributed.size() == 1
    x = torch.arange(3)
    assert distributed.gather(x) is x and distributed.totals(2, 3) == [2, 3]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert not distributed.is_first()


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("two", "WORLD_SIZE = 'two': expected a whole number"),
        ("2", "RANK.*: start them with torch"),
    ],
)
def test_a_group_that_torchrun_did_not_start_is_refused(
    monkeypatch: pytest.MonkeyPatch, size: str, message: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.delenv("RANK", raising=False)
    with (
        pytest.raises(UserError, match=message),
        distributed.joined(torch.device("cpu")),
    ):
        pass


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(UserError, match="process number 3 on a machine with 2 GPUs"),
        distributed.joined(torch.device("cuda")),
    ):
        pass
