"""The two networks of the comparison with LR-net."""

from torch import nn

from cl_bnn.nn.layers import BinaryConv2d, BinaryLinear
from cl_bnn.nn.norm import BatchNorm
from cl_bnn.nn.shapes import image_shape, scaled


def lrnet_small(
    *, input_shape: tuple[int, ...], out_features: int, width: float = 1.0, momentum: float = 0.15
) -> nn.Sequential:
    """C32 - MP - C64 - MP - FC512 - FC, for MNIST.

    Convolutions are 5x5 with padding 2, MP is a 2x2 max-pooling. Layers are conv - MP - BN - ReLU
    and FC - BN - ReLU, the last FC - BN. All weights are binary, nothing has a bias, no BatchNorm a
    gain. After Shayer et al. 2018 (arXiv:1710.07739), as coded in the reproduction of BayesBiNN
    (prateekstark/training-binary-neural-network); the authors' own code is not published.

    Args:
        input_shape: (channels, height, width), at least 4 x 4 pixels.
        out_features: number of classes.
        width: factor on the number of channels and units of every hidden layer.
        momentum: of the BatchNorms after convolutions; of the others it is .1.

    Returns:
        A network from (batch, channels, height, width) to logits (batch, out_features).

    Raises:
        ValueError: an image that is too small, or `width` not positive.
    """
    channels, height, side = image_shape(input_shape, "lrnet_small", minimum=4)
    layers: list[nn.Module] = []
    for block in (32, 64):
        out = scaled(block, width)
        layers += [BinaryConv2d(channels, out, 5, padding=2), nn.MaxPool2d(2)]
        layers += [BatchNorm(out, momentum=momentum), nn.ReLU()]
        channels = out
    units = channels * (height // 4) * (side // 4)
    return nn.Sequential(*layers, *_dense(units, scaled(512, width), out_features))


def lrnet_big(
    *, input_shape: tuple[int, ...], out_features: int, width: float = 1.0, momentum: float = 0.2,
    conv_norm: bool = True,
) -> nn.Sequential:  # fmt: skip
    """2 x C128 - MP - 2 x C256 - MP - 2 x C512 - MP - FC1024 - FC, for CIFAR-10.

    Convolutions are 3x3 with padding 1, MP is a 2x2 max-pooling. Layers are conv - BN - (MP) - ReLU
    and FC - BN - ReLU, the last FC - BN. All weights are binary, nothing has a bias, no BatchNorm a
    gain. Source as for `lrnet_small`. The last revision of that code makes the BatchNorms of the
    convolutions and does not apply them, so that the activations grow some tens of times a layer,
    and always has 10 outputs; an earlier revision applies them.

    Args:
        input_shape: (channels, height, width), at least 8 x 8 pixels.
        out_features: number of classes.
        width: factor on the number of channels and units of every hidden layer.
        momentum: of the BatchNorms after convolutions; of the others it is .1.
        conv_norm: whether convolutions are followed by BatchNorm; False: as last coded.

    Returns:
        A network from (batch, channels, height, width) to logits (batch, out_features).

    Raises:
        ValueError: an image that is too small, or `width` not positive.
    """
    channels, height, side = image_shape(input_shape, "lrnet_big", minimum=8)
    layers: list[nn.Module] = []
    for block in (128, 256, 512):
        for pool in (False, True):
            out = scaled(block, width)
            layers.append(BinaryConv2d(channels, out, 3, padding=1))
            layers += [BatchNorm(out, momentum=momentum)] if conv_norm else []
            layers += [nn.MaxPool2d(2)] if pool else []
            layers.append(nn.ReLU())
            channels = out
    units = channels * (height // 8) * (side // 8)
    return nn.Sequential(*layers, *_dense(units, scaled(1024, width), out_features))


def _dense(units: int, hidden: int, out_features: int) -> list[nn.Module]:
    return [
        nn.Flatten(), BinaryLinear(units, hidden), BatchNorm(hidden), nn.ReLU(),
        BinaryLinear(hidden, out_features), BatchNorm(out_features),
    ]  # fmt: skip
