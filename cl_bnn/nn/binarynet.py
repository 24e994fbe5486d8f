"""BinaryNet: binary weights and binary activations."""

from torch import nn

from cl_bnn.nn.functional import Surrogate
from cl_bnn.nn.init import init_glorot, initialised
from cl_bnn.nn.layers import BinaryActivation, BinaryConv2d, BinaryLinear
from cl_bnn.nn.norm import BatchNorm
from cl_bnn.nn.shapes import image_shape, scaled

# Keras' defaults; its momentum .99 is .01 in torch's convention.
EPS = 1e-3
MOMENTUM = 0.01


def binarynet(
    *, input_shape: tuple[int, ...], out_features: int, width: float = 1.0, relu: bool = False,
    surrogate: Surrogate = "hard_tanh",
) -> nn.Sequential:  # fmt: skip
    """C128 - C128-MP - C256 - C256-MP - C512 - C512-MP - FC1024 - FC1024 - FC, on CIFAR.

    Convolutions are 3x3; the first takes the image as it is, without padding (32 -> 30 pixels),
    the others pad by 1. MP is a 2x2 max-pooling. A layer is sign - conv - (MP) - BN or
    sign - FC - BN; the first has no sign, the last sign - FC - BN gives the logits. All weights are
    binary; BatchNorm has a real-valued shift and no gain; nothing has a bias. As coded for Bop
    (Helwegen et al. 2019, arXiv:1906.02107, plumerai/rethinking-bnn-optimization), after Hubara et
    al. 2016, arXiv:1602.02830. Initial weights are Keras' Glorot-uniform.

    Args:
        input_shape: (channels, height, width), at least 10 x 10 pixels.
        out_features: number of classes.
        width: factor on the number of channels and units of every hidden layer.
        relu: a ReLU after every layer but the last, before MP and BN, as in the Bop baseline of the
            reproduction of BayesBiNN (prateekstark/training-binary-neural-network).
        surrogate: gradient of sign, see `cl_bnn.nn.functional`.

    Returns:
        A network from (batch, channels, height, width) to logits (batch, out_features).

    Raises:
        ValueError: an image that is too small, or a setting out of range.
    """
    channels, height, side = image_shape(input_shape, "binarynet", minimum=10)
    layers: list[nn.Module] = []
    for index, block in enumerate((128, 128, 256, 256, 512, 512)):
        out = scaled(block, width)
        layers += [BinaryActivation(surrogate)] if index else []
        layers.append(BinaryConv2d(channels, out, 3, padding=1 if index else 0))
        layers += [nn.ReLU()] if relu else []
        layers += [nn.MaxPool2d(2)] if index % 2 else []
        layers.append(BatchNorm(out, eps=EPS, momentum=MOMENTUM, shift=True))
        channels = out
    layers.append(nn.Flatten())
    units, hidden = channels * ((height - 2) // 8) * ((side - 2) // 8), scaled(1024, width)
    for out, last in ((hidden, False), (hidden, False), (out_features, True)):
        layers += [BinaryActivation(surrogate), BinaryLinear(units, out)]
        layers += [nn.ReLU()] if relu and not last else []
        layers.append(BatchNorm(out, eps=EPS, momentum=MOMENTUM, shift=True))
        units = out
    return initialised(nn.Sequential(*layers), init_glorot)
