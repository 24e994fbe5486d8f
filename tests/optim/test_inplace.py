"""What is computed in place is, bit for bit, what the equations say."""

import pytest
import torch
from torch import Tensor

from cl_bnn.optim import equations, inplace

SHAPES = [(1,), (7, 5), (130, 257)]
DTYPES = [torch.float32, torch.float64]
CASES = pytest.mark.parametrize("shape", SHAPES, ids=str)
TYPES = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def same(found: Tensor, expected: Tensor) -> None:
    """Equal to the last bit; NaN, as 0 times an infinite scale, where it is expected."""
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def numbers(shape: tuple[int, ...], dtype: torch.dtype, count: int, size: float) -> list[Tensor]:
    """Normal numbers of very different sizes, 0 and saturated values among them."""
    source = torch.Generator().manual_seed(3)
    found = []
    for _ in range(count):
        values = torch.randn(shape, generator=source, dtype=dtype) * size
        far = torch.rand(shape, generator=source)
        found.append(torch.where(far < 0.2, values * 100, torch.where(far < 0.3, 0.0, values)))
    return found


@CASES
@TYPES
@pytest.mark.parametrize("temperature", [1e-10, 1e-2, 1.0])
@pytest.mark.parametrize("own", [False, True])
def test_relaxed_weights(
    shape: tuple[int, ...], dtype: torch.dtype, temperature: float, own: bool
) -> None:
    (natural,) = numbers(shape, dtype, 1, 3)
    uniform = torch.rand(shape, dtype=dtype)
    expected = (
        equations.relaxed_argument(natural, uniform, temperature),
        equations.relaxed_weights(natural, uniform, temperature),
    )
    weights, argument = torch.empty_like(natural), uniform if own else torch.empty_like(natural)
    inplace.load_relaxed(weights, argument, natural, uniform, temperature)
    same(argument, expected[0])
    same(weights, expected[1])


@CASES
@TYPES
@pytest.mark.parametrize("temperature", [1e-10, 1e-2, 1.0])
def test_gradient_scales(shape: tuple[int, ...], dtype: torch.dtype, temperature: float) -> None:
    natural, argument, gradient = numbers(shape, dtype, 3, 3)
    work = inplace.Workspace().like(natural)
    weights, mean = torch.tanh(argument), torch.tanh(natural)
    published = equations.gradient_scale(weights, mean, temperature, equations.REFERENCE_EPS)
    found = gradient.clone()
    inplace.scale_gradient(found, weights, mean, temperature, work)
    same(found, gradient * published)
    for bound in (1.0, 2.5, float("inf")):
        sound = equations.bounded_gradient_scale(argument, natural, temperature, bound)
        found = gradient.clone()
        inplace.scale_gradient_bounded(found, argument.clone(), natural, temperature, bound, work)
        same(found, gradient * sound)


@CASES
@TYPES
@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.99])
def test_natural_step(shape: tuple[int, ...], dtype: torch.dtype, momentum: float) -> None:
    natural, prior, gradient, buffer = numbers(shape, dtype, 4, 2)
    settings = {"lr": 3e-3, "momentum": momentum, "kl_weight": 0.7, "step": 4}
    expected, expected_buffer = equations.natural_step(natural, prior, gradient, buffer, **settings)
    before = buffer.clone()
    work = inplace.Workspace().like(natural)
    inplace.move_natural(natural, prior, gradient.clone(), buffer, work=work, **settings)
    same(natural, expected)
    same(buffer, expected_buffer if momentum else before)


def test_workspace_is_shared_and_grows() -> None:
    workspace = inplace.Workspace()
    small = workspace.like(torch.zeros(2, 3))
    assert [piece.shape for piece in small] == [(2, 3), (2, 3)]
    assert small[0].data_ptr() != small[1].data_ptr()
    assert workspace.like(torch.ones(3, 2))[0].data_ptr() == small[0].data_ptr()
    large = workspace.like(torch.zeros(5, 3))
    assert workspace.like(torch.zeros(2, 3))[1].data_ptr() == large[1].data_ptr()
    double = workspace.like(torch.zeros(2, 3, dtype=torch.float64))
    assert double[0].dtype == torch.float64
    assert workspace.like(torch.zeros(5, 3))[0].data_ptr() == large[0].data_ptr()
