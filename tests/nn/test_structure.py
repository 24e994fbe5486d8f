"""The order of layers, their constants and skips, network by network."""

from typing import Any

import pytest
import torch
from torch import nn

from cl_bnn.nn import (
    BinaryActivation,
    BinaryConv2d,
    BinaryConvTranspose2d,
    BinaryLinear,
    binary_alexnet,
    binary_parameters,
    binarynet,
    birealnet18,
    lrnet_big,
    lrnet_small,
    nin,
    real_parameters,
    resnet18,
    tanh_mlp,
    unet,
    xnornet,
)
from cl_bnn.nn.layers import SamePad
from cl_bnn.nn.norm import BatchNorm, TestBatchNorm

SYMBOLS = {
    BinaryActivation: "sign", nn.ReLU: "relu", nn.Tanh: "tanh", nn.MaxPool2d: "max",
    nn.AvgPool2d: "avg", nn.AdaptiveAvgPool2d: "mean", nn.Flatten: "flat", nn.Dropout: "drop",
    nn.Dropout2d: "drop2d", SamePad: "pad",
}  # fmt: skip
SMALL = {"out_features": 7, "width": 1 / 64}


def symbol(layer: nn.Module) -> str:
    """A conv as bin3, bin3/2 or real1 (kernel, stride), a linear as binfc or realfc."""
    if isinstance(layer, BatchNorm):
        affine = "+" * (layer.weight is not None) + "o" * (layer.bias is not None)
        return "bn" + affine
    kind = (
        "bin" if isinstance(layer, (BinaryConv2d, BinaryLinear, BinaryConvTranspose2d)) else "real"
    )
    if isinstance(layer, nn.Linear):
        return kind + "fc"
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        up = "up" if isinstance(layer, nn.ConvTranspose2d) else ""
        stride = f"/{layer.stride[0]}" if layer.stride[0] > 1 else ""
        return f"{kind}{up}{layer.kernel_size[0]}{stride}"
    return SYMBOLS[type(layer)]


def sequence(model: nn.Module) -> str:
    """The leaves of `model` in the order in which they are made; `bn+o`: with gain and shift."""
    leaves = [m for m in model.modules() if not list(m.children())]
    return " ".join(symbol(m) for m in leaves if not isinstance(m, nn.Identity))


def norms(model: nn.Module) -> set[tuple[float, float]]:
    return {(m.eps, m.momentum) for m in model.modules() if isinstance(m, BatchNorm)}


def test_lrnet_small() -> None:
    model = lrnet_small(input_shape=(1, 28, 28), **SMALL)
    conv = "bin5 max bn relu "
    assert sequence(model) == conv * 2 + "flat binfc bn relu binfc bn"
    assert norms(model) == {(1e-5, 0.15), (1e-5, 0.1)}


@pytest.mark.parametrize("conv_norm, norm", [(True, "bn "), (False, "")])
def test_lrnet_big(conv_norm: bool, norm: str) -> None:
    model = lrnet_big(input_shape=(3, 32, 32), conv_norm=conv_norm, **SMALL)
    block = f"bin3 {norm}relu bin3 {norm}max relu "
    assert sequence(model) == block * 3 + "flat binfc bn relu binfc bn"
    assert norms(model) == ({(1e-5, 0.2), (1e-5, 0.1)} if conv_norm else {(1e-5, 0.1)})


@pytest.mark.parametrize("relu, r", [(False, ""), (True, "relu ")])
def test_binarynet(relu: bool, r: str) -> None:
    model = binarynet(input_shape=(3, 32, 32), relu=relu, **SMALL)
    blocks = [f"bin3 {r}bno", f"sign bin3 {r}max bno"]
    blocks += [f"sign bin3 {r}bno", f"sign bin3 {r}max bno"] * 2
    assert sequence(model) == " ".join(
        [*blocks, "flat", f"sign binfc {r}bno", f"sign binfc {r}bno", "sign binfc bno"]
    )
    assert norms(model) == {(1e-3, 0.01)}
    padding = [m.padding[0] for m in model if isinstance(m, nn.Conv2d)]
    assert padding == [0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    "form, first, last",
    [("all", "bn+o sign bin5 relu", "bn+o sign bin1 relu"),
     ("semi", "real5 bn relu", "bn real1 relu")],
)  # fmt: skip
def test_nin(form: Any, first: str, last: str) -> None:
    model = nin(input_shape=(3, 32, 32), form=form, **SMALL)
    one, five, three = "bn+o sign bin1 relu", "bn+o sign drop bin5 relu", "bn+o sign drop bin3 relu"
    assert sequence(model) == (f"{first} {one} max {five} {one} avg {three} {one} {last} mean flat")
    assert norms(model) == {(1e-4, 0.1)}
    sizes = [m for m in model if isinstance(m, nn.AdaptiveAvgPool2d)]
    sizes[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    seen: list[torch.Size] = []
    logits = model(torch.randn(2, 3, 32, 32))
    assert seen == [(2, 7, 8, 8)] and bool((logits >= 0).all())


def test_binary_alexnet() -> None:
    model = binary_alexnet(input_shape=(3, 57, 57), **SMALL)
    assert sequence(model) == (
        "pad bin11/4 max bn+o sign bin5 max bn+o sign bin3 bn+o sign bin3 bn+o sign bin3 max bn+o "
        "flat sign binfc bn+o sign binfc bn+o sign binfc bn+o"
    )
    assert norms(model) == {(1e-3, 0.1)}


def test_xnornet() -> None:
    model = xnornet(input_shape=(3, 217, 217), **SMALL)
    assert sequence(model) == (
        "pad real11/4 bn+o relu max bn+o sign bin5 max bn+o sign bin3 bn+o sign bin3 bn+o "
        "sign bin3 max bn+o sign bin6 bn+o sign bin1 bn+o relu flat realfc"
    )
    found = [m.eps for m in model if isinstance(m, BatchNorm)]
    assert found == [1e-5, *[1e-4] * 6, 1e-3] and {m for _, m in norms(model)} == {0.1}


def test_birealnet18() -> None:
    model = birealnet18(input_shape=(3, 32, 32), **SMALL)
    block, down = "sign bin3 bn+o ", "sign pad bin3/2 bn+o avg real1 bn+o "
    assert sequence(model) == (
        "pad real7/2 bn+o pad max " + block * 4 + (down + block * 3) * 3 + "mean flat realfc"
    )
    assert norms(model) == {(1e-3, 0.2)}


def test_resnet18() -> None:
    model = resnet18(input_shape=(3, 32, 32), **SMALL)
    block = "bn+o sign bin3 relu bn+o sign bin3 relu "
    down = "bn+o sign bin3/2 relu bn+o sign bin3 bn+o sign bin1/2 relu "
    assert sequence(model) == (
        "real7/2 max bn+o relu " + block * 2 + (down + block) * 3 + "mean flat bn+o relu realfc"
    )
    assert norms(model) == {(1e-4, 0.1)}


def test_unet() -> None:
    model = unet(input_shape=(1, 188, 188), out_features=2, width=1 / 64)
    tap, double = "bin3 bn relu bin3", "bin3 bn relu bin3 bn relu"
    assert sequence(model.down) == " ".join([tap] * 4)
    assert sequence(model.pool) == " ".join(["max bn relu drop2d"] * 4)
    assert sequence(model.bottom) == double
    assert sequence(model.up) == " ".join(["binup2/2"] * 4)
    assert sequence(model.join) == " ".join([f"bn drop2d {double}"] * 4)
    assert sequence(model.last) == "bin1 bn"
    assert norms(model) == {(1e-5, 0.2)}
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout2d)} == {0.05}


def test_unet_crops_what_it_hands_across_by_88_40_16_and_4_pixels() -> None:
    with torch.device("meta"):
        model = unet(input_shape=(1, 572, 572), out_features=2)
        sizes: dict[str, list[int]] = {"down": [], "up": []}
        for name, found in sizes.items():
            for layer in getattr(model, name):
                layer.register_forward_hook(lambda _, __, out, f=found: f.append(out.shape[-1]))
        model(torch.empty(1, 1, 572, 572))
    margins = [(d - u) / 2 for d, u in zip(sizes["down"], reversed(sizes["up"]), strict=True)]
    assert sizes["down"] == [568, 280, 136, 64] and margins == [88, 40, 16, 4]


def test_unet_joins_the_raw_centre_of_the_second_convolution() -> None:
    torch.manual_seed(0)
    model = unet(input_shape=(1, 188, 188), out_features=2, width=1 / 64).eval()
    seen: dict[str, torch.Tensor] = {}
    model.down[0].register_forward_hook(lambda _, __, out: seen.update(tap=out))
    model.join[0].register_forward_pre_hook(lambda _, args: seen.update(joined=args[0]))
    model(torch.randn(1, 1, 188, 188))
    assert torch.equal(seen["joined"][:, :1], seen["tap"][:, :, 88:-88, 88:-88])
    assert seen["joined"].shape[1] == 2 and bool((seen["tap"] < 0).any())


@pytest.mark.parametrize(
    "shape, message",
    [
        ((1, 572, 570), "unet cannot take a width of 570 pixels: the nearest are 556, 572"),
        ((1, 573, 572), "unet cannot take a height of 573 pixels: the nearest are 572, 588"),
        ((1, 100, 572), "unet cannot take a height of 100 pixels: the smallest is 188"),
        ((572, 572), "input_shape must be (channels, height, width) for unet, got (572, 572)"),
    ],
)  # fmt: skip
def test_unet_names_the_sizes_that_fit(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError) as error:
        unet(input_shape=shape, out_features=2)
    assert str(error.value) == message


@pytest.mark.parametrize("size", [188, 204, 556, 588])
def test_unet_takes_every_size_that_fits(size: int) -> None:
    with torch.device("meta"):
        model = unet(input_shape=(1, size, 188), out_features=2, width=1 / 64)
        assert model(torch.empty(1, 1, size, 188)).shape == (1, 2, size - 184, 4)


@pytest.mark.parametrize("build, shape", [(unet, (1, 188, 188)), (nin, (3, 32, 32))])
def test_dropout_out_of_range_is_named(build: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1\.0"):
        build(input_shape=shape, out_features=2, dropout=1.0)


def test_unknown_form_of_nin_is_named() -> None:
    with pytest.raises(ValueError, match="form must be one of all, semi, got 'real'"):
        nin(input_shape=(3, 32, 32), out_features=2, form="real")  # type: ignore[arg-type]


def test_residual_block_without_weights_hands_its_input_on() -> None:
    model = birealnet18(input_shape=(3, 32, 32), **SMALL).eval()
    block = model[5]
    block.body[1].weight.data.zero_()
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("bias, binary, real", [("binary", 4417, 0), ("real", 4288, 129)])
def test_two_moons_network_has_4417_parameters(bias: Any, binary: int, real: int) -> None:
    model = tanh_mlp(input_shape=(2,), out_features=1, bias=bias)
    assert sequence(model) == "flat binfc tanh binfc tanh binfc"
    assert 2 * 64 + 64 + 64 * 64 + 64 + 64 + 1 == 4417
    assert sum(p.numel() for p in binary_parameters(model)) == binary
    assert sum(p.numel() for p in real_parameters(model)) == real


def test_two_moons_network_is_the_formula() -> None:
    model = tanh_mlp(input_shape=(2,), out_features=1, width=3)
    a, b, c, d, e, f = model.parameters()
    x = torch.randn(5, 2)
    expected = ((x @ a.T + b).tanh() @ c.T + d).tanh() @ e.T + f
    torch.testing.assert_close(model(x), expected)


def test_tanh_network_without_biases() -> None:
    model = tanh_mlp(input_shape=(2,), out_features=1, bias="none")
    assert sum(p.numel() for p in model.parameters()) == 4417 - 129


def test_regression_network_normalises_its_output() -> None:
    torch.manual_seed(0)
    model = tanh_mlp(input_shape=(1,), out_features=1, output_norm="shared")
    assert isinstance(model[-1], BatchNorm) and norms(model) == {(1e-4, 0.15)}
    for weight in model.parameters():
        weight.data.sign_()  # large outputs, beside which eps is nothing
    y = model(torch.randn(200, 1)).detach()
    assert abs(float(y.mean())) < 1e-5 and float(y.var(correction=0)) == pytest.approx(1, abs=1e-3)
    assert (
        abs(float(model.eval()(torch.randn(200, 1)).detach().mean())) > 0.1
    )  # by running statistics


def test_regression_network_can_normalise_by_the_inputs_at_hand() -> None:
    model = tanh_mlp(input_shape=(1,), out_features=1, output_norm="batch").eval()
    assert isinstance(model[-1], TestBatchNorm)
    assert abs(float(model(torch.randn(200, 1)).detach().mean())) < 1e-5


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"bias": "no"}, "bias must be one of binary, real, none, got 'no'"),
        ({"output_norm": "layer"}, "output_norm must be one of none, shared, batch, got 'layer'"),
        ({"width": 0}, "width must be >= 1, got 0"),
        ({"depth": -1}, "depth must be >= 0, got -1"),
    ],
)
def test_wrong_value_of_the_tanh_network_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        tanh_mlp(input_shape=(2,), out_features=1, **settings)
    assert str(error.value) == message
