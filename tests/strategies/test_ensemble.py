"""Ensembles: what their members learn from and start with, how they vote, how they are saved."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.models import IncrementalClassifier
from avalanche.training.plugins import LRSchedulerPlugin, ReplayPlugin
from test_execution import Stop, carry_out, plan, stop_at
from tiny import stream
from torch import Tensor, nn

from cl_bnn import ensembles, results
from cl_bnn.cli import main
from cl_bnn.ensembles import VOTES
from cl_bnn.errors import UserError
from cl_bnn.nn import mlp, tanh_mlp
from cl_bnn.objectives import BINARY
from cl_bnn.optim import STE
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import (
    DER,
    EWC,
    BayesBiNNStrategy,
    BopStrategy,
    Composed,
    MetaplasticStrategy,
    PMFStrategy,
    STEStrategy,
    TaskAware,
    benn,
    ensemble_of,
)

SIZE, EPOCHS = 3, 2


def network(**settings: Any) -> nn.Module:
    return TaskAware(mlp(in_features=784, out_features=2, width=16, **settings))


def ensemble(kind: Any = STEStrategy, mode: Any = "independent", **more: Any) -> Any:
    torch.manual_seed(0)
    beside = more.pop("side_by_side", False)
    settings: dict[str, Any] = dict(
        model=network(), size=SIZE, train_mb_size=20, train_epochs=EPOCHS, eval_mb_size=100,
        evaluator=Recorder(),
    )  # fmt: skip
    return ensemble_of(kind, mode, side_by_side=beside)(**settings | more)


def learn(strategy: Any, n_tasks: int = 1) -> Any:
    data = stream(n_experiences=n_tasks)
    for experience in data.train:
        strategy.train(experience, eval_streams=[])
    return data


def weights_of(member: Any) -> Tensor:
    return torch.cat([t.flatten() for name, t in member.weights.items() if name.endswith("weight")])


def test_members_in_rounds_have_no_scheduler_of_the_task() -> None:
    strategy = ensemble(schedule="constant")
    steps = torch.optim.lr_scheduler.StepLR(strategy.optimizer, 1)
    strategy.plugins.append(LRSchedulerPlugin(steps))
    with pytest.raises(UserError, match="LRSchedulerPlugin counts the epochs of a task, and memb"):
        learn(strategy)


@pytest.mark.parametrize("plugin", [lambda: EWC(), lambda: DER(), lambda: Composed(DER())])
def test_members_have_no_plugin_of_one_network(plugin: Any) -> None:
    with pytest.raises(UserError, match=r"(EWC|DER) is for one network, and the members of an"):
        learn(ensemble(plugins=[plugin()]))


@pytest.mark.parametrize("beside", [False, True])
def test_members_draw_their_samples_themselves(beside: bool) -> None:
    """The plugin takes the place of the batches when the second task comes."""
    with pytest.raises(UserError, match="leave out the plugin that brings its own loader"):
        learn(ensemble(plugins=[ReplayPlugin(mem_size=20)], side_by_side=beside), 2)


class Penalised(STEStrategy):
    stateless = elementwise = True

    def _before_backward(self, **kwargs: Any) -> None:
        super()._before_backward(**kwargs)
        self.loss = self.loss + 1


class Plain(STEStrategy):
    """Says nothing of how its optimiser works."""

    stateless = True


class Silent(STEStrategy):
    """Might hold whatever it likes, as this one does."""

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.anchor = [p.clone() for p in self.model.parameters()]


class Below(Plain):
    """Inherits what it would have to say itself."""


class Scaled(STEStrategy):
    stateless = True

    def forward(self) -> Tensor:
        return 2 * super().forward()


def test_members_of_ones_own_class_hold_nothing_of_one_network() -> None:
    for kind in (Silent, Below):
        with pytest.raises(ValueError, match=f"{kind.__name__} does not say that .* stateless ="):
            ensemble(kind)
    with pytest.raises(ValueError, match="Scaled has a forward of its own"):
        ensemble(Scaled)
    ensemble(type("Drawn", (BayesBiNNStrategy,), {"__module__": "mine"}), "posterior")
    for kind in (Penalised, Plain):  # one adds to the loss, one does not say elementwise
        learn(ensemble(kind))
        with pytest.raises(ValueError, match=f"'independent' and {kind.__name__} .*elementwise"):
            ensemble_of(kind, side_by_side=True)
        member = {"build": f"{__name__}:{kind.__name__}"}
        made = benn(model=network(), member=member, evaluator=Recorder())
        assert type(made).__name__ == f"RoundEnsembleOf{kind.__name__}"


def test_an_ensemble_can_be_inherited_from() -> None:
    class Mine(ensemble_of(STEStrategy)):  # type: ignore[misc]
        pass

    learn(Mine(model=network(), size=2, train_mb_size=20, evaluator=Recorder()))


def test_networks_that_grow_have_no_ensemble() -> None:
    model = nn.Sequential(nn.Flatten(), IncrementalClassifier(784, 2))
    with pytest.raises(UserError, match="the members of an ensemble cannot grow"):
        ensemble(model=model)
    ensemble(BayesBiNNStrategy, "posterior", model=model)  # samples of one network, which can


def test_independent_members_begin_at_signs() -> None:
    """Only the first would begin at the real weights of the Bop authors."""
    with pytest.raises(UserError, match="independent members begin at signs: take start"):
        ensemble(BopStrategy, start="real")
    learn(ensemble(BopStrategy, "sequential", start="real"))  # stages of one network


def test_rounds_may_be_evaluated_within() -> None:
    data, ends = stream(n_experiences=1), []
    looks: tuple[dict[str, Any], ...] = ({}, {"eval_every": 1, "peval_mode": "iteration"})
    for look in looks:
        strategy = ensemble(**look)
        strategy.train(data.train[0], eval_streams=[data.test] if look else [])
        assert bool(strategy.evaluator.tasks) == bool(look)
        ends.append(torch.cat([weights_of(member) for member in strategy.members]))
    assert torch.equal(*ends)


def test_members_side_by_side_are_told_labels_only_if_they_ask() -> None:
    class Net(nn.Linear):
        def forward(self, x: Tensor, features: bool = False) -> Any:
            assert features is False
            return super().forward(x.flatten(1))

    torch.manual_seed(0)
    strategy = benn(
        model=Net(784, 2, bias=False), member={"build": "cl_bnn.strategies:STEStrategy"}, size=2,
        train_mb_size=20, evaluator=Recorder(),
    )  # fmt: skip
    assert "SideBySide" in type(strategy).__name__
    learn(strategy)


# Side by side ------------------------------------------------------------------------------------


@pytest.fixture
def double() -> Iterator[None]:
    """In float64: a weight of a pixel that never changes has no gradient but rounding, of which
    Adam makes steps.
    """
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_biases_of_stacked_members_have_no_decay_and_can_be_real(double: None) -> None:
    given: Any = {"threshold": 1e-5, "gamma": 1e-2, "real_weight_decay": 0.5}
    models = [TaskAware(tanh_mlp(input_shape=(784,), out_features=2, width=4)) for _ in range(2)]
    beside = ensemble(BopStrategy, side_by_side=True, model=network(norm="none"), **given)
    vectors, matrices = beside.optimizer.inner.param_groups
    assert {p.shape for p in vectors["params"]} == {(SIZE, 16), (SIZE, 2)}
    assert vectors["weight_decay"] == 0 and not matrices["params"]
    kinds = STEStrategy, ensemble_of(STEStrategy, side_by_side=True)
    alone, stacked = (
        kind(model=model, real_biases=True, evaluator=Recorder())
        for kind, model in zip(kinds, models, strict=True)
    )
    assert [p.shape[1:] for p in stacked._clamped] == [p.shape for p in alone._clamped]
    assert len(alone._clamped) > 0


@pytest.mark.parametrize("kind", [STEStrategy, BopStrategy, MetaplasticStrategy])
def test_side_by_side_members_learn_what_they_learn_one_after_the_other(
    kind: Any, double: None
) -> None:
    more = {"threshold": 1e-5, "gamma": 1e-2} if kind is BopStrategy else {"lr": 1e-2}
    apart, beside = ensemble(kind, **more), ensemble(kind, side_by_side=True, **more)
    learn(apart, 2)
    data = learn(beside, 2)
    stacked = beside.model.network
    with beside.member_weights():
        for k, member in enumerate(apart.members):
            found = stacked.member(k)
            for name, value in member.weights.items():
                torch.testing.assert_close(found[name], value)
    first, second = (s.evaluator.measure(s, data.test) for s in (apart, beside))
    for task, values in first.items():
        assert second[task] == pytest.approx(values)


def test_a_single_sample_left_over_joins_the_batch_before_side_by_side_as_well(
    double: None,
) -> None:
    """With the shared BatchNorm of the network: alone it would have no variance."""
    n = len(stream(n_experiences=1).train[0].dataset)
    size = next(b for b in range(10, n) if n % b == 1)
    apart, beside = (ensemble(side_by_side=side, train_mb_size=size) for side in (False, True))
    learn(apart)
    learn(beside)
    with beside.member_weights():
        for k, member in enumerate(apart.members):
            found = beside.model.network.member(k)
            for name, value in member.weights.items():
                torch.testing.assert_close(found[name], value)


def test_side_by_side_batches_hold_the_next_samples_of_every_member() -> None:
    beside, apart = ensemble(side_by_side=True), ensemble()
    seen: dict[str, list[list[int]]] = {"beside": [], "apart": []}

    def note(strategy: Any, name: str) -> None:
        order = strategy.order

        def noted() -> Tensor:
            found: Tensor = order()
            seen[name].append(found.tolist())
            return found

        strategy.order = noted

    note(beside, "beside")
    note(apart, "apart")
    learn(beside)
    learn(apart)
    count = len(seen["apart"][0])
    assert len(seen["apart"]) == SIZE * EPOCHS and len(seen["beside"]) == EPOCHS
    for epoch, together in enumerate(seen["beside"]):
        parts: list[list[int]] = [[] for _ in range(SIZE)]
        start = 0
        while start < SIZE * count:
            size = min(20, (SIZE * count - start) // SIZE)
            for part in parts:
                part += together[start : start + size]
                start += size
        for member in range(SIZE):
            alone = seen["apart"][member * EPOCHS + epoch]
            assert parts[member] == alone
            first = seen["apart"][member * EPOCHS]
            assert sorted(alone) == sorted(first), "the bootstrap is that of the round"
    assert len(set(map(tuple, seen["beside"]))) == EPOCHS


# Rounds ------------------------------------------------------------------------------------------


def test_members_are_binary_and_differ() -> None:
    strategy = ensemble()
    learn(strategy)
    for member in strategy.members:
        assert set(weights_of(member).tolist()) == {-1.0, 1.0}
    first, second, third = map(weights_of, strategy.members)
    for one, other in ((first, second), (first, third), (second, third)):
        assert 0.3 < (one != other).double().mean() < 0.7, "independent members share nothing"


def test_sequential_members_are_stages_of_one_network() -> None:
    strategy = ensemble(mode="sequential")
    learn(strategy)
    first, second, _ = map(weights_of, strategy.members)
    assert 0 < (first != second).double().mean() < 0.2
    assert all(member.state is None for member in strategy.members)


def test_an_independent_member_starts_with_nothing_of_the_one_before() -> None:
    """In the published code BatchNorm and Adam's moments survive."""
    strategy = ensemble()
    begin, found = strategy._begin_round, []

    def look() -> None:
        begin()
        statistics = [b for name, b in strategy.model.named_buffers() if "running_mean" in name]
        found.append((len(strategy.optimizer.state), max(b.abs().max() for b in statistics)))

    strategy._begin_round = look
    learn(strategy)
    assert found == [(0, 0)] * SIZE


def test_each_independent_member_goes_on_from_where_it_was() -> None:
    strategy = ensemble()
    data = stream(n_experiences=2)
    strategy.train(data.train[0], eval_streams=[])
    before = [{k: v.clone() for k, v in m.state["model"].items()} for m in strategy.members]
    begin, started = strategy._begin_round, []

    def look() -> None:
        begin()
        started.append({k: v.clone() for k, v in strategy.model.state_dict().items()})

    strategy._begin_round = look
    strategy.train(data.train[1], eval_streams=[])
    for one, other in zip(before, started, strict=True):
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    after = [m.state["model"] for m in strategy.members]
    assert not any(torch.equal(a["network.trunk.1.weight"], b["network.trunk.1.weight"])
                   for a, b in zip(before, after, strict=True))  # fmt: skip


@pytest.mark.parametrize("rule", ["adaboost", "logitboost", "mildboost", "samme", "samme_tenth"])
def test_boosting_weighs_samples_by_the_errors_of_the_members(rule: str) -> None:
    strategy = ensemble(rule=rule)
    errors: list[Tensor] = []
    wrong = strategy.wrong

    def noted() -> Tensor:
        errors.append(wrong())
        return errors[-1]

    strategy.wrong = noted
    data = learn(strategy)
    x, y = data.train[0].dataset._flat_data._datasets[0].materialise()
    expected = torch.full((len(y),), 1 / len(y), dtype=torch.float64)
    chosen = ensembles.rule_of(rule)
    strategy.model.eval()
    for member, found in zip(strategy.members, errors, strict=True):
        state = torch.func.functional_call(strategy.model, member.weights, (x, torch.zeros(len(y))))
        assert torch.equal(state.argmax(1) != y, found), "measured in eval mode, at binary weights"
        alpha = chosen.weigh(ensembles.weighted_error(expected, found), 2)
        assert member.alpha == alpha
        assert chosen.update is not None
        expected = chosen.update(expected, found, alpha, 2)
    torch.testing.assert_close(strategy.sample_weights, expected)


def test_a_member_sees_the_samples_that_the_one_before_missed() -> None:
    strategy = ensemble(rule="adaboost")
    strategy.experience = learn(strategy).train[0]
    strategy.round, strategy.epoch = 1, 0
    strategy.sample_weights = torch.where(
        torch.arange(len(strategy.sample_weights)) < 10, 1.0, 0.01
    )
    order = strategy.order()
    expected = 10 / strategy.sample_weights.sum()
    share = (order < 10).double().mean()
    assert abs(share - expected) < 4 * (0.25 / len(order)) ** 0.5
    assert torch.equal(order, strategy.order()), "the same whenever it is asked for"
    strategy.epoch = 1
    assert not torch.equal(order, strategy.order())


def test_the_posterior_of_every_independent_member_becomes_its_prior() -> None:
    settings = {"eval_samples": 2, "lr": 1e-2}
    strategy = ensemble(BayesBiNNStrategy, **settings)
    learn(strategy)
    for member in strategy.members:
        states = member.state["optimizer"]["state"].values()
        assert states and all(torch.equal(s["prior"], s["natural"]) for s in states)
    strategy = ensemble(BayesBiNNStrategy, mode="sequential", **settings)
    calls = []
    strategy.optimizer.posterior_to_prior = lambda: calls.append(strategy.round)
    learn(strategy)
    assert calls == [SIZE - 1], "rounds of one task are no tasks"


# Posterior ---------------------------------------------------------------------------------------


def test_samples_of_a_posterior_are_an_ensemble() -> None:
    strategy = ensemble(BayesBiNNStrategy, "posterior", lr=1e-2)
    data = learn(strategy)
    found = strategy.evaluator.measure(strategy, data.test)[0]
    assert 0 < found["disagreement"] < 1
    # The same as averaging the probabilities of as many samples.
    torch.manual_seed(0)
    plain = BayesBiNNStrategy(
        model=network(), lr=1e-2, eval_samples=SIZE, train_mb_size=20, train_epochs=EPOCHS,
        eval_mb_size=100, evaluator=Recorder(),
    )  # fmt: skip
    plain.optimizer.load_state_dict(strategy.optimizer.state_dict())
    plain.model.load_state_dict(strategy.model.state_dict())
    expected = plain.evaluator.measure(plain, data.test)[0]
    assert found["nll"] == pytest.approx(expected["nll"], rel=1e-5)


# Measuring and saving ----------------------------------------------------------------------------


def test_all_votes_and_sizes_are_measured() -> None:
    strategy = ensemble(vote="hard", rule="samme")
    data = learn(strategy)
    found = strategy.evaluator.measure(strategy, data.test)[0]
    for vote in VOTES:
        assert {f"accuracy_{vote}_of_{m}" for m in range(1, SIZE + 1)} <= found.keys()
        assert found[f"accuracy_{vote}_of_1"] == found["accuracy_member"]
    assert found["accuracy"] == found[f"accuracy_hard_of_{SIZE}"]


@pytest.mark.parametrize(
    "settings",
    [
        {"rule": "adaboost"}, {"rule": "samme", "mode": "sequential"}, {"side_by_side": False},
        {"side_by_side": True}, {"member": "bayesbinn", "mode": "posterior", "size": 2},
        {"member": "bop", "rule": "logitboost"},
        {"member": "vcl", "rule": "samme", "size": 2, "member__eval_samples": 2},
    ],
    ids=str,
)  # fmt: skip
def test_interrupted_ensembles_end_with_the_same_bytes(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings = {"size": 3, "epochs": 2, "stream__n_experiences": 2} | settings
    (whole,) = plan(tmp_path, "benn", out="whole", eval_every="epoch", **settings)
    carry_out([whole])
    (pieces,) = plan(tmp_path, "benn", out="pieces", eval_every="epoch", **settings)
    for kind, count in (("epoch", 1), ("epoch", 1), ("task", 1), ("epoch", 1)):
        with pytest.raises(Stop):
            carry_out([pieces], stop_at(kind, count))
    carry_out([pieces])
    assert b",bin_share" in whole.path.read_bytes(), "the reliability of what they vote for"
    assert pieces.path.read_bytes() == whole.path.read_bytes()


def test_members_in_rounds_learn_each_task_with_its_own_number_of_data() -> None:
    learned = ensemble(BayesBiNNStrategy, rule="samme", eval_samples=2, train_epochs=1)
    counts = []
    for experience in stream(n_experiences=2).train:
        learned.train(experience, eval_streams=[])
        groups = [member.state["optimizer"]["param_groups"][0] for member in learned.members]
        assert {group["train_set_size"] for group in groups} == {len(experience.dataset)}
        counts.append(len(experience.dataset))
    assert counts[0] != counts[1]


def test_members_that_are_done_are_asked_once_for_a_test_set() -> None:
    learned, asked = ensemble(train_mb_size=50), 0
    data = learn(learned, 1)

    def count(*_: Any) -> None:
        nonlocal asked
        asked += 1

    learned.model.register_forward_hook(count)
    recorder = learned.evaluator
    first = recorder.measure(learned, data.test)
    batches = asked
    assert batches > 0 and batches % SIZE == 0
    assert recorder.measure(learned, data.test) == first and asked == batches
    for member in learned.members:
        member.answers.clear()
    assert recorder.measure(learned, data.test) == first and asked == 2 * batches
    assert len(learned.members[0].answers) == len(data.test)
    assert not any("answers" in part for part in learned.parts().values())
    learned.train(data.train[0], eval_streams=[])
    assert recorder.measure(learned, data.test) != first


def test_the_member_under_way_is_asked_in_every_epoch_of_every_task() -> None:
    """And between two tasks those that are there, also in an ensemble that was read back."""
    asked: list[tuple[int, int, list[bool]]] = []

    class Look(SupervisedPlugin):
        def after_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
            done = [any(member is one for one in strategy.members) for member in strategy._asked()]
            asked.append((strategy.round, strategy.epoch, done))

    strategy = ensemble(rule="samme", size=2, plugins=[Look()])
    learn(strategy, 2)
    first = [(0, 0, [False]), (0, 1, [False]), (1, 0, [True, False]), (1, 1, [True, False])]
    later = [(k, e, [k > 0, k < 1]) for k, e, _ in first]  # the other one is of the first task
    assert asked == first + later
    again = ensemble(rule="samme", size=2)
    again.load_extra_state(strategy.extra_state() | {"parts": strategy.parts()})
    assert again._asked() == again.members and len(again.members) == 2


def test_looking_changes_nothing(tmp_path: Path) -> None:
    (often,) = plan(tmp_path, "benn", out="often", eval_every="epoch", rule="samme", size=2)
    (seldom,) = plan(tmp_path, "benn", out="seldom", rule="samme", size=2)
    carry_out([often])
    carry_out([seldom])
    found = [results.read(tmp_path / name) for name in ("often", "seldom")]
    ends = [f[f["epoch"].isna()].reset_index(drop=True) for f in found]
    assert ends[0].equals(ends[1])
    during = found[0][found[0]["epoch"].notna() & (found[0]["on"] == 0)]
    counts = during["metric"].value_counts()
    # Three tasks of 2 members x 3 epochs; votes are counted at the end of a task.
    assert counts["accuracy_member"] == 18 and counts["accuracy_soft_of_2"] == 3


# Settings ----------------------------------------------------------------------------------------


def test_members_need_a_logit_for_every_class() -> None:
    with pytest.raises(ValueError, match="members vote for classes: this benchmark has none"):
        ensemble(objective=BINARY)


def test_a_member_has_the_settings_of_its_own_recipe(tmp_path: Path) -> None:
    (run,) = plan(tmp_path, "benn", member="bop", member__gamma=0.5)
    assert run.spec.strategy == "benn[member=bop,member.gamma=0.5]"
    expected = {"build": "cl_bnn.strategies:BopStrategy", "gamma": 0.5, "threshold": 1e-8}
    assert run.spec.settings["member"].items() >= expected.items()
    (run,) = plan(tmp_path, "benn")
    assert run.spec.strategy == "benn" and run.spec.settings["member"]["backward"] == "identity"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rule=boost_b", "unknown rule 'boost_b'; did you mean"),
        ("member=bob", "unknown strategy 'bob'; did you mean 'bop'"),
        (
            "member.lrr=1",
            "member.lrr: no setting of cl_bnn.strategies:STEStrategy; did you mean 'lr'",
        ),
        ("membre.lr=1", "unknown section 'membre' of benn; did you mean 'member'"),
        ("size=0", "size must be >= 1, got 0"),
        ("mode=both", "mode = 'both': expected one of 'independent', 'sequential', 'posterior'"),
        ("vote=loud", "vote = 'loud': expected one of 'soft', 'soft_outputs', 'hard', 'weighted'"),
        ("mode=posterior", "mode 'posterior' needs a member that has one, as bayesbinn"),
        ("member=benn", "member must be a strategy of a single network"),
        ("member=ste_joint", "member must learn task after task, and JointSTEStrategy does not"),
        ("member=constant", "member must learn task after task, and ConstantStrategy does not"),
    ],
)
def test_mistakes_are_one_line(
    setting: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny import recipe

    command = ["run", recipe(tmp_path), "--strategy", "benn", "--out", str(tmp_path / "out")]
    assert main([*command, "--set", setting]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1, error


def test_what_does_not_go_together_is_refused() -> None:
    member = {"build": "cl_bnn.strategies:STEStrategy"}
    with pytest.raises(ValueError, match="with the rule 'samme' a member waits for the errors"):
        benn(model=network(), member=member, rule="samme", side_by_side=True)
    tuned = {"build": "cl_bnn.strategies:BayesBiNNStrategy", "prior": "kronecker"}
    with pytest.raises(ValueError, match="a Kronecker prior is measured one network after the"):
        benn(model=network(), member=tuned, side_by_side=True)
    with pytest.raises(ValueError, match="side_by_side needs mode = 'independent'"):
        ensemble_of(STEStrategy, "sequential", side_by_side=True)
    with pytest.raises(ValueError, match="element by element, got 'independent' and PMFStrategy"):
        ensemble_of(PMFStrategy, side_by_side=True)


def test_a_kronecker_prior_of_members_is_asked_for_single_samples() -> None:
    tuned = {"build": "cl_bnn.strategies:BayesBiNNStrategy", "prior": "kronecker"}
    made = benn(model=network(norm="batch"), member=tuned, size=2, evaluator=Recorder())
    with pytest.raises(UserError, match="a prior with Kronecker factors"):
        made._before_training()


def test_side_by_side_is_chosen_where_it_pays() -> None:
    member = {"build": "cl_bnn.strategies:STEStrategy"}
    made = benn(model=network(), member=member, size=2, evaluator=Recorder())
    assert type(made).__name__ == "SideBySideEnsembleOfSTEStrategy"
    assert isinstance(made.optimizer, STE)
    tuned = {"build": "cl_bnn.strategies:BayesBiNNStrategy", "prior": "kronecker"}
    made = benn(model=network(), member=tuned, size=2, evaluator=Recorder())
    assert type(made).__name__ == "RoundEnsembleOfBayesBiNNStrategy"
    made = benn(model=network(), member=member, size=2, rule="samme", evaluator=Recorder())
    assert type(made).__name__ == "RoundEnsembleOfSTEStrategy"
