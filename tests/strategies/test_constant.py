"""The predictor that always says the same: what it counts, and what it is right about."""

import math
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from test_execution import Stop, carry_out, plan, stop_at
from torch import Tensor, nn

from cl_bnn import results, runner
from cl_bnn.benchmarks import permuted, split
from cl_bnn.benchmarks.stream import build_benchmark
from cl_bnn.data import Split
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.objectives import REGRESSION
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import TaskAware
from cl_bnn.strategies.constant import ConstantStrategy
from cl_bnn.strategies.loading import task_view


def strategy(network: type[nn.Linear] = nn.Linear, **template: Any) -> ConstantStrategy:
    return ConstantStrategy(
        model=TaskAware(network(4, 2)), train_mb_size=6000, eval_mb_size=6000,
        evaluator=Recorder(), **template,
    )  # fmt: skip


def test_constant_has_the_share_of_the_majority_class(tmp_path: Path) -> None:
    """Labels 0 and 1 in every task of the tiny stream; what was most frequent so far is said."""
    recipe = tiny.recipe(tmp_path)
    (run,) = runner.plan(recipe, ["constant"], (0,), {}, "task", tmp_path / "out")
    runner.run_all([run], jobs=1, device="cpu", data_root=None, on_event=lambda event: None)
    frame = results.read(tmp_path / "out")
    before = frame[frame["metric"] == "accuracy_untrained"]["value"].tolist()
    frame = frame[(frame["metric"] == "accuracy") & frame["epoch"].isna()]
    found = frame.sort_values(["after", "on"])["value"].tolist()
    stream = tiny.stream()
    train, test = ([task_view(e.dataset).targets for e in s] for s in (stream.train, stream.test))  # type: ignore[union-attr]
    expected = []
    for after in range(3):
        seen = torch.cat(train[: after + 1])
        majority = int((seen == 1).sum() > (seen == 0).sum())
        expected += [(targets == majority).double().mean().item() for targets in test]
    assert found == pytest.approx(expected, abs=1e-6)
    assert len(set(expected)) > 1
    # Without a count all classes are alike, and the first is said.
    first = [(targets == 0).double().mean().item() for targets in test]
    assert before == pytest.approx(first, abs=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_a_task_is_counted_once_however_often_it_begins(tmp_path: Path, count: int) -> None:
    """The state after the only epoch of a task is followed by that task's evaluation."""
    (whole,) = plan(tmp_path, "constant", out="whole")
    (pieces,) = plan(tmp_path, "constant", out="pieces")
    carry_out([whole])
    with pytest.raises(Stop):
        carry_out([pieces], stop_at("epoch", count))
    carry_out([pieces])
    assert pieces.path.read_bytes() == whole.path.read_bytes()


def test_constant_knows_the_classes_of_all_tasks() -> None:
    learner = strategy()
    stream = split(scenario="class")
    learner.train(stream.train[1], eval_streams=[])
    assert learner.counts[1].tolist() == [0, 0, 5958, 6131, 0, 0, 0, 0, 0, 0]
    found = learner.evaluator.measure(learner, stream.test)
    assert found[1]["accuracy"] == pytest.approx(1010 / (1032 + 1010)), "the digit 3"
    assert found[4]["accuracy"] == 0
    n = 5958 + 6131
    assert found[4]["nll"] == pytest.approx(math.log(n + 10)), "a class that was never a label"
    expected = -(1032 * math.log(5959 / (n + 10)) + 1010 * math.log(6132 / (n + 10))) / 2042
    assert found[1]["nll"] == pytest.approx(expected, rel=1e-6)


def test_constant_asks_and_trains_no_network() -> None:
    class Broken(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError

    learner = strategy(Broken, train_epochs=3)
    before = learner.model.network.weight.clone()
    experience = permuted(n_experiences=1).train[0]
    learner.train(experience, eval_streams=[])
    assert torch.equal(learner.model.network.weight, before)
    frequent = learner.evaluator.training()["train_accuracy"]
    assert frequent == pytest.approx(6742 / 60_000), "the digit 1, of a single pass"
    assert learner.epoch == learner.n_epochs == 1


def test_constant_continues_its_count() -> None:
    first, second = strategy(), strategy()
    stream = split(scenario="domain")
    for experience in stream.train[:2]:
        first.train(experience, eval_streams=[])
    second.load_extra_state(first.extra_state())
    for learner in (first, second):
        learner.train(stream.train[2], eval_streams=[])
    assert [c.tolist() for c in first.counts.values()] == [
        c.tolist() for c in second.counts.values()
    ]
    assert sum(c.sum().item() for c in first.counts.values()) == sum(
        len(e.dataset) for e in stream.train[:3]
    )


def test_constant_refuses_targets_that_are_numbers() -> None:
    part = Split(torch.zeros(3, 2), torch.tensor([[0.5], [-1.0], [2.5]]))
    task = TaskView(part, lambda x: x)
    (experience,) = build_benchmark([task], [task], [0]).train_stream
    with pytest.raises(UserError, match="^the constant predictor chooses a class: the targets are"):
        strategy(objective=REGRESSION).train(experience, eval_streams=[])
