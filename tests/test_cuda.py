"""Runs on a GPU: the numbers of a processor, repeated bit by bit, and no waiting inside a step."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from test_execution import Stop, plan, stop_at

from cl_bnn import runner
from cl_bnn.execution import Execution
from cl_bnn.run import Run
from cl_bnn.strategies import Template

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")

STRATEGIES = [
    "bayesbinn", "bayesbinn_reference", "ste", "bop", "bop2", "pmf", "xnor", "adam", "sgd",
    "metaplastic", "bimu", "mesu",
]  # fmt: skip
PENALTIES = [
    "bayesbinn_tuned", "kfl", "ste+kfl", "ste+ewc", "online_ewc", "ste+si", "ste+mas", "ste+lwf",
]  # fmt: skip
MEMORIES = ["ste+der++", "replay", "er", "vcl", "vcl_coreset", "agem", "gem", "bayesbinn+replay"]
ENSEMBLES: dict[str, dict[str, object]] = {
    "independent": {},
    "sequential": {"mode": "sequential", "rule": "samme"},
    "posterior": {"member": "bayesbinn", "mode": "posterior", "member__eval_samples": 3},
    "one_by_one": {"member": "pmf", "rule": "adaboost"},
}


def carry_out(run: Run, device: str = "cuda", on_event: Any = lambda e: None) -> bytes:
    runner.run_all([run], jobs=1, device=device, data_root=None, on_event=on_event)
    return run.path.read_bytes()


# Avalanche's LwF asks for outputs by a list of classes, which waits.
@pytest.mark.parametrize("strategy", [s for s in [*STRATEGIES, *PENALTIES] if s != "ste+lwf"])
def test_a_step_does_not_wait_for_the_gpu(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = []
    before, epoch = Template._before_training_iteration, Template.training_epoch

    def iteration(self: Any, **kwargs: Any) -> None:
        before(self, **kwargs)
        if self.clock.train_epoch_iterations:  # the first batch brings the data to the GPU
            torch.cuda.set_sync_debug_mode("error")
            watched.append(strategy)

    def whole(self: Any, **kwargs: Any) -> None:
        try:
            epoch(self, **kwargs)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Template, "_before_training_iteration", iteration)
    monkeypatch.setattr(Template, "training_epoch", whole)
    (run,) = plan(tmp_path, strategy, stream__held_out=True, epochs=2)
    carry_out(run)
    assert len(watched) > 10


@pytest.mark.parametrize("strategy", [*STRATEGIES, *PENALTIES, *MEMORIES])
def test_a_run_repeats_and_continues_bit_by_bit(tmp_path: Path, strategy: str) -> None:
    whole, again, pieces = (
        plan(tmp_path, strategy, out=out, stream__held_out=True)[0]
        for out in ("whole", "again", "pieces")
    )
    with pytest.raises(Stop):
        carry_out(pieces, on_event=stop_at("epoch", 4))
    assert carry_out(whole) == carry_out(again) == carry_out(pieces)


@pytest.mark.parametrize("strategy", ["agem", "gem", "replay", "ste+ewc", "bayesbinn_tuned"])
def test_a_run_with_a_head_per_task_repeats_bit_by_bit(tmp_path: Path, strategy: str) -> None:
    """A memory then has samples of several heads in a batch."""
    one, other = (
        plan(tmp_path, strategy, out=out, stream__heads=True)[0] for out in ("one", "other")
    )
    assert carry_out(one) == carry_out(other)


@pytest.mark.parametrize("kind", ENSEMBLES)
def test_an_ensemble_repeats_and_continues_bit_by_bit(tmp_path: Path, kind: str) -> None:
    whole, pieces = (
        plan(tmp_path, "benn", out=out, size=2, **ENSEMBLES[kind])[0] for out in ("whole", "pieces")
    )
    with pytest.raises(Stop):
        carry_out(pieces, on_event=stop_at("epoch", 4))
    assert carry_out(whole) == carry_out(pieces)


def first_weights(run: Run, device: str) -> list[torch.Tensor]:
    execution = Execution(run, torch.device(device), None, lambda event: None)
    execution._build()
    optimizer = execution.strategy.optimizer
    with optimizer.mode() if hasattr(optimizer, "mode") else nullcontext():
        return [p.detach().cpu().clone() for p in execution.strategy.model.parameters()]


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [*((name, {}) for name in [*STRATEGIES, "vcl"]), ("bop", {"start": "real"})],
)
def test_a_seed_begins_with_the_weights_of_a_processor(
    tmp_path: Path, strategy: str, settings: dict[str, object]
) -> None:
    """But for the last digit of XNOR's scale, a mean whose sum a GPU takes in another order."""
    (run,) = plan(tmp_path, strategy, **settings)
    for ours, theirs in zip(first_weights(run, "cuda"), first_weights(run, "cpu"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6 if strategy == "xnor" else 0, atol=0)


@pytest.mark.parametrize("strategy", ["ste", "bop", "adam"])
def test_a_gpu_finds_the_numbers_of_a_processor(tmp_path: Path, strategy: str) -> None:
    """Of what draws nothing at random but the order, which is drawn on the processor, and with a
    norm of the sample. Behind a norm of the batch the gradient of a pixel that is the same in the
    whole batch is zero but for rounding, of which Adam makes a full step: there another order of
    the sums is enough to move the loss of STE by a third.
    """
    found = {}
    for device in ("cpu", "cuda"):
        (run,) = plan(tmp_path, strategy, out=device, epochs=1, model__norm="layer")
        carry_out(run, device)
        rows = pd.read_csv(run.path)
        found[device] = rows[rows.metric.isin(["train_loss", "nll"])].value.to_numpy()
    assert found["cuda"] == pytest.approx(found["cpu"], rel=1e-3)
