"""Network in network with binary weights and activations, as in BENN."""

from functools import partial
from typing import Literal, get_args

from torch import nn

from cl_bnn.errors import one_of, require
from cl_bnn.nn.functional import Surrogate
from cl_bnn.nn.init import init_normal, initialised
from cl_bnn.nn.layers import BinaryActivation, BinaryConv2d
from cl_bnn.nn.norm import BatchNorm
from cl_bnn.nn.shapes import image_shape, scaled

Form = Literal["all", "semi"]
EPS = 1e-4
INITIAL_STD = 0.05


def nin(
    *, input_shape: tuple[int, ...], out_features: int, form: Form = "semi", width: float = 1.0,
    dropout: float = 0.5, surrogate: Surrogate = "hard_tanh",
) -> nn.Sequential:  # fmt: skip
    """C192(5x5) - C96 - MP - C192(5x5) - C192 - AP - C192(3x3) - C192 - C - average, on CIFAR-10.

    Kernels are 1x1 where nothing is said, padding keeps the size; MP and AP are 3x3 poolings with
    stride 2 and padding 1; the end is the mean over the image (8x8 for 32x32 pixels). A binary
    layer is BN (gain and shift) - sign - (dropout) - conv with bias - ReLU; dropout stands in the
    third and the fifth. In the all-binary form every layer is such a one: the image itself is
    binarised. In the semi-binary form the ends are real: conv - BN - ReLU and BN - conv - ReLU,
    their BNs without gain and shift. Logits are >= 0 because of the last ReLU. Biases, gains and
    shifts are real-valued.

    As coded in XinDongol/BENN-PyTorch (Zhu, Dong, Su 2019, arXiv:1806.07550), except that there
    sign(0) = 0 and the gradient at |x| = 1 is zero. Scaling weights by the mean size of a filter is
    the optimiser's affair. Initial weights are N(0, .05^2), biases 0.

    Args:
        input_shape: (channels, height, width).
        out_features: number of classes.
        form: `"all"` or `"semi"`.
        width: factor on the number of channels of every hidden layer.
        dropout: probability that a sign is dropped in the third and the fifth layer.
        surrogate: gradient of sign, see `cl_bnn.nn.functional`.

    Returns:
        A network from (batch, channels, height, width) to logits (batch, out_features).

    Raises:
        ValueError: not the shape of an image, or a setting out of range.
    """
    channels, _, _ = image_shape(input_shape, "nin", minimum=1)
    one_of("form", form, get_args(Form))
    require(0 <= dropout < 1, "dropout", dropout, "in [0, 1)")
    wide, narrow = scaled(192, width), scaled(96, width)

    def block(inputs: int, outputs: int, kernel: int, drop: float = 0.0) -> list[nn.Module]:
        return [
            BatchNorm(inputs, eps=EPS, scale=True, shift=True), BinaryActivation(surrogate),
            *([nn.Dropout(drop)] if drop else []),
            BinaryConv2d(inputs, outputs, kernel, padding=kernel // 2, bias=True), nn.ReLU(),
        ]  # fmt: skip

    if form == "all":
        first, last = block(channels, wide, 5), block(wide, out_features, 1)
    else:
        first = [nn.Conv2d(channels, wide, 5, padding=2), BatchNorm(wide, eps=EPS), nn.ReLU()]
        last = [BatchNorm(wide, eps=EPS), nn.Conv2d(wide, out_features, 1), nn.ReLU()]
    model = nn.Sequential(
        *first, *block(wide, narrow, 1), nn.MaxPool2d(3, 2, 1),
        *block(narrow, wide, 5, dropout), *block(wide, wide, 1), nn.AvgPool2d(3, 2, 1),
        *block(wide, wide, 3, dropout), *block(wide, wide, 1), *last,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    return initialised(model, partial(init_normal, std=INITIAL_STD))
