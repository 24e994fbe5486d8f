"""Initial weights: the distributions that the published networks start from."""

from math import sqrt

import pytest
import torch
from torch import nn

from cl_bnn.nn import (
    BinaryConv2d,
    BinaryLinear,
    binarynet,
    birealnet18,
    init_latent,
    nin,
    resnet18,
)
from cl_bnn.nn.init import fan_in


def spread(weight: torch.Tensor) -> tuple[float, float]:
    """Standard deviation and largest size."""
    return float(weight.detach().std()), float(weight.detach().abs().max())


def test_initial_weights_of_keras_networks_are_glorots() -> None:
    torch.manual_seed(0)
    uniform = binarynet(input_shape=(3, 32, 32), out_features=10, width=0.25)
    truncated = birealnet18(input_shape=(3, 32, 32), out_features=10, width=0.25)
    std, largest = spread(uniform[3].weight)  # 32 -> 32 channels, 3 x 3
    bound = sqrt(6 / (2 * 32 * 9))
    assert std == pytest.approx(bound / sqrt(3), rel=0.03) and 0.99 * bound < largest <= bound
    std, largest = spread(truncated[-4].body[1].weight)  # 128 -> 128 channels, 3 x 3
    expected = sqrt(2 / (2 * 128 * 9))
    assert std == pytest.approx(expected, rel=0.01)
    assert 0.99 < largest / (2 * expected / 0.8796) <= 1
    std, largest = spread(truncated[-1].weight)
    assert 0.98 < largest / sqrt(6 / (128 + 10)) <= 1
    assert not truncated[-1].bias.any()


def test_initial_weights_of_benns_networks_are_normal() -> None:
    torch.manual_seed(0)
    small = nin(input_shape=(3, 32, 32), out_features=10)
    assert spread(small[0].weight)[0] == pytest.approx(0.05, rel=0.03)
    large = resnet18(input_shape=(3, 32, 32), out_features=10, width=0.25)
    assert spread(large[4].body[2].weight)[0] == pytest.approx(1 / (16 * 9), rel=0.1)
    for model in (small, large):
        assert not any(m.bias.any() for m in model.modules() if isinstance(m, nn.Conv2d))


def test_initial_latent_weights_are_for_binary_layers_only() -> None:
    model = nn.Sequential(BinaryLinear(4, 4, bias=True), nn.Linear(4, 4), BinaryConv2d(1, 1, 3))
    before = [p.clone() for p in model.parameters()]
    init_latent(model)
    same = [torch.equal(old, p) for old, p in zip(before, model.parameters(), strict=True)]
    assert same == [False, False, True, True, True]
    assert not model[0].bias.any()


@pytest.mark.parametrize("groups", [1, 2])
def test_the_filter_of_a_transposed_convolution_spans_its_inputs(groups: int) -> None:
    """As many weights as make up a weight of the convolution that it transposes."""
    assert fan_in(nn.Conv2d(4, 6, 3, groups=groups)) == 4 // groups * 9
    assert fan_in(nn.ConvTranspose2d(4, 6, 3, groups=groups)) == 4 // groups * 9
    assert fan_in(nn.Linear(4, 6)) == 4
