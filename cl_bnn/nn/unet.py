"""The U-Net of the reproduction's segmentation."""

import torch
from torch import Tensor, nn

from cl_bnn.errors import require
from cl_bnn.nn.layers import BinaryConv2d, BinaryConvTranspose2d
from cl_bnn.nn.norm import BatchNorm
from cl_bnn.nn.shapes import image_shape, scaled

LEVELS = (64, 128, 256, 512)
BOTTLENECK = 1024
# Every pooling meets an even side if a side has REMAINDER pixels modulo STEP; SMALLEST is the first
# such number with an output.
STEP, REMAINDER, SMALLEST = 16, 12, 188


class UNet(nn.Module):
    """A U-Net whose convolutions do not pad; see `unet`, which checks sizes.

    Args:
        channels: of the image.
        out_features: number of classes.
        levels: channels of the levels, from the top; the last is the bottleneck.
        dropout: probability that a whole channel is dropped.
        momentum: of the BatchNorms.
    """

    def __init__(
        self, channels: int, out_features: int, levels: list[int], dropout: float, momentum: float
    ) -> None:
        super().__init__()
        self.momentum, self.dropout = momentum, dropout
        *tops, bottom = levels
        above, below = [channels, *tops[:-1]], [*tops[1:], bottom]
        self.down = nn.ModuleList(self._into_tap(a, o) for a, o in zip(above, tops, strict=True))
        self.pool = nn.ModuleList(self._out_of_tap(o) for o in tops)
        self.bottom = self._double(tops[-1], bottom)
        self.up = nn.ModuleList(
            BinaryConvTranspose2d(b, o, 2, stride=2) for b, o in zip(below, tops, strict=True)
        )
        self.join = nn.ModuleList(
            nn.Sequential(self._norm(2 * o), nn.Dropout2d(dropout), self._double(2 * o, o))
            for o in tops
        )
        last = BinaryConv2d(tops[0], out_features, 1)
        self.last = nn.Sequential(last, self._norm(out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, out_features, height - 184, width - 184) of (batch, channels, ...)."""
        taps = []
        for down, pool in zip(self.down, self.pool, strict=True):
            taps.append(down(x))
            x = pool(taps[-1])
        x = self.bottom(x)
        for tap, up, join in reversed(list(zip(taps, self.up, self.join, strict=True))):
            x = up(x)
            x = join(torch.cat((_centre(tap, x), x), dim=1))
        logits: Tensor = self.last(x)
        return logits

    def _norm(self, width: int) -> BatchNorm:
        return BatchNorm(width, momentum=self.momentum)

    def _into_tap(self, inputs: int, out: int) -> nn.Sequential:
        first = BinaryConv2d(inputs, out, 3)
        return nn.Sequential(first, self._norm(out), nn.ReLU(), BinaryConv2d(out, out, 3))

    def _out_of_tap(self, out: int) -> nn.Sequential:
        return nn.Sequential(
            nn.MaxPool2d(2), self._norm(out), nn.ReLU(), nn.Dropout2d(self.dropout)
        )

    def _double(self, inputs: int, out: int) -> nn.Sequential:
        return nn.Sequential(*self._into_tap(inputs, out), self._norm(out), nn.ReLU())


def unet(
    *, input_shape: tuple[int, ...], out_features: int, width: float = 1.0, dropout: float = 0.05,
    momentum: float = 0.2,
) -> UNet:  # fmt: skip
    """Four levels of 64, 128, 256, 512 channels, a bottleneck of 1024, four levels up, conv 1x1.

    Down: conv - BN - ReLU - conv - MP - BN - ReLU - dropout; what the level hands across is the
    output of its second convolution as it is, before pooling, BN and ReLU (unlike Ronneberger et
    al. 2015, arXiv:1505.04597, who hand across the activations), cropped to its centre. Bottleneck:
    (conv - BN - ReLU) x 2. Up: transposed conv 2x2/2 - concatenation (what was handed across first)
    - BN - dropout - (conv - BN - ReLU) x 2. End: conv 1x1 - BN. Convolutions are 3x3 without
    padding, dropout drops whole channels, MP is 2x2; BN eps 1e-5, no gain. All weights are binary,
    activations real, nothing has a bias. As coded in prateekstark/training-binary-neural-network.

    A side of n pixels gives n - 184 (572 -> 388), and must be one of 188, 204, 220, ...: then every
    pooling meets an even side and every crop is centred.

    Args:
        input_shape: (channels, height, width).
        out_features: number of classes.
        width: factor on the number of channels of every hidden layer.
        dropout: probability that a channel is dropped.
        momentum: of the BatchNorms.

    Returns:
        A network from (batch, channels, height, width) to logits (batch, out_features,
        height - 184, width - 184).

    Raises:
        ValueError: an image of another size, or a setting out of range.
    """
    channels, height, side = image_shape(input_shape, "unet", minimum=1)
    for name, size in (("height", height), ("width", side)):
        if size < SMALLEST or size % STEP != REMAINDER:
            raise ValueError(f"unet cannot take a {name} of {size} pixels: {_nearest(size)}")
    require(0 <= dropout < 1, "dropout", dropout, "in [0, 1)")
    levels = [scaled(level, width) for level in (*LEVELS, BOTTLENECK)]
    return UNet(channels, out_features, levels, dropout, momentum)


def _nearest(size: int) -> str:
    if size < SMALLEST:
        return f"the smallest is {SMALLEST}"
    below = size - (size - REMAINDER) % STEP
    return f"the nearest are {below}, {below + STEP}"


def _centre(x: Tensor, like: Tensor) -> Tensor:
    """The centre of `x`, as high and as wide as `like`."""
    top, left = ((x.shape[i] - like.shape[i]) // 2 for i in (2, 3))
    return x[:, :, top : top + like.shape[2], left : left + like.shape[3]]
