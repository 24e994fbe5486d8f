"""Networks: sizes, heads, and what each norm does with a batch of several tasks."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cl_bnn.nn import (
    Headed,
    binary_parameters,
    gate,
    init_latent,
    mlp,
    mnist_mlp,
    real_parameters,
    sign,
)
from cl_bnn.nn.mlp import Activation
from cl_bnn.nn.norm import NORMS, BatchNorm, Norm, norm_layer

TASKS = 3
SETTINGS = list(itertools.product(NORMS, [1, TASKS]))  # norm, number of heads


def network(norm: Norm, n_heads: int, seed: int = 0) -> Headed:
    """A small network that has seen samples of every task, each task with its own scale."""
    torch.manual_seed(seed)
    model = mlp(in_features=6, out_features=4, n_heads=n_heads, n_tasks=TASKS, width=5, norm=norm)
    for task in range(TASKS):
        model(3 * task + (task + 1) * torch.randn(50, 6), task)
    return model


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(30, 6), torch.randint(TASKS, (30,))


def uses_labels(norm: Norm, n_heads: int) -> bool:
    return n_heads > 1 or norm == "per_task"


def test_published_network_has_89_400_weights() -> None:
    model = mlp(in_features=784, out_features=10)
    assert [p.shape for p in model.parameters()] == [(100, 784), (100, 100), (10, 100)]
    assert sum(p.numel() for p in model.parameters()) == 89_400
    kinds = [type(m).__name__ for m in model.modules() if not list(m.children())]
    block = ["BinaryLinear", "SharedBatchNorm", "ReLU"]
    assert kinds == ["Flatten", *block, *block, "BinaryLinear", "SharedBatchNorm"]
    norms = [m for m in model.modules() if isinstance(m, BatchNorm)]
    assert {(m.eps, m.momentum, m.affine) for m in norms} == {(1e-4, 0.15, False)}


def test_without_a_norm_it_is_the_network_of_van_de_ven() -> None:
    """784-400-400-10 with biases (arXiv:1904.07734): 478,410 parameters, the biases real."""
    model = mlp(in_features=784, out_features=10, width=400, norm="none")
    assert sum(p.numel() for p in model.parameters()) == 478_410
    assert all(p.dim() == 2 for p in binary_parameters(model))
    assert sum(p.numel() for p in real_parameters(model)) == 400 + 400 + 10


def test_logits_of_images_are_those_of_flat_inputs() -> None:
    model = mlp(in_features=12, out_features=3, width=7, depth=1).eval()
    x = torch.randn(5, 1, 3, 4)
    assert model(x).shape == (5, 3)
    assert torch.equal(model(x), model(x.flatten(1)))


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_width_and_depth(depth: int) -> None:
    model = mlp(in_features=6, out_features=4, width=5, depth=depth)
    sizes = [p.shape for p in model.parameters()]
    assert sizes == [(5, 6), *[(5, 5)] * (depth - 1), (4, 5)] if depth else [(4, 6)]


def test_forward_is_the_formula() -> None:
    model = mlp(in_features=3, out_features=2, width=4, depth=1, norm="batch")
    x = torch.randn(8, 3)

    def norm(z: Tensor) -> Tensor:
        return (z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-4).sqrt()

    first, last = model.parameters()
    expected = norm(norm(x @ first.T).relu() @ last.T)
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("norm, n_heads", SETTINGS)
def test_mixed_batch_gives_what_each_task_gets_alone(norm: Norm, n_heads: int) -> None:
    """All norms but "batch" see, in evaluation, nothing of the other samples."""
    model = network(norm, n_heads).eval()
    x, task = batch()
    mixed = model(x, task)
    assert mixed.shape == (30, 4)
    for label in range(TASKS):
        alone = model(x[task == label], label)
        if norm == "batch":
            assert not torch.allclose(mixed[task == label], alone)
        else:
            torch.testing.assert_close(mixed[task == label], alone)


@pytest.mark.parametrize("norm, n_heads", SETTINGS)
def test_label_of_the_batch_and_of_each_sample_agree(norm: Norm, n_heads: int) -> None:
    model = network(norm, n_heads).eval()
    x, _ = batch()
    for label in range(TASKS):
        whole = model(x, label)
        assert torch.equal(model(x, torch.full((30,), label)), whole)
        others = [model(x, k) for k in range(TASKS) if k != label]
        assert all(torch.equal(whole, o) != uses_labels(norm, n_heads) for o in others)


@pytest.mark.parametrize("norm, n_heads", SETTINGS)
def test_label_is_needed_only_where_it_is_used(norm: Norm, n_heads: int) -> None:
    model = network(norm, n_heads).eval()
    x, task = batch()
    if uses_labels(norm, n_heads):
        with pytest.raises(ValueError, match="needs the task label"):
            model(x)
    else:
        assert torch.equal(model(x), model(x, task))


@pytest.mark.parametrize("n_heads", [1, TASKS])
def test_statistics_per_task_are_its_own(n_heads: int) -> None:
    """Learning one task changes no prediction for another; with shared statistics it does."""
    x, _ = batch()
    cases: list[tuple[Norm, bool]] = [("per_task", True), ("shared", False)]
    for norm, kept in cases:
        model = network(norm, n_heads)
        before = model.eval()(x, 0)
        model.train()(100 * torch.randn(40, 6), 2)
        assert torch.equal(model.eval()(x, 0), before) == kept


def test_mixed_training_batch_updates_the_statistics_of_each_task() -> None:
    model = network("per_task", 1).train()
    again = network("per_task", 1).train()
    x, task = batch()
    model(x, task)
    for label in range(TASKS):
        again(x[task == label], label)
    for ours, theirs in zip(model.buffers(), again.buffers(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("norm", ["shared", "layer"])
def test_gradients_of_a_mixed_batch_reach_only_the_heads_in_it(norm: Norm) -> None:
    model = network(norm, TASKS).eval()
    x, task = batch()
    keep = task != 1
    model(x[keep], task[keep]).square().sum().backward()
    touched = [head[0].weight.grad is not None for head in model.heads]
    assert touched == [True, False, True]
    assert all(p.grad is not None for p in model.trunk.parameters())


@pytest.mark.parametrize(
    "activation, values", [("relu", None), ("sign", {-1.0, 1.0}), ("gate", {0.0, 1.0})]
)
def test_activation_is_that_of_every_hidden_layer(
    activation: Activation, values: set[float] | None
) -> None:
    torch.manual_seed(0)
    model = mlp(in_features=6, out_features=4, width=50, activation=activation)
    seen: list[Tensor] = []
    for norm in [m for m in model.trunk if isinstance(m, BatchNorm)]:
        norm.register_forward_hook(lambda module, args, output: seen.append(output))
    for layer in model.trunk[3::3]:
        layer.register_forward_hook(lambda module, args, output: seen.append(output))
    model(torch.randn(40, 6)).sum().backward()
    expected = {"relu": torch.relu, "sign": sign, "gate": gate}[activation]
    assert len(seen) == 4
    for before, after in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(after, expected(before))
        assert values is None or set(after.unique().tolist()) == values
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_norms_without_memory_keep_no_statistics(norm: Norm) -> None:
    model = mlp(in_features=6, out_features=4, width=5, norm=norm)
    assert list(model.buffers()) == []
    x, _ = batch()
    assert torch.equal(model.train()(x), model.eval()(x))
    one_by_one = torch.cat([model(x[i : i + 2]) for i in range(0, 30, 2)])
    assert torch.allclose(one_by_one, model(x), atol=1e-5) == (norm == "layer")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"width": 0}, "width must be >= 1, got 0"),
        ({"depth": -1}, "depth must be >= 0, got -1"),
        (
            {"norm": "group"},
            "norm must be one of shared, per_task, batch, layer, none, got 'group'",
        ),
        ({"activation": "tanh"}, "activation must be one of relu, sign, gate, got 'tanh'"),
    ],
)
def test_wrong_value_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        mlp(in_features=6, out_features=4, **settings)
    assert str(error.value) == message


def test_binary_parameters_are_the_weights_of_layers() -> None:
    shared = nn.Linear(3, 3)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3), shared, shared,
        nn.LayerNorm(3), nn.Embedding(4, 3),
    )  # fmt: skip
    found = binary_parameters(model)
    expected = [model[0].weight, model[3].weight, shared.weight]
    assert [id(p) for p in found] == [id(p) for p in expected]


def test_every_parameter_of_an_mlp_is_binary() -> None:
    model = network("per_task", TASKS)
    assert [id(p) for p in binary_parameters(model)] == [id(p) for p in model.parameters()]
    assert len(binary_parameters(model)) == 2 + TASKS


def test_initial_latent_weights_are_uniform_within_their_bound() -> None:
    torch.manual_seed(0)
    model = mlp(in_features=784, out_features=10)
    init_latent(model)
    for weight in model.parameters():
        bound = (1.5 / sum(weight.shape)) ** 0.5
        assert weight.abs().max().item() <= bound
        # Of n uniform numbers the largest is about bound / n short of the bound.
        assert weight.abs().max().item() > 0.98 * bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert weight.requires_grad


def test_mnist_network_has_10_014_720_weights() -> None:
    with torch.device("meta"):
        model = mnist_mlp(input_shape=(1, 28, 28), out_features=10)
        assert model(torch.empty(2, 1, 28, 28)).shape == (2, 10)
    weights = [p.shape for p in binary_parameters(model)]
    assert weights == [(2048, 784), (2048, 2048), (2048, 2048), (10, 2048)]
    assert sum(p.numel() for p in model.parameters()) == 10_014_720
    kinds = [type(m).__name__ for m in model]
    block = ["BinaryLinear", "BatchNorm", "ReLU", "Dropout"]
    assert kinds == ["Flatten", "Dropout", *block * 3, "BinaryLinear", "BatchNorm"]
    norms = [m for m in model if isinstance(m, BatchNorm)]
    assert {(m.eps, m.momentum, m.affine) for m in norms} == {(1e-4, 0.15, False)}
    assert {m.p for m in model if isinstance(m, nn.Dropout)} == {0.2}


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"width": 0}, "width must be >= 1, got 0"),
        ({"depth": -1}, "depth must be >= 0, got -1"),
        ({"dropout": 1.0}, "dropout must be in [0, 1), got 1.0"),
        ({"input_shape": (0,)}, "input_shape must hold sizes >= 1, got (0,)"),
    ],
)
def test_wrong_value_of_the_mnist_network_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        mnist_mlp(**{"input_shape": (6,), "out_features": 4} | settings)
    assert str(error.value) == message


def test_a_sample_alone_is_its_own_mean() -> None:
    norm = norm_layer("batch", 3, 1)
    for training in (True, False):
        norm.train(training)
        x = torch.randn(1, 3, requires_grad=True)
        out = norm(x)
        out.sum().backward()
        assert x.grad is not None
        assert not out.any() and not x.grad.any()


def test_one_sample_of_a_task_in_a_mixed_training_batch() -> None:
    model = mlp(in_features=6, out_features=2, n_heads=2, n_tasks=2)
    logits = model(torch.randn(4, 6), torch.tensor([0, 0, 0, 1]))
    assert logits.shape == (4, 2)
