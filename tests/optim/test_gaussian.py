"""Gaussian posteriors (MESU, VCL) against closed forms, torch.optim and torch.distributions."""

import copy
import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from begun import step_and_begin
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from cl_bnn.optim import MESU, VCL
from cl_bnn.optim.gaussian import GaussianPosterior
from cl_bnn.optim.vcl import gaussian_kl

SAMPLES, INPUTS, STEPS = 256, 24, 200
Build = Callable[..., GaussianPosterior]

OPTIMISERS: dict[str, Build] = {
    "mesu": partial(MESU, batch_size=20, mc_samples=1, init_sigma=0.5),
    "mesu_clipped": partial(MESU, batch_size=SAMPLES, mc_samples=2, clip=1.0, sigma_factor=0.5),
    "vcl": partial(VCL, lr=0.02, train_set_size=SAMPLES, mc_samples=1),
    "vcl_samples": partial(VCL, lr=0.02, train_set_size=SAMPLES, mc_samples=3),
}


@pytest.fixture(params=list(OPTIMISERS))
def build(request: pytest.FixtureRequest) -> Build:
    return OPTIMISERS[request.param]


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def plus_and_minus() -> Callable[[Tensor], Tensor]:
    """eps = +1, -1, +1, ...: two samples whose moments up to the third are those of N(0, 1)."""
    calls = [0]

    def noise(like: Tensor) -> Tensor:
        calls[0] += 1
        return torch.full_like(like, 1.0 if calls[0] % 2 else -1.0)

    return noise


def sigma_of(optimiser: GaussianPosterior, weights: nn.Parameter) -> Tensor:
    """The standard deviations."""
    ((_, _, state),) = [entry for entry in optimiser._posteriors() if entry[1] is weights]
    return optimiser._sigma(state).clone()


class Toy:
    """A teacher labels Gaussian inputs; a student of the same form, with a bias, learns them."""

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float32) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(SAMPLES, INPUTS, generator=generator, dtype=dtype)
        teacher = torch.randn(1, INPUTS, generator=generator, dtype=dtype)
        self.sign = (self.x @ teacher.T + 0.5).sign()
        torch.manual_seed(seed)
        self.model = nn.Linear(INPUTS, 1, dtype=dtype)

    def loss(self) -> Tensor:
        return F.softplus(-self.sign * self.model(self.x)).mean()

    def closure(self, optimiser: GaussianPosterior) -> Callable[[], Tensor]:
        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = self.loss()
            loss.backward()
            return loss

        return closure

    def step(self, optimiser: GaussianPosterior) -> float:
        loss: Tensor = optimiser.step(self.closure(optimiser))
        return loss.item()

    def centres(self) -> list[Tensor]:
        """The means, between steps."""
        return [p.detach().clone() for p in self.model.parameters()]


def same(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


# What both share ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_learns_what_the_teacher_knows(build: Build, dtype: torch.dtype) -> None:
    toy = Toy(dtype=dtype)
    optimiser = build(toy.model.parameters())
    before = toy.loss().item()
    for _ in range(STEPS):
        toy.step(optimiser)
    with optimiser.mode():
        assert toy.loss().item() < before / 2
        assert (toy.model(toy.x).sign() == toy.sign).double().mean() > 0.85
    for state in optimiser.state.values():
        held = [v for v in state.values() if v.dim()]
        assert {value.dtype for value in [*held, *toy.centres()]} == {dtype}


def test_gradients_go_through_the_samples() -> None:
    """Those of mu and sigma, as torch differentiates the mean loss of three samples."""
    draws = [torch.randn(5, dtype=torch.float64) for _ in range(3)]
    given = iter(draws)
    weights = parameter(0.3, -1.0, 2.0, 0.0, 0.7)
    seen: list[Tensor] = []

    class Look(MESU):
        def _update(self, group: Any, mean: Any, state: Any, slope: Any, sigma_slope: Any) -> None:
            seen.extend([slope.clone(), sigma_slope.clone()])

    optimiser = Look([weights], mc_samples=3, noise=lambda _: next(given))
    sigma = sigma_of(optimiser, weights)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss: Tensor = (weights**4).sum()
        loss.backward()
        return loss

    loss = optimiser.step(closure)
    mu, sigma = weights.detach().clone().requires_grad_(), sigma.requires_grad_()
    expected = torch.stack([((mu + sigma * eps) ** 4).sum() for eps in draws]).mean()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(seen, list(torch.autograd.grad(expected, (mu, sigma))))


def test_samples_have_the_moments_of_the_posterior(build: Build) -> None:
    weights = parameter(-2.0, 0.0, 0.5)
    optimiser = build([weights])
    sigma, count = sigma_of(optimiser, weights), 20_000
    before = torch.get_rng_state()
    with optimiser.posterior_samples(count, torch.Generator().manual_seed(0)) as samples:
        assert len(samples) == count
        drawn = torch.stack([weights.detach().clone() for _ in samples])
        again = torch.stack([weights.detach().clone() for _ in samples])
    assert torch.equal(drawn, again) and torch.equal(torch.get_rng_state(), before)
    assert weights.tolist() == [-2.0, 0.0, 0.5]
    away = (drawn.mean(0) - weights) / sigma
    assert (away.abs() < 4 / count**0.5).all()
    assert (drawn.std(0) / sigma).tolist() == pytest.approx([1, 1, 1], abs=4 / (2 * count) ** 0.5)
    assert (torch.corrcoef(drawn.T) - torch.eye(3)).abs().max() < 4 / count**0.5
    with pytest.raises(ValueError, match="count must be >= 1"), optimiser.posterior_samples(0):
        pass


def test_drawn_weights_are_samples_and_the_mode_is_the_mean(build: Build) -> None:
    toy = Toy()
    optimiser = build(toy.model.parameters())
    toy.step(optimiser)
    means = toy.centres()
    optimiser.draw()
    drawn = toy.centres()
    assert not any((a == b).any() for a, b in zip(means, drawn, strict=True))
    with pytest.raises(ZeroDivisionError), optimiser.mode():
        assert same(toy.centres(), means)
        toy.model.weight.data.zero_()  # whatever is done inside stays inside
        raise ZeroDivisionError
    assert same(toy.centres(), drawn)
    optimiser.draw()
    assert not same(toy.centres(), drawn), "around the means, not around the last sample"
    toy.loss().backward()
    optimiser.step()
    with optimiser.mode():
        assert same(toy.centres(), [p.detach() for p in toy.model.parameters()])


def test_there_are_no_natural_parameters(build: Build) -> None:
    assert build([parameter(1.0)]).naturals() is None


def test_continues_from_a_file_bit_by_bit(build: Build) -> None:
    toy = Toy(seed=1)
    optimiser = build(toy.model.parameters())
    for _ in range(4):
        toy.step(optimiser)
    optimiser.posterior_to_prior()
    toy.step(optimiser)
    file = io.BytesIO()
    torch.save({"model": toy.model.state_dict(), "optimiser": optimiser.state_dict()}, file)
    random = torch.get_rng_state()
    losses = [toy.step(optimiser) for _ in range(6)]

    again = Toy(seed=2)
    continued = build(again.model.parameters())
    again.step(continued)
    continued.draw()  # to be forgotten
    file.seek(0)
    state = torch.load(file, weights_only=True)
    again.model.load_state_dict(state["model"])
    continued.load_state_dict(state["optimiser"])
    torch.set_rng_state(random)
    assert [again.step(continued) for _ in range(6)] == losses
    assert same(again.centres(), toy.centres())
    for ours, theirs in zip(continued.state.values(), optimiser.state.values(), strict=True):
        assert ours.keys() == theirs.keys()
        assert same(ours.values(), theirs.values())


def test_learning_rate_schedulers_work(build: Build) -> None:
    toy = Toy()
    optimiser = build(toy.model.parameters())
    scheduler = LambdaLR(optimiser, lambda epoch: [1.0, 0.0, 0.0, 1.0, 1.0][epoch])
    moved = []
    for _ in range(4):
        before = [*toy.centres(), *(sigma_of(optimiser, p) for p in toy.model.parameters())]
        toy.step(optimiser)
        after = [*toy.centres(), *(sigma_of(optimiser, p) for p in toy.model.parameters())]
        moved.append([not torch.equal(a, b) for a, b in zip(before, after, strict=True)])
        scheduler.step()
    assert moved == [[True] * 4, [False] * 4, [False] * 4, [True] * 4]


def test_parameter_without_gradient_is_left_alone(build: Build) -> None:
    toy, unused = Toy(), nn.Parameter(torch.full((2, 3), 0.25))
    optimiser = build([*toy.model.parameters(), unused])
    optimiser.held()  # makes the state
    before = {key: value.clone() for key, value in optimiser.state[unused].items()}
    for _ in range(3):
        toy.step(optimiser)
    optimiser.posterior_to_prior()
    assert (unused == 0.25).all()
    assert same(optimiser.state[unused].values(), before.values())


def test_closure_and_draw_then_step_agree(build: Build) -> None:
    by_hand, by_closure = Toy(seed=5), Toy(seed=5)
    first, second = build(by_hand.model.parameters()), build(by_closure.model.parameters())
    torch.manual_seed(6)
    for _ in range(3):
        first.zero_grad()
        for _ in range(first.mc_samples):
            first.draw()
            by_hand.loss().backward()
            first.accumulate()
        first.step()
    torch.manual_seed(6)
    for _ in range(3):
        by_closure.step(second)
    assert same(by_hand.centres(), by_closure.centres())


def test_a_frozen_parameter_gets_no_noise(build: Build) -> None:
    frozen = nn.Linear(3, 2, bias=False).requires_grad_(False)
    with pytest.raises(ValueError, match=r"a frozen parameter, of shape \(2, 3\), which would be"):
        build(frozen.parameters())


def test_a_step_that_was_begun_can_be_left(build: Build) -> None:
    left, whole = Toy(seed=5), Toy(seed=5)
    first, second = build(left.model.parameters()), build(whole.model.parameters())
    for seed in (6, 7):
        step_and_begin(left, first, whole, second, seed)
        assert same(left.centres(), whole.centres())


def test_state_may_be_wiped_before_the_first_step(build: Build) -> None:
    """As Avalanche does when training begins: what follows is what a new optimiser would do."""
    losses = []
    for wiped in (False, True):
        toy = Toy(seed=8)
        optimiser = build(toy.model.parameters())
        if wiped:
            optimiser.draw()
            with optimiser.mode():
                pass
            optimiser.state = defaultdict(dict)
        torch.manual_seed(9)
        losses.append([toy.step(optimiser) for _ in range(5)])
    assert losses[0] == losses[1]


def test_a_step_without_draw_is_refused(build: Build) -> None:
    name = type(build([parameter(1.0)])).__name__
    with pytest.raises(RuntimeError, match=f"{name} has gradients at weights it did not draw"):
        build([parameter(1.0)]).step()


@pytest.mark.parametrize("learned", [True, False])
def test_a_head_that_grows_keeps_what_it_learned(build: Build, learned: bool) -> None:
    old, new = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.full((5, 3), 7.0))
    optimiser = build([old])
    for _ in range(3 * learned):
        optimiser.draw()
        old.square().sum().backward()
        optimiser.step()
    before = {k: v.clone() for k, v in optimiser.state.get(old, {}).items()}
    mean = old.detach().clone()
    optimiser.grow(old, new)
    assert torch.equal(new[:2], mean) and (new[2:] == 7).all()
    assert old not in optimiser.state and bool(before) == learned
    for key, value in before.items():
        grown = optimiser.state[new][key]
        assert torch.equal(grown[..., :2, :] if value.dim() else grown, value), key
    optimiser.draw()
    new.sum().backward()
    optimiser.step()
    assert (new[2:] != 7).all()


def test_a_posterior_can_be_exchanged_for_a_copy(build: Build) -> None:
    toy = Toy()
    optimiser = build(toy.model.parameters())
    toy.step(optimiser)
    means, state = toy.centres(), copy.deepcopy(optimiser.state_dict()["state"])
    other = optimiser.held()
    with optimiser.exchanged(other):
        for _ in range(3):
            toy.step(optimiser)
        learned = toy.centres()
    assert same(toy.centres(), means) and not same(learned, means)
    for place, known in optimiser.state_dict()["state"].items():
        assert same(known.values(), state[place].values())
    with optimiser.exchanged(other):
        assert same(toy.centres(), learned)
    optimiser.draw()
    with pytest.raises(RuntimeError, match="between steps only"), optimiser.exchanged(other):
        pass


WRONG = [
    (MESU, "lr", 0.0, "> 0"),
    (MESU, "lr", math.nan, "> 0"),
    (MESU, "sigma_factor", 0.0, "> 0"),
    (MESU, "memory", 0.5, ">= 1"),
    (MESU, "prior_mean", math.inf, "finite"),
    (MESU, "prior_sigma", 0.0, "> 0"),
    (MESU, "batch_size", 0, ">= 1"),
    (MESU, "clip", -1.0, ">= 0"),
    (MESU, "init_sigma", 0.0, "> 0"),
    (MESU, "mc_samples", 0, ">= 1"),
    (VCL, "lr", 0.0, "> 0"),
    (VCL, "train_set_size", 0, ">= 1"),
    (VCL, "prior_sigma", -1.0, "> 0"),
    (VCL, "init_log_variance", math.nan, "finite"),
    (VCL, "betas", (1.0, 0.9), "in [0, 1)"),
    (VCL, "eps", 0.0, "> 0"),
    (VCL, "mc_samples", 0, ">= 1"),
]


@pytest.mark.parametrize("kind, name, value, allowed", WRONG)
def test_wrong_value_is_named(kind: Any, name: str, value: object, allowed: str) -> None:
    settings = {"train_set_size": 1} if kind is VCL else {}
    with pytest.raises(ValueError) as error:
        kind([parameter(1.0)], **{**settings, name: value})
    assert str(error.value) == f"{name} must be {allowed}, got {value!r}"


# The posterior of linear regression --------------------------------------------------------------

# Orthogonal inputs, so that the exact posterior is mean-field: columns with sums of squares 8, 2.
X = torch.tensor([[2.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
Y = torch.tensor([3.0, -1.0], dtype=torch.float64)
NOISE_VARIANCE = 0.5  # of the targets: the loss is the squared error, summed


def regression(optimiser: GaussianPosterior, weights: nn.Parameter, steps: int, n: int) -> None:
    """Train on the loss summed over both samples (MESU, n = 1) or its mean (VCL, n = 2)."""

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = (Y - X @ weights).square().sum() / (2 * NOISE_VARIANCE) / n
        loss.backward()
        return loss

    for _ in range(steps):
        optimiser.step(closure)


def exact(copies: int, prior_mean: float, prior_sigma: float) -> tuple[Tensor, Tensor]:
    """Mean and standard deviations once the two samples were seen so many times."""
    precision = copies * X.T @ X / NOISE_VARIANCE + torch.eye(2) / prior_sigma**2
    evidence = copies * X.T @ Y / NOISE_VARIANCE + prior_mean / prior_sigma**2
    return torch.linalg.solve(precision, evidence), precision.inverse().diag().sqrt()


@pytest.mark.parametrize("memory", [1, 20])
def test_mesu_ends_at_the_posterior_of_the_batches_it_remembers(memory: int) -> None:
    weights = parameter(0.0, 0.0)
    optimiser = MESU(
        [weights], 0.5, memory=memory, prior_mean=0.3, prior_sigma=0.7, mc_samples=2,
        init_sigma=0.3, noise=plus_and_minus(),
    )  # fmt: skip
    regression(optimiser, weights, 600, n=1)
    mean, sigma = exact(memory, 0.3, 0.7)
    torch.testing.assert_close(weights.detach(), mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(sigma_of(optimiser, weights), sigma, rtol=1e-6, atol=1e-6)


def test_vcl_ends_at_the_posterior_and_hands_it_on() -> None:
    """The same data as two tasks: afterwards they were seen twice."""
    weights = parameter(0.0, 0.0)
    optimiser = VCL(
        [weights], 2e-2, train_set_size=2, prior_sigma=0.7, mc_samples=2, noise=plus_and_minus()
    )
    for seen in (1, 2):
        regression(optimiser, weights, 1000, n=2)
        mean, sigma = exact(seen, 0.0, 0.7)
        torch.testing.assert_close(weights.detach(), mean, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(sigma_of(optimiser, weights), sigma, rtol=1e-3, atol=1e-3)
        assert optimiser.kl() > 0.1
        optimiser.posterior_to_prior()
        assert optimiser.kl() == 0


# MESU --------------------------------------------------------------------------------------------


def mesu(mean: float, sigma: float, **settings: Any) -> tuple[nn.Parameter, MESU]:
    """One weight with this posterior; every draw is eps = 1."""
    weights = parameter(mean)
    return weights, MESU(
        [weights], init_sigma=sigma, mc_samples=1, noise=torch.ones_like, **settings
    )  # fmt: skip


def linear_step(optimiser: GaussianPosterior, weights: nn.Parameter, gradient: float) -> None:
    """A step with the loss `gradient . w`: dC/dmu = gradient, dC/dsigma = eps gradient."""
    optimiser.draw()
    (gradient * weights).sum().backward()
    optimiser.step()


def test_one_step_of_mesu_by_hand() -> None:
    """mu = 1, sigma = 0.5, mu_0 = 3, sigma_0 = 2, N = 8: N sigma_0^2 = 32. With B = 4 both slopes
    are 4 * 0.3 = 1.2. mu: 0.25 (2 / 32 - 1.2) = -0.284375, times alpha 0.1. sigma: 0.5 * 3.75 / 32
    - 0.25 * 1.2 = -0.24140625, times 0.1 * 3 / 2.
    """
    weights, optimiser = mesu(
        1.0, 0.5, lr=0.1, sigma_factor=3.0, memory=8, prior_mean=3.0, prior_sigma=2.0, batch_size=4
    )
    linear_step(optimiser, weights, 0.3)
    assert weights.item() == pytest.approx(1 - 0.0284375, rel=1e-12)
    assert sigma_of(optimiser, weights).item() == pytest.approx(0.5 - 0.0362109375, rel=1e-12)


def test_clipped_gradients_move_mu_by_sigma_at_most() -> None:
    weights, optimiser = mesu(0.0, 0.5, clip=0.4, memory=1e12)
    linear_step(optimiser, weights, -1e9)  # limited to 0.4 / 0.5
    assert weights.item() == pytest.approx(0.25 * 0.8)
    assert sigma_of(optimiser, weights).item() == pytest.approx(0.5 + 0.25 * 0.8 / 2)


def test_a_sigma_below_zero_is_turned_around() -> None:
    weights, optimiser = mesu(0.0, 0.5, memory=1e12)
    linear_step(optimiser, weights, 6.0)  # 0.5 - 0.25 * 6 / 2
    assert sigma_of(optimiser, weights).item() == pytest.approx(0.25)


def test_without_gradient_mesu_goes_back_to_its_prior() -> None:
    """And stays there; one step on the way is 1 / N of the distance where sigma is that of the
    prior."""
    weights, optimiser = mesu(2.0, 1.5, memory=50, prior_mean=1.0, prior_sigma=1.5)
    linear_step(optimiser, weights, 0.0)
    assert weights.item() == pytest.approx(2 - 1 / 50)
    assert sigma_of(optimiser, weights).item() == pytest.approx(1.5)
    weights, optimiser = mesu(2.0, 0.1, memory=5, prior_mean=1.0, prior_sigma=1.5)
    for _ in range(300):
        linear_step(optimiser, weights, 0.0)
    assert weights.item() == pytest.approx(1.0)
    assert sigma_of(optimiser, weights).item() == pytest.approx(1.5)
    optimiser.posterior_to_prior()
    assert set(optimiser.state[weights]) == {"sigma"}, "4 bytes a weight: the prior is the same"


def test_initial_sigma_of_mesu_follows_the_number_of_inputs() -> None:
    shapes = {(10, 25): 25, (6, 4, 3, 3): 36, (16,): 16}
    for shape, inputs in shapes.items():
        weights = nn.Parameter(torch.zeros(shape))
        sigma = sigma_of(MESU([weights], init_sigma=2.0), weights)
        torch.testing.assert_close(sigma, torch.full(shape, 2 / math.sqrt(inputs)))


# VCL ---------------------------------------------------------------------------------------------


def test_divergence_is_that_of_torch() -> None:
    torch.manual_seed(0)
    m, v, m_0, v_0 = (torch.randn(4, 3, dtype=torch.float64) for _ in range(4))
    q, p = Normal(m, (v / 2).exp()), Normal(m_0, (v_0 / 2).exp())
    torch.testing.assert_close(gaussian_kl(m, v, m_0, v_0), kl_divergence(q, p).sum())
    assert gaussian_kl(m, v, m, v) == 0


def test_steps_of_vcl_are_those_of_adam_on_the_evidence_lower_bound() -> None:
    """Two tasks of four steps: Adam begins anew, the posterior is the prior."""
    torch.manual_seed(0)
    x, start = torch.randn(20, 3).double(), torch.randn(2, 3).double()
    y = torch.randint(2, (20,))
    draws = [torch.randn(2, 3, dtype=torch.float64) for _ in range(16)]
    given = iter(draws)
    weights = nn.Parameter(start.clone())
    optimiser = VCL(
        [weights], 0.05, train_set_size=30, prior_sigma=0.6, init_log_variance=-2.0,
        betas=(0.8, 0.95), mc_samples=2, noise=lambda _: next(given),
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(x @ weights.T, y)
        loss.backward()
        return loss

    for _ in range(2):
        for _ in range(4):
            optimiser.step(closure)
        optimiser.posterior_to_prior()

    m, v = start.clone().requires_grad_(), torch.full_like(start, -2.0).requires_grad_()
    prior = Normal(torch.zeros_like(start), 0.6)
    again = iter(draws)
    for _ in range(2):
        adam = torch.optim.Adam([m, v], 0.05, betas=(0.8, 0.95))
        for _ in range(4):
            adam.zero_grad()
            q = Normal(m, (v / 2).exp())
            samples = [m + (v / 2).exp() * next(again) for _ in range(2)]
            likelihood = sum(F.cross_entropy(x @ w.T, y) for w in samples) / 2
            (likelihood + kl_divergence(q, prior).sum() / 30).backward()  # type: ignore[no-untyped-call]
            adam.step()
        prior = Normal(m.detach().clone(), (v / 2).exp().detach())
    torch.testing.assert_close(weights.detach(), m.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(optimiser.state[weights]["log_variance"], v.detach())
    torch.testing.assert_close(optimiser.state[weights]["prior_log_variance"], v.detach())


def test_heads_of_tasks_to_come_keep_the_first_prior() -> None:
    now, later = parameter(1.0), parameter(1.0)
    optimiser = VCL([now, later], train_set_size=10, prior_sigma=2.0)
    linear_step(optimiser, now, 1.0)
    optimiser.posterior_to_prior()
    learned, waiting = optimiser.state[now], optimiser.state[later]
    assert torch.equal(learned["prior_mean"], now.detach()) and learned["step"] == 0
    assert waiting["prior_mean"].item() == 0
    assert waiting["prior_log_variance"].item() == pytest.approx(2 * math.log(2))
    prior = learned["prior_mean"].clone()
    linear_step(optimiser, now, 1.0)
    assert torch.equal(learned["prior_mean"], prior) and not torch.equal(now.detach(), prior)
