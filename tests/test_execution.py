"""Runs: interrupted and continued, side by side, on damaged files and broken data."""

import errno
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import RECIPE, recipe

from cl_bnn import execution, planning, results, runner
from cl_bnn.errors import UserError
from cl_bnn.events import Event
from cl_bnn.run import EvalEvery, Run, digest_of_code

FEW = {"eval_samples": 3}
EWC = "cl_bnn.strategies:EWC"
LAYERS = ("_layer1", "_layer2", "_layer3")  # of the network of the tiny recipe
# By the beginning of a strategy's name, the longest that fits.
SMALL: dict[str, dict[str, object]] = {
    "bayesbinn": FEW, "joint": FEW,
    "mesu": {**FEW, "mc_samples": 2}, "vcl": {**FEW, "mc_samples": 2},
    "vcl_coreset": {**FEW, "mc_samples": 1, "coreset": 20, "coreset_epochs": 2},
}  # fmt: skip
# The command line where Ctrl-C is not ignored, as it is in a shell's background jobs.
COMMAND_LINE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from cl_bnn.cli import main
sys.exit(main(sys.argv[1:]))
"""


def plan(
    folder: Path,
    strategy: str = "bayesbinn",
    seeds: tuple[int, ...] = (0,),
    *,
    out: str = "out",
    eval_every: EvalEvery = "task",
    **overrides: object,
) -> list[Run]:
    fitting = max((name for name in SMALL if strategy.startswith(name)), key=len, default="")
    settings = SMALL.get(fitting, {}) | overrides
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    return runner.plan(recipe(folder), [strategy], seeds, dotted, eval_every, folder / out)


def carry_out(
    runs: list[Run], on_event: Callable[[Event], None] = lambda e: None, jobs: int = 1
) -> None:
    runner.run_all(runs, jobs=jobs, device="cpu", data_root=None, on_event=on_event)


class Stop(Exception):
    """Stands for whatever ends a process."""


def stop_at(kind: str, count: int) -> Callable[[Event], None]:
    """Raises when the `count`-th event of a kind arrives."""
    left = [count]

    def on_event(event: Event) -> None:
        if event.kind == kind:
            left[0] -= 1
            if left[0] == 0:
                raise Stop

    return on_event


@pytest.mark.parametrize(
    "strategy",
    [
        "bayesbinn",
        "bayesbinn_reference",
        "ste",
        "xnor",
        "bop2",
        "bimu",
        "adam",
        "joint",
        "mesu",
        "vcl",
        "vcl_coreset",
        "bop",
        "pmf",
        "metaplastic",
        "sgd",
        "bayesbinn_tuned",
    ],  # fmt: skip
)
def test_interrupted_run_ends_with_the_same_bytes(tmp_path: Path, strategy: str) -> None:
    (whole,) = plan(tmp_path, strategy, out="whole", eval_every="epoch")
    carry_out([whole])
    (pieces,) = plan(tmp_path, strategy, out="pieces", eval_every="epoch")
    n_stops = 3 if strategy == "joint" else 5
    for kind, count in [("epoch", 1), ("epoch", 2), ("task", 1), ("epoch", 3), ("task", 1)][
        :n_stops
    ]:
        with pytest.raises(Stop):
            carry_out([pieces], stop_at(kind, count))
    events: list[str] = []
    carry_out([pieces], lambda e: events.append(e.kind))
    assert "started" not in events
    assert pieces.path.read_bytes() == whole.path.read_bytes()
    assert not list(pieces.path.parent.glob(".*")), "checkpoints of a finished run are left over"


def test_the_example_of_a_method_of_ones_own_holds_and_continues(tmp_path: Path) -> None:
    held = str(Path(__file__).parents[1] / "examples" / "held.toml")
    (free,) = plan(tmp_path, held, out="free", strength=0.0)
    (whole,) = plan(tmp_path, held, out="whole", strength=10.0)
    (pieces,) = plan(tmp_path, held, out="pieces", strength=10.0)
    (ste,) = plan(tmp_path, "ste", out="ste")
    for run in (free, whole, ste):
        carry_out([run])
    for count in (4, 3):  # each at a task's last epoch but one, or its last
        with pytest.raises(Stop):
            carry_out([pieces], stop_at("epoch", count))
    carry_out([pieces])
    assert pieces.path.read_bytes() == whole.path.read_bytes()
    frames = [results.read(run.out) for run in (free, ste, whole)]
    accuracies = [f[f.metric == "accuracy"].value.tolist() for f in frames]
    assert accuracies[0] == accuracies[1] != accuracies[2]
    kept = [f.query("metric == 'accuracy' and on == 0 and after == 2").value.item() for f in frames]
    assert kept[1] < 0.6 < 0.8 < kept[2]  # of the first task, learned to 1.0


def test_measuring_every_epoch_changes_nothing_else(tmp_path: Path) -> None:
    (often,) = plan(tmp_path, out="often", eval_every="epoch")
    (seldom,) = plan(tmp_path, out="seldom")
    carry_out([often])
    carry_out([seldom])
    frames = [results.read(tmp_path / name) for name in ("often", "seldom")]
    kept = [
        f[f.epoch.isna() | f.metric.str.startswith("train_")].reset_index(drop=True) for f in frames
    ]
    pd.testing.assert_frame_equal(kept[0], kept[1])
    assert len(frames[0]) > len(frames[1])


# By a strategy's name, what lets it learn nothing; the norm must not learn either.
STILL = {
    "adam": {"lr": 1e-30}, "ste": {"lr": 1e-30}, "mesu": {"lr": 1e-30},
    "benn": {"member__lr": 1e-30}, "ste+lwf": {"lr": 1e-30, "lwf__alpha": 0.0},
}  # fmt: skip


@pytest.mark.parametrize("strategy", STILL)
def test_who_learns_nothing_stays_at_the_accuracy_of_the_untrained_network(
    tmp_path: Path, strategy: str
) -> None:
    (run,) = plan(tmp_path, strategy, model__norm="layer", epochs=1, **STILL[strategy])
    carry_out([run])
    frame = results.read(tmp_path / "out")
    before = frame[frame.metric == "accuracy_untrained"]
    assert before.after.tolist() == [-1] * 3 and before.on.tolist() == [0, 1, 2]
    last = frame[(frame.metric == "accuracy") & (frame.after == 2) & frame.epoch.isna()]
    assert before.value.tolist() == last.value.tolist()


def test_a_network_is_not_built_of_what_building_it_before_has_changed(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\n\n"
        "def net(*, widths: list[int], in_features: int, out_features: int) -> nn.Module:\n"
        "    widths.append(out_features)\n"
        "    sizes = [in_features, *widths]\n"
        "    return nn.Sequential(nn.Flatten(), *map(nn.Linear, sizes, widths))\n"
    )
    path = Path(recipe(tmp_path))
    path.write_text(RECIPE.partition("[model]")[0] + '[model]\nbuild = "nets:net"\nwidths = [4]\n')
    (run,) = runner.plan(str(path), ["adam"], [0], {"epochs": 1}, "task", tmp_path / "out")
    under_way = execution.Execution(run, torch.device("cpu"), None, lambda event: None)
    run.path.parent.mkdir(parents=True)
    under_way()
    assert len(list(under_way.strategy.model.parameters())) == 4
    assert run.spec.model["widths"] == [4]


@pytest.mark.parametrize(
    "strategy",
    ["bayesbinn", "bimu", "pmf", "ste+lwf", "bop+replay", "benn", "vcl_coreset", "metaplastic"],
)
def test_to_be_asked_before_learning_changes_nothing_of_what_is_learned(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (asked,) = plan(tmp_path, strategy, out="asked", epochs=1)
    (unasked,) = plan(tmp_path, strategy, out="unasked", epochs=1)
    carry_out([asked])
    monkeypatch.setattr(execution.Execution, "_measure_untrained", lambda self: None)
    carry_out([unasked])
    lines = asked.path.read_text().splitlines()
    assert [line for line in lines if "untrained" not in line] == (
        unasked.path.read_text().splitlines()
    )
    assert sum("untrained" in line for line in lines) == 3


def test_who_cannot_predict_untrained_has_no_forward_transfer(tmp_path: Path) -> None:
    code = """
from cl_bnn.strategies import STEStrategy


class Mine(STEStrategy):
    def eval(self, experiences, **kwargs):
        if not self.clock.train_exp_counter:
            raise RuntimeError("there are no prototypes yet")
        return super().eval(experiences, **kwargs)
"""
    (run,) = plan(tmp_path, own_code(tmp_path / "mine", "module_of_prototypes", code))
    events: list[Event] = []
    carry_out([run], events.append)
    (note,) = [event.text for event in events if event.kind == "note"]
    assert note.startswith("no forward transfer: ") and "there are no prototypes yet" in note
    frame = results.read(tmp_path / "out")
    assert events[-1].kind == "finished" and "accuracy_untrained" not in set(frame.metric)


def test_single_task_with_held_out_images(tmp_path: Path) -> None:
    """Measured every epoch, augmented, stopped early, interrupted: the same bytes."""
    settings = {"stream__n_experiences": 1, "stream__held_out": True, "epochs": 5}
    (whole,) = plan(tmp_path, out="whole", **settings)
    (short,) = plan(tmp_path, out="short", stop_after=3, **settings)
    (pieces,) = plan(tmp_path, out="pieces", stop_after=3, **settings)
    carry_out([whole])
    carry_out([short])
    with pytest.raises(Stop):
        carry_out([pieces], stop_at("epoch", 2))
    carry_out([pieces])
    assert pieces.path.read_bytes() == short.path.read_bytes()
    assert short.spec.benchmark == "tiny[epochs=5,held_out=true,n_experiences=1,stop_after=3]"

    frames = [results.read(tmp_path / name) for name in ("whole", "short")]
    along = [f[f.epoch.notna() & (f.epoch < 3)].drop(columns="benchmark") for f in frames]
    pd.testing.assert_frame_equal(*(f.reset_index(drop=True) for f in along))
    end = frames[1][frames[1].epoch.isna()]
    for metric in ("accuracy", "nll", "ece", "val_accuracy", "val_nll_mode"):
        assert (along[1].metric == metric).sum() == 3
        (last,) = end[end.metric == metric].value
        assert last == along[1][along[1].metric == metric].value.iloc[-1]
    (accuracy,), (held_out,) = (end[end.metric == m].value for m in ("accuracy", "val_accuracy"))
    assert accuracy != held_out


def test_a_label_that_no_output_stands_for(tmp_path: Path) -> None:
    (run,) = plan(tmp_path, "ste", stream__broken="label")
    with pytest.raises(UserError, match="train data of task 0: label -1 is out of range, the ne"):
        carry_out([run])


def test_an_image_that_the_network_cannot_take(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    text = Path(recipe(tmp_path)).read_text()
    path.write_text(text.replace("cl_bnn.nn:mlp", "cl_bnn.nn:unet").replace('norm = "shared"', ""))
    (run,) = runner.plan(str(path), ["ste"], [0], {"stream.n_experiences": 1}, "task", tmp_path)
    with pytest.raises(UserError, match="unet: .*28"):
        carry_out([run])


def test_stopping_after_the_end(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="stop_after = 4: expected at most epochs = 3"):
        plan(tmp_path, stop_after=4)
    with pytest.raises(UserError, match="stop_after = 0: expected a whole number of at least 1"):
        plan(tmp_path, stop_after=0)


class Missing(Exception):
    """A mistake that no other process can read."""

    def __init__(self, path: str, line: int) -> None:
        super().__init__(f"{path}: line {line} is missing")


def test_a_mistake_that_cannot_travel_keeps_its_words() -> None:
    sent = runner._sendable(Missing("mine.csv", 7))
    assert isinstance(sent, UserError) and str(sent).endswith("mine.csv: line 7 is missing")
    plain = ValueError("as it is")
    assert runner._sendable(plain) is plain


def test_bytes_do_not_depend_on_jobs(tmp_path: Path) -> None:
    one = plan(tmp_path, "adam", (0, 1), out="one", epochs=1)
    two = plan(tmp_path, "adam", (0, 1), out="two", epochs=1)
    carry_out(one)
    events: list[Event] = []
    carry_out(two, events.append, jobs=2)
    for a, b in zip(one, two, strict=True):
        assert a.path.read_bytes() == b.path.read_bytes()
    assert {e.run for e in events if e.kind == "finished"} == {run.name for run in two}
    assert one[0].path.read_bytes() != one[1].path.read_bytes()


def test_what_is_on_file_is_skipped(tmp_path: Path) -> None:
    runs = plan(tmp_path, "adam", epochs=1)
    carry_out(runs)
    before = runs[0].path.stat().st_mtime_ns
    events: list[str] = []
    carry_out(runs, lambda e: events.append(e.kind))
    assert events == ["skipped"] and runs[0].path.stat().st_mtime_ns == before


def test_a_run_under_way_is_left_alone(tmp_path: Path) -> None:
    (run,) = plan(tmp_path, "adam", epochs=1)

    def second(event: Event) -> None:
        if event.kind == "epoch":
            with pytest.raises(UserError, match="under way in another process"):
                carry_out([run])

    carry_out([run], second)
    assert run.path.exists()


def test_a_run_that_another_process_has_finished_meanwhile_is_left_alone(tmp_path: Path) -> None:
    (run,) = plan(tmp_path, "adam", epochs=1)
    carry_out([run])
    before = run.path.stat().st_mtime_ns
    events: list[str] = []
    runner.execute(run, torch.device("cpu"), None, lambda e: events.append(e.kind))
    assert events == ["skipped"] and run.path.stat().st_mtime_ns == before


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    (run,) = plan(tmp_path, "adam", epochs=1)
    monkeypatch.setattr(runner.fcntl, "flock", refuse)
    with pytest.raises(UserError, match=r"locked in .*adam: No locks available; choose another --"):
        carry_out([run])


def test_rows_of_a_run(tmp_path: Path) -> None:
    (run,) = plan(tmp_path)
    carry_out([run])
    frame = results.read(tmp_path / "out")
    assert set(frame.benchmark) == {"tiny"} and set(frame.strategy) == {"bayesbinn[eval_samples=3]"}
    end = frame[frame.epoch.isna()]
    accuracy = end[end.metric == "accuracy"]
    assert sorted(zip(accuracy.after, accuracy.on, strict=True)) == [
        (after, on) for after in range(3) for on in range(3)
    ]
    scores = {
        f"{name}{how}" for name in ("accuracy", "nll", "ece", "brier") for how in ("", "_mode")
    }
    doubts = {"aleatoric", "epistemic", "auroc_rotated", "auroc_inverted"}
    named = {m for m in end[end.on.notna()].metric if not m.startswith(("bin_", "auroc_fashion"))}
    assert named == scores | doubts | {"accuracy_untrained"}
    capacity = {f"{m}{w}" for m in ("entropy", "saturated") for w in ("", *LAYERS)}
    flips = {f"flipped{w}" for w in ("", *LAYERS)}
    whole = end[end.on.isna()]
    assert set(whole[whole.after == 0].metric) == capacity | {"state_bits"}
    assert set(whole[whole.after == 1].metric) == capacity | flips | {"state_bits"}
    losses = frame[frame.metric == "train_loss"]
    assert list(losses.epoch) == [0, 1, 2] * 3 and list(losses.on) == list(losses.after)


def test_a_damaged_checkpoint_is_set_aside(tmp_path: Path) -> None:
    (whole,) = plan(tmp_path, out="whole")
    carry_out([whole])
    (run,) = plan(tmp_path)
    with pytest.raises(Stop):
        carry_out([run], stop_at("epoch", 4))
    newest = run.path.with_name(".seed0.checkpoint")
    newest.write_bytes(newest.read_bytes()[:-100])
    events: list[Event] = []
    carry_out([run], events.append)
    (note,) = [e.text for e in events if e.kind == "note"]
    assert "damaged" in note and "\n" not in note
    (resumed,) = [e for e in events if e.kind == "resumed"]
    assert (resumed.task, resumed.epoch) == (1, 0), "the state before the newest"
    assert run.path.read_bytes() == whole.path.read_bytes()
    assert newest.with_name(".seed0.checkpoint.set-aside").exists()


def member_files(run: Run) -> dict[str, int]:
    """The files of finished members, and when they were written."""
    return {p.name: p.stat().st_mtime_ns for p in run.path.parent.glob(".*.part-*")}


def test_a_finished_member_is_written_once_and_a_damaged_one_costs_an_epoch(tmp_path: Path) -> None:
    settings = {"rule": "adaboost", "size": 3, "epochs": 2, "stream__n_experiences": 2}
    (whole,) = plan(tmp_path, "benn", out="whole", **settings)
    carry_out([whole])
    (run,) = plan(tmp_path, "benn", **settings)
    with pytest.raises(Stop):
        carry_out([run], stop_at("epoch", 3))
    first = member_files(run)
    assert list(first) == [".seed0.checkpoint.part-task0-member0"]
    with pytest.raises(Stop):
        carry_out([run], stop_at("epoch", 1))
    second = member_files(run)
    assert len(second) == 2 and second.items() >= first.items()
    # The second member, which only the newest state knows: the one before trains it again.
    (newest,) = second.keys() - first.keys()
    damaged = run.path.with_name(newest)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    events: list[Event] = []
    carry_out([run], events.append)
    assert ".seed0.checkpoint is damaged: set aside" in events[0].text
    assert run.path.read_bytes() == whole.path.read_bytes()
    assert not member_files(run)


def test_without_a_usable_checkpoint_a_run_starts_anew(tmp_path: Path) -> None:
    (run,) = plan(tmp_path, "adam")
    with pytest.raises(Stop):
        carry_out([run], stop_at("epoch", 3))
    for name in (".seed0.checkpoint", ".seed0.checkpoint.previous"):
        run.path.with_name(name).write_bytes(b"nothing of use")
    events: list[Event] = []
    carry_out([run], events.append)
    kinds = [event.kind for event in events]
    assert kinds[:3] == ["note", "note", "started"] and kinds[-1] == "finished"
    assert events[0].text.endswith("the one before it is tried")
    assert events[1].text.endswith("the run begins anew")


def test_a_checkpoint_of_other_settings_is_set_aside(tmp_path: Path) -> None:
    (run,) = plan(tmp_path, "adam")
    with pytest.raises(Stop):
        carry_out([run], stop_at("epoch", 1))
    path = tmp_path / "tiny.toml"
    path.write_text(path.read_text().replace("width = 16", "width = 17"))
    (changed,) = runner.plan(str(path), ["adam"], [0], {}, "task", tmp_path / "out")
    events: list[Event] = []
    carry_out([changed], events.append)
    assert "other settings" in events[0].text and events[1].kind == "started"


def own_data(folder: Path, seed: int) -> list[Run]:
    """A run on a file of one's own, with the images that the seed draws."""
    random = np.random.default_rng(seed)
    labels = {"y_train": np.arange(40) % 4, "y_test": np.arange(20) % 4}
    inputs = {"x_train": random.normal(size=(40, 5)), "x_test": random.normal(size=(20, 5))}
    np.savez(folder / "mine.npz", **inputs, **labels)
    path = folder / "mine.toml"
    path.write_text(
        'title = "Mine"\nepochs = 2\nbatch_size = 10\n'
        'stream = {build = "cl_bnn.benchmarks:split", data = "mine.npz", n_experiences = 2}\n'
        'model = {build = "cl_bnn.nn:mlp", width = 4}\n'
    )
    return runner.plan(str(path), ["adam"], [0], {}, "task", folder / "out")


def test_own_data_that_have_changed_are_noticed(tmp_path: Path) -> None:
    def go(seed: int, stop: Callable[[Event], None] | None = None) -> list[str]:
        events: list[str] = []

        def listen(event: Event) -> None:
            events.append(event.kind)
            if stop is not None:
                stop(event)

        runner.run_all(
            own_data(tmp_path, seed), jobs=1, device="cpu", data_root=tmp_path, on_event=listen
        )
        return events

    with pytest.raises(Stop):
        go(0, stop_at("epoch", 1))
    assert go(1)[:2] == ["note", "started"]  # what was begun with others is set aside
    assert go(1) == ["skipped"]  # the same arrays, written again
    with pytest.raises(UserError, match=r"seed0.csv was made of another mine\.npz, which has cha"):
        go(0)
    own_data(tmp_path, 1)
    (run,) = runner.plan(str(tmp_path / "mine.toml"), ["ste"], [5], {}, "task", tmp_path / "out")
    runner.run_all([run], jobs=1, device="cpu", data_root=tmp_path, on_event=lambda event: None)
    assert set(results.read(tmp_path / "out").strategy) == {"adam", "ste"}
    own_data(tmp_path, 2)  # other arrays
    (run,) = runner.plan(str(tmp_path / "mine.toml"), ["ste"], [6], {}, "task", tmp_path / "out")
    runner.run_all([run], jobs=1, device="cpu", data_root=tmp_path, on_event=lambda event: None)
    with pytest.raises(UserError, match=r"were made of another mine\.npz each: make them anew"):
        results.read(tmp_path / "out")
    (tmp_path / "mine.npz").unlink()
    (run,) = runner.plan(str(tmp_path / "mine.toml"), ["adam"], [0], {}, "task", tmp_path / "out")
    assert run.own_files(tmp_path) == {}


HELD = "from cl_bnn.strategies import STEStrategy\n\n\nclass Mine(STEStrategy):\n    pass\n"


def own_code(folder: Path, module: str, code: str, recipe: str = "mine") -> str:
    """A strategy of one's own in a folder, and its recipe."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(code)
    path = folder / f"{recipe}.toml"
    path.write_text(f'title = "Mine"\nbuild = "{module}:Mine"\n[defaults]\nlr = 1e-2\n')
    return str(path)


def test_own_code_that_has_changed_is_noticed(tmp_path: Path) -> None:
    mine = own_code(tmp_path / "mine", "module_of_mine", HELD)

    def go() -> list[str]:
        events: list[Event] = []
        carry_out(plan(tmp_path, mine), events.append)
        return [event.kind for event in events]

    assert go()[0] == "started" and go() == ["skipped"]
    own_code(tmp_path / "mine", "module_of_mine", HELD + "\n# mended\n")
    assert go() == ["skipped"], "of the code that this process has imported"
    del sys.modules["module_of_mine"]  # another process would read it anew
    digest_of_code.cache_clear()
    with pytest.raises(UserError, match=r"was made of another module_of_mine\.py, which has"):
        go()
    carry_out(plan(tmp_path, mine, seeds=(1,)))
    with pytest.raises(UserError, match=r"seed1\.csv and .*seed0\.csv were made of another module"):
        results.read(tmp_path / "out")


REMEMBERS = """
import numpy as np

from cl_bnn.strategies import STEStrategy


class Mine(STEStrategy):
    def extra_state(self):
        return super().extra_state() | STATE
"""


BELOW = REMEMBERS.replace("Mine", "Base") + "\n\nclass Mine(Base):\n    pass\n"


@pytest.mark.parametrize(
    ("name", "code", "then"),
    [
        ("stateless", HELD.replace("pass", "stateless = True"), "resumed"),
        ("silent", HELD, "started"),  # who knows what such a class remembers
        ("plain", REMEMBERS.replace("STATE", "{'w': 1.0}"), "resumed"),
        ("below", BELOW.replace("STATE", "{'w': 1.0}"), "started"),  # nor what this one does
    ],
)
def test_own_code_continues_where_it_says_what_it_remembers(
    tmp_path: Path, name: str, code: str, then: str
) -> None:
    (run,) = plan(tmp_path, own_code(tmp_path / "mine", f"module_{name}", code))
    with pytest.raises(Stop):
        carry_out([run], stop_at("epoch", 2))
    events: list[Event] = []
    carry_out([run], events.append)
    assert next(e.kind for e in events if e.kind != "note") == then


OWN_NETWORK = """
from torch import nn, optim

from cl_bnn.strategies import Template


class Mine(Template):
    stateless = True

    def __init__(self, *, model, lr, **template):
        own = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
        super().__init__(model=own, optimizer=optim.SGD(own.parameters(), lr), **template)
"""


def test_a_network_that_a_strategy_makes_itself_continues(tmp_path: Path) -> None:
    """It is none of Avalanche's that knows tasks."""
    mine = own_code(tmp_path / "mine", "module_network", OWN_NETWORK)
    (whole,), (run,) = plan(tmp_path, mine, out="whole"), plan(tmp_path, mine)
    carry_out([whole])
    with pytest.raises(Stop):
        carry_out([run], stop_at("epoch", 2))
    carry_out([run])
    assert run.path.read_bytes() == whole.path.read_bytes()


@pytest.mark.parametrize(
    ("name", "state", "what"),
    [
        ("array", "{'w': [1.0, np.ones(2)]}", "extra_state() of Mine['w'][1] is a ndarray,"),
        ("key", "{'w': {np.int64(1): 2.0}}", "a key of extra_state() of Mine['w'] is a int64,"),
    ],
)
def test_what_no_checkpoint_gives_back_is_told_before_it_is_needed(
    tmp_path: Path, name: str, state: str, what: str
) -> None:
    code = REMEMBERS.replace("STATE", state)
    (run,) = plan(tmp_path, own_code(tmp_path / "mine", f"module_{name}_state", code))
    events: list[Event] = []
    carry_out([run], events.append)
    (note,) = [event.text for event in events if event.kind == "note"]
    assert note.startswith(f"this run cannot be continued from here on: {what}")
    assert events[-1].kind == "finished"


def test_a_state_without_that_of_the_plugins_is_told(tmp_path: Path) -> None:
    code = REMEMBERS.replace("super().extra_state() | STATE", "{'w': 1.0}")
    (run,) = plan(tmp_path, own_code(tmp_path / "mine", "module_alone", code) + "+ewc")
    events: list[Event] = []
    carry_out([run], events.append)
    (note,) = [event.text for event in events if event.kind == "note"]
    assert note.endswith("extra_state() of Mine leaves out that of the class above")


def test_a_class_that_is_no_strategy_is_one_line(tmp_path: Path) -> None:
    code = (
        "from avalanche.training.supervised import Naive\n\n\nclass Mine(Naive):\n"
        "    def __init__(self, **settings):\n        super().__init__(**settings)\n"
    )
    path = own_code(tmp_path / "naive", "module_of_naive", code)
    Path(path).write_text('title = "Mine"\nbuild = "module_of_naive:Mine"\n')
    with pytest.raises(UserError, match="no Template of cl_bnn.strategies: inherit from one"):
        carry_out(plan(tmp_path, path))


def test_state_of_other_code_is_one_line(tmp_path: Path) -> None:
    """What a module imports is not watched."""
    recipe(tmp_path)
    (tmp_path / "blocks.py").write_text("WIDTH = 8\n")
    (tmp_path / "wide.py").write_text(
        "from torch import nn\n\nfrom blocks import WIDTH\n\n\ndef net(in_features: int):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(in_features, WIDTH), nn.ReLU(),"
        " nn.Linear(WIDTH, 2))\n"
    )
    path = tmp_path / "wide.toml"
    path.write_text(RECIPE.partition("[model]")[0] + '[model]\nbuild = "wide:net"\n')
    runs = runner.plan(str(path), ["adam"], (0,), {}, "task", tmp_path / "out")
    with pytest.raises(Stop):
        carry_out(runs, stop_at("epoch", 2))
    (tmp_path / "blocks.py").write_text("WIDTH = 9\n")
    for name in ("wide", "blocks"):
        del sys.modules[name]
    with pytest.raises(UserError, match=r"\.seed0\.checkpoint was saved with other code \(.*size"):
        carry_out(runs)
    for saved in runs[0].path.parent.glob(".seed0.checkpoint*"):  # as told
        saved.unlink()
    carry_out(runs)
    assert runs[0].path.is_file()


def test_networks_that_return_no_tensor_or_need_two_samples(tmp_path: Path) -> None:
    recipe(tmp_path)
    path = tmp_path / "two.toml"
    path.write_text(RECIPE.partition("[model]")[0] + '[model]\nbuild = "two:Net"\n')
    code = (
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self, in_features):\n"
        "        super().__init__()\n"
        "        self.norm = nn.BatchNorm1d(in_features, track_running_stats=False)\n"
        "        self.out = nn.Linear(in_features, 2)\n\n    def forward(self, x):\n"
        "        return self.out(self.norm(x.flatten(1)))\n"
    )
    (tmp_path / "two.py").write_text(code)
    carry_out(runner.plan(str(path), ["adam"], (0,), {"epochs": 1}, "task", tmp_path / "out"))
    (tmp_path / "two.py").write_text(code.replace("return self.out(", "return x, self.out("))
    del sys.modules["two"]
    with pytest.raises(UserError, match="two:Net returns a tuple, expected a tensor"):
        carry_out(runner.plan(str(path), ["ste"], (0,), {}, "task", tmp_path / "out"))


def test_heads_of_a_network_of_ones_own_may_grow_or_be_made_by_tasks(tmp_path: Path) -> None:
    recipe(tmp_path)
    (tmp_path / "many.py").write_text(
        "from avalanche.models import IncrementalClassifier, MTSimpleMLP, "
        "MultiHeadClassifier\nfrom torch import nn\n"
        "\nfrom cl_bnn.nn import mlp\n\n\ndef growing():\n    return MTSimpleMLP(hidden_size=8)\n"
        "\n\ndef told(in_features, out_features, n_tasks):\n"
        "    return mlp(in_features=in_features, out_features=out_features, n_heads=n_tasks)\n"
        "\n\ndef one(in_features):\n    return nn.Linear(in_features, 2)\n"
        "\n\ndef single():\n    return nn.Sequential(nn.Flatten(), IncrementalClassifier(784, 2))\n"
        "\n\ndef untold():\n    return nn.Sequential(nn.Flatten(), MultiHeadClassifier(784))\n"
    )
    path = tmp_path / "many.toml"
    changed = {"epochs": 3, "stream.heads": True}
    for name in ("growing", "told"):
        path.write_text(RECIPE.partition("[model]")[0] + f'[model]\nbuild = "many:{name}"\n')
        runs = runner.plan(str(path), ["adam"], (0,), changed, "task", tmp_path / name)
        carry_out(runs)
        frame = results.read(runs[0].out)
        ends = frame[(frame["metric"] == "accuracy") & (frame["after"] == frame["on"])]
        assert ends["value"].min() > 0.7
    for name in ("one", "single", "untold"):  # one that grows; heads that nobody can choose
        path.write_text(RECIPE.partition("[model]")[0] + f'[model]\nbuild = "many:{name}"\n')
        with pytest.raises(UserError, match=f"a head per task, and many:{name} takes neither n_"):
            carry_out(runner.plan(str(path), ["adam"], (0,), changed, "task", tmp_path / name))


def test_outputs_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    recipe(tmp_path)
    code = "from torch import nn\n\n\ndef net(in_features: int) -> nn.Module:\n"
    code += "    return nn.Sequential(nn.Flatten(), nn.Linear(in_features, 1))\n"
    (tmp_path / "narrow.py").write_text(code)
    path = tmp_path / "narrow.toml"
    path.write_text(RECIPE.partition("[model]")[0] + '[model]\nbuild = "narrow:net"\n')
    runs = runner.plan(str(path), ["ste"], (0,), {}, "task", tmp_path / "out")
    with pytest.raises(
        UserError, match=r"narrow:net turns an input of the shape .* into \(1,\), and"
    ):
        carry_out(runs)
    with pytest.raises(UserError, match="1 of 1 runs cannot be run, .*narrow:net turns"):
        planning.show(runs, 1, "cpu", None)
    (tmp_path / "narrow.py").write_text(code.replace("in_features, 1", "3, in_features"))
    del sys.modules["narrow"]
    with pytest.raises(UserError, match=r"narrow:net cannot take an input of the shape .*shapes"):
        carry_out(runner.plan(str(path), ["ste"], (0,), {}, "task", tmp_path / "other"))


def test_two_modules_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first = own_code(tmp_path / "a", "module_of_two", HELD, "one")
    same = own_code(tmp_path / "b", "module_of_two", HELD, "two")
    assert plan(tmp_path, first) and plan(tmp_path, same)
    other = own_code(tmp_path / "b", "module_of_two", HELD + "\n# another\n", "two")
    with pytest.raises(UserError, match=r"a/module_of_two\.py, not .*b/module_of_two\.py: give"):
        plan(tmp_path, other)
    hidden = own_code(tmp_path / "c", "json", HELD)
    with pytest.raises(UserError, match=r"the module json is .*, not .*c/json\.py: give yours"):
        plan(tmp_path, hidden)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_process_that_is_ended_continues(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    """Killed or stopped with Ctrl-C in the middle of training, by the real command line."""
    command = [sys.executable, "-c", COMMAND_LINE, "run", recipe(tmp_path), "--strategy", "adam"]
    command += ["--epochs", "60", "--no-plot", "--out", str(tmp_path / "ended"), "--device", "cpu"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    checkpoint = tmp_path / "ended" / "tiny[epochs=60]" / "adam" / ".seed0.checkpoint.previous"
    deadline = time.monotonic() + 240
    while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(sent)
    _, errors = process.communicate()
    assert process.returncode == code, "the run ended before it could be stopped"
    if sent == signal.SIGINT:
        said = [line for line in errors.splitlines() if line.startswith("cl-bnn:")]
        assert said == [
            "cl-bnn: interrupted: the same command continues from the epoch saved last, if one was"
        ]
        assert "Traceback" not in errors
    for name in ("ended", "whole"):
        (run,) = plan(tmp_path, "adam", out=name, epochs=60)
        carry_out([run])
    (a,), (b,) = ((tmp_path / name).rglob("seed0.csv") for name in ("ended", "whole"))
    assert a.read_bytes() == b.read_bytes()


def started(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """Two long runs side by side, and their processes, once both have saved their state."""
    command = [sys.executable, "-c", COMMAND_LINE, "run", recipe(tmp_path), "--strategy"]
    command += ["adam,ste", "--epochs", "500", "--jobs", "2", "--out", str(tmp_path / "out")]
    command += ["--device", "cpu"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    while len(list(tmp_path.rglob(".seed0.checkpoint"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return process, [int(pid) for pid in workers]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks Linux for the processes")
def test_a_process_that_is_ended_takes_its_workers_along(tmp_path: Path) -> None:
    """As a scheduler ends it: the signal goes to the first process alone."""
    process, workers = started(tmp_path)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and len(workers) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert "Traceback" not in errors and "cl-bnn: interrupted" in errors


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks Linux for the processes")
def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    process, workers = started(tmp_path)
    process.kill()
    process.communicate(timeout=120)
    deadline = time.monotonic() + 60
    while running := [pid for pid in workers if _runs(pid)]:
        assert time.monotonic() < deadline, running
        time.sleep(0.1)


def _runs(pid: int) -> bool:
    """Whether there is such a process that has not ended; nobody may have asked how it ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks Linux for the processes")
def test_a_sweep_outlives_a_process_that_is_killed(tmp_path: Path) -> None:
    """One that was killed alone is named; the runs beside it are carried out."""
    code = (
        "import os\nfrom cl_bnn.strategies import STEStrategy\n\n\nclass Dies(STEStrategy):\n"
        "    def train(self, *args, **kwargs):\n        os.kill(os.getpid(), 9)\n"
    )
    path = own_code(tmp_path / "dies", "module_that_dies", code)
    Path(path).write_text('title = "Dies"\nbuild = "module_that_dies:Dies"\n')
    events: list[Event] = []
    runs = [*plan(tmp_path, path, epochs=1), *plan(tmp_path, "ste", (0, 1), epochs=1)]
    runner.run_all(
        runs, jobs=2, device="cpu", data_root=None, on_event=events.append, keep_going=True
    )
    (lost,) = [event for event in events if event.kind == "failed"]
    assert lost.run == runs[0].name and lost.wanting and "its process was killed" in lost.text
    assert all(run.path.with_suffix(".json").is_file() for run in runs[1:])


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks Linux for the processes")
def test_a_worker_that_is_killed_is_one_line(tmp_path: Path) -> None:
    process, workers = started(tmp_path)
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2 and "Traceback" not in errors
    assert "cl-bnn: error: one of 2 processes was killed, perhaps for want of memory" in errors


@pytest.mark.parametrize(
    ("section", "target", "message"),
    [
        (
            "stream",
            "kinds:plain",
            "build = 'kinds:plain': got an unexpected keyword",
        ),
        ("stream", "kinds:table", "kinds:table makes a dict, expected a Stream of cl_bnn"),
        ("model", "kinds:table", "kinds:table makes a dict, expected a Module of torch"),
        (
            "plugin",
            "kinds:table",
            "kinds:table makes a dict, expected a BasePlugin of aval",
        ),
    ],
)
def test_a_builder_of_another_kind_is_one_line(
    tmp_path: Path, section: str, target: str, message: str
) -> None:
    (tmp_path / "kinds.py").write_text("def table(**given): return given\ndef plain(): return 1\n")
    plugin = tmp_path / "plugin.toml"
    plugin.write_text(
        f'title = "x"\noptimizer = "adam"\nplugin = "{target if section == "plugin" else EWC}"\n'
    )
    path = Path(recipe(tmp_path))
    text = path.read_text()
    if section != "plugin":
        table = tomllib.loads(text)[section]
        text = text.replace(table["build"], target)
        for key in table.keys() - {"build"}:
            text = text.replace(f"{key} = ", f"# {key} = ")
        path.write_text(text)
    runs = runner.plan(str(path), [str(plugin)], [0], {}, "task", tmp_path / "out")
    with pytest.raises(UserError) as caught:
        carry_out(runs)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"stream__broken": "nan"}, "hold NaN or infinity"),
        ({"stream__broken": "single class"}, r"task 1 has a single class \(\[0\]\)"),
        ({"model__norm": "per_task"}, "does not give the task label at test"),
        ({"model__norm": "bach"}, "expected one of .shared., .per_task., .batch., .layer."),
        ({"model__width": 0}, "width must be >= 1"),
        ({"lr": -1.0}, "lr must be > 0, got -1.0"),
        ({"temperature": 0.0}, "temperature must be > 0"),
        ({"schedule": "cosine_early", "epochs": 1}, "needs at least 2 epochs"),
    ],
)
def test_what_cannot_be_run_is_one_line(
    tmp_path: Path, overrides: dict[str, object], message: str
) -> None:
    runs = runner.plan(recipe(tmp_path), ["bayesbinn"], [0], {}, "task", tmp_path)
    assert len(runs) == 1
    with pytest.raises(UserError, match=message) as caught:
        carry_out(plan(tmp_path, **overrides))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.csv"))


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training loss is (nan|inf) in epoch \d of task \d"):
        carry_out(plan(tmp_path, lr=1e30, model__norm="layer"))


def test_per_task_norm_where_labels_are_given(tmp_path: Path) -> None:
    (run,) = plan(tmp_path, "ste", model__norm="per_task", stream__heads=True)
    carry_out([run])
    frame = results.read(tmp_path / "out")
    last = frame[(frame.metric == "accuracy") & (frame.after == 2) & frame.epoch.isna()]
    assert last.value.mean() > 0.8


def test_cuda_where_there_is_none(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(UserError, match="--device cuda"):
        runner.run_all([], jobs=1, device="cuda", data_root=None, on_event=lambda e: None)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write results into"):
        carry_out(plan(tmp_path, "adam", out="file/below"))


def test_saving_takes_a_tenth_of_the_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it takes too long nothing is saved within a task, and the run goes on from its end."""
    (whole,) = plan(tmp_path, "ste", out="whole")
    carry_out([whole])
    monkeypatch.setattr(execution, "SAVING_SHARE", -1.0)
    (pieces,) = plan(tmp_path, "ste", out="pieces")
    with pytest.raises(Stop):
        carry_out([pieces], stop_at("epoch", 5))  # of tasks of three
    events: list[Event] = []
    carry_out([pieces], events.append)
    (resumed,) = [event for event in events if event.kind == "resumed"]
    assert (resumed.task, resumed.epoch) == (1, 0)
    assert pieces.path.read_bytes() == whole.path.read_bytes()
