"""Plugins beside optimisers of binary weights: what they see, and our own EWC, MAS and DER."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from avalanche.benchmarks import class_incremental_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.core import SupervisedPlugin
from avalanche.models import IncrementalClassifier, NCMClassifier, TrainEvalModel
from avalanche.training.plugins import (
    AGEMPlugin,
    CurrentDataNCMUpdate,
    EarlyStoppingPlugin,
    FromScratchTrainingPlugin,
    GDumbPlugin,
    LRSchedulerPlugin,
    RWalkPlugin,
)
from test_execution import Stop, carry_out, plan, stop_at
from test_synthetic import write_snelson
from tiny import stream
from torch import Tensor, nn
from torch.nn import functional as F

from cl_bnn import objectives, recipes, results, runner
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.nn import mlp
from cl_bnn.objectives import CLASSIFICATION
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import (
    DER,
    EWC,
    MAS,
    AdamStrategy,
    BayesBiNNStrategy,
    BopStrategy,
    Composed,
    KroneckerLaplace,
    LwF,
    PMFStrategy,
    STEStrategy,
    TaskAware,
    Template,
    composed,
)
from cl_bnn.strategies.loading import view_behind

BINARY = {
    "ste": STEStrategy, "bop": BopStrategy, "pmf": PMFStrategy, "bayesbinn": BayesBiNNStrategy,
}  # fmt: skip


class Look(SupervisedPlugin):
    """Remembers the weights that it sees at its hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Tensor] = {}

    def look(self, strategy: Any, hook: str) -> None:
        weights = [p.detach().flatten() for p in strategy.model.parameters()]
        self.seen[hook] = torch.cat(weights).clone()

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.look(strategy, "before_iteration")

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        self.look(strategy, "before_backward")
        gradients = [p.grad for p in strategy.model.parameters()]
        assert all(g is None or not g.any() for g in gradients)

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        assert all(p.grad is not None for p in strategy.model.parameters())

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.look(strategy, "after_exp")


def learner(kind: Callable[..., Any], *plugins: Any, n_tasks: int = 1, **settings: Any) -> Template:
    """A strategy that has learned the first tasks of the tiny stream."""
    torch.manual_seed(1)
    network = mlp(in_features=784, out_features=2, width=16, norm="layer")
    benchmark = stream(n_experiences=max(n_tasks, 2))
    strategy: Template = kind(
        model=TaskAware(network), train_mb_size=20, train_epochs=1, eval_mb_size=100,
        device=torch.device("cpu"), evaluator=Recorder(), plugins=[*plugins], **settings,
    )  # fmt: skip
    for task in range(n_tasks):
        strategy.train(benchmark.train[task], eval_streams=[])
    return strategy


@pytest.mark.parametrize("kind", BINARY.values(), ids=list(BINARY))
def test_a_plugin_sees_the_binary_network_between_steps(kind: Callable[..., Any]) -> None:
    look = Look()
    strategy = learner(kind, Composed(look))
    for hook in ("before_iteration", "after_exp"):
        assert set(look.seen[hook].tolist()) == {-1.0, 1.0}
    with strategy.network_weights():
        learned = torch.cat([p.detach().flatten() for p in strategy.model.parameters()])
    assert torch.equal(look.seen["after_exp"], learned)


def test_a_plugin_has_all_its_hooks() -> None:
    heard: list[str] = []

    class Evaluated(SupervisedPlugin):
        def before_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
            heard.append("train")

        def after_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
            heard.append("eval")

    strategy = learner(STEStrategy, Composed(Evaluated()))
    strategy.eval(stream(n_experiences=2).test[0])
    assert heard == ["train", "eval"]


def test_a_plugin_sees_the_weights_of_the_step_within_it() -> None:
    look = Look()
    learner(STEStrategy, Composed(look))
    assert set(look.seen["before_backward"].tolist()) == {-1.0, 1.0}
    learner(PMFStrategy, Composed(look))
    assert (look.seen["before_backward"].abs() < 1).any()


def test_after_an_update_a_plugin_sees_what_it_has_made_of_the_network() -> None:
    class Flips(Look):
        def after_update(self, strategy: Any, **kwargs: Any) -> None:
            self.look(strategy, "after_update")

    look = Flips()
    learner(STEStrategy, Composed(look))
    assert set(look.seen["after_update"].tolist()) == {-1.0, 1.0}


def test_a_state_that_a_plugin_of_ones_own_inherits_is_not_the_whole_of_it() -> None:
    class Inherits(EWC):
        flips = 0

    class Says(Inherits):
        def state_dict(self) -> dict[str, Any]:
            return super().state_dict() | {"flips": self.flips}

    found = [Composed(kind()).can_be_saved for kind in (EWC, Inherits, Says)]
    assert found == [True, False, True]


def test_with_several_samples_a_penalty_counts_at_each() -> None:
    """So that it has the share of the loss that it has with one sample."""

    class Penalty(SupervisedPlugin):
        count = 0

        def before_backward(self, strategy: Any, **kwargs: Any) -> None:
            self.count += 1

    found = {}
    for samples in (1, 3):
        penalty = Penalty()
        strategy = learner(BayesBiNNStrategy, Composed(penalty), mc_samples=samples)
        found[samples] = penalty.count / strategy.clock.train_iterations
    assert found == {1: 1.0, 3: 3.0}


@pytest.mark.parametrize("kind", BINARY.values(), ids=BINARY)
def test_a_plugin_of_weights_holds_the_network_also_where_nobody_composed_it(kind: Any) -> None:
    ewc = EWC(strength=1.0, samples=20)
    learner(kind, ewc)
    assert ewc.anchor and all(bool((c.abs() == 1).all()) for c in ewc.anchor.values())


@pytest.mark.parametrize("kind", [BopStrategy, BayesBiNNStrategy])
def test_other_weights_in_the_model_are_not_what_was_learned(kind: Any) -> None:
    with pytest.raises(UserError, match="gy learns is in its optimiser: use stop_after instead"):
        learner(kind, EarlyStoppingPlugin(1, "test"))
    for plugin in (GDumbPlugin(), FromScratchTrainingPlugin(), Composed(GDumbPlugin())):
        with pytest.raises(UserError, match="puts other weights into the model, and what"):
            learner(kind, plugin)


def test_a_copy_of_a_strategy_has_plugins_of_its_own() -> None:
    ewc = EWC(strength=1.0, samples=20)
    strategy = learner(STEStrategy, ewc)
    held = {name: value.clone() for name, value in ewc.anchor.items()}
    other = copy.deepcopy(strategy)
    other.train(stream(n_experiences=2).train[1], eval_streams=[])
    (mine,) = [p.plugin for p in other.plugins if isinstance(p, Composed)]
    assert mine is not ewc and all(torch.equal(ewc.anchor[k], held[k]) for k in held)
    assert not all(torch.equal(mine.anchor[k], held[k]) for k in held)


def test_class_means_are_those_of_the_binary_network() -> None:
    data = stream(n_experiences=1)
    model = TrainEvalModel(
        nn.Sequential(nn.Flatten(), nn.Linear(784, 8, bias=False)), nn.Linear(8, 2, bias=False),
        NCMClassifier(normalize=False),
    )  # fmt: skip
    strategy = STEStrategy(
        model=model, plugins=[CurrentDataNCMUpdate()], train_mb_size=20, evaluator=Recorder()
    )
    strategy.train(data.train[0], eval_streams=[])
    view = view_behind(data.train[0].dataset)
    assert isinstance(view, TaskView)
    x, y = view.materialise()
    means = model.eval_classifier.class_means_dict
    with strategy.network_weights(), torch.no_grad():
        assert (model.feature_extractor[1].weight.abs() == 1).all()
        for label in (0, 1):
            torch.testing.assert_close(means[label], model.feature_extractor(x[y == label]).mean(0))


def test_a_scheduler_is_that_of_the_strategys_own_optimiser() -> None:
    strategy = learner(STEStrategy, n_tasks=0, schedule="constant")
    other = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    steps = torch.optim.lr_scheduler.StepLR(other, 1)
    other.step()  # lest torch warns of a scheduler that comes first
    strategy.plugins.append(LRSchedulerPlugin(steps))
    with pytest.raises(UserError, match="take a scheduler of `strategy.optimizer`, or reset_lr="):
        strategy.train(stream(n_experiences=1).train[0], eval_streams=[])
    strategy.plugins[-1] = LRSchedulerPlugin(steps, reset_lr=False)
    strategy.train(stream(n_experiences=1).train[0], eval_streams=[])
    assert other.param_groups[0]["lr"] == pytest.approx(0.01)


def test_a_schedule_and_a_scheduler_are_one_too_many() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    plugin = LRSchedulerPlugin(torch.optim.lr_scheduler.StepLR(optimizer, 1))
    with pytest.raises(UserError, match="take schedule='constant' beside it"):
        learner(STEStrategy, plugin, schedule="cosine")


def test_a_criterion_of_ones_own_counts_at_every_sample() -> None:
    calls: list[int] = []

    class Mine(BayesBiNNStrategy):
        stateless = True

        def criterion(self) -> Tensor:
            calls.append(len(self.mb_y))
            return cast(Tensor, super().criterion())

    strategy = learner(Mine, mc_samples=3)
    assert len(calls) == 3 * strategy.clock.train_iterations


def test_every_strategy_has_a_loss_of_its_own_whose_reduction_may_be_set() -> None:
    one, other = (learner(STEStrategy, n_tasks=0) for _ in range(2))
    one._criterion.reduction = "none"  # as Avalanche's MIR does for a while
    assert other._criterion.reduction == CLASSIFICATION.loss.reduction == "mean"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("loss", "objective"), [(nn.MSELoss(), "REGRESSION"), (nn.BCEWithLogitsLoss(), "BINARY")]
)
def test_a_loss_of_no_classes_needs_its_objective(loss: nn.Module, objective: str) -> None:
    given = {"model": nn.Linear(3, 1), "criterion": loss}
    with pytest.raises(ValueError, match=f"is none of classes, .* give objective={objective} "):
        BayesBiNNStrategy(**given)
    BayesBiNNStrategy(**given, eval_samples=0)
    BayesBiNNStrategy(**given, objective=getattr(objectives, objective))


def test_penalties_come_after_what_else_adds_to_the_loss() -> None:
    """They hold what the loss reaches without them, whichever plugin reaches it."""
    order: list[str] = []

    class Adds(DER):
        def before_backward(self, strategy: Any, **kwargs: Any) -> None:
            order.append("samples")

    class Holds(EWC):
        def before_backward(self, strategy: Any, **kwargs: Any) -> None:
            order.append("weights")

    learner(STEStrategy, Holds(samples=5), Composed(Adds()), Adds())
    assert order[:6] == ["samples", "samples", "weights"] * 2


def test_a_bare_writer_of_gradients_is_judged_as_in_a_recipe() -> None:
    with pytest.raises(UserError, match="AGEMPlugin projects the gradient of a step"):
        learner(BayesBiNNStrategy, AGEMPlugin(10, 10), mc_samples=2)
    plugin = RWalkPlugin()
    learner(STEStrategy, plugin)
    seen = [w.data for w in plugin.checkpoint_params.values()]
    assert seen and all(bool((w.abs() == 1).all()) for w in seen)


def test_a_state_comes_back_to_plugins_that_nobody_composed() -> None:
    state = learner(STEStrategy, EWC(samples=20)).extra_state()
    again = learner(STEStrategy, EWC(samples=20), n_tasks=0)
    again.load_extra_state(state)
    (plugin,) = again._composed()
    assert plugin.plugin.anchor.keys() == state["plugins"][0]["anchor"].keys() != set()


def test_training_that_a_plugin_stops_before_an_epoch_has_no_further_one() -> None:
    class Stops(SupervisedPlugin):
        ended = 0

        def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
            if strategy.clock.train_exp_epochs == 1:
                strategy.stop_training()

        def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
            self.ended += 1

    stops = Stops()
    strategy = learner(AdamStrategy, stops, n_tasks=0)
    strategy.train_epochs = 3
    strategy.train(stream(n_experiences=2).train[0], eval_streams=[])
    assert stops.ended == 1


def test_what_avalanche_would_wipe_is_what_was_learned() -> None:
    strategy = learner(STEStrategy, n_tasks=0)
    with pytest.raises(UserError, match="reset_optimizer_state would wipe what was learned"):
        strategy.train(stream(n_experiences=2).train[0], reset_optimizer_state=True)


def test_a_generator_of_experiences_is_evaluated() -> None:
    strategy, tests = learner(STEStrategy, n_tasks=0), stream(n_experiences=2).test
    strategy.eval(experience for experience in tests)
    recorder = cast(Recorder, strategy.evaluator)
    assert recorder.tasks.keys() == {0, 1}


@pytest.mark.parametrize(
    "plugin", [lambda: EWC(samples=5), lambda: KroneckerLaplace(samples=5), lambda: DER(memory=9)]
)
def test_data_without_task_labels_will_do(plugin: Any) -> None:
    data = [(torch.rand(784), k % 2) for k in range(40)]
    sets = {name: as_classification_dataset(_Pairs(data)) for name in ("train", "test")}
    model = nn.Sequential(nn.Linear(784, 2, bias=False))
    strategy = STEStrategy(model=model, plugins=[plugin()], train_mb_size=20, evaluator=Recorder())
    for experience in class_incremental_benchmark(sets, num_experiences=1).train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.train(experience, eval_streams=[])  # the second time something is held


class _Pairs(torch.utils.data.Dataset[Any]):
    def __init__(self, pairs: list[tuple[Tensor, int]]) -> None:
        self.pairs, self.targets = pairs, [y for _, y in pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pairs[index]


# Our EWC -----------------------------------------------------------------------------------------


class Tasks:
    """A linear softmax model between two experiences, as a plugin sees it."""

    def __init__(self, x: Tensor, y: Tensor, classes: int = 3) -> None:
        self.device, self.loss = torch.device("cpu"), torch.zeros(())
        inner = nn.Linear(x.shape[1], classes, bias=False, dtype=torch.float64)
        self.inner, self.model = inner, TaskAware(nn.Sequential(inner))
        data = [(x[k], int(y[k]), 0) for k in range(len(x))]
        self.experience = type("Experience", (), {"dataset": data})()

    def penalty(self, plugin: Any) -> Tensor:
        """What a plugin adds to a loss of 0 that depends on the weights."""
        self.loss = 0 * self.inner.weight.sum()
        plugin.before_backward(self)
        return self.loss

    @property
    def name(self) -> str:
        ((name, _),) = self.model.named_parameters()
        return name


@pytest.fixture
def tasks() -> Tasks:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    return Tasks(x, torch.arange(7) % 3)


def inputs(tasks: Tasks) -> tuple[Tensor, Tensor]:
    data = tasks.experience.dataset
    return torch.stack([x for x, _, _ in data]), torch.tensor([y for _, y, _ in data])


def test_fisher_of_a_softmax_is_the_closed_form(tasks: Tasks) -> None:
    """dlog p(y)/dw_kj = (1[y = k] - p_k) x_j, whose expected square is p_k (1 - p_k) x_j^2."""
    x, y = inputs(tasks)
    p = tasks.inner(x).softmax(1).detach()
    expected = ((p * (1 - p)).T @ x.square()) / len(x)
    assert torch.allclose(EWC(samples=7).fisher(tasks)[tasks.name], expected, rtol=1e-12)
    true = ((F.one_hot(y, 3) - p).square().T @ x.square()) / len(x)
    assert torch.allclose(EWC(labels="true").fisher(tasks)[tasks.name], true, rtol=1e-12)


def test_fisher_with_sampled_labels_agrees_on_average(tasks: Tasks) -> None:
    exact = EWC(labels="all").fisher(tasks)[tasks.name]
    sampled = [EWC(labels="sampled").fisher(tasks)[tasks.name] for _ in range(300)]
    assert torch.allclose(torch.stack(sampled).mean(0), exact, rtol=0.25, atol=0.02)


def test_fisher_does_not_depend_on_the_order_of_the_samples(tasks: Tasks) -> None:
    found = EWC().fisher(tasks)[tasks.name]
    tasks.experience.dataset.reverse()
    assert torch.allclose(EWC().fisher(tasks)[tasks.name], found, rtol=1e-12)


def test_penalty_is_the_sum_over_tasks_up_to_a_constant(tasks: Tasks) -> None:
    """strength / 2 sum_t sum_i F_ti (w_i - w_ti)^2: the same gradient everywhere."""
    ewc, fishers, anchors = EWC(strength=3.0), [], []
    for step in range(3):
        fishers.append(EWC().fisher(tasks)[tasks.name])
        anchors.append(tasks.inner.weight.detach().clone())
        ewc.after_training_exp(tasks)
        with torch.no_grad():
            tasks.inner.weight += 0.3 * (step + 1)
    tasks.penalty(ewc).backward()
    w = tasks.inner.weight.detach()
    expected = 3.0 * sum(f * (w - a) for f, a in zip(fishers, anchors, strict=True))
    assert torch.allclose(tasks.inner.weight.grad, expected, rtol=1e-10)


def test_online_penalty_has_one_anchor_and_fading_importances(tasks: Tasks) -> None:
    ewc = EWC(strength=2.0, online=True, decay=0.5)
    first = EWC().fisher(tasks)[tasks.name]
    ewc.after_training_exp(tasks)
    with torch.no_grad():
        tasks.inner.weight += 0.4
    second = EWC().fisher(tasks)[tasks.name]
    ewc.after_training_exp(tasks)
    anchor = tasks.inner.weight.detach().clone()
    with torch.no_grad():
        tasks.inner.weight -= 0.1
    expected = (0.5 * first + second) * (tasks.inner.weight.detach() - anchor).square()
    assert tasks.penalty(ewc).item() == pytest.approx(float(expected.sum()), rel=1e-6)


def test_a_head_that_grew_is_held_where_it_was(tasks: Tasks) -> None:
    ewc = EWC(strength=2.0)
    ewc.after_training_exp(tasks)
    before, f = tasks.inner.weight.detach().clone(), ewc.importance[tasks.name].clone()
    tasks.inner.weight = nn.Parameter(torch.cat([before + 0.1, torch.ones(1, 4)]).double())
    assert tasks.penalty(ewc).item() == pytest.approx(float(f.sum()) * 0.01)
    ewc.after_training_exp(tasks)
    assert ewc.importance[tasks.name].shape == (4, 4)


def test_what_mattered_is_held_and_nothing_is_held_without_strength() -> None:
    """Between two tasks, strong EWC moves weights that matter less than none does."""

    def moved(strength: float) -> float:
        ewc = EWC(strength=strength, samples=100)
        strategy = learner(AdamStrategy, Composed(ewc), n_tasks=1)
        importance = dict(ewc.importance)
        before = {n: p.detach().clone() for n, p in strategy.model.named_parameters()}
        strategy.train(stream(n_experiences=2).train[1], eval_streams=[])
        return sum(
            float((importance[n] * (p.detach() - before[n]).square()).sum())
            for n, p in strategy.model.named_parameters()
        )

    assert moved(1e4) < 0.2 * moved(0.0)


@pytest.mark.parametrize(
    ("plugin", "settings", "message"),
    [
        (EWC, {"strength": -1.0}, "strength must be >= 0"),
        (EWC, {"decay": 0.0}, r"decay must be in \(0, 1\]"),
        (EWC, {"samples": 0}, "samples must be >= 1"),
        (EWC, {"labels": "some"}, "labels must be one of all, sampled, true"),
        (MAS, {"strength": -1.0}, "strength must be >= 0"),
        (MAS, {"samples": 0}, "samples must be >= 1"),
        (LwF, {"alpha": -1.0}, "alpha must be >= 0"),
        (LwF, {"temperature": 0.0}, "temperature must be > 0"),
    ],
)
def test_a_wrong_value_is_named(plugin: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plugin(**settings)


# Our memory aware synapses -----------------------------------------------------------------------


def test_sensitivity_of_a_linear_model_is_the_closed_form(tasks: Tasks) -> None:
    """d ||W x||^2 / dw_kj = 2 f_k x_j, whatever the order and the labels are."""
    x, _ = inputs(tasks)
    expected = (2 * tasks.inner(x).detach().abs()).T @ x.abs() / len(x)
    assert torch.allclose(MAS(samples=7).sensitivity(tasks)[tasks.name], expected, rtol=1e-12)
    data = [(x, (y + 1) % 3, t) for x, y, t in reversed(tasks.experience.dataset)]
    tasks.experience.dataset[:] = data
    assert torch.allclose(MAS().sensitivity(tasks)[tasks.name], expected, rtol=1e-12)


def test_sensitivities_add_up_and_the_last_weights_are_the_anchor(tasks: Tasks) -> None:
    mas = MAS(strength=2.0)
    first = MAS().sensitivity(tasks)[tasks.name]
    mas.after_training_exp(tasks)
    with torch.no_grad():
        tasks.inner.weight += 0.4
    second = MAS().sensitivity(tasks)[tasks.name]
    mas.after_training_exp(tasks)
    with torch.no_grad():
        tasks.inner.weight -= 0.1
    assert tasks.penalty(mas).item() == pytest.approx(
        2 * 0.01 * float((first + second).sum()), rel=1e-6
    )


def test_an_output_that_grew_is_free_until_it_has_learned(tasks: Tasks) -> None:
    mas = MAS()
    mas.after_training_exp(tasks)
    old = mas.importance[tasks.name].clone()
    grown = torch.cat([tasks.inner.weight.detach() + 0.1, torch.ones(1, 4)]).double()
    tasks.inner.weight = nn.Parameter(grown)
    assert tasks.penalty(mas).item() == pytest.approx(0.01 * float(old.sum()))
    new = MAS().sensitivity(tasks)[tasks.name]
    mas.after_training_exp(tasks)
    new[:3] += old
    assert torch.allclose(mas.importance[tasks.name], new, rtol=1e-12)


# Our dark experience replay ----------------------------------------------------------------------


def fed(der: DER, batches: int, size: int = 5) -> list[int]:
    """The numbers of the samples in the buffer after a stream of numbered ones."""
    for batch in range(batches):
        numbers = torch.arange(batch * size, (batch + 1) * size)
        x, y, task = numbers[:, None].float(), numbers % 2, numbers * 0 + 3
        outputs = numbers[:, None].repeat(1, 2) / 10
        der.after_training_iteration(
            SimpleNamespace(
                mb_x=x,
                mb_output=outputs,
                mb_y=y,
                mbatch=[x, y, task],
                model=nn.Identity(),
                dataloader=None,
            )  # fmt: skip
        )
    kept = [int(x) for x in der.x.flatten()]
    assert torch.equal(der.outputs[:, 0], der.x[:, 0] / 10)
    assert der.y.tolist() == [number % 2 for number in kept] and set(der.tasks.tolist()) == {3}
    return kept


def test_a_reservoir_keeps_all_until_it_is_full() -> None:
    assert fed(DER(memory=12), 2) == list(range(10))


def test_every_sample_of_the_stream_is_kept_with_the_same_probability() -> None:
    """8 of 40: a fifth each, so in 500 reservoirs 100 times with a standard deviation of 9."""
    counts = torch.zeros(40)
    for _ in range(500):
        kept = fed(DER(memory=8), 8)
        assert len(set(kept)) == 8
        counts[kept] += 1
    assert counts.min() > 60 and counts.max() < 140
    assert counts[:20].sum() == pytest.approx(2000, abs=150)


def test_outputs_that_a_stored_sample_did_not_have_are_not_compared(tasks: Tasks) -> None:
    x, y = inputs(tasks)
    z = torch.randn(7, 3, dtype=torch.float64)
    der = DER(memory=9, batch_size=9, alpha=1.0, beta=0.0)
    zeros = torch.zeros(7, dtype=torch.int64)
    der.load_state_dict({"x": x, "outputs": z, "y": y, "tasks": zeros, "seen": 7, "plain": False})
    wide = torch.randn(2, 4, dtype=torch.float64)  # a class more
    der._store([7, 8], [x[:2], wide, y[:2], zeros[:2]])
    grown = torch.cat([tasks.inner.weight.detach(), torch.ones(1, 4)]).double()
    tasks.inner.weight = nn.Parameter(grown)
    f, again = tasks.inner(torch.cat([x, x[:2]])), DER(memory=9, batch_size=9, alpha=1.0, beta=0.0)
    again.load_state_dict(der.state_dict())
    squares = [(f[:7, :3] - z).square().flatten(), (f[7:] - wide).square().flatten()]
    for plugin in (der, again):
        assert tasks.penalty(plugin).item() == pytest.approx(torch.cat(squares).mean().item())


def test_augmented_images_are_kept_plain_and_augmented_anew() -> None:
    """Here by turning dark into bright, which is told from the images as they are."""
    data, der = stream(n_experiences=2), DER(memory=30, batch_size=10, alpha=0.5, beta=0.5)
    first, second = (view_behind(experience.dataset) for experience in data.train)
    assert isinstance(first, TaskView) and isinstance(second, TaskView)
    first.augment = second.augment = lambda x, generator: 255 - x
    inner, seen = mlp(in_features=784, out_features=2, width=8), []
    strategy = STEStrategy(
        model=TaskAware(inner), plugins=[Composed(der)], train_mb_size=20, evaluator=Recorder()
    )
    inner.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    for experience in data.train:
        strategy.train(experience, eval_streams=[])
    assert der.plain and der.x.dtype == torch.uint8
    raw = torch.cat([first.raw(), second.raw()]).flatten(1)
    assert (der.x.flatten(1)[:, None] == raw).all(2).any(1).all()
    replayed = torch.cat([x for x in seen if len(x) == 10])
    bright = first.finish(255 - torch.cat([first.raw(), second.raw()])).flatten(1)
    assert len(replayed) and torch.cdist(replayed.flatten(1)[-20:], bright).min(1).values.max() < 1
    other = DER(memory=30)
    other.load_state_dict(der.state_dict())
    assert other.plain
    inverse, normalise = second.augment, second.normalise
    for augment, scale in ((None, normalise), (inverse, lambda x: 2 * normalise(x))):
        second.augment, second.normalise = augment, scale
        with pytest.raises(UserError, match="all augmented and normalised in one way, or not"):
            strategy.train(data.train[1], eval_streams=[])


def test_outputs_that_a_head_masks_are_not_compared() -> None:
    head = IncrementalClassifier(4, 3)
    head.active_units[:2] = 1
    der, x, y = DER(alpha=1.0, beta=0.0), torch.randn(5, 4), torch.zeros(5, dtype=torch.int64)
    der.after_training_iteration(
        SimpleNamespace(mb_x=x, mb_output=head(x), mb_y=y, mbatch=[x, y, y], model=head)
    )
    stored = der.outputs
    assert stored[:, 2].isnan().all() and torch.equal(stored[:, :2], head(x).detach()[:, :2])
    head.active_units[2] = 1
    assert der._distance(head(x), stored) == 0


def test_a_head_that_has_grown_is_compared_where_it_was(tasks: Tasks) -> None:
    """In the first step of a task with new classes, before any sample of it is stored."""
    x, y = inputs(tasks)
    z = torch.randn(7, 3, dtype=torch.float64)
    der = DER(memory=7, batch_size=7, alpha=1.0, beta=0.0)
    zeros = torch.zeros(7, dtype=torch.int64)
    der.load_state_dict({"x": x, "outputs": z, "y": y, "tasks": zeros, "seen": 7, "plain": False})
    grown = torch.cat([tasks.inner.weight.detach(), torch.ones(1, 4)]).double()
    tasks.inner.weight = nn.Parameter(grown)
    expected = F.mse_loss(tasks.inner(x)[:, :3], z)
    assert tasks.penalty(der).item() == pytest.approx(expected.item())


def test_loss_of_dark_experience_replay_is_that_of_the_paper(tasks: Tasks) -> None:
    """alpha mean (f(x) - z)^2 + beta cross-entropy, here of the whole buffer."""
    x, y = inputs(tasks)
    z = torch.randn(7, 3, dtype=torch.float64)
    der = DER(memory=7, batch_size=7, alpha=0.3, beta=0.7)
    der.load_state_dict(
        {
            "x": x,
            "outputs": z,
            "y": y,
            "tasks": torch.zeros(7, dtype=torch.int64),
            "seen": 7,
            "plain": False,
        }
    )
    strategy = cast(Any, tasks)
    strategy._criterion = F.cross_entropy
    der.before_backward(strategy)
    f = tasks.inner(x)
    expected = 0.3 * F.mse_loss(f, z) + 0.7 * F.cross_entropy(f, y)
    assert tasks.loss.item() == pytest.approx(expected.item(), rel=1e-6)


# Recipes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "ewc",
        "ste+ewc",
        "bop+online_ewc",
        "bayesbinn+ewc",
        "ste+der++",
        "bayesbinn+er",
        "ste+der+ewc",
        "bayesbinn+si",
        "ste+mas",
    ],
)
def test_an_interrupted_run_with_ours_ends_with_the_same_bytes(tmp_path: Path, name: str) -> None:
    (whole,) = plan(tmp_path, name, out="whole")
    carry_out([whole])
    (pieces,) = plan(tmp_path, name, out="pieces")
    for kind, count in [("epoch", 2), ("task", 1), ("epoch", 3)]:
        with pytest.raises(Stop):
            carry_out([pieces], stop_at(kind, count))
    events: list[str] = []
    carry_out([pieces], lambda event: events.append(event.kind))
    assert "resumed" in events
    assert pieces.path.read_bytes() == whole.path.read_bytes()


CLOCKED = """
from avalanche.core import SupervisedPlugin

class Clocked(SupervisedPlugin):
    def before_backward(self, strategy, **kwargs):
        clock, known = strategy.clock, strategy.model.known_train_tasks_labels
        strategy.loss *= 1 + clock.train_exp_counter + clock.train_iterations + len(known)
        strategy.loss *= 1 + clock.train_exp_epochs + clock.train_exp_iterations

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
"""


def test_what_avalanche_counts_goes_on_after_an_interruption(tmp_path: Path) -> None:
    (tmp_path / "clocked.py").write_text(CLOCKED)
    path = tmp_path / "clocked.toml"
    path.write_text('title = "C"\noptimizer = "ste"\nplugin = "clocked:Clocked"\n')
    (whole,) = plan(tmp_path, f"ste+{path}", out="whole", stream__heads=True)
    carry_out([whole])
    (pieces,) = plan(tmp_path, f"ste+{path}", out="pieces", stream__heads=True)
    for kind, count in [("epoch", 3), ("task", 1), ("epoch", 1)]:
        with pytest.raises(Stop):
            carry_out([pieces], stop_at(kind, count))
    carry_out([pieces])
    assert pieces.path.read_bytes() == whole.path.read_bytes()


def test_what_a_plugin_keeps_is_moved_wherever_it_lies() -> None:
    kept = {"anchor": [torch.zeros(2), (torch.zeros(3), 4)], "name": "mine"}
    moved = composed._moved(kept, torch.device("meta"))
    anchor = moved["anchor"]
    assert anchor[0].device.type == anchor[1][0].device.type == "meta"
    assert (type(anchor), type(anchor[1]), anchor[1][1]) == (list, tuple, 4)
    assert moved["name"] == "mine"


STOCK = [
    "ewc_avalanche", "si_avalanche", "mas_avalanche", "lwf", "der_avalanche", "replay", "agem",
    "gem",
]  # fmt: skip


@pytest.mark.parametrize("name", ["ste+ewc", "ste+mas", "ste+kfl", "bayesbinn_tuned"])
def test_what_needs_classes_says_so_before_it_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_snelson(tmp_path)
    monkeypatch.setenv("CL_BNN_DATA", str(tmp_path))
    events: list[Any] = []
    runs = runner.plan("snelson", [name], (0,), {"epochs": 1}, "epoch", tmp_path)
    with pytest.raises(UserError, match="needs a benchmark of classification"):
        carry_out(runs, events.append)
    assert "epoch" not in {event.kind for event in events}


def learned_numbers(run: Any) -> list[float]:
    frame = results.read(run.path.parent)
    return list(frame[frame.metric.isin(["train_loss", "nll"])].value)


@pytest.mark.parametrize("name", STOCK)
@pytest.mark.parametrize("scenario", ["one head", "a head per task"])
def test_avalanches_plugins_run_beside_binary_weights(
    tmp_path: Path, name: str, scenario: str
) -> None:
    """And a run that was interrupted begins anew, with the same bytes."""
    heads = scenario == "a head per task"
    settings = {"stream__heads": heads, "epochs": 1}
    (plain,) = plan(tmp_path, "ste", out="plain", **settings)
    (whole,) = plan(tmp_path, f"ste+{name}", out="whole", **settings)
    (pieces,) = plan(tmp_path, f"ste+{name}", out="pieces", **settings)
    carry_out([plain])
    carry_out([whole])
    with pytest.raises(Stop):
        carry_out([pieces], stop_at("task", 2))
    carry_out([pieces])
    assert pieces.path.read_bytes() == whole.path.read_bytes()
    assert learned_numbers(plain) != learned_numbers(whole)


def test_si_needs_gradients_that_bayesbinn_does_not_keep(tmp_path: Path) -> None:
    (run,) = plan(tmp_path, "bayesbinn+si_avalanche")
    with pytest.raises(UserError, match="take ste, bop, pmf or full precision"):
        carry_out([run])


def test_a_setting_that_avalanche_cannot_work_with_is_one_line(tmp_path: Path) -> None:
    (run,) = plan(tmp_path, "ste+replay", replay__mem_size=-1)
    with pytest.raises(UserError, match="Avalanche's ReplayPlugin broke down, .* RuntimeError:"):
        carry_out([run])
    (run,) = plan(tmp_path, "ste+replay", replay__storage_policy="reservoir")
    with pytest.raises(UserError, match="ReplayPlugin: 'str' object has no attribute 'max_size'"):
        carry_out([run])


@pytest.mark.parametrize("name", ["agem", "gem"])
def test_a_projection_needs_the_gradient_in_one(tmp_path: Path, name: str) -> None:
    (run,) = plan(tmp_path, f"bayesbinn+{name}", mc_samples=3)
    with pytest.raises(UserError, match="makes its own of 3 samples: set mc_samples = 1"):
        carry_out([run])


@pytest.mark.parametrize("name", ["ewc", "mas", "kfl", "bayesbinn_tuned"])
def test_single_samples_need_another_norm(tmp_path: Path, name: str) -> None:
    (run,) = plan(tmp_path, name, model__norm="batch")
    with pytest.raises(UserError, match='samples one at a time, which norm = "batch" cannot'):
        carry_out([run])


@pytest.mark.parametrize("norm", ["shared", "per_task"])
def test_the_norms_of_old_heads_learn_nothing_from_lwf(norm: Any) -> None:
    torch.manual_seed(0)
    data = stream(n_experiences=2, heads=True)
    network = mlp(in_features=784, out_features=2, width=8, n_heads=2, n_tasks=2, norm=norm)
    strategy = AdamStrategy(
        model=TaskAware(network), plugins=[Composed(LwF(alpha=1.0))], train_mb_size=20,
        evaluator=Recorder(),
    )  # fmt: skip
    first, second = data.train
    strategy.train(first, eval_streams=[])
    before = {name: value.clone() for name, value in network.named_buffers()}
    strategy.train(second, eval_streams=[])
    old = [n for n in before if (n.startswith("heads.0") if norm == "shared" else ".tasks.0." in n)]
    after = dict(network.named_buffers())
    assert old and all(torch.equal(after[name], before[name]) for name in old)
    assert any(not torch.equal(after[name], before[name]) for name in before)
    network.eval()
    assert torch.isfinite(network(torch.zeros(1, 784), torch.zeros(1, dtype=torch.long))).all()


def test_settings_of_a_plugin_have_its_name_before_them() -> None:
    on = recipes.load_benchmark("split_mnist")
    strategy = recipes.load_strategy("ste+ewc")
    spec = recipes.resolve(on, strategy, {"ewc.strength": 7, "lr": 0.1})
    assert spec.strategy == "ste+ewc[ewc.strength=7.0,lr=0.1]"
    assert spec.plugins["ewc"]["strength"] == 7.0 and spec.settings["lr"] == 0.1
    recipes.check(spec)
    for key, message in (("ewc.strenth", "did you mean 'strength'"), ("ews.strength", "'ewc'")):
        with pytest.raises(UserError, match=message):
            recipes.check(recipes.resolve(on, strategy, {key: 1}))


def test_a_recipe_puts_an_optimiser_and_plugins_together(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'title = "Mine"\noptimizer = "ste"\nplugins = ["ewc", "replay"]\n'
        "[defaults]\nlr = 0.5\n[defaults.ewc]\nstrength = 3.0\n"
        "[on.rotated_mnist]\nlr = 0.25\n[on.rotated_mnist.replay]\nmem_size = 20\n"
    )
    on = recipes.load_benchmark("rotated_mnist")
    spec = recipes.resolve(on, recipes.load_strategy(str(path)), {})
    recipes.check(spec)
    assert spec.strategy == "mine" and spec.settings["lr"] == 0.25
    assert spec.plugins["ewc"]["strength"] == 3.0 and spec.plugins["replay"]["mem_size"] == 20
    assert "plugins" in spec.as_dict()
    plain = recipes.resolve(on, recipes.load_strategy("ste"), {})
    assert "plugins" not in plain.as_dict()


@pytest.mark.parametrize("name", ["hold", "hold++"])
def test_a_plugin_in_a_file_of_ones_own_stands_after_a_plus(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "with+plus"
    folder.mkdir()
    for where in (tmp_path, folder):
        (where / f"{name}.toml").write_text(
            'title = "Hold"\noptimizer = "adam"\nplugin = "cl_bnn.strategies:EWC"\n'
            "[defaults]\nstrength = 3.0\n"
        )
    on = recipes.load_benchmark("split_mnist")
    strategy = recipes.load_strategy(f"ste+{tmp_path / name}.toml+er")
    spec = recipes.resolve(on, strategy, {f"{name}.strength": 7})
    recipes.check(spec)
    assert spec.strategy == f"ste+{name}+er[{name}.strength=7.0]"
    assert spec.plugins[name]["strength"] == 7.0
    alone = recipes.load_strategy(str(folder / f"{name}.toml"))  # a path is not taken apart
    assert alone.name == name and [plugin.name for plugin in alone.plugins] == [name]
    with pytest.raises(UserError, match="lost.toml: cannot read the recipe: No such file"):
        recipes.load_strategy(f"ste+{tmp_path / 'lost.toml'}")


def test_a_plugin_says_what_its_optimiser_takes_where_it_has_that_one_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "hold.toml"
    path.write_text(
        'title = "Hold"\noptimizer = "adam"\nplugin = "cl_bnn.strategies:EWC"\n'
        "[defaults]\nstrength = 3.0\n[defaults.adam]\nlr = 0.5\n"
        "[on.split_mnist]\nstrength = 7.0\n[on.split_mnist.adam]\nlr = 0.25\n"
        "[search]\nhold.strength = {low = 1.0, high = 9.0}\n"
        "[search.adam]\nlr = {low = 0.1, high = 0.9}\n"
    )
    split, other = map(recipes.load_benchmark, ("split_mnist", "permuted_mnist"))
    alone = recipes.load_strategy(str(path))
    spec = recipes.resolve(split, alone, {})
    recipes.check(spec)
    assert spec.settings["lr"] == 0.25 and spec.plugins["hold"]["strength"] == 7.0
    spec = recipes.resolve(other, alone, {})
    assert spec.settings["lr"] == 0.5 and spec.plugins["hold"]["strength"] == 3.0
    assert {key: axis.high for key, axis in alone.space.items() if key != "schedule"} == {
        "lr": 0.9, "hold.strength": 9.0,
    }  # fmt: skip
    assert recipes.resolve(split, recipes.load_strategy("ewc"), {}).settings["lr"] < 1e-3
    beside = recipes.resolve(split, recipes.load_strategy("bop+ewc"), {})
    assert beside.settings == recipes.resolve(split, recipes.load_strategy("bop"), {}).settings
    plain = recipes.load_strategy("adam")
    assert plain.defaults["lr"] == 1e-3 and "lr" not in plain.on.get("split_mnist", {})


@pytest.mark.parametrize("name", ["ste+", "+ewc", "ste++ewc"])
def test_a_plus_stands_between_two_names(name: str) -> None:
    with pytest.raises(UserError, match="a name is missing beside a '\\+', as in ste\\+ewc"):
        recipes.load_strategy(name)


def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\noptimizer = "ste"\nplugins = ["ewc"]\n', encoding="utf-8-sig")
    assert recipes.load_strategy(str(path)).title == "Mine"


def test_names_may_end_in_two_pluses() -> None:
    assert [p.name for p in recipes.load_strategy("ste+der+++ewc").plugins] == ["der++", "ewc"]
    assert recipes.load_strategy("der++").name == "der++"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ste+bop", "'bop' is no plugin: an optimiser comes first, then plugins, as in ste\\+ewc"),
        ("ste+ewcc", "unknown strategy 'ewcc'; did you mean 'ewc'"),
        ("ste+ewc+ewc", "the plugin 'ewc' stands there twice"),
        ("benn+ewc", "'benn' puts strategies together"),
    ],
)
def test_parts_that_do_not_go_together_are_named(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipes.load_strategy(name)
