"""Step functions with the gradients that stand in for their own, which are zero almost everywhere.

The sign: forward it is sign(x) with sign(0) = +1. Backward, the gradient with respect to the output
is multiplied by

    identity     1                                Bengio et al. 2013, arXiv:1308.3432
    hard_tanh    1 if |x| <= 1, else 0            Hubara et al. 2016, arXiv:1602.02830, eq. 4
    approx_sign  2 - 2 |x| if |x| <= 1, else 0    Liu et al. 2018, arXiv:1808.00278

Larq, with which the networks of Bop were trained, calls the second `ste_sign`.

The gate of the BiMU study (arXiv:2605.30198): forward it is 1 if |x| > 1, else 0; backward, the
gradient with respect to the output is multiplied by sign(x) if 1/2 < |x| < 3/2, else by 0.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function

from cl_bnn.errors import one_of

Surrogate = Literal["identity", "hard_tanh", "approx_sign"]
# Between these sizes of its input the gate has a gradient: half a unit to both sides of its step.
GATE_INNER, GATE_OUTER = 0.5, 1.5


def _signs(x: Tensor) -> Tensor:
    # Negative numbers are rounded down to -1, others to 0. Unlike `x.sign()` this leaves NaN as it
    # is: a network that has diverged must not look healthy from its second layer on.
    return x.clamp(-1, 0.5).floor_().mul_(2).add_(1)


class _Elementwise(Function):
    """Several networks side by side (torch's `vmap`) are one larger tensor: everything here is done
    element by element.
    """

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None], x: Tensor) -> tuple[Tensor, int | None]:
        return cls.apply(x), in_dims[0]  # type: ignore[no-untyped-call]


class _Sign(_Elementwise):
    """The part that all surrogates share."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _signs(x)


class _Identity(_Sign):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _HardTanh(_Sign):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0].abs() <= 1)  # a quarter of the memory of x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        inside: Tensor = ctx.saved_tensors[0]
        return gradient * inside


class _ApproxSign(_Sign):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return (2 - 2 * x.abs()).clamp_(min=0) * gradient


class _Gate(_Elementwise):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        # As in `_signs`, NaN stays NaN: sizes above 1 are rounded up to 2, others to 1.
        return x.abs().clamp_(1, 2).ceil_().sub_(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        (x,) = inputs
        size = x.abs()
        slope = x.sign().mul_((size > GATE_INNER) & (size < GATE_OUTER))
        ctx.save_for_backward(slope.to(torch.int8))  # a quarter of the memory of x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        slope: Tensor = ctx.saved_tensors[0]
        return gradient * slope


_FUNCTIONS: dict[str, type[Function]] = {
    "identity": _Identity,
    "hard_tanh": _HardTanh,
    "approx_sign": _ApproxSign,
}
SURROGATES = tuple(_FUNCTIONS)


def sign(x: Tensor, surrogate: Surrogate = "hard_tanh") -> Tensor:
    """+1 where x >= 0, -1 where x < 0, NaN where x is NaN (Hubara et al. 2016, arXiv:1602.02830).

    Args:
        x: any shape, floating point.
        surrogate: the gradient in place of the derivative, see the module.

    Raises:
        ValueError: an unknown `surrogate`.
    """
    one_of("surrogate", surrogate, SURROGATES)
    signs: Tensor = _FUNCTIONS[surrogate].apply(x)  # type: ignore[no-untyped-call]
    return signs


def gate(x: Tensor) -> Tensor:
    """1 where |x| > 1, 0 elsewhere, NaN where x is NaN; the gate of the BiMU study
    (arXiv:2605.30198), see the module for its gradient.

    Args:
        x: any shape, floating point.
    """
    gates: Tensor = _Gate.apply(x)  # type: ignore[no-untyped-call]
    return gates
