"""The VGG-like network of BinaryConnect."""

from torch import nn

from cl_bnn.nn.layers import BinaryConv2d, BinaryLinear
from cl_bnn.nn.norm import BatchNorm
from cl_bnn.nn.shapes import image_shape, scaled

CONV_MOMENTUM = 0.2
DENSE_MOMENTUM = 0.1
EPS = 1e-5


def vgg(
    *, input_shape: tuple[int, ...], out_features: int, width: float = 1.0,
    momentum: float = CONV_MOMENTUM,
) -> nn.Sequential:  # fmt: skip
    """C128 - C128-MP - C256 - C256-MP - C512 - C512-MP - FC1024 - FC1024 - FC: VGG-BinaryConnect.

    All convolutions are 3x3 with padding 1, MP is a 2x2 max-pooling. A layer is conv - (pool) -
    BN - ReLU or FC - BN - ReLU; the last is FC - BN. All weights are binary, nothing has a bias,
    no BatchNorm a gain. Order and constants are those of the BayesBiNN authors' code (Meng et al.
    2020, arXiv:2002.10778; the table in the paper puts ReLU before pooling), after Courbariaux et
    al. 2015, arXiv:1511.00363.

    Args:
        input_shape: (channels, height, width), at least 8 x 8 pixels.
        out_features: number of classes.
        width: factor on the number of channels and units of every hidden layer.
        momentum: of the BatchNorms after convolutions.

    Returns:
        A network from (batch, channels, height, width) to logits (batch, out_features).

    Raises:
        ValueError: an image that is too small, or `width` not positive.
    """
    channels, height, side = image_shape(input_shape, "vgg", minimum=8)
    layers: list[nn.Module] = []
    for block in (128, 256, 512):
        for pool in (False, True):
            out = scaled(block, width)
            layers.append(BinaryConv2d(channels, out, 3, padding=1))
            layers += [nn.MaxPool2d(2)] if pool else []
            layers += [BatchNorm(out, eps=EPS, momentum=momentum), nn.ReLU()]
            channels = out
    layers.append(nn.Flatten())
    units = channels * (height // 8) * (side // 8)
    for out in (scaled(1024, width), scaled(1024, width), out_features):
        layers.append(BinaryLinear(units, out))
        layers += [BatchNorm(out, eps=EPS, momentum=DENSE_MOMENTUM), nn.ReLU()]
        units = out
    return nn.Sequential(*layers[:-1])  # the logits pass no ReLU
