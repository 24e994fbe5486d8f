"""BiMU against numbers worked out by hand, and against torch's derivatives."""

import math
from typing import Any

import pytest
import torch
from bayes import parameter, vectors
from torch import Tensor, nn

from cl_bnn.optim import BiMU
from cl_bnn.optim.bimu import bounded_step
from cl_bnn.optim.equations import relaxed_weights
from cl_bnn.optim.inplace import BLOCK

HALF = math.atanh(0.5)  # tanh^2 is 1/4 there


def at(natural: list[float], **settings: Any) -> tuple[nn.Parameter, BiMU]:
    """Weights with this lambda; every draw is u = 1/2, so that w = tanh(lambda) at tau = 1."""
    weights = parameter(len(natural))
    settings = {"uniform": lambda like: torch.full_like(like, 0.5), **settings}
    optimiser = BiMU(vectors(weights), **settings)
    optimiser.naturals()  # makes the state
    optimiser.state[weights]["natural"] = torch.tensor(natural, dtype=torch.float64)
    return weights, optimiser


def linear_step(optimiser: BiMU, weights: nn.Parameter, gradient: list[float]) -> list[float]:
    """Lambda after a step with the loss `gradient . w`."""
    optimiser.draw()
    (torch.tensor(gradient, dtype=torch.float64) * weights).sum().backward()
    optimiser.step()
    found: list[float] = optimiser.naturals()[0].tolist()
    return found


def test_one_step_by_hand() -> None:
    """At tanh(lambda) = 1/2 and K = 4: h = 3. dloss/dw = 4 gives dloss/dlambda = 4 * 3/4 = 3, and
    L = 2 gives g' = 6. 1/lr_max = 5: resistance 3 + 6 + 12 + 5 = 26; pull 0.5 * 6 + 3 lambda / 10.
    With the other sign of g': 3 - 6 + 12 + 5 = 14, and -3 + 3 lambda / 10.
    """
    weights, optimiser = at(
        [HALF, HALF, -HALF], lr=0.5, likelihood_weight=2.0, kl_weight=4.0, lr_max=0.2, memory=10
    )
    found = linear_step(optimiser, weights, [4.0, -4.0, 4.0])
    expected = [
        HALF - (3 + 0.3 * HALF) / 26, HALF - (-3 + 0.3 * HALF) / 14,
        -HALF - (3 - 0.3 * HALF) / 14,
    ]  # fmt: skip
    assert found == pytest.approx(expected, rel=1e-12)


def test_gradient_is_that_of_lambda_through_the_relaxed_samples() -> None:
    """With torch's own derivative, the mean over three samples, and a step that is linear in g'
    because lr_max is tiny."""
    torch.manual_seed(0)
    start, target = torch.randn(6).double(), torch.randn(6).double()
    uniforms = [torch.rand(6, dtype=torch.float64) for _ in range(3)]
    draws = iter(uniforms)
    weights, optimiser = at(
        start.tolist(), lr=1.0, likelihood_weight=7.0, kl_weight=0.0, lr_max=1e-9, temperature=0.6,
        mc_samples=3, uniform=lambda _: next(draws),
    )  # fmt: skip

    def loss_of(w: Tensor) -> Tensor:
        return ((w - target) ** 4).sum()

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = loss_of(weights)
        loss.backward()
        return loss

    loss = optimiser.step(closure)
    natural = start.clone().requires_grad_()
    mean = sum(loss_of(relaxed_weights(natural, u, 0.6)) for u in uniforms) / 3
    assert isinstance(mean, Tensor)
    (gradient,) = torch.autograd.grad(mean, natural)
    torch.testing.assert_close(loss, mean.detach())
    moved = (start - optimiser.naturals()[0]) / 1e-9
    torch.testing.assert_close(moved, 7 * gradient, rtol=1e-5, atol=1e-5)


def test_where_likelihood_and_memory_are_in_balance_nothing_moves() -> None:
    """lr g' = -lambda h / N: with lr = 1, L = 1, h = 4 (1 - tanh^2), N = 8 and dloss/dlambda =
    dloss/dw (1 - tanh^2), that is dloss/dw = -lambda / 2."""
    start = [0.3, -1.2, 2.0]
    weights, optimiser = at(
        start, lr=1.0, likelihood_weight=1.0, kl_weight=4.0, lr_max=0.5, memory=8
    )
    found = linear_step(optimiser, weights, [-0.5 * x for x in start])
    assert found == pytest.approx(start, rel=1e-12)
    further = linear_step(optimiser, weights, [-0.6 * x for x in start])
    assert all(abs(b) > abs(a) for a, b in zip(start, further, strict=True))


def test_without_gradient_it_forgets() -> None:
    """By h / N / (h + 1/lr_max) a step: at h = 3, N = 10 and lr_max = 1/5, 0.3 / 8."""
    weights, optimiser = at([HALF], lr=1.0, kl_weight=4.0, lr_max=0.2, memory=10)
    (found,) = linear_step(optimiser, weights, [0.0])
    assert found == pytest.approx(HALF * (1 - 0.3 / 8))
    weights, optimiser = at([HALF], lr=1.0, kl_weight=0.0, lr_max=0.2, memory=10)
    assert linear_step(optimiser, weights, [0.0]) == [HALF]


def test_what_is_consolidated_is_hard_to_pull_back() -> None:
    """Far out h is 0: a gradient g' = 100 meets 4 |g'| + 1/lr_max on the way back, 1/lr_max alone
    on the way out."""
    n, lr_max = torch.tensor([12.0, 12.0]).double(), 0.01
    gradient = torch.tensor([100.0, -100.0]).double()
    work = torch.empty(2).double(), torch.empty(2).double()
    bounded_step(n, gradient, lr=1.0, kl_weight=3.0, lr_max=lr_max, memory=1e12, work=work)
    assert n.tolist() == pytest.approx([12 - 100 / 500, 12 + 100 / 100], rel=1e-6)


def test_a_step_is_at_most_half_of_lr_from_zero() -> None:
    weights, optimiser = at([0.0], lr=4.0, likelihood_weight=1e9, lr_max=1.0)
    (found,) = linear_step(optimiser, weights, [-3.0])
    assert found == pytest.approx(2.0)


def test_there_is_no_prior_to_hand_on() -> None:
    weights, optimiser = at([1.0, -2.0])
    optimiser.state.clear()
    (natural,) = optimiser.naturals()
    assert natural.abs().tolist() == [0.02, 0.02]
    before = natural.clone()
    optimiser.posterior_to_prior()
    assert set(optimiser.state[weights]) == {"natural"}, "4 bytes a weight"
    assert torch.equal(optimiser.naturals()[0], before)


def test_a_head_that_grows_keeps_what_it_learned() -> None:
    old, new = parameter(2, 3), parameter(5, 3)
    optimiser = BiMU([old], mc_samples=1)
    optimiser.draw()
    old.sum().backward()
    optimiser.step()
    before = optimiser.naturals()[0].clone()
    optimiser.grow(old, new)
    (after,) = optimiser.naturals()
    assert torch.equal(after[:2], before) and (before.abs() != 0.02).any()
    assert (after[2:].abs() == 0.02).all()


def test_large_tensors_are_the_same_block_by_block() -> None:
    torch.manual_seed(0)
    natural, gradients = torch.randn(3, BLOCK // 2), torch.randn(2, 3, BLOCK // 2)

    def learned(*pieces: slice) -> Tensor:
        weights = [nn.Parameter(torch.zeros_like(natural[piece])) for piece in pieces]
        optimiser = BiMU(weights, mc_samples=1, uniform=lambda like: torch.full_like(like, 0.3))
        optimiser.naturals()
        for weight, piece in zip(weights, pieces, strict=True):
            optimiser.state[weight]["natural"] = natural[piece].clone()
        for gradient in gradients:
            optimiser.draw()
            for weight, piece in zip(weights, pieces, strict=True):
                weight.grad = gradient[piece].clone()
            optimiser.step()
        return torch.cat(optimiser.naturals())

    assert torch.equal(learned(slice(0, 3)), learned(slice(0, 1), slice(1, 2), slice(2, 3)))
