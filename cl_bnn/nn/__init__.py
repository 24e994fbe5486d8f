"""Networks whose weights can be binary."""

from cl_bnn.nn.layers import (
    BinaryConv2d,
    BinaryConvTranspose2d,
    BinaryLinear,
    binary_parameters,
    real_parameters,
)
from cl_bnn.nn.mlp import MLP, init_latent, mlp, mnist_mlp
from cl_bnn.nn.vgg import vgg

__all__ = [
    "MLP",
    "BinaryConv2d",
    "BinaryConvTranspose2d",
    "BinaryLinear",
    "binary_parameters",
    "init_latent",
    "mlp",
    "mnist_mlp",
    "real_parameters",
    "vgg",
]
