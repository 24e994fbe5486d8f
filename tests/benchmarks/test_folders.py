"""Images in folders, their classes dealt out to several tasks."""

from pathlib import Path
from typing import Any

import images
import pytest
import torch

from cl_bnn import results, runner
from cl_bnn.benchmarks import folder as folder_benchmark
from cl_bnn.data.folder import FolderView
from cl_bnn.strategies.loading import view_behind


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return images.pictures(tmp_path)


def test_classes_of_folders_can_be_dealt_out_to_tasks(tmp_path: Path) -> None:
    for half, count in (("train", 3), ("val", 2)):
        names = ("ape", "bee", "cat", "dog")
        images.write(tmp_path / "four" / half, dict.fromkeys(names, count))
    settings: dict[str, Any] = {"data": "four", "size": 12, "data_root": tmp_path}
    for scenario, outputs, heads, labels in (
        ("task", 2, 2, [[0, 1], [0, 1]]),
        ("domain", 2, 1, [[0, 1], [0, 1]]),
        ("class", 4, 1, [[0, 1], [2, 3]]),
    ):
        stream = folder_benchmark(n_experiences=2, scenario=scenario, **settings)
        assert (stream.n_tasks, stream.out_features, stream.n_heads) == (2, outputs, heads)
        views = [view_behind(e.dataset) for e in stream.train]
        assert [view.targets.unique().tolist() for view in views] == labels
        assert [sorted({Path(p).parent.name for p in view.paths}) for view in views] == [
            ["ape", "bee"],
            ["cat", "dog"],
        ]
        assert [view.augment for view in views] == [True, True]
        tests = [view_behind(e.dataset) for e in stream.test]
        assert [len(view) for view in tests] == [4, 4]
    x, y = tests[1][3]
    whole = FolderView(tmp_path / "four" / "val", size=12)
    assert torch.equal(x, whole[7][0]) and y == whole[7][1] == 3


def test_a_stream_of_folders_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_BNN_WORKERS", "0")
    for half, count in (("train", 3), ("val", 2)):
        images.write(tmp_path / "pictures" / half, dict.fromkeys("abcd", count))
    changed = {"stream.n_experiences": 2, "stream.scenario": "task"}
    (run,) = runner.plan(images.recipe(tmp_path), ["adam"], [0], changed, "task", tmp_path / "out")
    runner.run_all([run], jobs=1, device="cpu", data_root=tmp_path, on_event=lambda e: None)
    found = results.read(tmp_path / "out")
    assert len(found[found["epoch"].isna() & (found["metric"] == "accuracy")]) == 4


def test_classes_of_folders_that_cannot_be_dealt_out(pictures: Path) -> None:
    settings: dict[str, Any] = {"data": "pictures", "size": 12, "data_root": pictures.parent}
    with pytest.raises(ValueError) as error:
        folder_benchmark(n_experiences=2, **settings)
    assert str(error.value) == (
        "n_experiences must divide the 3 classes, got 2; possible are 1 task of 3"
    )
