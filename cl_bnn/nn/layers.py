"""Layers that declare their weights binary, and the question which parameters are."""

from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.modules.conv import _ConvNd


class BinaryLinear(nn.Linear):
    """`nn.Linear` whose weight is binary.

    The arithmetic is that of `nn.Linear`, with the weight as it is: it is the optimiser of binary
    weights that loads +-1 into it. The class only declares who owns the weight.

    Args:
        in_features: length of an input, shape (batch, in_features).
        out_features: length of an output, shape (batch, out_features).
        bias: whether there is a bias.
        binary_bias: whether the bias is binary too, as in BayesBiNN's synthetic tasks; otherwise it
            is real-valued.

    Raises:
        ValueError: `binary_bias` without `bias`.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = False, *, binary_bias: bool = False
    ) -> None:
        if binary_bias and not bias:
            raise ValueError("binary_bias=True needs bias=True")
        super().__init__(in_features, out_features, bias)
        self.binary_bias = binary_bias

    def binary(self) -> list[Tensor]:
        """The binary parameters of this layer."""
        return [self.weight, self.bias] if self.binary_bias else [self.weight]


class BinaryConv2d(nn.Conv2d):
    """`nn.Conv2d` whose weight is binary; see `BinaryLinear`. A bias is real-valued.

    Args:
        in_channels: channels of an input, shape (batch, in_channels, height, width).
        out_channels: channels of an output.
        kernel_size: side of the kernel.
        stride: as in `nn.Conv2d`.
        padding: as in `nn.Conv2d`.
        bias: whether there is a bias.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1,
        padding: int = 0, bias: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)

    def binary(self) -> list[Tensor]:
        """The binary parameters of this layer."""
        return [self.weight]


class BinaryConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` without bias whose weight is binary; see `BinaryLinear`.

    Args:
        in_channels: channels of an input, shape (batch, in_channels, height, width).
        out_channels: channels of an output.
        kernel_size: side of the kernel.
        stride: as in `nn.ConvTranspose2d`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, bias=False)

    def binary(self) -> list[Tensor]:
        """The binary parameters of this layer."""
        return [self.weight]


BINARY_LAYERS = (BinaryLinear, BinaryConv2d, BinaryConvTranspose2d)


def binary_parameters(model: nn.Module) -> list[Parameter]:
    """The parameters that an optimiser of binary weights should own, in the order of
    `model.parameters()`.

    If the model has layers that declare binary parameters (`BINARY_LAYERS`), those. Otherwise, for
    a network of plain torch layers, the weights of all linear and convolutional layers. Everything
    else (biases, gains and shifts of norms) is real-valued. A weight that two layers share appears
    once.
    """
    declared = [p for m in model.modules() if isinstance(m, BINARY_LAYERS) for p in m.binary()]
    plain = [m.weight for m in model.modules() if isinstance(m, (nn.Linear, _ConvNd))]
    binary = {id(p) for p in declared or plain}
    return [p for p in model.parameters() if id(p) in binary]


def real_parameters(model: nn.Module) -> list[Parameter]:
    """The parameters that are not `binary_parameters`, in the order of `model.parameters()`."""
    binary = {id(p) for p in binary_parameters(model)}
    return [p for p in model.parameters() if id(p) not in binary]
