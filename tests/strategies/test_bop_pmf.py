"""Bop, PMF and SGD as strategies: schedules, streams whose networks grow, stops and predictions."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import two_blobs
from avalanche.benchmarks import tensors_benchmark
from avalanche.core import SupervisedPlugin
from avalanche.models import SimpleMLP, as_multitask
from avalanche.training.plugins import LRSchedulerPlugin
from avalanche.training.supervised import Naive
from tiny import stream
from torch import nn
from two_blobs import At, Growing, continued

from cl_bnn import recipes
from cl_bnn.nn import BinaryLinear, mlp, real_parameters, xnornet
from cl_bnn.optim import PMF, Bop
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import (
    AdamStrategy,
    Bop2ndOrderStrategy,
    BopStrategy,
    DrawWeights,
    PMFStrategy,
    SGDStrategy,
    TaskAware,
    XNORStrategy,
)
from cl_bnn.strategies.binary import inner_adam
from cl_bnn.strategies.schedules import Setting

STRATEGIES: dict[str, Callable[..., Any]] = {
    "bop": lambda **kw: BopStrategy(threshold=1e-5, gamma=1e-2, **kw),
    "bop2": lambda **kw: Bop2ndOrderStrategy(threshold=1e-2, gamma=1e-2, sigma=1e-2, **kw),
    "bop2_unbiased": lambda **kw: Bop2ndOrderStrategy(
        threshold=1.0, gamma=1e-2, sigma=1e-2, unbiased=True, **kw
    ),
    "pmf": lambda **kw: PMFStrategy(lr=0.03, beta_every=2, lr_interval=60, **kw),
    "pmf_exact": lambda **kw: PMFStrategy(
        lr=0.03, beta_every=2, lr_interval=60, jacobian="exact", **kw
    ),
}


@pytest.fixture(params=list(STRATEGIES))
def build(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return STRATEGIES[request.param]


def benchmark(n_tasks: int, labels: bool = False) -> Any:
    """New classes for every task, unless it has a label."""
    return two_blobs.benchmark(n_tasks, labels, new_classes=not labels)


def settings(**more: Any) -> dict[str, Any]:
    return two_blobs.settings(train_epochs=4) | more


def network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(10, 30, bias=False), nn.BatchNorm1d(30), nn.ReLU(),
        nn.Linear(30, 6, bias=False), nn.BatchNorm1d(6),
    )  # fmt: skip


# Schedules ---------------------------------------------------------------------------------------


def test_courses_of_the_papers() -> None:
    """10^(-3/500) an epoch; a tenth every 100 epochs; straight lines from step to step."""
    falling = Setting("gamma", 1e-5, "exponential", 1e-8)
    for epoch in (0, 1, 250, 499):
        assert falling.at(epoch, 500) == pytest.approx(1e-5 * 10 ** (-3 * epoch / 500))
        assert falling.at(epoch + 0.9, 500) == falling.at(epoch, 500)
    stairs = Setting("gamma", 1e-4, "steps", every=100)
    found = [stairs.at(time, 500) for time in (0, 99.9, 100, 199, 200, 499)]
    assert found == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-8])
    rising = Setting("sigma", 1e-7, "linear", 1e-2)
    assert [rising.at(time, 500) for time in (0, 250, 499.5)] == pytest.approx(
        [1e-7, (1e-7 + 1e-2) / 2, 1e-2 - (1e-2 - 1e-7) / 1000]
    )
    assert Setting("threshold", 3.0).at(7, 9) == 3.0


def bop(**more: Any) -> BopStrategy:
    return BopStrategy(model=network(), **more, **settings())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gamma_schedule": "cosine"}, "gamma_schedule must be one of constant, linear, expon"),
        ({"gamma_schedule": "linear"}, "gamma_end must be given with gamma_schedule = 'linear'"),
        ({"threshold": 0.0, "threshold_schedule": "exponential", "threshold_end": 1.0},
         "threshold and threshold_end must be > 0 with an exponential schedule, got 0.0 and 1.0"),
        ({"gamma_schedule": "linear", "gamma_end": 0.0}, "gamma_end must be in (0, 1], got 0.0"),
        ({"real_lr_schedule": "linear", "real_lr_end": -1.0}, "real_lr_end must be > 0, got -1.0"),
        ({"steps_every": 0}, "steps_every must be >= 1, got 0"),
        ({"real_lr": 0.0}, "real_lr must be > 0, got 0.0"),
        ({"real_weight_decay": -1.0}, "real_weight_decay must be >= 0, got -1.0"),
        ({"gamma": 2.0}, "gamma must be in (0, 1], got 2.0"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        bop(**wrong)
    assert message in str(caught.value)


def test_settings_follow_their_courses_and_begin_anew_with_every_task() -> None:
    found: list[tuple[float, ...]] = []

    def look(strategy: Any) -> None:
        (group,), (inner,) = strategy.optimizer.param_groups, strategy.optimizer.inner.param_groups
        found.append((group["threshold"], group["gamma"], group["sigma"], inner["lr"]))

    strategy = Bop2ndOrderStrategy(
        model=network(), threshold=1e-4, threshold_schedule="exponential", threshold_end=1e-8,
        gamma=0.5, gamma_schedule="steps", steps_every=2, sigma=0.1, sigma_schedule="linear",
        sigma_end=0.5, real_lr=0.4, real_lr_schedule="linear", real_lr_end=0.2,
        plugins=[At(look, "before_training_iteration")], **settings(train_mb_size=30),
    )  # fmt: skip
    strategy.train(benchmark(2).train_stream, eval_streams=[])
    expected = [  # two steps an epoch
        (1e-4, 0.5, 0.1, 0.4), (1e-4, 0.5, 0.15, 0.375),
        (1e-5, 0.5, 0.2, 0.35), (1e-5, 0.5, 0.25, 0.325),
        (1e-6, 0.05, 0.3, 0.3), (1e-6, 0.05, 0.35, 0.275),
        (1e-7, 0.05, 0.4, 0.25), (1e-7, 0.05, 0.45, 0.225),
    ]  # fmt: skip
    assert len(found) == 16
    for now, wanted in zip(found, 2 * expected, strict=True):
        assert now == pytest.approx(wanted)


def test_decay_of_real_kernels_is_the_gradient_of_a_penalty() -> None:
    """Keras' L2 of 5e-7 adds 5e-7 w^2 to the loss: 1e-6 w to the gradient, of kernels alone."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), BinaryLinear(16, 2))
    twin = copy.deepcopy(model)
    adam = inner_adam(model, 0.1, weight_decay=0.3)
    penalised = torch.optim.Adam(real_parameters(twin), 0.1)
    assert adam is not None
    x = torch.randn(8, 1, 4, 4)
    for _ in range(3):
        adam.zero_grad()
        penalised.zero_grad()
        model(x).square().mean().backward()
        kernels = [p for p in real_parameters(twin) if p.dim() > 1]
        (twin(x).square().mean() + 0.15 * sum(k.square().sum() for k in kernels)).backward()
        adam.step()
        penalised.step()
    for ours, theirs in zip(real_parameters(model), real_parameters(twin), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_published_decay_is_that_of_the_two_real_ends_of_xnornet() -> None:
    for name in ("bop", "bop2"):
        recipe = recipes.load_strategy(name)
        assert recipe.on["imagenet_xnornet"]["real_weight_decay"] == 2 * 5e-7
    model = xnornet(input_shape=(3, 217, 217), out_features=4, width=0.02)
    adam = inner_adam(model, 0.1, 1e-6)
    assert adam is not None
    decayed = [p for g in adam.param_groups if g["weight_decay"] for p in g["params"]]
    assert {id(p) for p in decayed} == {id(model[1].weight), id(model[-1].weight)}


PUBLISHED: list[tuple[str, str, dict[str, Any]]] = [
    ("bop", "mnist", dict(threshold=1e-8, gamma=1e-5, gamma_schedule="exponential",
                          gamma_end=1e-8, real_lr=1e-2)),
    ("bop", "cifar10", dict(threshold=1e-8, gamma=1e-4, gamma_schedule="steps", steps_every=100)),
    ("bop", "cifar100", dict(threshold=1e-9, gamma=1e-4, gamma_schedule="steps")),
    ("bop2", "cifar10", dict(threshold=1e-5, threshold_end=1e-8, gamma=1e-2, gamma_end=1e-5,
                             sigma=1e-7, sigma_end=1e-2, real_lr=1e-2, real_lr_end=1e-3,
                             unbiased=False)),
    ("pmf", "mnist", dict(lr=1e-3, lr_scale=0.2, lr_interval=7000, rho=1.2, beta_every=100,
                          beta_max=1e4, weight_decay=0.0, jacobian="second_softmax",
                          decay_at_start=True, decoupled_weight_decay=False)),
    ("pmf", "cifar10", dict(lr=1e-2, lr_scale=0.2, lr_interval=30000, rho=1.05,
                            weight_decay=1e-4)),
    ("pmf", "cifar100", dict(lr=1e-2, lr_scale=0.2, lr_interval=30000, rho=1.05,
                             weight_decay=1e-4)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "on", "constants"), PUBLISHED)
def test_recipes_hold_the_published_constants(
    name: str, on: str, constants: dict[str, Any]
) -> None:
    """Table 9 of arXiv:2002.10778, and the CIFAR-10 of arXiv:2104.05124."""
    recipe = recipes.load_strategy(name)
    assert (recipe.defaults | recipe.on[on]).items() >= constants.items()


@pytest.mark.parametrize(
    ("first", "second", "differences"),
    [
        ("bop2", "bop2_unbiased", {"unbiased"}),
        ("pmf", "pmf_mended", {"jacobian", "decay_at_start", "decoupled_weight_decay"}),
    ],
)
def test_variants_differ_in_what_they_are_named_after(
    first: str, second: str, differences: set[str]
) -> None:
    one, other = recipes.load_strategy(first), recipes.load_strategy(second)
    keys = one.defaults.keys() | other.defaults.keys()
    assert {k for k in keys if one.defaults.get(k) != other.defaults.get(k)} == differences
    for name in ("mnist", "cifar10", "cifar100"):
        assert one.on[name] == other.on[name]


# Learning ----------------------------------------------------------------------------------------


def test_learns_and_predicts_with_binary_weights(build: Callable[..., Any]) -> None:
    data, seen = benchmark(1), []
    model = network()

    class Look(SupervisedPlugin):
        def before_eval_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
            seen.extend(bool((model[k].weight.abs() == 1).all()) for k in (0, 3))

    strategy = build(model=model, plugins=[Look()], **settings(train_epochs=20))
    strategy.train(data.train_stream, eval_streams=[])
    found = strategy.eval(data.test_stream)
    assert found["Top1_Acc_Stream/eval_phase/test_stream/Task000"] >= 0.8
    assert seen and all(seen)
    assert model[1].weight.std() > 0, "gains of norms are real, and learned"


@pytest.mark.parametrize("optimiser", ["bop", "pmf"])
def test_stock_naive_trains_them(optimiser: str) -> None:
    model, data = network(), benchmark(1)
    binary = [model[0].weight, model[3].weight]  # type: ignore[index]
    inner = torch.optim.Adam(real_parameters(model), 1e-2)
    kind: Any = (
        Bop(binary, threshold=1e-5, gamma=1e-2, inner=inner)
        if optimiser == "bop"
        else PMF(binary, 1e-2, beta_every=3, inner=inner)
    )
    strategy = Naive(
        model=model, optimizer=kind, plugins=[DrawWeights()], **settings(train_epochs=10)
    )
    strategy.train(data.train_stream, eval_streams=[])
    found = strategy.eval(data.test_stream)
    assert found["Top1_Acc_Stream/eval_phase/test_stream/Task000"] == 1.0
    assert [id(p) for p in kind.param_groups[0]["params"]] == list(map(id, binary))
    assert not {1.0, -1.0} & set(model[1].weight.tolist()), "gains of norms stay real"


def test_stock_naive_makes_nothing_binary_unasked() -> None:
    model, data = network(), benchmark(1)
    bop = Bop([model[0].weight, model[3].weight], threshold=1e-5, gamma=1e-2)
    strategy = Naive(model=model, optimizer=bop, plugins=[DrawWeights()], **settings())
    with pytest.raises(ValueError, match=r"a gain, of shape \(30,\), which would become binary"):
        strategy.train(data.train_stream, eval_streams=[])


def test_the_rate_of_a_late_real_parameter() -> None:
    for kind in (BopStrategy, PMFStrategy):
        strategy = kind(model=nn.Linear(10, 6, bias=False), real_lr=0.25, **settings())
        strategy.add_parameter(nn.Parameter(torch.zeros(6)), binary=False)
        strategy.train(benchmark(1).train_stream, eval_streams=[])
        assert strategy.optimizer.inner.param_groups[0]["lr"] == 0.25


def test_a_scheduler_of_avalanche_changes_the_rate_within_a_task() -> None:
    strategy: Any = AdamStrategy(model=network(), lr=0.5, **settings())
    halving = torch.optim.lr_scheduler.StepLR(strategy.optimizer, 1, 0.5)
    strategy.plugins.append(LRSchedulerPlugin(halving, reset_scheduler=False))
    rates: list[float] = []

    class Look(SupervisedPlugin):
        def before_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
            rates.append(strategy.optimizer.param_groups[0]["lr"])

    strategy.plugins.append(Look())
    strategy.train(benchmark(1).train_stream[0], eval_streams=[])
    assert list(dict.fromkeys(rates)) == [0.5, 0.25, 0.125, 0.0625]
    rates.clear()
    warming: Any = AdamStrategy(model=network(), lr=0.5, **settings())
    linear = torch.optim.lr_scheduler.LinearLR(warming.optimizer, 0.25, total_iters=3)
    warming.plugins += [LRSchedulerPlugin(linear, reset_scheduler=False), Look()]
    warming.train(benchmark(1).train_stream[0], eval_streams=[])
    assert list(dict.fromkeys(rates)) == pytest.approx([0.125, 0.25, 0.375, 0.5])


def test_pmf_is_measured_binary_and_fractional() -> None:
    data = stream(n_experiences=1)
    recorder = Recorder()
    strategy = PMFStrategy(
        model=TaskAware(mlp(in_features=784, out_features=2, width=16)), lr=1e-3, beta_every=1000,
        **settings(evaluator=recorder),
    )  # fmt: skip
    strategy.train(data.train[0], eval_streams=[])
    found = recorder.measure(strategy, data.test)[0]
    # With beta still at 1.2, the weights in between say something else than their signs.
    assert found["nll"] != found["nll_fractional"]
    assert found["accuracy_fractional"] > 0.9
    assert strategy.predictor == "mode"


def test_pmf_begins_anew_with_every_task_if_asked() -> None:
    for restart, expected in ((True, [1.0, 1.2**2, 1.0, 1.2**2]),
                              (False, [1.0, 1.2**2, 1.2**4, 1.2**6])):  # fmt: skip
        betas: list[float] = []

        def look(strategy: Any, betas: list[float] = betas) -> None:
            state = strategy.optimizer._state_of(strategy.model[0].weight)
            betas.append(1.0 if state["anew"] else state["beta"])

        strategy = PMFStrategy(
            model=network(), beta_every=3, restart=restart, plugins=[At(look)],
            **settings(train_epochs=2),
        )  # fmt: skip
        strategy.train(benchmark(2).train_stream, eval_streams=[])
        assert betas == pytest.approx(expected), "six iterations an epoch, a growth every three"


# Networks that change ----------------------------------------------------------------------------


def test_a_head_that_grows_keeps_weights_and_state(build: Callable[..., Any]) -> None:
    data, model = benchmark(2), Growing()
    strategy = build(model=model, **settings())
    strategy.train(data.train_stream[0], eval_streams=[])
    old = model.head.classifier.weight
    state = copy.deepcopy(strategy.optimizer.state[old])
    with strategy.optimizer.mode():
        learned = old.detach().clone()
    found: dict[str, Any] = {}

    def look(strategy: Any) -> None:
        now = model.head.classifier.weight
        if not found:
            found.update(copy.deepcopy(strategy.optimizer.state[now]))
            with strategy.optimizer.mode():
                found["mode"] = now.detach().clone()

    strategy.plugins.insert(0, At(look))
    strategy.train(data.train_stream[1], eval_streams=[])
    new = model.head.classifier.weight
    assert new.shape == (4, 20)
    assert torch.equal(found["mode"][:2], learned)
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(found[key][..., :2, :], value)
    held = [p for group in strategy.optimizer.param_groups for p in group["params"]]
    assert any(p is new for p in held) and not any(p is old for p in held)
    assert old not in strategy.optimizer.state
    real = [p for group in strategy.optimizer.inner.param_groups for p in group["params"]]
    assert any(p is model.head.classifier.bias for p in real)
    with strategy.optimizer.mode():
        assert (new.abs() == 1).all()


def test_heads_that_appear_become_binary_and_learn(build: Callable[..., Any]) -> None:
    data = benchmark(2, labels=True)
    model = as_multitask(
        SimpleMLP(num_classes=2, input_size=10, hidden_size=30, drop_rate=0.0), "classifier"
    )
    strategy = build(model=model, **settings(train_epochs=10))
    strategy.train(data.train_stream, eval_streams=[])
    heads = [head.classifier for head in model.classifier.classifiers.values()]
    held = {p for group in strategy.optimizer.param_groups for p in group["params"]}
    real = {p for group in strategy.optimizer.inner.param_groups for p in group["params"]}
    assert len(heads) == 2
    assert all(head.weight in held and head.bias in real for head in heads)
    assert held | real == set(model.parameters())
    found = strategy.eval(data.test_stream)
    assert found["Top1_Acc_Exp/eval_phase/test_stream/Task001/Exp001"] >= 0.8


def test_a_real_parameter_that_appears_first_gets_an_optimiser() -> None:
    model = nn.Linear(10, 2, bias=False)
    strategy = BopStrategy(model=model, real_lr=0.25, **settings())
    assert strategy.optimizer.inner is None
    model.bias = nn.Parameter(torch.zeros(2))
    strategy.make_optimizer()
    (group,) = strategy.optimizer.inner.param_groups
    assert group["params"] == [model.bias]


# Stops -------------------------------------------------------------------------------------------


def test_continues_within_a_task_as_if_never_stopped(build: Callable[..., Any]) -> None:
    whole, again = continued(
        lambda plugins: build(model=network(), plugins=plugins, **settings()), benchmark(2), 2
    )
    with whole.optimizer.mode(), again.optimizer.mode():
        for name, value in whole.model.state_dict().items():
            assert torch.equal(again.model.state_dict()[name], value), name


# SGD ---------------------------------------------------------------------------------------------


def test_sgd_by_hand() -> None:
    """One batch an epoch: v <- beta v + g + c w, w <- w - a v."""
    x, y = two_blobs.blobs(0)
    model = nn.Linear(10, 2, bias=False)
    w, v = model.weight.detach().clone(), torch.zeros(2, 10)
    for _ in range(3):
        probabilities = (x @ w.T).softmax(1)
        gradient = (probabilities - nn.functional.one_hot(y, 2)).T @ x / len(x)
        v = 0.5 * v + gradient + 0.01 * w
        w = w - 0.2 * v
    strategy = SGDStrategy(
        model=model, lr=0.2, momentum=0.5, weight_decay=0.01,
        **settings(train_mb_size=60, train_epochs=3),
    )  # fmt: skip
    data = tensors_benchmark(train_tensors=[(x, y)], test_tensors=[(x, y)], task_labels=[0])
    strategy.train(data.train_stream, eval_streams=[])
    torch.testing.assert_close(model.weight.detach(), w)


def test_adam_clips_gradients_and_weights() -> None:
    x, y = two_blobs.blobs(0)
    model, expected = nn.Linear(10, 2), nn.Linear(10, 2)
    expected.load_state_dict(model.state_dict())
    adam = torch.optim.Adam(expected.parameters(), 0.1)
    for _ in range(4):
        adam.zero_grad()
        nn.functional.cross_entropy(expected(x), y).backward()
        for parameter in expected.parameters():
            assert parameter.grad is not None
            parameter.grad = parameter.grad.clip(-0.01, 0.01)
        adam.step()
        with torch.no_grad():
            for parameter in expected.parameters():
                parameter.copy_(parameter.clip(-0.3, 0.3))
    strategy = AdamStrategy(
        model=model, lr=0.1, grad_clip=0.01, weight_clip=0.3,
        **settings(train_mb_size=60, train_epochs=4),
    )  # fmt: skip
    data = tensors_benchmark(train_tensors=[(x, y)], test_tensors=[(x, y)], task_labels=[0])
    strategy.train(data.train_stream, eval_streams=[])
    torch.testing.assert_close(model.state_dict(), expected.state_dict())
    assert model.weight.abs().max() == 0.3


def test_xnor_has_no_scale_for_a_transposed_convolution() -> None:
    with pytest.raises(ValueError, match="second in a transposed convolution: take ste, or a netw"):
        XNORStrategy(model=nn.ConvTranspose2d(4, 8, 2, bias=False), **settings())


@pytest.mark.parametrize("name", ["lr", "grad_clip", "weight_clip"])
def test_wrong_values_of_adam_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be > 0.*, got -1.0$"):
        AdamStrategy(model=network(), **{name: -1.0}, **settings())


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [("lr", 0.0, "> 0"), ("momentum", 1.0, "in [0, 1)"), ("weight_decay", -1.0, ">= 0")],
)
def test_wrong_values_of_sgd_are_named(name: str, value: float, allowed: str) -> None:
    with pytest.raises(ValueError) as caught:
        SGDStrategy(model=network(), **{name: value}, **settings())
    assert str(caught.value) == f"{name} must be {allowed}, got {value!r}"
