"""VGG-BinaryConnect: its published size, layer by layer."""

from typing import Any

import pytest
import torch

from cl_bnn.nn import binary_parameters, vgg
from cl_bnn.nn.norm import BatchNorm


def test_network_for_cifar_has_14_022_016_weights() -> None:
    with torch.device("meta"):
        model = vgg(input_shape=(3, 32, 32), out_features=10)
        assert model(torch.empty(2, 3, 32, 32)).shape == (2, 10)
    weights = [p.numel() for p in binary_parameters(model)]
    assert weights[:6] == [3_456, 147_456, 294_912, 589_824, 1_179_648, 2_359_296]
    assert weights[6:] == [8_388_608, 1_048_576, 10_240]
    assert sum(p.numel() for p in model.parameters()) == sum(weights) == 14_022_016


def test_pooling_stands_before_the_norm_of_every_second_convolution() -> None:
    model = vgg(input_shape=(3, 8, 8), out_features=10, width=0.01)
    conv, dense = ["BinaryConv2d", "BatchNorm", "ReLU"], ["BinaryLinear", "BatchNorm", "ReLU"]
    pooled = ["BinaryConv2d", "MaxPool2d", "BatchNorm", "ReLU"]
    expected = [*(conv + pooled) * 3, "Flatten", *dense * 3][:-1]
    assert [type(m).__name__ for m in model] == expected
    norms = [(m.eps, m.momentum) for m in model if isinstance(m, BatchNorm)]
    assert norms == [(1e-5, 0.2)] * 6 + [(1e-5, 0.1)] * 3


def test_quarter_of_the_width() -> None:
    with torch.device("meta"):
        model = vgg(input_shape=(3, 32, 32), out_features=10, width=0.25)
    out = [p.shape[0] for p in binary_parameters(model)]
    assert out == [32, 32, 64, 64, 128, 128, 256, 256, 10]


def test_a_head_for_every_task_is_the_last_layer_alone() -> None:
    torch.manual_seed(0)
    model = vgg(input_shape=(3, 8, 8), out_features=2, n_heads=3, width=0.02).eval()
    assert len(model.heads) == 3
    assert [[type(m).__name__ for m in head] for head in model.heads] == [
        ["BinaryLinear", "BatchNorm"]
    ] * 3
    x, task = torch.randn(6, 3, 8, 8), torch.tensor([0, 2, 1, 1, 0, 2])
    mixed = model(x, task)
    for label in range(3):
        torch.testing.assert_close(mixed[task == label], model(x[task == label], label))
    assert not torch.allclose(model(x, 0), model(x, 1))
    with pytest.raises(ValueError, match="^this network needs the task label: it has a head or"):
        model(x)


def test_one_head_or_several_have_the_same_trunk() -> None:
    states = []
    for n_heads in (1, 3):
        torch.manual_seed(0)
        model = vgg(input_shape=(3, 8, 8), out_features=2, n_heads=n_heads, width=0.02)
        states.append([p for p in model.parameters()][:-n_heads])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 17)])
def test_learns_on_images_of_any_layout_and_size(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    model = vgg(input_shape=shape, out_features=4, width=0.02)
    x = torch.randn(5, *shape)
    plain = model(x)
    assert plain.shape == (5, 4)
    plain.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
    last = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"input_shape": (3, 7, 32)}, "vgg needs images of at least 8 x 8 pixels, got 7 x 32"),
        (
            {"input_shape": (784,)},
            "input_shape must be (channels, height, width) for vgg, got (784,)",
        ),
        ({"width": 0.0}, "width must be > 0, got 0.0"),
    ],
)
def test_wrong_value_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        vgg(**{"input_shape": (3, 32, 32), "out_features": 10} | settings)
    assert str(error.value) == message
