"""Multi-layer perceptrons with binary weights."""

import itertools
from typing import Literal, get_args

from torch import nn

from cl_bnn.errors import one_of, require
from cl_bnn.nn.heads import Headed
from cl_bnn.nn.layers import BinaryActivation, BinaryLinear, GateActivation
from cl_bnn.nn.norm import EPS, MOMENTUM, BatchNorm, Norm, norm_layer
from cl_bnn.nn.shapes import features

Bias = Literal["binary", "real", "none"]
OutputNorm = Literal["none", "shared", "batch"]
Activation = Literal["relu", "sign", "gate"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sign": BinaryActivation,
    "gate": GateActivation,
}


def mlp(
    *, in_features: int, out_features: int, n_heads: int = 1, n_tasks: int = 1,
    width: int = 100, depth: int = 2, norm: Norm = "shared", activation: Activation = "relu",
) -> Headed:  # fmt: skip
    """FC - norm - activation, repeated, then FC - norm (Meng et al. 2020, arXiv:2002.10778,
    appendix B.4).

    With several heads, head k is FC - norm of its own and sees only samples of task k. No layer has
    a bias and no norm has a gain, so that every parameter is a weight matrix and may be binary;
    only where `norm` is `"none"` there are biases, which are real-valued. One or two outputs get no
    LayerNorm.

    Args:
        in_features: length of a flattened input.
        out_features: outputs of each head.
        n_heads: 1, or one head a task.
        n_tasks: tasks of the stream, for `norm="per_task"`.
        width: units of a hidden layer.
        depth: number of hidden layers, >= 0.
        norm: `"shared"`, `"per_task"`, `"batch"` or `"layer"`, see `cl_bnn.nn.norm`; or `"none"`.
        activation: `"relu"` as in that paper; `"sign"`, +-1 with the hard tanh as surrogate, as
            with synaptic metaplasticity (Laborieux et al. 2021, arXiv:2003.03533); `"gate"`, 0 or
            1, as in the BiMU study (arXiv:2605.30198), see `cl_bnn.nn.functional`.

    Raises:
        ValueError: `width` or `depth` out of range, or an unknown `norm` or `activation`.
    """
    require(width >= 1, "width", width, ">= 1")
    require(depth >= 0, "depth", depth, ">= 0")
    one_of("activation", activation, ACTIVATIONS)
    layers: list[nn.Module] = [nn.Flatten()]
    bias = norm == "none"
    for _ in range(depth):
        layers.append(BinaryLinear(in_features, width, bias))
        layers += [norm_layer(norm, width, n_tasks), ACTIVATIONS[activation]()]
        in_features = width
    # Of two numbers a LayerNorm leaves the sign of their difference, which has no gradient.
    last: Norm = "none" if norm == "layer" and out_features <= 2 else norm
    heads = (
        nn.Sequential(
            BinaryLinear(in_features, out_features, bias), norm_layer(last, out_features, n_tasks)
        )
        for _ in range(n_heads)
    )
    return Headed(nn.Sequential(*layers), heads)


def mnist_mlp(
    *, input_shape: tuple[int, ...], out_features: int, width: int = 2048, depth: int = 3,
    dropout: float = 0.2, momentum: float = MOMENTUM,
) -> nn.Sequential:  # fmt: skip
    """Dropout - [FC - BN - ReLU - dropout] x `depth` - FC - BN: the MLP for MNIST of BinaryConnect.

    All weights are binary, nothing has a bias, no BatchNorm a gain. Order and constants are those
    of the BayesBiNN authors' code (Meng et al. 2020, arXiv:2002.10778, appendix B.2; the table in
    the paper puts ReLU before BN), after Courbariaux et al. 2015, arXiv:1511.00363.

    Args:
        input_shape: shape of an input, which is flattened.
        out_features: number of classes.
        width: units of a hidden layer.
        depth: number of hidden layers, >= 0.
        dropout: probability that an input or a hidden unit is dropped.
        momentum: of the BatchNorms.

    Returns:
        A network from (batch, *input_shape) to logits (batch, out_features).

    Raises:
        ValueError: a setting out of range.
    """
    require(width >= 1, "width", width, ">= 1")
    require(depth >= 0, "depth", depth, ">= 0")
    require(0 <= dropout < 1, "dropout", dropout, "in [0, 1)")
    units = features(input_shape)
    layers: list[nn.Module] = [nn.Flatten(), nn.Dropout(dropout)]
    for _ in range(depth):
        norm = BatchNorm(width, eps=EPS, momentum=momentum)
        layers += [BinaryLinear(units, width), norm, nn.ReLU(), nn.Dropout(dropout)]
        units = width
    norm = BatchNorm(out_features, eps=EPS, momentum=momentum)
    return nn.Sequential(*layers, BinaryLinear(units, out_features), norm)


def tanh_mlp(
    *, input_shape: tuple[int, ...], out_features: int, width: int = 64, depth: int = 2,
    bias: Bias = "binary", output_norm: OutputNorm = "none",
) -> nn.Sequential:  # fmt: skip
    """[FC - tanh] x `depth` - FC (- BN): the network of BayesBiNN's synthetic tasks.

    All weights are binary. The authors' code (Meng et al. 2020, arXiv:2002.10778, appendix B.1)
    binarises the biases too under BayesBiNN and keeps them real under STE. Two moons: 2-64-64-1,
    4417 parameters. Regression: 1-64-64-1 with BatchNorm (eps 1e-4, momentum .15, no gain) after
    the last layer; the authors never leave the training mode, so that it normalises by the inputs
    at hand (`"batch"`).

    Args:
        input_shape: shape of an input, which is flattened.
        out_features: number of outputs.
        width: units of a hidden layer.
        depth: number of hidden layers, >= 0.
        bias: `"binary"`, `"real"` or `"none"`.
        output_norm: `"none"`, `"shared"` (running statistics at test) or `"batch"` (statistics of
            the inputs at hand, at test too).

    Returns:
        A network from (batch, *input_shape) to (batch, out_features).

    Raises:
        ValueError: a setting out of range.
    """
    require(width >= 1, "width", width, ">= 1")
    require(depth >= 0, "depth", depth, ">= 0")
    one_of("bias", bias, get_args(Bias))
    one_of("output_norm", output_norm, get_args(OutputNorm))
    sizes = [features(input_shape), *[width] * depth, out_features]
    layers: list[nn.Module] = [nn.Flatten()]
    for units, out in itertools.pairwise(sizes):
        linear = BinaryLinear(units, out, bias != "none", binary_bias=bias == "binary")
        layers += [linear, nn.Tanh()]
    del layers[-1]
    if output_norm != "none":
        layers.append(norm_layer(output_norm, out_features, n_tasks=1))
    return nn.Sequential(*layers)
