"""The published configurations of the BayesBiNN reproduction, read and run."""

import json
import math
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from cl_bnn import data, results
from cl_bnn.cli import main
from cl_bnn.data.dataset import Dataset, Split
from cl_bnn.errors import UserError
from cl_bnn.execution import Execution
from cl_bnn.reproduction import keys, runs, wandb_log
from cl_bnn.strategies import Template
from cl_bnn.strategies.schedules import SCHEDULES

CONFIGS = Path(__file__).parent / "configs"
# Of a table on the interface of the reproduction, whatever the code here knows.
ALL_KEYS = {
    "dataset", "input_shape", "output_shape", "data_augmentation", "epochs", "criterion",
    "validation_split", "lr_scheduler", "batch_size", "lr_init", "lr_final", "drop_prob",
    "batch_affine", "model_architecture", "mc_steps", "temperature", "evaluate_steps", "momentum",
    "grad_clip_value", "weight_clip_value", "eps",
}  # fmt: skip
BAYESBINN = "bayesbinn_reference[momentum=0.99,schedule=cosine"
CLEAN, STE = "[augment_validation=false]", "ste[grad_clip=1.0,schedule=cosine]"


def translated(name: str, **changes: Any) -> runs.Translation:
    values = json.loads((CONFIGS / f"{name}.json").read_text()) | changes
    values = {key: value for key, value in values.items() if value is not None}
    method: keys.Method = "ste" if name.endswith("ste") else "bayesbinn"
    return runs.translate(keys.Config(Path("c.json"), values, method, False))


def spec_of(name: str, stop_after: int | None = None, **changes: Any) -> Any:
    (run,) = translated(name, **changes).plan([0], {}, stop_after, "epoch", Path("out"))
    return run.spec


@pytest.mark.parametrize(
    ("name", "benchmark", "strategy"),
    [
        ("mnist_bayesbinn", "mnist", f"{BAYESBINN}]"),
        (
            "cifar10_bayesbinn",
            f"cifar10{CLEAN}",
            f"{BAYESBINN},trainset_scale=1.0]",
        ),
        (
            "cifar100_bayesbinn",
            f"cifar100{CLEAN}",
            f"{BAYESBINN},temperature=1e-10,trainset_scale=1.0]",
        ),
        ("mnist_ste", "mnist", STE),
        ("cifar10_ste", f"cifar10{CLEAN}", STE),
        ("cifar100_ste", f"cifar100{CLEAN}", STE),
        (
            "mnist_lrnet",
            "mnist[build=cl_bnn.nn_lrnet_small,stop_after=190,validation=0.0]",
            f"{BAYESBINN}]",
        ),
        (
            "cifar10_lrnet",
            "cifar10[build=cl_bnn.nn_lrnet_big,conv_norm=false,stop_after=290,validation=0.0]",
            f"{BAYESBINN},trainset_scale=1.0]",
        ),
        (
            "mnist_cl",
            "permuted_mnist",
            "bayesbinn_reference[momentum=0.99,posterior_as_prior=false,schedule=cosine]",
        ),
    ],
)
def test_every_published_file_is_a_run_of_ours(name: str, benchmark: str, strategy: str) -> None:
    found = translated(name)
    spec = spec_of(name)
    assert (spec.benchmark, spec.strategy) == (benchmark, strategy)
    assert {entry.key for entry in found.entries} - {""} == set(found.config.values)
    text = "\n".join(found.lines())
    assert all(f"  {key} = " in text for key in found.config.values)


def test_every_key_is_known_and_in_a_file() -> None:
    assert set(keys.KEYS) == ALL_KEYS
    used = {key for path in CONFIGS.glob("*.json") for key in json.loads(path.read_text())}
    assert used == ALL_KEYS


def test_values_arrive_where_they_belong() -> None:
    spec = spec_of(
        "mnist_bayesbinn", epochs=7, batch_size=60, lr_init=2e-3, drop_prob=0.5, momentum=0.3,
        mc_steps=2, temperature=1e-3, evaluate_steps=9, validation_split=0.25,
    )  # fmt: skip
    assert (spec.epochs, spec.stop_after, spec.batch_size) == (500, 7, 60)
    assert spec.stream["validation"] == 0.25
    assert (spec.model["dropout"], spec.model["momentum"], spec.model["width"]) == (0.5, 0.3, 2048)
    wanted = {"lr": 2e-3, "temperature": 1e-3, "mc_samples": 2, "eval_samples": 9}
    wanted |= {"momentum": 0.99, "schedule": "cosine", "mode": "reference", "average": "logits"}
    assert wanted.items() <= spec.settings.items()
    spec = spec_of("cifar10_ste", grad_clip_value=0.5, weight_clip_value=2, momentum=0.4)
    assert {"grad_clip": 0.5, "clamp": 2.0}.items() <= spec.settings.items()
    assert spec.model["momentum"] == 0.4 and spec.stream["augment"] == "crop_and_flip"
    assert spec_of("cifar10_ste", data_augmentation=False).stream["augment"] == "none"
    assert spec_of("cifar10_bayesbinn").settings["trainset_scale"] == 1.0
    assert spec_of("mnist_cl", evaluate_steps=0, temperature=0.5).settings["eval_samples"] == 0


def test_learning_rates_are_those_of_its_scheduler() -> None:
    """Torch's cosine with a period of 500, stepped after every epoch, whatever `epochs` says."""
    spec = spec_of("cifar10_lrnet")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], spec.settings["lr"])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=500, eta_min=1e-16)
    theirs = []
    for _ in range(spec.stop_after):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    factor = SCHEDULES[spec.settings["schedule"]]
    ours = [spec.settings["lr"] * factor(epoch, spec.epochs) for epoch in range(spec.stop_after)]
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert ours[-1] / 3e-4 == pytest.approx(0.38, abs=0.01)


def test_stop_after_ends_a_file_earlier_and_never_later() -> None:
    assert spec_of("mnist_lrnet", stop_after=3).stop_after == 3
    assert spec_of("mnist_lrnet", stop_after=300).stop_after == 190
    assert spec_of("mnist_bayesbinn", stop_after=3).stop_after == 3
    assert spec_of("mnist_bayesbinn", stop_after=600).stop_after is None
    assert spec_of("mnist_bayesbinn", epochs=600).epochs == 600


def test_what_is_not_followed_is_said() -> None:
    def remarks(name: str, **changes: Any) -> str:
        return "\n".join(translated(name, **changes).lines())

    for name in ("mnist_bayesbinn", "cifar10_ste"):
        assert "NOT followed" not in remarks(name)
    assert "its cosine would rise again after 500" in remarks("mnist_ste", epochs=501)
    assert "it drops the last, smaller batch" in remarks("mnist_ste", batch_size=70)
    continual = remarks("mnist_cl")
    for text in ("gains and shifts of norms", "its lr rises", "pixels of the latest"):
        assert text in continual
    assert "its step never reads the prior" in continual
    assert "no effect: VGGBinaryConnect has no dropout" in remarks("cifar10_bayesbinn")
    foreign = remarks("mnist_ste", temperature=1e-10, eps=1e-4)
    assert "temperature = 1e-10 " in foreign
    assert foreign.count("no effect: train_ste.py does not read it") == 2


def test_keys_that_are_missing_have_the_published_values() -> None:
    """As in older revisions of the files."""
    names = ("model_architecture", "momentum", "lr_final", "criterion", "validation_split")
    for name in ("mnist_bayesbinn", "cifar10_bayesbinn"):
        assert spec_of(name, **dict.fromkeys(names)) == spec_of(name)
    spec = spec_of("mnist_ste", grad_clip_value=None, weight_clip_value=None)
    assert spec == spec_of("mnist_ste")
    assert "grad_clip = 1.0" in "\n".join(translated("mnist_ste", grad_clip_value=None).lines())


def test_the_published_slip_of_cifar100() -> None:
    """The published file for STE on CIFAR-100 names CIFAR-10, and has 100 outputs."""
    assert spec_of("cifar100_ste", dataset="cifar10") == spec_of("cifar100_ste")
    lines = list(translated("cifar100_ste", dataset="cifar10").lines())
    assert "its 100 outputs mean cifar100" in lines[1]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("mnist_ste", {"input_shape": 3}, "input_shape = 3: expected 784 with mnist and BinaryCo"),
        ("mnist_lrnet", {"input_shape": 784}, "expected 1 with mnist and LRNetSmall"),
        ("mnist_ste", {"output_shape": 100}, "output_shape = 100: expected 10 with mnist"),
        ("mnist_ste", {"batch_affine": True}, "batch_affine = True: expected false"),
        ("mnist_ste", {"data_augmentation": True}, "data_augmentation = True: expected false"),
        ("mnist_ste", {"lr_final": 1e-4}, "lr_final = 0.0001: expected at most 1e-06 lr_init"),
        ("mnist_cl", {"dataset": "cifar10"}, "dataset = 'cifar10': expected \"mnist\""),
        ("mnist_cl", {"validation_split": 0.1}, "validation_split = 0.1: expected 0, as test_cl"),
        ("mnist_cl", {"eps": 1e-5}, "eps = 1e-05: expected 0.0001"),
    ],
)
def test_values_that_no_run_can_have(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        translated(name, **changes)
    assert str(caught.value).startswith("c.json: ") and message in str(caught.value)


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr, without the program's name."""
    captured = capsys.readouterr().err
    assert captured.startswith("cl-bnn: error: ") and captured.count("\n") == 1
    return captured.removeprefix("cl-bnn: error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"dataset": "mnist",\n "epochs" 3}',
            "broken JSON: Expecting ':' delimiter (at line 2",
        ),
        ("", "broken JSON: Expecting value (at line 1, column 1)"),
        ("[1]", 'expected an object, as in {"dataset": "mnist", ...}'),
        ('{"lr_int": 1}', "unknown key 'lr_int'; did you mean 'lr_init'? known: batch_affine, "),
        ('{"epochs": "500"}', "epochs = '500': expected a whole number of at least 1"),
        ('{"epochs": 1.5}', "epochs = 1.5: expected a whole number of at least 1"),
        ('{"epochs": true}', "epochs = True: expected a whole number of at least 1"),
        ('{"epochs": 0}', "epochs = 0: expected a whole number of at least 1"),
        ('{"mc_steps": -1}', "mc_steps = -1: expected a whole number of at least 0"),
        ('{"lr_init": NaN}', "lr_init = nan: expected a number > 0"),
        ('{"lr_final": -1}', "lr_final = -1: expected a number >= 0"),
        ('{"drop_prob": 1}', "drop_prob = 1: expected a number in [0, 1)"),
        ('{"momentum": 0}', "momentum = 0: expected a number in (0, 1]"),
        ('{"batch_affine": 0}', "batch_affine = 0: expected true or false"),
        ('{"dataset": ["mnist"]}', "dataset = ['mnist']: expected one of mnist, cifar10, cifar100"),
        ('{"criterion": "mse"}', "criterion = 'mse': expected one of crossentropy"),
        ('{"lr_scheduler": null}', "lr_scheduler = None: expected one of cosine"),
        (
            '{"model_architecture": "VGG"}',
            "expected one of BinaryConnect, VGGBinaryConnect, LR",
        ),
        ('{"dataset": "mnist", "epochs": 1}', "the key 'batch_size' is missing (a whole number"),
    ],
)
def test_a_file_that_is_wrong(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    assert main(["train", str(path)]) == 2
    found = error(capsys)
    assert found.startswith(f"{path}: ") and message in found


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(tmp_path / "none.json")]) == 2
    assert "none.json: cannot read the configuration: No such file" in error(capsys)
    (tmp_path / "bytes.json").write_bytes(b'{"a": "\xff"}')
    assert main(["train", str(tmp_path / "bytes.json")]) == 2
    assert "bytes.json: not UTF-8 text (byte 7)" in error(capsys)


def test_the_method_is_told_by_the_keys_or_by_the_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], untimed: None
) -> None:
    both = json.loads((CONFIGS / "mnist_ste.json").read_text())
    neither = {k: v for k, v in both.items() if not k.endswith("clip_value")}
    for name, values in {"both": both | {"mc_steps": 1}, "neither": neither}.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(values))
        assert main(["train", str(path)]) == 2
        assert "give --strategy bayesbinn or --strategy ste" in error(capsys)
        assert main(["train", str(path), "--strategy", "ste", "--dry-run"]) == 0
        assert capsys.readouterr().out.startswith(f"{path}: strategy ste, benchmark mnist (for tra")
    assert keys.read(CONFIGS / "mnist_ste.json", None).method == "ste"
    found = keys.read(CONFIGS / "mnist_cl.json", None)
    assert found.method == "bayesbinn" and found.script == "test_cl.py"
    assert main(["train", str(path), "--strategy", "bop"]) == 2
    assert "invalid choice: 'bop'" in error(capsys)


# Runs on a few images ----------------------------------------------------------------------------


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Data sets of a few made-up images; the results go to the folder of the test."""

    def load(name: str, root: object = None) -> Dataset:
        generator = torch.Generator().manual_seed(1)
        shape = (1, 28, 28) if name == "mnist" else (3, 32, 32)

        def split(count: int) -> Split:
            y = torch.arange(count) % 10
            x = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator)
            return Split(x // 2 + (y * 12).byte()[:, None, None, None], y)

        channels = shape[0]
        return Dataset(name, split(200), split(60), (0.4,) * channels, (0.3,) * channels, 10)

    monkeypatch.setattr(data, "load", load)
    monkeypatch.chdir(tmp_path)


def train(name: str, *words: str) -> int:
    small = ["--set", "model.width=" + ("0.05" if "cifar" in name or "lrnet" in name else "8")]
    path = str(CONFIGS / f"{name}.json")
    return main(["train", path, *small, "--device", "cpu", "--no-plot", *words])


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mnist_bayesbinn", f"mnist[stop_after=1,width=8]/{BAYESBINN}]"),
        (
            "cifar10_ste",
            "cifar10[augment_validation=false,stop_after=1,width=0.05]/"
            "ste[grad_clip=1.0,schedule=cosine]",
        ),
        (
            "mnist_lrnet",
            "mnist[build=cl_bnn.nn_lrnet_small,stop_after=1,validation=0.0,width=0.05]/"
            f"{BAYESBINN}]",
        ),
    ],
)
def test_a_file_becomes_an_ordinary_run(
    few_images: None, name: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(name, "--stop-after", "1") == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{CONFIGS / name}.json: strategy ") and "finished" in printed
    frame = results.read(Path("runs"))
    path = Path("runs") / folder / "seed0.csv"
    assert path.is_file() and str(path) in printed
    measured = set(frame[frame["epoch"] == 0]["metric"])
    assert {"train_loss", "train_accuracy", "accuracy"} <= measured
    assert ("val_accuracy" in measured) == (name != "mnist_lrnet")
    assert train(name, "--stop-after", "1") == 0
    assert "on file already, skipped" in capsys.readouterr().out


def test_the_continual_file_becomes_a_stream_of_tasks(
    few_images: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["stream.n_experiences=2", "eval_samples=2"]
    options = [word for text in words for word in ("--set", text)]
    assert train("mnist_cl", *options, "--stop-after", "1", "--eval-every", "task") == 0
    frame = results.read(Path("runs"))
    assert set(frame["after"]) == {-1, 0, 1} and "train_loss" in set(frame["metric"])
    assert "for test_cl.py, as its keys tell" in capsys.readouterr().out


class FakeRun(types.SimpleNamespace):
    """A run of the fake wandb, and what it was told."""

    def log(self, values: dict[str, float]) -> None:
        self.logged.append(values)

    def finish(self) -> None:
        assert not self.finished
        self.finished = True


class FakeWandb(types.ModuleType):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.runs: list[FakeRun] = []

    def init(self, **settings: Any) -> FakeRun:
        self.runs.append(FakeRun(**settings, logged=[], finished=False))
        return self.runs[-1]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_wandb_gets_the_published_keys_epoch_by_epoch(few_images: None, fake: FakeWandb) -> None:
    assert train("mnist_bayesbinn", "--stop-after", "2", "--seeds", "2", "--wandb") == 0
    assert len(fake.runs) == 2
    frame = results.read(Path("runs"))
    for seed, run in enumerate(fake.runs):
        assert run.project == "bayes-binn" and run.finished
        assert run.name.endswith(f"/seed{seed}")
        assert run.config == json.loads((CONFIGS / "mnist_bayesbinn.json").read_text())
        mine = frame[(frame["seed"] == seed) & frame["on"].notna()]
        assert len(run.logged) == 2
        for epoch, logged in enumerate(run.logged):
            values = mine[mine["epoch"] == epoch].set_index("metric")["value"]
            assert logged == {
                "Training Accuracy": pytest.approx(100 * values["train_accuracy"], rel=1e-5),
                "Loss": pytest.approx(values["train_loss"], rel=1e-5),
                "Validation Accuracy": pytest.approx(100 * values["val_accuracy"], rel=1e-5),
                "Test Accuracy": pytest.approx(100 * values["accuracy"], rel=1e-5),
            }
            assert all(type(value) is float and math.isfinite(value) for value in logged.values())
    # The same command once more: what is on file is sent as a whole.
    assert train("mnist_bayesbinn", "--stop-after", "2", "--seeds", "2", "--wandb") == 0
    for before, after in zip(fake.runs[:2], fake.runs[2:], strict=True):
        assert after.name == before.name and after.finished
        for one, other in zip(before.logged, after.logged, strict=True):
            assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_wandb_without_a_login_is_one_line(
    few_images: None, fake: FakeWandb, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, jobs: str,
) -> None:  # fmt: skip
    def init(**settings: Any) -> None:
        raise RuntimeError("No API key configured")

    monkeypatch.setattr(fake, "init", init)
    words = ["--stop-after", "1", "--seeds", "2", "--jobs", jobs, "--wandb"]
    words += ["--set", "stream.limit=100"]  # of which other processes hear as well
    assert train("mnist_bayesbinn", *words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("No API key configured: log in with `wandb login`, or leave --wandb out")


def test_wandb_hears_of_an_epoch_before_the_next_begins(
    few_images: None, fake: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    begin = Template._before_training_epoch

    def look(strategy: Any, **kwargs: Any) -> None:
        seen.append(len(fake.runs[0].logged))
        begin(strategy, **kwargs)

    monkeypatch.setattr(Template, "_before_training_epoch", look)
    assert train("mnist_ste", "--stop-after", "3", "--wandb") == 0
    assert seen == [0, 1, 2]


def test_wandb_gets_what_a_run_measured_before_it_was_interrupted(
    few_images: None, fake: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(execution: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Execution, "_end_of_task", stop)  # the last epoch trained, but not tested
        assert train("mnist_ste", "--stop-after", "2", "--wandb") == 130
    (before,) = fake.runs
    assert len(before.logged) == 1 and "Test Accuracy" in before.logged[0]
    assert train("mnist_ste", "--stop-after", "2", "--wandb") == 0
    after = fake.runs[1]
    assert after.logged[0] == before.logged[0] and len(after.logged) == 2
    assert after.logged[1].keys() == before.logged[0].keys() and after.finished


def test_wandb_gets_a_run_whole_that_only_had_to_be_written(
    few_images: None, fake: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(results, "write", full)
        assert train("mnist_ste", "--stop-after", "2", "--wandb") == 130
    assert train("mnist_ste", "--stop-after", "2", "--wandb") == 0
    before, after = fake.runs
    assert after.logged == [pytest.approx(values, rel=1e-5) for values in before.logged]
    assert len(after.logged) == 2 and after.finished


def test_wandb_of_several_tasks_is_the_mean_over_those_seen() -> None:
    rows = [
        results.Row("b", "s", 0, 0, 0, 0, "accuracy", 0.5),
        results.Row("b", "s", 0, 0, 0, None, "accuracy", 0.9),
        results.Row("b", "s", 0, 1, 0, 0, "accuracy", 0.25),
        results.Row("b", "s", 0, 1, 1, 0, "accuracy", 0.75),
        results.Row("b", "s", 0, 1, 1, 0, "train_loss", 2.0),
        results.Row("b", "s", 0, 1, None, 0, "entropy", 0.1),
    ]
    assert list(wandb_log.epochs(rows)) == [
        {"Test Accuracy": 50.0},
        {"Loss": 2.0, "Test Accuracy": 50.0},
    ]


def test_without_wandb_nothing_is_trained(
    few_images: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert train("mnist_bayesbinn", "--wandb") == 2
    assert "--wandb: the package wandb is not installed: 'pip install wandb'" in error(capsys)
    assert not Path("runs").exists()


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from cl_bnn.cli import main
try:
    main(["train", "--help"])
finally:
    slow = {"torch", "avalanche", "pandas", "numpy", "wandb"} & set(sys.modules)
    assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "CONFIG.json" in done.stdout and "--wandb" in done.stdout
