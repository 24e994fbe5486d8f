"""Binary AlexNet and XNOR-Net at 224 x 224 pixels, as trained by Bop.

As coded in plumerai/rethinking-bnn-optimization (Helwegen et al. 2019, arXiv:1906.02107). Where
that code asks Keras for `padding="same"` in a layer with stride, `SamePad` does as Keras does: it
pads the last side more. With stride 1 the same is torch's symmetric padding. Keras' momentum .9 of
a BatchNorm is .1 in torch's convention; gains and shifts are trained and real-valued. Initial
weights are Keras' Glorot-uniform.
"""

from torch import nn

from cl_bnn.nn.functional import Surrogate
from cl_bnn.nn.init import init_glorot, initialised
from cl_bnn.nn.layers import BinaryActivation, BinaryConv2d, BinaryLinear, SamePad
from cl_bnn.nn.norm import BatchNorm
from cl_bnn.nn.shapes import image_shape, scaled

# Channels, kernel and whether pooling follows, of the convolutions after the first.
REST = ((384, 3, False), (384, 3, False), (256, 3, True))
ALEXNET, XNORNET = ((192, 5, True), *REST), ((256, 5, True), *REST)


def binary_alexnet(
    *, input_shape: tuple[int, ...], out_features: int, width: float = 1.0,
    surrogate: Surrogate = "hard_tanh",
) -> nn.Sequential:  # fmt: skip
    """C64(11x11/4)-MP - C192(5x5)-MP - C384 - C384 - C256-MP - FC4096 - FC4096 - FC, of Helwegen et
    al. 2019 (arXiv:1906.02107).

    Kernels are 3x3 where nothing is said, MP is a 3x3 max-pooling with stride 2 and no padding. A
    layer is sign - conv - (MP) - BN or sign - FC - BN; the first has no sign, its input is real.
    All weights are binary, also the first and the last, nothing has a bias; BN eps 1e-3.

    Args:
        input_shape: (channels, height, width), at least 57 x 57 pixels.
        out_features: number of classes.
        width: factor on the number of channels and units of every hidden layer.
        surrogate: gradient of sign, see `cl_bnn.nn.functional`.

    Returns:
        A network from (batch, channels, height, width) to logits (batch, out_features).

    Raises:
        ValueError: an image that is too small, or a setting out of range.
    """
    channels, height, side = image_shape(input_shape, "binary_alexnet", minimum=57)
    out = scaled(64, width)
    layers: list[nn.Module] = [SamePad(11, 4), BinaryConv2d(channels, out, 11, stride=4)]
    layers += [nn.MaxPool2d(3, 2), _norm(out, 1e-3)]
    layers += _convolutions(ALEXNET, out, width, surrogate, eps=1e-3)
    layers.append(nn.Flatten())
    units = scaled(256, width) * _pooled(height) * _pooled(side)
    for out in (scaled(4096, width), scaled(4096, width), out_features):
        layers += [BinaryActivation(surrogate), BinaryLinear(units, out), _norm(out, 1e-3)]
        units = out
    model = nn.Sequential(*layers)
    return initialised(model, init_glorot)


def xnornet(
    *, input_shape: tuple[int, ...], out_features: int, width: float = 1.0,
    surrogate: Surrogate = "hard_tanh",
) -> nn.Sequential:  # fmt: skip
    """Real C96(11x11/4)-MP - binary C256(5x5)-MP - C384 - C384 - C256-MP - C4096(6x6) -
    C4096(1x1) - real FC.

    The first layer is conv - BN - ReLU - MP - BN, a binary one sign - conv - (MP) - BN, the last
    ReLU - FC. Kernels are 3x3 where nothing is said, 6x6 has no padding; MP is a 3x3 max-pooling
    with stride 2 and no padding. Weights of the ends are real-valued, nothing has a bias. BN eps:
    1e-5, then 1e-4, the last 1e-3. After Rastegari et al. 2016, arXiv:1603.05279, without the
    scaling of weights and activations. In training the authors add 5e-7 times the squared weights
    of the two ends to the loss.

    Args:
        input_shape: (channels, height, width), at least 217 x 217 pixels.
        out_features: number of classes.
        width: factor on the number of channels of every hidden layer.
        surrogate: gradient of sign, see `cl_bnn.nn.functional`.

    Returns:
        A network from (batch, channels, height, width) to logits (batch, out_features).

    Raises:
        ValueError: an image that is too small, or a setting out of range.
    """
    channels, height, side = image_shape(input_shape, "xnornet", minimum=217)
    first, last, dense = scaled(96, width), scaled(256, width), scaled(4096, width)
    places = (_pooled(height) - 5) * (_pooled(side) - 5)
    model = nn.Sequential(
        SamePad(11, 4), nn.Conv2d(channels, first, 11, 4, bias=False), _norm(first, 1e-5),
        nn.ReLU(), nn.MaxPool2d(3, 2), _norm(first, 1e-4),
        *_convolutions(XNORNET, first, width, surrogate, eps=1e-4),
        BinaryActivation(surrogate), BinaryConv2d(last, dense, 6), _norm(dense, 1e-4),
        BinaryActivation(surrogate), BinaryConv2d(dense, dense, 1), _norm(dense, 1e-3),
        nn.ReLU(), nn.Flatten(), nn.Linear(dense * places, out_features, bias=False),
    )  # fmt: skip
    return initialised(model, init_glorot)


def _norm(width: int, eps: float) -> BatchNorm:
    return BatchNorm(width, eps=eps, momentum=0.1, scale=True, shift=True)


def _convolutions(
    plan: tuple[tuple[int, int, bool], ...], channels: int, width: float, surrogate: Surrogate,
    *, eps: float,
) -> list[nn.Module]:  # fmt: skip
    layers: list[nn.Module] = []
    for block, kernel, pool in plan:
        out = scaled(block, width)
        layers.append(BinaryActivation(surrogate))
        layers.append(BinaryConv2d(channels, out, kernel, padding=kernel // 2))
        layers += [nn.MaxPool2d(3, 2)] if pool else []
        layers.append(_norm(out, eps))
        channels = out
    return layers


def _pooled(size: int) -> int:
    """Pixels left of `size` after the stride of 4 and three poolings."""
    size = -(-size // 4)
    for _ in range(3):
        size = (size - 3) // 2 + 1
    return size
