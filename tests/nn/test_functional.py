"""Sign, gate and the gradients that stand in for their own: hand values, also at |x| = 1."""

import pytest
import torch
from torch import Tensor, nn

from cl_bnn.nn import BinaryActivation, GateActivation, gate, sign
from cl_bnn.nn.functional import Surrogate

POINTS = [-2.0, -1.0, -0.5, -1e-30, -0.0, 0.0, 0.25, 1.0, 1.5, float("inf")]
SIGNS = [-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
SLOPES: dict[Surrogate, list[float]] = {
    "identity": [1.0] * 10,
    "hard_tanh": [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0],
    "approx_sign": [0.0, 0.0, 1.0, 2.0, 2.0, 2.0, 1.5, 0.0, 0.0, 0.0],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("surrogate", SLOPES)
def test_values_and_gradients_are_those_computed_by_hand(
    surrogate: Surrogate, dtype: torch.dtype
) -> None:
    x = torch.tensor(POINTS, dtype=dtype, requires_grad=True)
    y = sign(x, surrogate)
    assert y.dtype == dtype and y.tolist() == SIGNS
    upstream = torch.arange(1.0, 11.0, dtype=dtype)
    y.backward(upstream)
    assert x.grad is not None
    assert (x.grad / upstream).tolist() == SLOPES[surrogate]


def test_approx_sign_is_the_slope_of_the_published_parabolas() -> None:
    def parabolas(x: Tensor) -> Tensor:
        inner = torch.where(x < 0, 2 * x + x**2, 2 * x - x**2)
        return torch.where(x.abs() < 1, inner, x.sign())

    x = torch.linspace(-1.5, 1.5, 13, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(parabolas(x).sum(), x)
    (found,) = torch.autograd.grad(sign(x, "approx_sign").sum(), x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("surrogate", SLOPES)
def test_nan_stays_visible(surrogate: Surrogate) -> None:
    assert sign(torch.tensor([float("nan")]), surrogate).isnan().all()


@pytest.mark.parametrize("surrogate", SLOPES)
def test_layer_is_the_function(surrogate: Surrogate) -> None:
    x = torch.tensor(POINTS, requires_grad=True)
    layer = BinaryActivation(surrogate)
    layer(x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == SLOPES[surrogate]
    assert repr(layer) == f"BinaryActivation('{surrogate}')"


def test_input_is_left_as_it_is() -> None:
    x = torch.tensor(POINTS)
    sign(x)
    assert torch.equal(x, torch.tensor(POINTS))


def test_gradient_reaches_the_weights_below() -> None:
    linear = nn.Linear(1, 3, bias=False)
    linear.weight.data = torch.tensor([[-2.0], [0.5], [-0.25]])
    sign(linear(torch.tensor([[2.0]]))).sum().backward()  # pre-activations -4, 1, -0.5
    assert linear.weight.grad is not None
    assert linear.weight.grad.flatten().tolist() == [0.0, 2.0, 2.0]


def test_unknown_surrogate_is_named() -> None:
    message = "surrogate must be one of identity, hard_tanh, approx_sign, got 'tanh'"
    with pytest.raises(ValueError, match=message):
        sign(torch.ones(1), "tanh")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        BinaryActivation("tanh")  # type: ignore[arg-type]


# x, gate, slope; next to the edges the nearest numbers of bfloat16.
GATE = [
    (-2.0, 1.0, 0.0), (-1.5, 1.0, 0.0), (-1.25, 1.0, -1.0), (-1.0078125, 1.0, -1.0),
    (-1.0, 0.0, -1.0), (-0.75, 0.0, -1.0), (-0.50390625, 0.0, -1.0), (-0.5, 0.0, 0.0),
    (-0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (0.50390625, 0.0, 1.0),
    (1.0, 0.0, 1.0), (1.0078125, 1.0, 1.0), (1.4921875, 1.0, 1.0), (1.5, 1.0, 0.0),
    (float("inf"), 1.0, 0.0),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gate_and_its_gradient_are_those_computed_by_hand(dtype: torch.dtype) -> None:
    points, gates, slopes = zip(*GATE, strict=True)
    x = torch.tensor(points, dtype=dtype, requires_grad=True)
    y = GateActivation()(x)
    assert y.dtype == dtype and y.tolist() == list(gates)
    upstream = torch.arange(1.0, 18.0, dtype=dtype)
    y.backward(upstream)
    assert x.grad is not None
    assert (x.grad / upstream).tolist() == list(slopes)


def test_gate_keeps_nan_visible_and_its_input_as_it_is() -> None:
    x = torch.tensor([float("nan"), -3.0])
    assert gate(x)[0].isnan() and x[1] == -3


def test_gates_of_networks_side_by_side_are_those_of_each() -> None:
    x = torch.linspace(-2, 2, 12).view(3, 4)

    def slope(row: Tensor) -> Tensor:
        return torch.func.grad(lambda r: (gate(r) * torch.arange(4.0)).sum())(row)

    assert torch.equal(torch.vmap(gate)(x), gate(x))
    assert torch.equal(torch.vmap(slope)(x), torch.stack([slope(row) for row in x]))
