"""Synaptic metaplasticity as a strategy: a new optimiser a task, a value a layer."""

import math
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.models import SimpleMLP, as_multitask
from torch import nn
from two_blobs import At, benchmark, continued, settings

from cl_bnn import recipes
from cl_bnn.nn import BinaryActivation, BinaryLinear, real_parameters
from cl_bnn.strategies import MetaplasticStrategy


def network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(10, 30, bias=False), nn.BatchNorm1d(30), BinaryActivation(),
        nn.Linear(30, 2, bias=False), nn.BatchNorm1d(2),
    )  # fmt: skip


def test_learns_and_predicts_with_binary_weights() -> None:
    data, seen = benchmark(1), []
    model = network()

    class Look(SupervisedPlugin):
        def before_eval_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
            seen.extend(bool((model[k].weight.abs() == 1).all()) for k in (0, 3))

    strategy = MetaplasticStrategy(model=model, plugins=[Look()], **settings(train_epochs=20))
    strategy.train(data.train_stream, eval_streams=[])
    found = strategy.eval(data.test_stream)
    assert found["Top1_Acc_Stream/eval_phase/test_stream/Task000"] >= 0.9
    assert seen and all(seen)
    assert model[1].weight.std() > 0, "gains of norms are real, and learned"


def test_initial_latent_weights_are_those_of_the_paper() -> None:
    model = nn.Sequential(nn.Conv2d(1, 40, 5, bias=False), nn.Flatten(), nn.Linear(40, 60))
    MetaplasticStrategy(model=model, **settings())
    for layer in (model[0], model[2]):
        size = layer.weight.abs().max().item()
        assert 0.99 * 0.05 < size <= 0.05
        assert layer.weight.std().item() == pytest.approx(0.05 / math.sqrt(3), rel=0.1)


def test_every_task_has_a_new_optimiser_if_asked() -> None:
    """Six iterations an epoch, two epochs a task."""
    for restart, expected in ((True, [0, 6, 0, 6]), (False, [0, 6, 12, 18])):
        steps: list[int] = []

        def look(strategy: Any, steps: list[int] = steps) -> None:
            states = strategy.optimizer.state.values()
            counts = {int(state["step"]) for state in states} or {0}
            steps.append(counts.pop())
            assert not counts, "gains and shifts of norms begin anew like weights"

        strategy = MetaplasticStrategy(
            model=network(), restart=restart, plugins=[At(look)], **settings()
        )
        strategy.train(benchmark(2).train_stream, eval_streams=[])
        assert steps == expected


def test_metaplasticity_keeps_what_was_learned() -> None:
    """Of the larger half of the latent weights after one task, the share that the next one turns:
    between 8 and 19 % without metaplasticity, for five seeds."""
    turned = {}
    for meta in (0.0, 50.0):
        torch.manual_seed(0)
        model, data = network(), benchmark(2)
        strategy = MetaplasticStrategy(model=model, meta=meta, **settings(train_epochs=10))
        strategy.train(data.train_stream[0], eval_streams=[])
        before = model[0].weight.detach().clone()
        strategy.train(data.train_stream[1], eval_streams=[])
        large = before.abs() > before.abs().median()
        turned[meta] = ((model[0].weight >= 0) != (before >= 0))[large].float().mean().item()
    assert turned[0.0] > 0.05
    assert turned[50.0] < 0.01


def test_a_list_has_a_meta_for_every_layer() -> None:
    model = network()
    strategy = MetaplasticStrategy(model=model, meta=[0.5, 2.0], **settings())
    first, second, real = strategy.optimizer.param_groups
    assert [(g["params"], g["meta"]) for g in (first, second)] == [
        ([model[0].weight], 0.5), ([model[3].weight], 2.0),
    ]  # fmt: skip
    assert real["params"] == real_parameters(model) and not real["binary"]
    strategy.train(benchmark(1).train_stream, eval_streams=[])


def test_a_binary_bias_has_the_meta_of_its_layer() -> None:
    model = nn.Sequential(
        BinaryLinear(10, 5, True, binary_bias=True), BinaryLinear(5, 2, True, binary_bias=True)
    )
    strategy = MetaplasticStrategy(model=model, meta=[0.5, 2.0], **settings())
    groups = strategy.optimizer.param_groups[:2]
    assert [g["params"] for g in groups] == [list(layer.parameters()) for layer in model]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"meta": [1.0]}, "a list of 2, one for each layer with binary weights, got [1.0]"),
        ({"meta": [1.0, -2.0]}, "meta must be >= 0, got -2.0"),
        ({"meta": -0.5}, "meta must be >= 0, got -0.5"),
        ({"lr": 0.0}, "lr must be > 0, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must be >= 0, got -1.0"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        MetaplasticStrategy(model=network(), **wrong, **settings())
    assert message in str(caught.value)


def test_heads_that_appear_have_the_meta_of_the_last_layer() -> None:
    data = benchmark(2, labels=True)
    model = as_multitask(
        SimpleMLP(num_classes=2, input_size=10, hidden_size=30, drop_rate=0.0), "classifier"
    )
    strategy = MetaplasticStrategy(model=model, meta=[0.5, 2.0], **settings(train_epochs=10))
    strategy.train(data.train_stream, eval_streams=[])
    first, last, real = strategy.optimizer.param_groups
    heads = [head.classifier for head in model.classifier.classifiers.values()]
    assert len(heads) == 2
    assert len(first["params"]) == 1
    for head in heads:
        assert any(head.weight is p for p in last["params"])
        assert any(head.bias is p for p in real["params"])
    found = strategy.eval(data.test_stream)
    assert found["Top1_Acc_Stream/eval_phase/test_stream/Task001"] >= 0.9


def test_continues_within_a_task_as_if_never_stopped() -> None:
    def build(plugins: Any) -> MetaplasticStrategy:
        return MetaplasticStrategy(model=network(), meta=[0.5, 2.0], plugins=plugins, **settings())

    whole, again = continued(build, benchmark(2), 1)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name


def test_recipe_holds_the_published_constants() -> None:
    recipe = recipes.load_strategy("metaplastic")
    published = {"lr": 5e-3, "meta": 1.35, "weight_decay": 1e-7, "schedule": "constant"}
    assert recipe.defaults.items() >= published.items()
    assert recipe.on["permuted_mnist"] == {"weight_decay": 1e-8}
    assert recipe.on["mnist_fmnist"] == recipe.on["fmnist_mnist"] == {"meta": 1.5}
