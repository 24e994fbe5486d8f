"""BayesBiNN: its estimate of the gradient, its modes, its inner optimiser."""

import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from bayes import LR, N, linear_step, optimiser_at, parameter, vectors
from torch import Tensor, nn
from torch.nn import functional as F

from cl_bnn.optim import BayesBiNN
from cl_bnn.optim.bayesbinn import gradient_scale, relaxed_weights


def test_starts_at_plus_or_minus_init_lambda_with_a_flat_prior() -> None:
    torch.manual_seed(0)
    weights = parameter(100, 100)
    optimiser = BayesBiNN(vectors(weights), train_set_size=1, init_lambda=3.0)
    (natural,) = optimiser.naturals()
    assert (natural.abs() == 3).all()
    assert (natural > 0).double().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (optimiser.state[weights]["prior"] == 0).all()


def test_deterministic_variant_is_gradient_descent_at_the_mean() -> None:
    start = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    weights, optimiser = optimiser_at(start, mc_samples=0, kl_weight=0.5)
    calls = []

    def closure() -> Tensor:
        calls.append(weights.detach().clone())
        optimiser.zero_grad()
        loss = (weights**2).sum()
        loss.backward()
        return loss

    loss = optimiser.step(closure)
    mean = torch.tanh(start)
    assert len(calls) == 1
    torch.testing.assert_close(calls[0], mean)
    assert loss.item() == pytest.approx((mean**2).sum().item())
    torch.testing.assert_close(optimiser.naturals()[0], start - LR * (N * 2 * mean + 0.5 * start))


@pytest.mark.parametrize("mode", ["sound", "reference"])
def test_estimate_is_n_over_s_times_the_scaled_gradients(mode: Any) -> None:
    start = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    uniforms = [torch.tensor(u, dtype=torch.float64) for u in ([0.2, 0.9, 0.5], [0.7, 0.4, 0.1])]
    draws = iter(uniforms)
    weights, optimiser = optimiser_at(
        start, mc_samples=2, temperature=0.7, kl_weight=0.0, mode=mode,
        scale_bound=math.inf, uniform=lambda _: next(draws),
    )  # fmt: skip
    if mode == "reference":
        optimiser.state[weights]["mean"] = torch.tanh(start)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = (weights**2).sum()
        loss.backward()
        return loss

    loss = optimiser.step(closure)
    expected, losses = torch.zeros_like(start), []
    for uniform in uniforms:
        w = relaxed_weights(start, uniform, 0.7)
        losses.append((w**2).sum().item())
        expected += gradient_scale(w, torch.tanh(start), 0.7, 0.0) * 2 * w
    assert loss.item() == pytest.approx(sum(losses) / 2)
    torch.testing.assert_close(
        optimiser.naturals()[0], start - LR * N / 2 * expected, rtol=1e-8, atol=0
    )


def test_several_samples_by_hand_are_those_of_the_closure() -> None:
    found = []
    target = torch.linspace(-1, 1, 8, dtype=torch.float64)
    for by_hand in (False, True):
        torch.manual_seed(4)
        weights = parameter(8)
        optimiser = BayesBiNN(vectors(weights), LR, train_set_size=N, temperature=1.0, mc_samples=3)

        def backward(weights: nn.Parameter = weights) -> Tensor:
            weights.grad = None
            loss = ((weights - target) ** 2).mean()
            loss.backward()
            return loss

        for _ in range(4):
            if by_hand:
                for _ in range(3):
                    optimiser.draw()
                    backward()
                    optimiser.accumulate()
                optimiser.step()
            else:
                optimiser.step(backward)
        found.append(optimiser.naturals()[0])
    assert torch.equal(*found)


def test_rule_of_the_bimu_study_by_hand() -> None:
    """lambda <- lambda - lr g_mu - lr rho (lambda - prior), from lambda = 0, with the prior set
    anew after a task: N = 1, kappa = rho (arXiv:2605.30198). At tau = 1 and lambda = 0 the draw
    u = 0.8 gives delta = ln 2, w = tanh(ln 2) = 3/5 and s = 1 - 9/25.
    """
    weights = parameter(1)
    draws = iter([0.8, 0.2, 0.5, 0.5])
    optimiser = BayesBiNN(
        vectors(weights), 0.5, train_set_size=1, temperature=1.0, mc_samples=2, kl_weight=0.25,
        init_lambda=0.0, scale_bound=1e7, uniform=lambda like: torch.full_like(like, next(draws)),
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = (5 * weights).sum() + 10 * (weights**2).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    g_mu = (16 / 25 * (5 + 12) + 16 / 25 * (5 - 12)) / 2  # samples 3/5 and -3/5
    first = -0.5 * g_mu
    assert optimiser.naturals()[0].item() == pytest.approx(first)
    optimiser.posterior_to_prior()
    optimiser.state[weights]["natural"] += 1.0  # so that the pull of the prior shows
    optimiser.step(closure)
    mean = math.tanh(first + 1)  # u = 1/2 draws the mean, at which s = 1
    second = first + 1 - 0.5 * (5 + 20 * mean) - 0.5 * 0.25 * 1.0
    assert optimiser.naturals()[0].item() == pytest.approx(second)


@pytest.mark.parametrize("dtype, scale", [(torch.float32, 100.0), (torch.float64, 1.1984)])
def test_first_step_of_the_published_setting(dtype: torch.dtype, scale: float) -> None:
    """From lambda = +-10 at tau = 0.01 the scale is 1/tau in float32, and 1.2 in float64."""
    start = torch.tensor([10.0, -10.0], dtype=dtype)
    weights, optimiser = optimiser_at(start, mode="reference", kl_weight=0.0)
    optimiser.state[weights]["mean"] = torch.tanh(start)
    linear_step(optimiser, weights, torch.tensor([0.5, -2.0], dtype=dtype))
    moved = optimiser.naturals()[0] - start
    expected = -LR * N * scale * torch.tensor([0.5, -2.0], dtype=dtype)
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=0)


def test_scale_bound_limits_a_step() -> None:
    """A draw that falls on zero while mu is near 1: the exact ratio is 1e4 and more."""
    start = torch.tensor([6.0], dtype=torch.float64)
    at_zero = torch.sigmoid(-2 * start)  # delta = -lambda
    gradient = torch.ones_like(start)
    moved = {}
    for bound in (1.0, 30.0, math.inf):
        weights, optimiser = optimiser_at(
            start, temperature=0.5, kl_weight=0.0, scale_bound=bound, uniform=lambda _: at_zero
        )
        linear_step(optimiser, weights, gradient)
        moved[bound] = (start - optimiser.naturals()[0]).item() / (LR * N / 0.5)
    assert moved[1.0] == pytest.approx(1.0)
    assert moved[30.0] == pytest.approx(30.0)
    assert moved[math.inf] == pytest.approx(math.cosh(6.0) ** 2, rel=1e-6)


def test_reference_mean_lags_one_step_behind() -> None:
    start = torch.tensor([0.1, -0.1], dtype=torch.float64)
    weights, optimiser = optimiser_at(start, mode="reference", temperature=1.0, kl_weight=0.0)
    linear_step(optimiser, weights, torch.tensor([1.0, -1.0], dtype=torch.float64))
    assert optimiser.naturals()[0].sign().tolist() == [-1, 1], "the step turned both signs"
    torch.testing.assert_close(optimiser.state[weights]["mean"], torch.tanh(start))
    with optimiser.mode():
        assert weights.tolist() == [1, -1], "the mode is that of the mean"


def test_sound_mode_has_no_lag_and_no_zero() -> None:
    weights, optimiser = optimiser_at(torch.tensor([0.3, -0.2, 0.0]))
    with optimiser.mode():
        assert weights.tolist() == [1, -1, -1]


def test_groups_have_temperatures_of_their_own() -> None:
    cold, hot = parameter(1, 200), parameter(1, 200)
    optimiser = BayesBiNN(
        [{"params": [cold]}, {"params": [hot], "temperature": 1e3}],
        train_set_size=1, temperature=1e-6, init_lambda=1.0,
    )  # fmt: skip
    optimiser.draw()
    assert (cold.abs() == 1).all()
    assert (hot.abs() < 0.1).all()


def test_gradients_at_weights_that_were_not_drawn_are_refused() -> None:
    weights, optimiser = optimiser_at(torch.zeros(2))
    weights.sum().backward()
    with pytest.raises(RuntimeError, match=r"call draw\(\) first"):
        optimiser.accumulate()


def test_loading_forgets_weights_that_were_drawn() -> None:
    weights, optimiser = optimiser_at(torch.zeros(2))
    saved = optimiser.state_dict()
    optimiser.draw()
    weights.sum().backward()
    optimiser.load_state_dict(saved)
    with pytest.raises(RuntimeError, match=r"call draw\(\) first"):
        optimiser.accumulate()


# The inner optimiser -----------------------------------------------------------------------------


class Mixed:
    """A network with binary weights under Bayes and BatchNorm gains and shifts under Adam."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.norm = nn.BatchNorm1d(4)
        self.model = nn.Sequential(nn.Linear(6, 4, bias=False), self.norm)
        self.inner = torch.optim.Adam(self.norm.parameters(), 0.01)
        self.optimiser = BayesBiNN(
            [self.model[0].weight], LR, train_set_size=N, temperature=1.0, inner=self.inner
        )
        generator = torch.Generator().manual_seed(7)
        self.x = torch.randn(20, 6, generator=generator)
        self.y = torch.randint(4, (20,), generator=generator)

    def step(self, spy: Callable[[], None] = lambda: None) -> float:
        def closure() -> Tensor:
            self.optimiser.zero_grad()
            loss = F.cross_entropy(self.model(self.x), self.y)
            loss.backward()
            spy()
            return loss

        loss = self.optimiser.step(closure)
        assert isinstance(loss, Tensor)
        return loss.item()


def test_inner_optimiser_takes_its_own_steps() -> None:
    mixed = Mixed(seed=0)
    gains = nn.Parameter(mixed.norm.weight.detach().clone())
    adam = torch.optim.Adam([gains], 0.01)

    def spy() -> None:
        assert mixed.norm.weight.grad is not None
        gains.grad = mixed.norm.weight.grad.clone()

    for _ in range(4):
        mixed.step(spy)
        adam.step()
        assert torch.equal(mixed.norm.weight, gains)
    assert not torch.equal(gains, torch.ones(4))
    mixed.optimiser.zero_grad()
    assert mixed.norm.weight.grad is None and mixed.model[0].weight.grad is None


def test_inner_optimiser_is_saved_and_restored() -> None:
    mixed = Mixed(seed=1)
    for _ in range(3):
        mixed.step()
    file = io.BytesIO()
    torch.save([mixed.model.state_dict(), mixed.optimiser.state_dict()], file)
    random = torch.get_rng_state()
    losses = [mixed.step() for _ in range(5)]

    again = Mixed(seed=2)
    file.seek(0)
    model, optimiser = torch.load(file, weights_only=True)
    again.model.load_state_dict(model)
    again.optimiser.load_state_dict(optimiser)
    torch.set_rng_state(random)
    assert [again.step() for _ in range(5)] == losses
    assert torch.equal(again.norm.weight, mixed.norm.weight)
    assert torch.equal(again.norm.bias, mixed.norm.bias)


def test_a_state_of_another_mode_gets_its_mean() -> None:
    w, other = parameter(2, 3), parameter(2, 3)
    sound = BayesBiNN(vectors(w), train_set_size=10, init_lambda=0.5)
    reference = BayesBiNN(vectors(other), train_set_size=10, mode="reference")
    _ = sound.naturals()
    reference.load_state_dict(sound.state_dict())
    before = reference.naturals()[0].clone()
    with reference.mode():
        assert torch.equal(other.detach(), before.sign())
    reference.draw()
    (other * torch.tensor([[1.0, 2, 3], [4, 5, 6]])).sum().backward()
    reference.step()
    torch.testing.assert_close(reference.state[other]["mean"], before.tanh())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_posterior_needs_more_than_16_bits(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="params must be float32 or float64, got torch"):
        BayesBiNN([nn.Parameter(torch.zeros(2, 2, dtype=dtype))], train_set_size=10)


@pytest.mark.parametrize("name, value", [("temperature", 0.0), ("lr", -1.0), ("momentum", 1.0)])
def test_wrong_value_of_a_group_is_named(name: str, value: float) -> None:
    weights = nn.Parameter(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=name):
        BayesBiNN([{"params": [weights], name: value}], train_set_size=1)


@pytest.mark.parametrize("count", [0, -1])
def test_number_of_posterior_samples_is_checked(count: int) -> None:
    optimiser = BayesBiNN([nn.Parameter(torch.zeros(1, 3))], train_set_size=1)
    with pytest.raises(ValueError, match="count"), optimiser.posterior_samples(count):
        pass
