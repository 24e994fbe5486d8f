"""The VGG-like network of BinaryConnect."""

from torch import nn

from cl_bnn.nn.heads import Headed
from cl_bnn.nn.layers import BinaryConv2d, BinaryLinear
from cl_bnn.nn.norm import BatchNorm
from cl_bnn.nn.shapes import image_shape, scaled

CONV_MOMENTUM = 0.2
DENSE_MOMENTUM = 0.1
EPS = 1e-5


def vgg(
    *, input_shape: tuple[int, ...], out_features: int, n_heads: int = 1, width: float = 1.0,
    momentum: float = CONV_MOMENTUM,
) -> nn.Sequential | Headed:  # fmt: skip
    """C128 - C128-MP - C256 - C256-MP - C512 - C512-MP - FC1024 - FC1024 - FC: VGG-BinaryConnect.

    All convolutions are 3x3 with padding 1, MP is a 2x2 max-pooling. A layer is conv - (pool) -
    BN - ReLU or FC - BN - ReLU; the last is FC - BN. All weights are binary, nothing has a bias,
    no BatchNorm a gain. Order and constants are those of the BayesBiNN authors' code (Meng et al.
    2020, arXiv:2002.10778; the table in the paper puts ReLU before pooling), after Courbariaux et
    al. 2015, arXiv:1511.00363.

    Args:
        input_shape: (channels, height, width), at least 8 x 8 pixels.
        out_features: number of classes, of each head.
        n_heads: 1, or one head a task: the last FC - BN is the task's own.
        width: factor on the number of channels and units of every hidden layer.
        momentum: of the BatchNorms after convolutions.

    Returns:
        A network from (batch, channels, height, width) to logits (batch, out_features), which with
        several heads needs the task label too.

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
    for out in (scaled(1024, width), scaled(1024, width)):
        layers += [*_dense(units, out), nn.ReLU()]
        units = out
    if n_heads == 1:
        return nn.Sequential(*layers, *_dense(units, out_features))
    heads = (nn.Sequential(*_dense(units, out_features)) for _ in range(n_heads))
    return Headed(nn.Sequential(*layers), heads)


def _dense(units: int, out: int) -> list[nn.Module]:
    """FC - BN."""
    return [BinaryLinear(units, out), BatchNorm(out, eps=EPS, momentum=DENSE_MOMENTUM)]
