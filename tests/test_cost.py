"""Costs: bits counted by hand, seconds and peaks of what was really under way."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import ReplayPlugin
from test_execution import Stop, carry_out, plan, stop_at
from tiny import stream

from cl_bnn import cost
from cl_bnn.cost import Meter, state_bits
from cl_bnn.nn import mlp
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import (
    DER,
    EWC,
    AvalancheDER,
    BayesBiNNStrategy,
    BopStrategy,
    Composed,
    STEStrategy,
    TaskAware,
    ensemble_of,
)

LAYERS = (784 * 16, 16 * 16, 16 * 2)
WEIGHTS = sum(LAYERS)


def learned(kind: Any = STEStrategy, n_tasks: int = 1, plugins: Any = (), **more: Any) -> Any:
    torch.manual_seed(0)
    network = mlp(in_features=784, out_features=2, width=16, norm="layer")
    settings: dict[str, Any] = dict(
        model=TaskAware(network), train_mb_size=50, evaluator=Recorder(),
        plugins=[Composed(plugin) for plugin in plugins],
    )  # fmt: skip
    strategy = kind(**settings | more)
    for experience in stream(n_experiences=n_tasks).train:
        strategy.train(experience, eval_streams=[])
    return strategy


def test_latent_weights_have_two_moments_each() -> None:
    steps = 32 * len(LAYERS)  # Adam counts them for every parameter
    assert state_bits(learned()) == pytest.approx((3 * 32 * WEIGHTS + steps) / WEIGHTS)


def test_a_posterior_is_lambda_prior_and_momentum() -> None:
    assert state_bits(learned(BayesBiNNStrategy, eval_samples=1)) == 3 * 32


def test_a_kronecker_prior_keeps_its_factors_however_many_tasks_there_were() -> None:
    sizes = [(784, 16), (16, 16), (16, 2)]
    factors = sum(a * a + g * g for a, g in sizes)
    for n_tasks in (1, 3):
        strategy = learned(
            BayesBiNNStrategy, n_tasks, eval_samples=1, prior="kronecker", prior_samples=100
        )
        assert state_bits(strategy) == pytest.approx(32 * (4 * WEIGHTS + factors) / WEIGHTS)


def test_weights_that_are_nothing_but_signs_take_a_bit() -> None:
    assert state_bits(learned(BopStrategy, threshold=1e-6, gamma=1e-2)) == 1 + 32


def test_what_plugins_keep_counts() -> None:
    alone = state_bits(learned())
    ewc = state_bits(learned(plugins=[EWC(samples=5)])) - alone
    assert 32 <= ewc <= 64  # importances, and anchors, which are binary but where none matters
    der = state_bits(learned(plugins=[DER(memory=40)])) - alone
    sample = 32 * (784 + 2) + 64 * 2  # input, outputs, target and task label
    assert der == pytest.approx(40 * sample / WEIGHTS)


class Remembers(SupervisedPlugin):  # type: ignore[type-arg]
    """A plugin of the user's own."""

    def __init__(self, anchors: Any) -> None:
        super().__init__()
        self.anchors = anchors


@pytest.mark.parametrize("within", [lambda t: {"w": t}, lambda t: [t], lambda t: (t,), lambda t: t])
def test_what_a_plugin_of_ones_own_keeps_counts(within: Any) -> None:
    plugin = Remembers(within(torch.rand(100)))
    more = state_bits(learned(plugins=[plugin])) - state_bits(learned())
    assert more == pytest.approx(100 * 32 / learned().n_weights)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_samples_of_avalanche_count_as_they_lie_in_the_data_set() -> None:
    replay = ReplayPlugin(mem_size=30)
    kept = state_bits(learned(n_tasks=2, plugins=[replay])) - state_bits(learned(n_tasks=2))
    # A float of Avalanche's reservoir for each.
    assert kept == pytest.approx(30 * (784 * 8 + 32) / WEIGHTS)


def test_what_the_network_said_of_a_sample_counts() -> None:
    der = AvalancheDER(memory=30, batch_size=10)
    kept = state_bits(learned(n_tasks=2, plugins=[der])) - state_bits(learned(n_tasks=2))
    assert kept == pytest.approx(30 * (784 * 8 + 32 + 2 * 32) / WEIGHTS)


@pytest.mark.parametrize("beside", [True, False])
def test_an_ensemble_costs_its_members(beside: bool) -> None:
    one = state_bits(learned())
    kind = ensemble_of(STEStrategy, "independent", side_by_side=beside)
    found = state_bits(learned(kind, size=3))
    # One after the other, binary weights are kept beside latent ones, and there is the one at work.
    assert found == pytest.approx(3 * one if beside else 3 * (one + 1) + one, rel=0.02)


def test_seconds_and_peaks_belong_to_what_was_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = iter([100, 300, 200])  # before, while and after there is an evaluation
    monkeypatch.setattr(cost, "_peak", lambda device: next(peaks))
    meter = Meter(torch.device("cpu"))
    time.sleep(0.02)
    with meter.evaluating():
        time.sleep(0.03)
    time.sleep(0.02)
    meter.read()
    assert meter.seconds["train"] >= 0.04 and meter.seconds["eval"] >= 0.03
    assert meter.peaks == {"train": 200, "eval": 300}
    told = meter.told()
    assert told["seconds"] == pytest.approx(sum(meter.seconds.values()), abs=0.002)
    assert (told["train_peak_memory"], told["eval_peak_memory"]) == (200, 300)
    again = Meter(torch.device("cpu"))
    again.load_state_dict(meter.state_dict())
    assert (again.seconds, again.peaks) == (meter.seconds, meter.peaks)


FREED = """\
import torch
from cl_bnn.cost import Meter

before = torch.ones(1000, 50_000)
rows = [row.clone() for row in before]
del before, rows
meter = Meter(torch.device("cpu"))
first = [torch.ones(50_000) for _ in range(500)]
meter.read()
del first
with meter.evaluating():
    second = torch.ones(50_000)
print(meter.peaks["train"], meter.peaks["eval"])
"""


@pytest.mark.skipif(not cost._peak(torch.device("cpu")), reason="the system does not tell it")
def test_what_was_freed_is_not_in_use() -> None:
    """Also where the allocator keeps all of it: 100 MB are in use here, 400 MB were before."""
    keeps = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
    found = subprocess.run(
        [sys.executable, "-c", FREED], env={**os.environ, **keeps}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    train, evaluation = map(int, found.stdout.split())
    assert 80e6 < train - evaluation < 130e6


def test_the_peak_of_a_process_is_that_of_its_memory() -> None:
    peak = cost._peak(torch.device("cpu"))
    assert peak == 0 or peak > 50_000_000, "0 where the system does not tell it"


def test_a_run_tells_its_cost_beside_what_determines_it(tmp_path: Path) -> None:
    (run,) = plan(tmp_path, "ste", epochs=2)
    with pytest.raises(Stop):
        carry_out([run], stop_at("task", 2))
    carry_out([run])
    info = json.loads(run.path.with_suffix(".json").read_text())["info"]
    assert info["seconds"] == pytest.approx(info["train_seconds"] + info["eval_seconds"], abs=0.002)
    assert info["eval_seconds"] > 0
    rows = pd.read_csv(run.path)
    bits = rows[rows["metric"] == "state_bits"]
    assert list(bits["after"]) == [0, 1, 2] and bits["on"].isna().all()
    assert (bits["value"] > 96).all() and (bits["value"] < 98).all()
