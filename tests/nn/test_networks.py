"""All networks: what they are made of, how many parameters, which sizes they take."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cl_bnn.nn import (
    BinaryActivation,
    BinaryConv2d,
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
    unet,
    vgg,
    xnornet,
)

CIFAR, MNIST, IMAGENET = (3, 32, 32), (1, 28, 28), (3, 224, 224)


@dataclass(frozen=True)
class Network:
    """A network at its published size, counted by hand, and the smallest image that it takes."""

    build: Callable[..., nn.Module]
    shape: tuple[int, int, int]
    classes: int
    binary: int
    real: int
    smallest: tuple[int, int]
    settings: dict[str, Any] = field(default_factory=dict)


VGG_CONVOLUTIONS = 3_456 + 147_456 + 294_912 + 589_824 + 1_179_648 + 2_359_296
NIN_INNER = 18_432 + 460_800 + 36_864 + 331_776 + 36_864
NIN_BIASES = 192 + 96 + 192 + 192 + 192 + 192 + 10
RESNET_CONVOLUTIONS = 9 * (
    4 * 64**2 + (64 * 128 + 3 * 128**2) + (128 * 256 + 3 * 256**2) + (256 * 512 + 3 * 512**2)
)
RESNET_SHORTCUTS = 64 * 128 + 128 * 256 + 256 * 512
ALEX_CONVOLUTIONS = 9 * (384**2 + 384 * 256)
UNET_DOWN = sum(9 * (i * o + o * o) for i, o in [(1, 64), (64, 128), (128, 256), (256, 512)])
UNET_UP = sum(4 * 2 * o * o + 9 * (2 * o * o + o * o) for o in (512, 256, 128, 64))

NETWORKS = {
    "vgg": Network(
        vgg, CIFAR, 10, VGG_CONVOLUTIONS + 8_388_608 + 1_048_576 + 10_240, 0, (8, 8)
    ),
    "lrnet_small": Network(
        lrnet_small, MNIST, 10, 800 + 51_200 + 1_605_632 + 5_120, 0, (4, 4)
    ),
    "lrnet_big": Network(lrnet_big, CIFAR, 10, VGG_CONVOLUTIONS + 8_388_608 + 10_240, 0, (8, 8)),
    "lrnet_big, as coded": Network(
        lrnet_big, CIFAR, 10, VGG_CONVOLUTIONS + 8_388_608 + 10_240, 0, (8, 8),
        {"conv_norm": False},
    ),
    "binarynet": Network(  # real: one shift per channel
        binarynet, CIFAR, 10, VGG_CONVOLUTIONS + 4_718_592 + 1_048_576 + 10_240,
        2 * (128 + 256 + 512 + 1024) + 10, (10, 10),
    ),
    "binarynet with relu": Network(
        binarynet, CIFAR, 10, VGG_CONVOLUTIONS + 4_718_592 + 1_048_576 + 10_240,
        2 * (128 + 256 + 512 + 1024) + 10, (10, 10), {"relu": True},
    ),
    "nin, all": Network(  # real: biases, gain and shift of the input of every layer
        nin, CIFAR, 10, 14_400 + NIN_INNER + 1_920,
        NIN_BIASES + 2 * (3 + 192 + 96 + 192 + 192 + 192 + 192), (1, 1), {"form": "all"},
    ),
    "nin, semi": Network(
        nin, CIFAR, 10, NIN_INNER,
        14_400 + 1_920 + NIN_BIASES + 2 * (192 + 96 + 192 + 192 + 192), (1, 1), {"form": "semi"},
    ),
    "binary_alexnet": Network(  # real: gain and shift per channel
        binary_alexnet, IMAGENET, 1000,
        121 * 3 * 64 + 25 * 64 * 192 + 9 * 192 * 384 + ALEX_CONVOLUTIONS
        + 9216 * 4096 + 4096**2 + 4096 * 1000,
        2 * (64 + 192 + 384 + 384 + 256 + 4096 + 4096 + 1000), (57, 57),
    ),
    "xnornet": Network(
        xnornet, IMAGENET, 1000,
        25 * 96 * 256 + 9 * 256 * 384 + ALEX_CONVOLUTIONS + 36 * 256 * 4096 + 4096**2,
        121 * 3 * 96 + 4096 * 1000 + 2 * (96 + 96 + 256 + 384 + 384 + 256 + 4096 + 4096),
        (217, 217),
    ),
    "birealnet18": Network(
        birealnet18, IMAGENET, 1000, RESNET_CONVOLUTIONS,
        49 * 3 * 64 + RESNET_SHORTCUTS + 512 * 1000 + 1000
        + 2 * (64 + 4 * (64 + 128 + 256 + 512) + (128 + 256 + 512)), (1, 1),
    ),
    "resnet18": Network(  # real: ends, biases, gain and shift of the input of every layer
        resnet18, IMAGENET, 1000, RESNET_CONVOLUTIONS + RESNET_SHORTCUTS,
        49 * 3 * 64 + 64 + 512 * 1000 + 1000
        + 4 * (64 + 128 + 256 + 512) + (128 + 256 + 512)
        + 2 * (64 + 4 * 64 + 2 * 64 + 3 * 128 + 2 * 128 + 3 * 256 + 2 * 256 + 3 * 512 + 512),
        (1, 1),
    ),
    "unet": Network(
        unet, (1, 572, 572), 2,
        UNET_DOWN + 9 * (512 * 1024 + 1024**2) + UNET_UP + 64 * 2, 0, (188, 188),
    ),
}  # fmt: skip


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    return NETWORKS[request.param]


def tiny(network: Network) -> nn.Module:
    """The network at a small fraction of its width, for the smallest image that it takes."""
    torch.manual_seed(0)
    shape = (network.shape[0], *network.smallest)
    return network.build(input_shape=shape, out_features=3, width=1 / 64, **network.settings)


def images(network: Network) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(4, network.shape[0], *network.smallest)


def test_parameters_are_those_counted_by_hand(network: Network) -> None:
    with torch.device("meta"):
        model = network.build(
            input_shape=network.shape, out_features=network.classes, **network.settings
        )
        logits = model(torch.empty(2, *network.shape))
    assert sum(p.numel() for p in binary_parameters(model)) == network.binary
    assert sum(p.numel() for p in real_parameters(model)) == network.real
    spatial = (388, 388) if network.build is unet else ()
    assert logits.shape == (2, network.classes, *spatial)


# Larq Zoo's table of models counts weights, gains, shifts and running statistics; there AlexNet and
# XNOR-Net have no gains.
@pytest.mark.parametrize(
    "name, channels, counted, published",
    [
        ("binary_alexnet", 10_472, 3, 61_859_192),
        ("xnornet", 9_664, 3, 62_396_768),
        ("birealnet18", 4_800, 4, 11_699_112),
    ],
)
def test_counts_are_the_published_ones(
    name: str, channels: int, counted: int, published: int
) -> None:
    ours = NETWORKS[name].binary + NETWORKS[name].real
    assert ours + (counted - 2) * channels == published


def test_counts_of_the_smaller_networks_are_the_published_ones() -> None:
    assert NETWORKS["vgg"].binary == 14_022_016
    assert NETWORKS["nin, all"].binary == 901_056
    assert NETWORKS["nin, semi"].binary == 901_056 - 14_400 - 1_920


def test_every_parameter_learns_from_the_smallest_image(network: Network) -> None:
    model = tiny(network).train()
    logits = model(images(network))
    assert logits.shape[:2] == (4, 3)
    (logits * torch.randn_like(logits)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_channels_last_gives_the_same(network: Network) -> None:
    model, x = tiny(network).eval(), images(network)
    plain = model(x)
    last = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, plain, rtol=1e-3, atol=1e-4)


def test_image_one_pixel_smaller_is_refused(network: Network) -> None:
    height, width = network.smallest
    for size in ((height - 1, width), (height, width - 1)):
        with pytest.raises(ValueError, match="pixels|input_shape") as error:
            network.build(input_shape=(network.shape[0], *size), out_features=3, **network.settings)
        assert "\n" not in str(error.value)


def test_factor_on_the_width_must_be_positive(network: Network) -> None:
    with pytest.raises(ValueError, match=r"width must be > 0, got 0\.0"):
        network.build(input_shape=network.shape, out_features=3, width=0.0)


BINARY_ACTIVATIONS = [
    name for name in NETWORKS if name.partition(",")[0].partition(" ")[0] not in
    ("vgg", "lrnet_small", "lrnet_big", "unet")
]  # fmt: skip


@pytest.mark.parametrize("name", BINARY_ACTIVATIONS)
def test_binary_layers_see_signs(name: str) -> None:
    """All but the first layer of BinaryNet and AlexNet, which see the image."""
    seen: list[set[float]] = []

    def note(layer: nn.Module, args: tuple[Tensor]) -> None:
        seen.append(set(args[0].unique().tolist()))

    model = tiny(NETWORKS[name]).eval()
    layers = [m for m in model.modules() if isinstance(m, (BinaryConv2d, BinaryLinear))]
    for layer in layers:
        layer.register_forward_pre_hook(note)
    model(images(NETWORKS[name]))
    assert len(seen) == len(layers)
    real = [values for values in seen if not values <= {-1.0, 0.0, 1.0}]
    takes_the_image = name.startswith(("binarynet", "binary_alexnet"))
    assert len(real) == int(takes_the_image) and (not real or seen[0] is real[0])


@pytest.mark.parametrize("name", BINARY_ACTIVATIONS)
def test_surrogate_is_the_one_asked_for(name: str) -> None:
    network = NETWORKS[name]
    for settings, expected in [
        ({}, "approx_sign" if name == "birealnet18" else "hard_tanh"),
        ({"surrogate": "identity"}, "identity"),
    ]:
        with torch.device("meta"):
            model = network.build(
                input_shape=network.shape, out_features=3, **network.settings, **settings
            )
        found = {m.surrogate for m in model.modules() if isinstance(m, BinaryActivation)}
        assert found == {expected}
