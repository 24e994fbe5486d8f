"""Networks whose weights can be binary, and the layers they are made of."""

from cl_bnn.nn.binarynet import binarynet
from cl_bnn.nn.functional import gate, sign
from cl_bnn.nn.heads import Headed
from cl_bnn.nn.imagenet import binary_alexnet, xnornet
from cl_bnn.nn.init import init_latent, init_uniform, reinitialise
from cl_bnn.nn.layers import (
    BinaryActivation,
    BinaryConv2d,
    BinaryConvTranspose2d,
    BinaryLinear,
    GateActivation,
    binary_group,
    binary_parameters,
    real_parameters,
)
from cl_bnn.nn.lrnet import lrnet_big, lrnet_small
from cl_bnn.nn.mlp import mlp, mnist_mlp, tanh_mlp
from cl_bnn.nn.nin import nin
from cl_bnn.nn.residual import birealnet18, resnet18
from cl_bnn.nn.stacked import Stacked, vectors
from cl_bnn.nn.unet import unet
from cl_bnn.nn.vgg import vgg

__all__ = [
    "BinaryActivation",
    "BinaryConv2d",
    "BinaryConvTranspose2d",
    "BinaryLinear",
    "GateActivation",
    "Headed",
    "Stacked",
    "binary_alexnet",
    "binary_group",
    "binary_parameters",
    "binarynet",
    "birealnet18",
    "gate",
    "init_latent",
    "init_uniform",
    "lrnet_big",
    "lrnet_small",
    "mlp",
    "mnist_mlp",
    "nin",
    "real_parameters",
    "reinitialise",
    "resnet18",
    "sign",
    "tanh_mlp",
    "unet",
    "vectors",
    "vgg",
    "xnornet",
]
