"""The equations of BayesBiNN against closed forms, and at the edges of floating point."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from cl_bnn.optim.equations import (
    REFERENCE_EPS,
    bounded_gradient_scale,
    gradient_scale,
    natural_step,
    relaxed_argument,
    relaxed_weights,
)

FLOAT64 = torch.float64


def midpoints(count: int) -> Tensor:
    """The middles of equal cells of [0, 1]: a mean over them is an integral over the draws."""
    return (torch.arange(count, dtype=FLOAT64) + 0.5) / count


def log_cosh(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, -x) - math.log(2)


def test_relaxed_weights_are_the_formula() -> None:
    natural = torch.tensor([-3.0, -0.2, 0.0, 0.7, 2.0], dtype=FLOAT64)
    uniform = torch.tensor([0.999, 0.3, 0.5, 0.01, 0.6], dtype=FLOAT64)
    expected = [
        math.tanh((n + math.log(u / (1 - u)) / 2) / 0.8)
        for n, u in zip(natural.tolist(), uniform.tolist(), strict=True)
    ]
    found = relaxed_weights(natural, uniform, 0.8)
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    assert natural.tolist() == [-3.0, -0.2, 0.0, 0.7, 2.0], "arguments are left as they are"
    assert uniform.tolist() == [0.999, 0.3, 0.5, 0.01, 0.6]


def test_cold_relaxed_weights_are_bernoulli() -> None:
    """As tau goes to 0 the weights are +-1, and +1 with probability sigmoid(2 lambda)."""
    for natural in (-1.5, 0.0, 0.4):
        weights = relaxed_weights(
            torch.full((10_000,), natural, dtype=FLOAT64), midpoints(10_000), 1e-8
        )
        assert (weights.abs() == 1).all()
        share = (weights > 0).double().mean().item()
        assert share == pytest.approx(1 / (1 + math.exp(-2 * natural)), abs=1e-4)


def test_hot_relaxed_weights_vanish() -> None:
    weights = relaxed_weights(torch.ones(99, dtype=FLOAT64), midpoints(99), 1e6)
    assert weights.abs().max().item() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
def test_a_draw_of_zero_is_minus_one(dtype: torch.dtype) -> None:
    natural, uniform = torch.tensor([10.0], dtype=dtype), torch.zeros(1, dtype=dtype)
    assert relaxed_weights(natural, uniform, 0.01).item() == -1
    argument = relaxed_argument(natural, uniform, 0.01)
    scale = bounded_gradient_scale(argument, natural, 0.01, math.inf)
    assert 0 <= scale.item() < 1e-5


def test_gradient_scale_is_the_formula() -> None:
    weights, mean = (
        torch.tensor([0.5, -0.9], dtype=FLOAT64),
        torch.tensor([0.1, 0.8], dtype=FLOAT64),
    )
    expected = [
        (1 - 0.25 + 1e-3) / (0.2 * (1 - 0.01 + 1e-3)),
        (1 - 0.81 + 1e-3) / (0.2 * (1 - 0.64 + 1e-3)),
    ]
    assert gradient_scale(weights, mean, 0.2, 1e-3).tolist() == pytest.approx(expected, rel=1e-12)
    assert weights.tolist() == [0.5, -0.9] and mean.tolist() == [0.1, 0.8]


@pytest.mark.parametrize("natural", [-10.0, 10.0])
@pytest.mark.parametrize(
    "dtype, expected", [(torch.float32, 100.0), (FLOAT64, 1e-10 / (8.2446e-9 + 1e-10) / 0.01)]
)
def test_reference_scale_at_its_start_is_made_of_two_constants(
    natural: float, dtype: torch.dtype, expected: float
) -> None:
    """In float32 1/tau, a straight-through gradient; in float64 1.2: another algorithm."""
    start = torch.full((1000,), natural, dtype=dtype)
    weights = relaxed_weights(start, midpoints(1000).to(dtype), 0.01)
    scale = gradient_scale(weights, start.tanh(), 0.01, REFERENCE_EPS)
    torch.testing.assert_close(scale, torch.full_like(start, expected), rtol=1e-5, atol=0)


@pytest.mark.parametrize("bound", [1.0, 1e4, math.inf])
@pytest.mark.parametrize("temperature", [1e-2, 0.3, 1.0, 3.0])
def test_bounded_scale_is_the_exact_ratio_in_float32(temperature: float, bound: float) -> None:
    """Also where the ratio of `1 - tanh^2` is 0/0 or infinite in float32."""
    deltas = [-9.5, -8.3, -3.0, -0.4, -1e-3, 0.0, 0.2, 1.0, 5.0, 8.3, 9.5]
    grid = list(itertools.product(np.linspace(-60, 60, 241), deltas))
    natural, delta = (
        torch.tensor(column, dtype=torch.float32) for column in zip(*grid, strict=True)
    )
    argument = (natural + delta) / temperature
    natural_before, argument_before = natural.clone(), argument.clone()
    found = bounded_gradient_scale(argument, natural, temperature, bound)
    assert torch.equal(natural, natural_before) and torch.equal(argument, argument_before)

    log_ratio = 2 * (log_cosh(natural.double().numpy()) - log_cosh(argument.double().numpy()))
    exact = np.minimum(np.exp(log_ratio), bound) / temperature
    largest = np.finfo(np.float32).max
    expected = np.where(exact > largest, np.inf, exact)
    floor = 1e-16 / temperature  # below, the function does not tell numbers apart
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=2e-5, atol=floor)

    naive = gradient_scale(argument.tanh(), natural.tanh(), temperature, 0.0)
    assert naive.isnan().any() and naive.isinf().any(), (
        "the grid covers what the plain ratio cannot"
    )


@pytest.mark.parametrize("natural", [-2.0, -0.7, 0.3, 1.5])
def test_mean_scale_at_temperature_one_is_its_closed_form(natural: float) -> None:
    """E[s] = dE[w]/dmu. At tau = 1, w = 2 sigmoid(2 lambda + L) - 1 with L logistic; its mean is,
    with c = exp(2 lambda), E[w] = 2 c (c - 1 - ln c) / (c - 1)^2 - 1, whose slope is the answer."""
    c = math.exp(2 * natural)
    mean_weight = 2 * c * (c - 1 - math.log(c)) / (c - 1) ** 2 - 1
    mean_scale = (c + 1) ** 2 * ((c + 1) * math.log(c) - 2 * (c - 1)) / (c - 1) ** 3
    uniform = midpoints(100_000)
    centre = torch.full_like(uniform, natural)
    argument = relaxed_argument(centre, uniform, 1.0)
    assert argument.tanh().mean().item() == pytest.approx(mean_weight, rel=1e-6)
    exact = bounded_gradient_scale(argument, centre, 1.0, math.inf)
    assert exact.mean().item() == pytest.approx(mean_scale, rel=1e-6)
    published = gradient_scale(argument.tanh(), centre.tanh(), 1.0, 0.0)
    torch.testing.assert_close(published, exact)


@pytest.mark.parametrize("temperature", [0.05, 0.3, 2.0])
def test_mean_scale_is_the_slope_of_the_mean_weight(temperature: float) -> None:
    """dE[w]/dmu by finite differences in lambda, with the same draws."""
    uniform, step = midpoints(100_000), 1e-4
    centre = torch.full_like(uniform, 0.6)
    up, down = (
        relaxed_weights(centre + sign * step, uniform, temperature).mean().item()
        for sign in (1, -1)
    )
    slope = (up - down) / (math.tanh(0.6 + step) - math.tanh(0.6 - step))
    argument = relaxed_argument(centre, uniform, temperature)
    scale = bounded_gradient_scale(argument, centre, temperature, math.inf)
    assert scale.mean().item() == pytest.approx(slope, rel=1e-5)


def test_cold_mean_scale_is_one() -> None:
    """Without a bound the gradient with respect to mu is unbiased as tau goes to 0."""
    uniform = midpoints(1_000_000)
    centre = torch.full_like(uniform, 0.6)
    argument = relaxed_argument(centre, uniform, 0.01)
    scale = bounded_gradient_scale(argument, centre, 0.01, math.inf)
    assert scale.mean().item() == pytest.approx(1.0, abs=1e-3)


def test_natural_step_is_the_formula() -> None:
    natural, prior, gradient, buffer = (
        torch.tensor([v], dtype=FLOAT64) for v in (0.8, -0.4, 2.0, 0.5)
    )
    moved, kept = natural_step(
        natural, prior, gradient, buffer, lr=0.1, momentum=0.9, kl_weight=0.5, step=3
    )
    m = 0.9 * 0.5 + 0.1 * (2.0 + 0.5 * (0.8 + 0.4))
    assert kept.item() == pytest.approx(m, rel=1e-12)
    assert moved.item() == pytest.approx(0.8 - 0.1 * m / (1 - 0.9**3), rel=1e-12)
    values = [t.item() for t in (natural, prior, gradient, buffer)]
    assert values == [0.8, -0.4, 2.0, 0.5], "arguments are left as they are"


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99])
def test_momentum_is_an_unbiased_average_of_the_gradients(momentum: float) -> None:
    """After t steps m / (1 - beta^t) = sum_k beta^(t-k) g_k / sum_k beta^(t-k)."""
    gradients = torch.linspace(-1, 3, 12, dtype=FLOAT64)
    zero = torch.zeros((), dtype=FLOAT64)
    natural, buffer = zero, zero
    for t, gradient in enumerate(gradients, start=1):
        natural, buffer = natural_step(
            zero, zero, gradient, buffer, lr=1.0, momentum=momentum, kl_weight=0.0, step=t
        )
        weights = [momentum ** (t - k) for k in range(1, t + 1)]
        average = np.dot(weights, gradients[:t].numpy()) / sum(weights)
        assert natural.item() == pytest.approx(-average, rel=1e-10)


def test_without_gradient_lambda_decays_to_the_prior() -> None:
    natural = torch.tensor([10.0, -10.0, 0.5], dtype=FLOAT64)
    prior = torch.tensor([0.0, 3.0, 0.5], dtype=FLOAT64)
    start, buffer, lr = natural, torch.zeros_like(natural), 1e-2
    for t in range(1, 101):
        natural, buffer = natural_step(
            natural, prior, torch.zeros_like(prior), buffer,
            lr=lr, momentum=0.0, kl_weight=1.0, step=t,
        )  # fmt: skip
    torch.testing.assert_close(natural, prior + (1 - lr) ** 100 * (start - prior))
