"""Layers: which parameters are binary, BatchNorm with or without gain and shift, padding."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cl_bnn.nn import (
    BinaryConv2d,
    BinaryConvTranspose2d,
    BinaryLinear,
    binary_group,
    binary_parameters,
    real_parameters,
)
from cl_bnn.nn.layers import SamePad
from cl_bnn.nn.norm import BatchNorm


def names(model: nn.Module, parameters: list[nn.Parameter]) -> list[str]:
    ids = {id(p) for p in parameters}
    return [name for name, p in model.named_parameters() if id(p) in ids]


def test_arithmetic_is_that_of_torch() -> None:
    x = torch.randn(2, 3, 5, 5)
    conv, up = BinaryConv2d(3, 4, 3, stride=2, padding=1, bias=True), BinaryConvTranspose2d(3, 4, 2)
    linear = BinaryLinear(5, 2, bias=True)
    same = F.conv2d(x, conv.weight, conv.bias, 2, 1)
    assert torch.equal(conv(x), same)
    assert torch.equal(up(x), F.conv_transpose2d(x, up.weight))
    assert torch.equal(linear(x), F.linear(x, linear.weight, linear.bias))


def test_only_declared_weights_are_binary_if_any_layer_declares() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), BinaryConv2d(2, 2, 3, bias=True), nn.BatchNorm2d(2),
        BinaryConvTranspose2d(2, 2, 2), BinaryLinear(2, 2, bias=True), nn.Linear(2, 1),
    )  # fmt: skip
    assert names(model, binary_parameters(model)) == ["1.weight", "3.weight", "4.weight"]
    real = ["0.weight", "0.bias", "1.bias", "2.weight", "2.bias", "4.bias", "5.weight", "5.bias"]
    assert names(model, real_parameters(model)) == real


def test_weights_of_plain_layers_are_binary_if_no_layer_declares() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 1))
    assert names(model, binary_parameters(model)) == ["0.weight", "2.weight"]
    assert names(model, real_parameters(model)) == ["0.bias", "1.weight", "1.bias", "2.bias"]


def test_bias_is_binary_only_if_asked() -> None:
    model = nn.Sequential(
        BinaryLinear(2, 2, bias=True, binary_bias=True), BinaryLinear(2, 2, bias=True)
    )
    assert names(model, binary_parameters(model)) == ["0.weight", "0.bias", "1.weight"]
    assert names(model, real_parameters(model)) == ["1.bias"]


def test_binary_bias_needs_a_bias() -> None:
    with pytest.raises(ValueError, match="binary_bias=True needs bias=True"):
        BinaryLinear(2, 2, binary_bias=True)


def test_frozen_weights_are_nobodys() -> None:
    model = nn.Sequential(BinaryLinear(3, 3), BinaryLinear(3, 2))
    model[0].requires_grad_(False)
    assert [id(p) for p in binary_parameters(model)] == [id(model[1].weight)]
    assert not real_parameters(model)


def test_shared_layer_counts_once() -> None:
    shared = BinaryLinear(3, 3)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    assert [id(p) for p in binary_parameters(model)] == [id(shared.weight)]


def test_norm_without_gain_and_shift_is_torchs() -> None:
    x = torch.randn(6, 4, 3, 3)
    ours, torchs = BatchNorm(4, eps=1e-3, momentum=0.2), nn.BatchNorm2d(4, 1e-3, 0.2, affine=False)
    assert list(ours.parameters()) == []
    for _ in range(2):
        assert torch.equal(ours(x), torchs(x))
    assert torch.equal(ours.running_mean, torchs.running_mean)
    assert torch.equal(ours.eval()(x), torchs.eval()(x))


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("shift", [False, True])
def test_gain_and_shift_can_be_had_alone(scale: bool, shift: bool) -> None:
    norm = BatchNorm(2, scale=scale, shift=shift)
    with torch.no_grad():
        for name, p in norm.named_parameters():
            p.fill_(3.0 if name == "weight" else 5.0)
    x = torch.tensor([[-1.0, -2.0], [1.0, 2.0]])  # normalised: -1 and 1
    expected = torch.sign(x) * (3 if scale else 1) + (5 if shift else 0)
    torch.testing.assert_close(norm(x), expected, atol=1e-4, rtol=0)
    assert [name for name, _ in norm.named_parameters()] == ["weight"] * scale + ["bias"] * shift
    norm.reset_parameters()
    assert [p.unique().item() for p in norm.parameters()] == [1.0] * scale + [0.0] * shift
    assert norm.running_mean is not None and not norm.running_mean.any()


def test_single_value_per_channel_is_normalised_by_running_statistics() -> None:
    norm = BatchNorm(2, eps=0.0)
    norm.running_mean, norm.running_var = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 9.0])
    assert torch.equal(norm(torch.tensor([[5.0, 5.0]])), torch.tensor([[2.0, 1.0]]))
    assert torch.equal(norm.running_mean, torch.tensor([1.0, 2.0]))


# Windows of Keras' "same": 224 pixels, kernel 11, stride 4 -> 56 windows, 7 pixels too few.
@pytest.mark.parametrize(
    "size, kernel, stride, sides",
    [(224, 11, 4, (3, 4)), (224, 7, 2, (2, 3)), (112, 3, 2, (0, 1)), (7, 3, 2, (1, 1)),
     (8, 3, 1, (1, 1)), (8, 2, 2, (0, 0)), (1, 7, 2, (3, 3))],
)  # fmt: skip
def test_same_padding_adds_the_pixels_computed_by_hand(
    size: int, kernel: int, stride: int, sides: tuple[int, int]
) -> None:
    image = torch.arange(float(size)).expand(1, 1, size, size)
    padded = SamePad(kernel, stride, value=-1)(image)[0, 0]
    before, after = sides
    assert padded.shape == (size + before + after, size + before + after)
    assert padded[before].tolist() == [-1] * before + list(range(size)) + [-1] * after
    assert bool((padded[:before] == -1).all()) and bool((padded[size + before :] == -1).all())


def test_same_padding_at_stride_1_is_torchs() -> None:
    x = torch.randn(1, 1, 6, 5)
    for kernel in (1, 3, 5):
        weight = torch.randn(1, 1, kernel, kernel)
        ours = F.conv2d(SamePad(kernel, 1)(x), weight)
        torch.testing.assert_close(ours, F.conv2d(x, weight, padding="same"))


def test_the_group_of_binary_parameters() -> None:
    model = nn.Sequential(BinaryLinear(3, 2, bias=True, binary_bias=True), nn.BatchNorm1d(2))
    group = binary_group(model)
    assert group["binary_vectors"] is True
    assert [p.shape for p in group["params"]] == [(2, 3), (2,)]
    with pytest.raises(ValueError, match="model must have binary weights, got none"):
        binary_group(nn.BatchNorm1d(2))
