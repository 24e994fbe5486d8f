"""Our strategies in pipelines of Avalanche's own parts, and its parts on our streams."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import two_blobs
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics, loss_metrics
from avalanche.logging import TextLogger
from avalanche.models import IncrementalClassifier, SimpleMLP, as_multitask
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
from avalanche.training.supervised import Naive
from avalanche.training.templates import SupervisedTemplate
from tiny import stream
from torch import Tensor, nn
from two_blobs import At, Growing

from cl_bnn.errors import UserError
from cl_bnn.nn import binary_parameters, mlp
from cl_bnn.nn.labels import asks_labels
from cl_bnn.optim import STE, BayesBiNN
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import (
    EWC,
    AdamStrategy,
    BayesBiNNStrategy,
    DrawingStrategy,
    DrawWeights,
    JointAdamStrategy,
    JointSTEStrategy,
    JointStrategy,
    PosteriorAsPrior,
    STEStrategy,
    TaskAware,
    VCLStrategy,
)
from cl_bnn.strategies.loading import Batches


def quiet() -> EvaluationPlugin:
    return EvaluationPlugin(
        accuracy_metrics(experience=True, stream=True),
        loss_metrics(experience=True),
        forgetting_metrics(experience=True),
        loggers=[TextLogger(io.StringIO())],
    )


def settings(**more: Any) -> dict[str, Any]:
    return dict(train_mb_size=10, train_epochs=4, eval_mb_size=20) | more


def test_stock_benchmark_evaluator_and_replay() -> None:
    """Replay brings a loader of its own, so this is Avalanche's ordinary way through the data."""
    benchmark, replay = two_blobs.benchmark(3, new_classes=True), ReplayPlugin(mem_size=60)
    strategy = BayesBiNNStrategy(
        model=SimpleMLP(num_classes=6, input_size=10, hidden_size=50, drop_rate=0.0),
        lr=1e-2, eval_samples=20, evaluator=quiet(), plugins=[replay],
        **settings(train_epochs=20),
    )  # fmt: skip
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        found = strategy.eval(benchmark.test_stream)
    assert len(replay.storage_policy.buffer) == 60
    assert found["Top1_Acc_Stream/eval_phase/test_stream/Task000"] > 0.9
    assert "ExperienceForgetting/eval_phase/test_stream/Task000/Exp000" in found
    weights = set(binary_parameters(strategy.model))
    assert strategy.optimizer.inner is not None, "SimpleMLP's biases are real-valued"
    real = {p for group in strategy.optimizer.inner.param_groups for p in group["params"]}
    assert real | weights == set(strategy.model.parameters()) and not real & weights


class Own(SupervisedTemplate):
    """A strategy of a user's own, without anything of ours but the optimiser and a plugin."""

    def _before_forward(self, **kwargs: Any) -> None:
        self.optimizer.draw()
        super()._before_forward(**kwargs)


def test_posterior_as_prior_on_a_strategy_of_the_users_own() -> None:
    model = nn.Sequential(nn.Linear(10, 30, bias=False), nn.ReLU(), nn.Linear(30, 6, bias=False))
    optimizer = BayesBiNN(model.parameters(), 1e-2, train_set_size=60)
    strategy = Own(
        model=model, optimizer=optimizer, plugins=[PosteriorAsPrior()], evaluator=quiet(),
        **settings(),
    )  # fmt: skip
    for experience in two_blobs.benchmark(2, new_classes=True).train_stream:
        before = [optimizer.state[p].get("prior") for p in model.parameters()]
        strategy.train(experience, eval_streams=[])
        for natural, parameter, old in zip(
            optimizer.naturals(), model.parameters(), before, strict=True
        ):
            prior = optimizer.state[parameter]["prior"]
            torch.testing.assert_close(prior, natural)
            assert old is None or not torch.equal(old, prior)


@pytest.mark.parametrize("optimiser", ["bayesbinn", "ste"])
def test_stock_naive_trains_binary_weights(optimiser: str) -> None:
    model = nn.Sequential(nn.Linear(10, 30, bias=False), nn.ReLU(), nn.Linear(30, 6, bias=False))
    chosen: Any = (
        STE(model.parameters(), 1e-2)
        if optimiser == "ste"
        else BayesBiNN(model.parameters(), 1e-2, train_set_size=60)
    )
    seen: list[bool] = []

    class Look(SupervisedPlugin):
        def before_eval_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
            seen.extend(bool((p.abs() == 1).all()) for p in model.parameters())

    strategy = Naive(
        model=model, optimizer=chosen, plugins=[DrawWeights(), Look()], evaluator=quiet(),
        **settings(train_epochs=20),
    )  # fmt: skip
    benchmark = two_blobs.benchmark(1, new_classes=True)
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    found = strategy.eval(benchmark.test_stream)
    assert found["Top1_Acc_Stream/eval_phase/test_stream/Task000"] == 1.0
    assert seen and all(seen), "evaluation did not see binary weights"


def test_draw_weights_leaves_frozen_weights_alone() -> None:
    model = nn.Sequential(nn.Linear(10, 30, bias=False), nn.ReLU(), nn.Linear(30, 6, bias=False))
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    chosen = BayesBiNN(binary_parameters(model), 1e-2, train_set_size=60)
    strategy = Naive(
        model=model, optimizer=chosen, plugins=[DrawWeights()], evaluator=quiet(), **settings()
    )
    experience = two_blobs.benchmark(1, new_classes=True).train_stream[0]
    strategy.train(experience, eval_streams=[])
    assert torch.equal(model[0].weight, before)
    model[2].requires_grad_(False)  # frozen once it has learned, it stays binary
    model[0].requires_grad_(True)
    strategy.train(experience, eval_streams=[])
    with chosen.mode():
        assert all(bool((p.abs() == 1).all()) for p in model.parameters())


def test_draw_weights_forgets_nothing_that_was_learned_before() -> None:
    """Avalanche would wipe the state before the first task, and note what it cannot keep."""
    model = nn.Sequential(nn.Linear(10, 30, bias=False), nn.ReLU(), nn.Linear(30, 6))
    inner = torch.optim.Adam([model[2].bias], 1e-3)
    chosen = BayesBiNN(binary_parameters(model), 1e-2, train_set_size=60, inner=inner)
    seen: list[Tensor] = []
    look = At(lambda _: seen.append(chosen.naturals()[0].clone()))
    for _ in range(2):  # as in another process
        strategy = Naive(
            model=model, optimizer=chosen, plugins=[DrawWeights(), look], evaluator=quiet(),
            **settings(),
        )  # fmt: skip
        strategy.train(two_blobs.benchmark(2, new_classes=True).train_stream, eval_streams=[])
        learned = chosen.naturals()[0].clone()
        seen.append(learned)
        chosen.load_state_dict(chosen.state_dict())
    assert torch.equal(seen[9], seen[8])  # the first epoch of the second begins where one ended


@pytest.mark.parametrize("kind", [STE, BayesBiNN])
def test_draw_weights_does_not_take_a_head_that_grows(kind: Any) -> None:
    model = nn.Sequential(nn.Linear(10, 8, bias=False), IncrementalClassifier(8, 2))
    given = {"train_set_size": 60} if kind is BayesBiNN else {}
    strategy = Naive(
        model=model, optimizer=kind([model[0].weight], **given),
        plugins=[DrawWeights()], evaluator=quiet(), **settings(),
    )  # fmt: skip
    with pytest.raises(UserError, match="DrawWeights cannot keep what a network that grows has"):
        strategy.train(two_blobs.benchmark(2, new_classes=True).train_stream, eval_streams=[])


def test_a_head_that_grows_while_it_is_frozen_keeps_what_it_knows() -> None:
    model, benchmark = Growing(), two_blobs.benchmark(2, new_classes=True)
    strategy = BayesBiNNStrategy(
        model=model, lr=1e-2, eval_samples=0, evaluator=quiet(), **settings()
    )
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    before = strategy.optimizer.state[model.head.classifier.weight]["natural"].clone()
    model.head.requires_grad_(False)
    strategy.eval(benchmark.test_stream[:1])
    strategy.eval(benchmark.test_stream)
    grown = strategy.optimizer.state[model.head.classifier.weight]["natural"]
    assert grown.shape == (4, 20) and torch.equal(grown[:2], before)
    assert len(strategy.optimizer.param_groups[0]["params"]) == 2


def test_an_evaluation_that_breaks_down_costs_no_training() -> None:
    model = nn.Sequential(nn.Linear(10, 30, bias=False), nn.ReLU(), nn.Linear(30, 6, bias=False))
    left = [True]

    class Breaks(SupervisedPlugin):
        def before_eval_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
            if left and left.pop():
                raise KeyboardInterrupt

    strategy = Naive(
        model=model, optimizer=STE(model.parameters(), 1e-2),
        plugins=[DrawWeights(), Breaks()], evaluator=quiet(), **settings(),
    )  # fmt: skip
    benchmark = two_blobs.benchmark(1, new_classes=True)
    with pytest.raises(KeyboardInterrupt):
        strategy.eval(benchmark.test_stream)
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    learned = model[0].weight.detach().clone()
    assert not bool((learned.abs() == 1).all())
    strategy.eval(benchmark.test_stream)
    assert torch.equal(model[0].weight, learned)


@pytest.mark.parametrize(
    ("plugin", "verb"), [(DrawWeights(), "draw"), (PosteriorAsPrior(), "posterior_to_prior")]
)
def test_plugins_of_posteriors_say_what_they_need(plugin: Any, verb: str) -> None:
    model = nn.Linear(10, 2)
    naive = Naive(
        model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), plugins=[plugin],
        evaluator=quiet(), train_mb_size=10,
    )  # fmt: skip
    with pytest.raises(TypeError, match=rf"needs an optimiser of cl_bnn.optim with {verb}\(\)"):
        naive.train(two_blobs.benchmark(1).train_stream[0])


def test_draw_weights_has_no_plugin_of_weights_beside_it() -> None:
    model = nn.Linear(10, 2, bias=False)
    naive = Naive(
        model=model, optimizer=STE(model.parameters()), plugins=[DrawWeights(), EWC()],
        evaluator=quiet(), train_mb_size=10,
    )  # fmt: skip
    with pytest.raises(UserError, match="EWC beside DrawWeights would see latent weights"):
        naive.train(two_blobs.benchmark(1).train_stream[0])


@pytest.mark.parametrize("build", [BayesBiNNStrategy, STEStrategy, VCLStrategy, AdamStrategy])
def test_what_is_frozen_stays_and_what_is_thawed_is_learned_as_the_rest(build: Any) -> None:
    model = nn.Sequential(nn.Linear(10, 8, bias=False), nn.ReLU(), nn.Linear(8, 2, bias=False))
    model[0].requires_grad_(False)
    frozen = model[0].weight.clone()
    strategy = build(model=model, **settings(lr=0.1))
    data = two_blobs.benchmark(1).train_stream
    strategy.train(data, eval_streams=[])
    assert torch.equal(model[0].weight, frozen)
    model[0].requires_grad_(True)
    strategy.train(data, eval_streams=[])
    held = [p for group in strategy.optimizer.param_groups for p in group["params"]]
    assert sum(p is model[0].weight for p in held) == 1
    with strategy.network_weights():
        learned = model[0].weight.detach().clone()
    assert not torch.equal(learned, frozen)
    if build in (BayesBiNNStrategy, STEStrategy):
        assert set(learned.flatten().tolist()) == {-1.0, 1.0}


def test_a_run_whose_head_grows_is_not_saved() -> None:
    """Its state would not fit into the network that a continued run begins with."""
    for model, saved in ((nn.Linear(10, 2), True), (Growing(), False)):
        for wrapped in (model, TaskAware(model)):
            strategy = BayesBiNNStrategy(model=wrapped, evaluator=quiet(), **settings())
            assert strategy.can_be_saved == saved


def test_a_head_that_grows_keeps_its_posterior() -> None:
    benchmark, model = two_blobs.benchmark(3, new_classes=True), Growing()
    strategy = BayesBiNNStrategy(model=model, eval_samples=0, evaluator=quiet(), **settings())
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    old = model.head.classifier.weight
    learned = strategy.optimizer.state[old]["natural"].clone()
    found: dict[str, torch.Tensor] = {}

    class Look(SupervisedPlugin):
        def before_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
            state = strategy.optimizer.state[model.head.classifier.weight]
            found.setdefault("prior", state["prior"].clone())
            found.setdefault("natural", state["natural"].clone())

    strategy.plugins.insert(0, Look())
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert model.head.classifier.weight.shape == (4, 20)
    for key in ("prior", "natural"):
        torch.testing.assert_close(found[key][:2], learned)
    assert bool((found["prior"][2:] == 0).all()), "new weights start with the uniform prior"
    held = {p for group in strategy.optimizer.param_groups for p in group["params"]}
    assert model.head.classifier.weight in held and old not in held
    assert old not in strategy.optimizer.state


@pytest.mark.parametrize("build", [BayesBiNNStrategy, STEStrategy, AdamStrategy])
def test_a_head_that_grows_in_an_evaluation_loses_nothing(build: Any) -> None:
    """Avalanche's loop: `train`, then `eval` of the whole stream, whose classes are all new."""
    benchmark, model = two_blobs.benchmark(3, new_classes=True), Growing()
    strategy = build(model=model, evaluator=quiet(), **settings())
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    old = model.head.classifier.weight
    before = old.detach().clone()
    natural = strategy.optimizer.state[old].get("natural", torch.zeros(0)).clone()
    strategy.eval(benchmark.test_stream)
    new = model.head.classifier.weight
    assert new.shape == (6, 20)
    held = {p for group in strategy.optimizer.param_groups for p in group["params"]}
    assert new in held and old not in held
    if build is BayesBiNNStrategy:
        torch.testing.assert_close(strategy.optimizer.state[new]["natural"][:2], natural)
    else:
        assert torch.equal(new[:2], before)
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    strategy.optimizer.state_dict()  # nothing of parameters that are gone
    strategy.eval(benchmark.test_stream)


@pytest.mark.parametrize("build", [BayesBiNNStrategy, STEStrategy, AdamStrategy])
def test_avalanches_metrics_agree_with_ours(build: Any) -> None:
    """The same strategy measured by Avalanche's evaluator and by ours, after every task."""
    accuracy: list[list[float]] = []
    for evaluator in (Recorder(), quiet()):
        torch.manual_seed(1)
        data = stream(n_experiences=3)
        model = TaskAware(mlp(in_features=784, out_features=2, width=16))
        extra = {"eval_samples": 5} if build is BayesBiNNStrategy else {}
        strategy = build(model=model, evaluator=evaluator, **extra, **settings())
        rows = []
        for k in range(3):
            strategy.train(data.train[k], eval_streams=[])
            if isinstance(evaluator, Recorder):
                measured = evaluator.measure(strategy, data.test)
                rows += [
                    v for on in range(3) for v in (measured[on]["accuracy"], measured[on]["nll"])
                ]
            else:
                found = strategy.eval(data.test)
                for on in range(3):
                    where = f"eval_phase/test_stream/Task000/Exp{on:03d}"
                    rows += [found[f"Top1_Acc_Exp/{where}"], found[f"Loss_Exp/{where}"]]
        accuracy.append(rows)
        if not isinstance(evaluator, Recorder):
            forgotten = found["ExperienceForgetting/eval_phase/test_stream/Task000/Exp000"]
    assert accuracy[0] == pytest.approx(accuracy[1], rel=1e-4)
    first_minus_last = accuracy[0][0] - accuracy[0][12]
    assert forgotten == pytest.approx(first_minus_last, abs=1e-6)


def test_ready_batches_only_where_nothing_lies_between() -> None:
    data = stream(n_experiences=2)
    strategy = AdamStrategy(
        model=TaskAware(mlp(in_features=784, out_features=2, width=4)),
        evaluator=quiet(),
        **settings(),
    )
    kinds: list[type] = []

    class Look(SupervisedPlugin):
        def before_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
            kinds.append(type(strategy.dataloader))

    strategy.plugins.append(Look())
    strategy.train_epochs = 1
    strategy.train(data.train[0], eval_streams=[])
    subset = data.train[1]
    subset._dataset = subset.dataset.subset(list(range(30)))
    strategy.train(subset, eval_streams=[])
    assert kinds[0] is Batches and kinds[1] is not Batches


def test_stock_strategy_and_replay_on_our_stream() -> None:
    """Avalanche's own loading, model and multi-head on tasks that are views of shared bytes."""
    data = stream(n_experiences=2, heads=True)
    model = as_multitask(SimpleMLP(num_classes=2, hidden_size=20, drop_rate=0.0), "classifier")
    strategy = Naive(
        model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), evaluator=quiet(),
        plugins=[ReplayPlugin(mem_size=40)], **settings(),
    )  # fmt: skip
    for experience in data.train:
        strategy.train(experience, eval_streams=[])
    found = strategy.eval(data.test)
    for task in range(2):
        name = f"Top1_Acc_Exp/eval_phase/test_stream/Task{task:03d}/Exp{task:03d}"
        assert found[name] > 0.8


@pytest.mark.parametrize(
    ("build", "given", "metric"),
    [
        (JointStrategy, {"lr": 5e-2, "eval_samples": 5}, "accuracy_mode"),
        (JointSTEStrategy, {"lr": 1e-2}, "accuracy"),
        (JointAdamStrategy, {"lr": 1e-3}, "accuracy"),
    ],
)
def test_joint_sees_every_task_with_its_label(
    build: Any, given: dict[str, Any], metric: str
) -> None:
    data = stream(n_experiences=3, heads=True)
    model = TaskAware(mlp(in_features=784, out_features=2, n_heads=3, n_tasks=3, width=32))
    strategy = build(
        model=model, evaluator=Recorder(), **settings(train_epochs=20, train_mb_size=60), **given
    )
    assert [len(phase) for phase in strategy.phases(data.train)] == [3]
    labels: list[int] = []

    class Look(SupervisedPlugin):
        def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
            labels.extend(strategy.mb_task_id.tolist())

    strategy.plugins.append(Look())
    strategy.train(data.train, eval_streams=[])
    sizes = [len(e.dataset) for e in data.train]
    assert [labels.count(k) for k in range(3)] == [20 * size for size in sizes]
    if build is JointStrategy:
        assert strategy.optimizer.param_groups[0]["train_set_size"] == sum(sizes)
    measured = strategy.evaluator.measure(strategy, data.test)
    assert sum(values[metric] for values in measured.values()) / 3 > 0.75


def test_unknown_keywords_are_refused() -> None:
    with pytest.raises(TypeError, match="unknown_keyword"):
        AdamStrategy(model=nn.Linear(2, 2), unknown_keyword=1)


def test_the_example_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(__file__).parents[2] / "examples" / "avalanche_pipeline.py"
    text = path.read_text()
    assert len(text.splitlines()) <= 40
    exec(compile(text.replace("[:2000]", "[:100]"), path, "exec"), {"__name__": "__main__"})
    assert "learned 5 experiences" in capsys.readouterr().out


def test_an_argument_that_has_a_default_is_no_task_label() -> None:
    class Net(nn.Linear):
        def forward(self, x: Tensor, scale: float = 2.0) -> Tensor:
            return scale * super().forward(x)

    class Told(nn.Linear):
        def forward(self, x: Tensor, task: Tensor | None = None) -> Tensor:
            assert task is not None
            return super().forward(x) + task[:, None]

    x, labels = torch.randn(3, 2), torch.tensor([1, 1, 1])
    net, told = Net(2, 4), Told(2, 4)
    assert torch.equal(TaskAware(net)(x, labels), net(x))
    assert torch.equal(TaskAware(told)(x, labels), nn.Linear.forward(told, x) + 1)


def test_only_a_positional_argument_can_stand_for_task_labels() -> None:
    class Net(nn.Linear):
        def forward(self, x: Tensor, **more: Any) -> Tensor:
            return super().forward(x)

    class Named(nn.Linear):
        def forward(self, x: Tensor, *, scale: float) -> Tensor:
            return super().forward(x)

    assert not asks_labels(Net(2, 4).forward) and not asks_labels(Named(2, 4).forward)


@pytest.mark.parametrize("looks, expected", [((3, 3), 2), ((2, 3), 2), ((3, 4), 2), ((0, 3), 1)])
def test_the_last_of_periodic_evaluations_is_of_the_finished_network(
    looks: tuple[int, int], expected: int
) -> None:
    """After every k-th epoch from the first on, of n that are trained of ten, and at the end."""
    seen: list[int] = []
    every, n_epochs = looks
    strategy = STEStrategy(
        model=nn.Linear(10, 2, bias=False), evaluator=quiet(), stop_after=n_epochs,
        eval_every=every, plugins=[At(lambda s: seen.append(s.epoch), "before_eval")],
        **settings(train_epochs=10),
    )  # fmt: skip
    data = two_blobs.benchmark(1)
    strategy.train(data.train_stream[0], eval_streams=[data.test_stream])
    seen = seen[1:]  # the first is before training
    assert len(seen) == expected and seen[-1] in (n_epochs - 1, n_epochs)


def test_joint_training_evaluates_all_experiences_unless_told() -> None:
    data = two_blobs.benchmark(3)
    seen: set[int] = set()
    look = At(lambda s: seen.add(s.experience.current_experience), "before_eval_exp")
    strategy = JointSTEStrategy(
        model=nn.Linear(10, 2, bias=False), evaluator=quiet(), eval_every=1, plugins=[look],
        **settings(),
    )  # fmt: skip
    strategy.train(data.train_stream)
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("kind", [BayesBiNNStrategy, VCLStrategy])
def test_no_data_are_no_number_of_data(kind: Any) -> None:
    with pytest.raises(ValueError, match="train_set_size must be >= 1"):
        kind(model=nn.Linear(3, 2, bias=False), train_set_size=0)


class Signs(torch.optim.SGD):
    """Descends real weights with the gradient at their signs: a user's own, with two verbs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.latent: dict[Tensor, Tensor] = {}

    def weights(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    @torch.no_grad()
    def draw(self) -> None:
        for p in self.weights():
            self.latent[p] = p.data
            p.data = torch.where(p.data >= 0, 1.0, -1.0)

    def step(self, closure: Any = None) -> Any:
        for p in self.weights():
            p.data = self.latent.pop(p)
        return super().step(closure)

    @contextmanager
    def mode(self) -> Iterator[None]:
        self.draw()
        yield
        for p in self.weights():
            p.data = self.latent.pop(p)


def test_any_optimiser_that_draws_and_has_a_mode_goes_with_a_drawing_strategy() -> None:
    seen: list[Tensor] = []
    model = nn.Linear(10, 2, bias=False)
    look = At(lambda s: seen.append(model.weight.detach().clone()), "after_eval_forward")
    strategy = DrawingStrategy(
        model=model, optimizer=Signs(model.parameters(), 0.1), evaluator=quiet(), plugins=[look],
        **settings(),
    )  # fmt: skip
    data = two_blobs.benchmark(1)
    before = model.weight.detach().clone()
    strategy.train(data.train_stream[0], eval_streams=[])
    latent = model.weight.detach().clone()
    found = strategy.eval(data.test_stream)
    assert found["Top1_Acc_Stream/eval_phase/test_stream/Task000"] > 0.9
    assert seen and all((weights.abs() == 1).all() for weights in seen)
    assert torch.equal(model.weight, latent) and not torch.equal(latent, before)
    assert (latent.abs() != 1).any()
