"""Layers that declare their weights binary, which parameters are; binary activations; padding."""

from typing import Any

from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from cl_bnn.errors import one_of
from cl_bnn.nn.functional import SURROGATES, Surrogate, gate, sign


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


class BinaryActivation(nn.Module):
    """+1 where x >= 0, -1 elsewhere, with a surrogate gradient; see `cl_bnn.nn.functional.sign`.

    Args:
        surrogate: `"identity"`, `"hard_tanh"` or `"approx_sign"`.

    Raises:
        ValueError: an unknown `surrogate`.
    """

    def __init__(self, surrogate: Surrogate = "hard_tanh") -> None:
        super().__init__()
        one_of("surrogate", surrogate, SURROGATES)
        self.surrogate = surrogate

    def forward(self, x: Tensor) -> Tensor:
        """Signs of `x`, any shape."""
        return sign(x, self.surrogate)

    def extra_repr(self) -> str:
        return repr(self.surrogate)


class GateActivation(nn.Module):
    """1 where |x| > 1, 0 elsewhere, with a surrogate gradient; see `cl_bnn.nn.functional.gate`."""

    def forward(self, x: Tensor) -> Tensor:
        """Gates of `x`, any shape."""
        return gate(x)


class SamePad(nn.Module):
    """Pads images as Keras' `padding="same"` does, for a layer that follows and pads nothing.

    An image of n pixels gives ceil(n / stride); if the number of pixels to add is odd, the last
    side gets one more. Torch's own paddings are symmetric, which shifts strided layers by a pixel.

    Args:
        kernel_size: side of the kernel of the layer that follows.
        stride: its stride.
        value: what the new pixels hold: 0, or minus infinity before max-pooling.
    """

    def __init__(self, kernel_size: int, stride: int, value: float = 0.0) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.value = kernel_size, stride, value

    def forward(self, x: Tensor) -> Tensor:
        """Pad `x` of shape (batch, channels, height, width)."""
        top, bottom = self._sides(x.shape[2])
        left, right = self._sides(x.shape[3])
        return F.pad(x, (left, right, top, bottom), value=self.value)

    def _sides(self, size: int) -> tuple[int, int]:
        steps = -(-size // self.stride) - 1
        total = max(steps * self.stride + self.kernel_size - size, 0)
        return total // 2, total - total // 2

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, {self.stride}, {self.value}"


def binary_parameters(model: nn.Module) -> list[Parameter]:
    """The parameters that an optimiser of binary weights should own, in the order of
    `model.parameters()`.

    If the model has layers that declare binary parameters (by a method `binary`, as `BinaryLinear`
    does), those. Otherwise, for a network of plain torch layers, the weights of all linear and
    convolutional layers. Everything else (biases, gains and shifts of norms) is real-valued. A
    weight that two layers share appears once, and one that is frozen (`requires_grad = False`) not
    at all.
    """
    declared = [
        p for m in model.modules() if callable(b := getattr(m, "binary", None)) for p in b()
    ]
    plain = [m.weight for m in model.modules() if isinstance(m, (nn.Linear, _ConvNd))]
    binary = {id(p) for p in declared or plain}
    return [p for p in model.parameters() if id(p) in binary and p.requires_grad]


def binary_group(model: nn.Module) -> dict[str, Any]:
    """The `binary_parameters` as a group for an optimiser of `cl_bnn.optim`, biases that their
    layers declare binary among them.

    Raises:
        ValueError: there are none.
    """
    found = binary_parameters(model)
    if not found:
        raise ValueError(
            "model must have binary weights, got none: it has no linear or convolutional layer"
        )
    return {"params": found, "binary_vectors": True}


def real_parameters(model: nn.Module) -> list[Parameter]:
    """The parameters that are neither frozen nor `binary_parameters`, in the order of
    `model.parameters()`.
    """
    binary = {id(p) for p in binary_parameters(model)}
    return [p for p in model.parameters() if id(p) not in binary and p.requires_grad]
