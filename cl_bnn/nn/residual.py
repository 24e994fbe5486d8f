"""Residual networks with binary weights and activations at 224 x 224 pixels."""

from functools import partial

from torch import Tensor, nn

from cl_bnn.nn.functional import Surrogate
from cl_bnn.nn.init import init_glorot, init_normal, initialised
from cl_bnn.nn.layers import BinaryActivation, BinaryConv2d, SamePad
from cl_bnn.nn.norm import BatchNorm
from cl_bnn.nn.shapes import image_shape, scaled

STAGES = (64, 128, 256, 512)


class Residual(nn.Module):
    """body(x) + shortcut(x), then `after`.

    Args:
        body: the branch that learns.
        shortcut: what brings `x` to the shape of the branch; `nn.Identity()` if it has it.
        after: what follows the sum.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.after = body, shortcut, after

    def forward(self, x: Tensor) -> Tensor:
        """From (batch, channels, height, width) to the shape of the branch."""
        out: Tensor = self.after(self.body(x) + self.shortcut(x))
        return out


def birealnet18(
    *, input_shape: tuple[int, ...], out_features: int, width: float = 1.0,
    surrogate: Surrogate = "approx_sign",
) -> nn.Sequential:  # fmt: skip
    """Bi-Real Net: a real stem, 16 residual blocks of one binary convolution each, a real FC.

    Stem: conv 64 7x7/2 - BN - MP 3x3/2. Block: sign - conv 3x3 - BN, plus the shortcut; 4 blocks
    with 64 channels, 4 with 128, 256 and 512, the first of these with stride 2 and the shortcut
    average-pooling 2x2/2 - real conv 1x1 - BN. End: mean over the image - FC with bias. Only the
    3x3 convolutions are binary; BN has real gain and shift, eps 1e-3, momentum .2 (Keras' .8).

    As coded in plumerai/rethinking-bnn-optimization (Helwegen et al. 2019, arXiv:1906.02107), after
    Liu et al. 2018, arXiv:1808.00278. Convolutions and poolings with stride pad as Keras'
    `padding="same"` does: the last side more. Initial weights of convolutions are Keras'
    Glorot-normal.

    Args:
        input_shape: (channels, height, width).
        out_features: number of classes.
        width: factor on the number of channels of every hidden layer.
        surrogate: gradient of sign, see `cl_bnn.nn.functional`.

    Returns:
        A network from (batch, channels, height, width) to logits (batch, out_features).

    Raises:
        ValueError: not the shape of an image, or a setting out of range.
    """
    channels, _, _ = image_shape(input_shape, "birealnet18", minimum=1)
    stages = [scaled(stage, width) for stage in STAGES]
    layers: list[nn.Module] = [
        SamePad(7, 2), nn.Conv2d(channels, stages[0], 7, 2, bias=False), _keras_norm(stages[0]),
        SamePad(3, 2, -float("inf")), nn.MaxPool2d(3, 2),
    ]  # fmt: skip
    channels = stages[0]
    for index, stage in enumerate(stages):
        for block in range(4):
            down = index > 0 and block == 0
            layers.append(_bireal_block(channels, stage, down, surrogate))
            channels = stage
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, out_features)]
    model = nn.Sequential(*layers)
    return initialised(model, partial(init_glorot, normal_convolutions=True))


def _bireal_block(channels: int, out: int, down: bool, surrogate: Surrogate) -> Residual:
    if not down:
        conv: nn.Module = BinaryConv2d(channels, out, 3, padding=1)
        body = nn.Sequential(BinaryActivation(surrogate), conv, _keras_norm(out))
        return Residual(body, nn.Identity(), nn.Identity())
    conv = nn.Sequential(SamePad(3, 2), BinaryConv2d(channels, out, 3, stride=2))
    body = nn.Sequential(BinaryActivation(surrogate), conv, _keras_norm(out))
    # Keras averages over the pixels that are there, also where a window reaches beyond the image.
    pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
    shortcut = nn.Sequential(pool, nn.Conv2d(channels, out, 1, bias=False), _keras_norm(out))
    return Residual(body, shortcut, nn.Identity())


def _keras_norm(width: int) -> BatchNorm:
    return BatchNorm(width, eps=1e-3, momentum=0.2, scale=True, shift=True)


def resnet18(
    *, input_shape: tuple[int, ...], out_features: int, width: float = 1.0,
    surrogate: Surrogate = "hard_tanh",
) -> nn.Sequential:  # fmt: skip
    """Semi-binary ResNet-18: first and last layer real, all other convolutions binary.

    Stem: conv 64 7x7/2, padding 3 - MP 3x3/2, padding 1 - BN - ReLU. Then 2 blocks each with 64,
    128, 256 and 512 channels, the first of the last three with stride 2. Block: BN - sign - conv
    3x3 - ReLU - BN - sign - conv 3x3, plus the shortcut, then ReLU; the shortcut of a block with
    stride is BN - sign - conv 1x1, binary too. End: mean over the image - BN - ReLU - FC. Every
    convolution has a bias, every BN gain and shift (eps 1e-4, momentum .1), all real-valued.

    As coded in an early revision of XinDongol/BENN-PyTorch (Zhu, Dong, Su 2019, arXiv:1806.07550);
    the scripts that gave the published results lack their network file. There sign(0) = 0. Scaling
    weights by the mean size of a filter is the optimiser's affair. Initial weights are
    N(0, 1 / n^2), n weights a filter, biases 0, as in those scripts.

    Args:
        input_shape: (channels, height, width).
        out_features: number of classes.
        width: factor on the number of channels of every hidden layer.
        surrogate: gradient of sign, see `cl_bnn.nn.functional`.

    Returns:
        A network from (batch, channels, height, width) to logits (batch, out_features).

    Raises:
        ValueError: not the shape of an image, or a setting out of range.
    """
    channels, _, _ = image_shape(input_shape, "resnet18", minimum=1)
    stages = [scaled(stage, width) for stage in STAGES]
    layers: list[nn.Module] = [
        nn.Conv2d(channels, stages[0], 7, 2, 3), nn.MaxPool2d(3, 2, 1), _benn_norm(stages[0]),
        nn.ReLU(),
    ]  # fmt: skip
    channels = stages[0]
    for index, stage in enumerate(stages):
        for block in range(2):
            down = index > 0 and block == 0
            layers.append(_resnet_block(channels, stage, down, surrogate))
            channels = stage
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), _benn_norm(channels), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(channels, out_features))
    return initialised(model, partial(init_normal, std=None))


def _resnet_block(channels: int, out: int, down: bool, surrogate: Surrogate) -> Residual:
    stride = 2 if down else 1

    def convolution(inputs: int, kernel: int, stride: int) -> list[nn.Module]:
        conv = BinaryConv2d(inputs, out, kernel, stride=stride, padding=kernel // 2, bias=True)
        return [_benn_norm(inputs), BinaryActivation(surrogate), conv]

    body = nn.Sequential(*convolution(channels, 3, stride), nn.ReLU(), *convolution(out, 3, 1))
    shortcut = nn.Sequential(*convolution(channels, 1, stride)) if down else nn.Identity()
    return Residual(body, shortcut, nn.ReLU())


def _benn_norm(width: int) -> BatchNorm:
    return BatchNorm(width, eps=1e-4, momentum=0.1, scale=True, shift=True)
