"""PMF against autograd, torch's Adam and the schedules of the published code, run by hand."""

import io
import math
from typing import Any

import pytest
import torch
from bayes import vectors
from torch import Tensor, nn

from cl_bnn.optim import PMF
from cl_bnn.optim.pmf import (
    Jacobian,
    effective_weights,
    exact_gradients,
    second_softmax_gradients,
)

SHAPE = (3, 4)
COST = torch.linspace(-1, 1, 12, dtype=torch.float64).view(SHAPE)


def latents(seed: int = 0, size: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *SHAPE, generator=generator, dtype=torch.float64) * size


def loss_of(w: Tensor) -> Tensor:
    return (w * COST).sum() + 0.2 * (w.sum(1) - 0.5).square().sum()


def latent_gradient(gradient: Tensor, latent: Tensor, beta: float, jacobian: Jacobian) -> Tensor:
    if jacobian == "exact":
        return torch.stack(exact_gradients(gradient, *latent, beta))
    weights = effective_weights(*latent, beta)
    return torch.stack(second_softmax_gradients(gradient, weights, beta))


def parameter(*shape: int, dtype: torch.dtype = torch.float64) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape, dtype=dtype))


def step(optimiser: PMF, w: nn.Parameter) -> None:
    optimiser.zero_grad()
    optimiser.draw()
    loss_of(w).backward()
    optimiser.step()


def constant_push(optimiser: PMF, w: nn.Parameter, size: float = 1.0) -> None:
    optimiser.zero_grad()
    optimiser.draw()
    (w * size).sum().backward()
    optimiser.step()


@pytest.mark.parametrize("beta", [1.0, 3.5, 100.0])
def test_effective_weights_are_those_of_the_softmax(beta: float) -> None:
    latent = latents()
    u = torch.softmax(beta * latent, 0)
    torch.testing.assert_close(effective_weights(*latent, beta), u[1] - u[0])


@pytest.mark.parametrize("beta", [1.0, 3.5, 20.0])
def test_exact_jacobian_is_the_derivative(beta: float) -> None:
    latent = latents().requires_grad_()
    u = torch.softmax(beta * latent, 0)
    w = u[1] - u[0]
    (gradient,) = torch.autograd.grad(loss_of(w), w, retain_graph=True)
    (expected,) = torch.autograd.grad(loss_of(w), latent)
    found = latent_gradient(gradient, latent.detach(), beta, "exact")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("beta", [1.0, 3.5, 20.0])
def test_second_softmax_is_the_published_matrix(beta: float) -> None:
    """dloss/dl = beta (-g, g) (I - v v^T), pair by pair, v the softmax of the probabilities."""
    latent, gradient = latents(), latents(1)[0]
    v = torch.softmax(beta * torch.softmax(beta * latent, 0), 0)
    matrix = torch.eye(2, dtype=torch.float64)[..., None, None] - v[:, None] * v[None]
    expected = beta * torch.einsum("irc,ijrc->jrc", torch.stack([-gradient, gradient]), matrix)
    found = latent_gradient(gradient, latent, beta, "second_softmax")
    torch.testing.assert_close(found, expected)


def test_second_softmax_by_hand() -> None:
    """l- = l+: u = v = (1/2, 1/2), and I - v v^T takes nothing from (-g, g)."""
    pair = torch.zeros(2, 1, dtype=torch.float64)
    gradient = torch.tensor([0.3], dtype=torch.float64)
    found = latent_gradient(gradient, pair, 4.0, "second_softmax")
    assert found.flatten().tolist() == pytest.approx([-1.2, 1.2])
    # The exact one has the slope u+ u- = 1/4 of a softmax: 2 beta / 4 = beta / 2.
    found = latent_gradient(gradient, pair, 4.0, "exact")
    assert found.flatten().tolist() == pytest.approx([-0.6, 0.6])
    # Decided for +1, the published one still moves the latent that lost, and that one alone.
    pair[1] = 100.0
    found = latent_gradient(gradient, pair, 4.0, "second_softmax")
    v_plus = 1 / (1 + math.exp(-4))
    along = 0.3 * (2 * v_plus - 1)
    expected = [4 * (-0.3 - along * (1 - v_plus)), 4 * (0.3 - along * v_plus)]
    assert found.flatten().tolist() == pytest.approx(expected)
    found = latent_gradient(gradient, pair, 1e4, "second_softmax")
    assert found.flatten().tolist() == pytest.approx([-3e3, 0])


def test_exact_jacobian_in_float32_does_not_round_to_zero() -> None:
    """1 - w^2 would, where w rounds to 1: at beta (l+ - l-) = 20."""
    latent = torch.tensor([[0.0], [20.0]])
    found = latent_gradient(torch.ones(1), latent, 1.0, "exact")
    expected = 2 * math.exp(-20)
    assert found.flatten().tolist() == pytest.approx([-expected, expected], rel=1e-5)


SETTINGS: dict[str, Any] = dict(rho=1.5, beta_every=3, beta_max=6.0, lr_scale=0.5, lr_interval=4)


def by_hand(
    start: Tensor, steps: int, jacobian: Jacobian, early: bool, weight_decay: float, decoupled: bool
) -> Tensor:
    """The published loop with torch's own Adam: gradient, step, then beta and learning rate."""
    latent, beta = nn.Parameter(start.clone()), 1.0
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    adam = kind([latent], 0.05, weight_decay=weight_decay)
    for iteration in range(steps):
        w = effective_weights(*latent.detach(), beta).requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of(w), w)
        latent.grad = latent_gradient(gradient, latent.detach(), beta, jacobian)
        adam.step()
        if iteration % 3 == 0:
            beta = min(1.5 * beta, 6.0)
        if iteration % 4 == 0 if early else iteration % 4 == 3:
            adam.param_groups[0]["lr"] *= 0.5
    return latent.detach()


@pytest.mark.parametrize("jacobian", ["second_softmax", "exact"])
@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(("weight_decay", "decoupled"), [(0.0, False), (0.3, False), (0.3, True)])
def test_steps_are_those_of_torchs_adam_on_the_pairs(
    jacobian: Jacobian, early: bool, weight_decay: float, decoupled: bool
) -> None:
    w = parameter(*SHAPE)
    pmf = PMF(vectors(w), 0.05, jacobian=jacobian, decay_at_start=early, weight_decay=weight_decay,
        decoupled_weight_decay=decoupled, **SETTINGS,
    )  # fmt: skip
    (latent,) = pmf.latents()
    start = latent.clone()
    for _ in range(11):
        step(pmf, w)
    expected = by_hand(start, 11, jacobian, early, weight_decay, decoupled)
    torch.testing.assert_close(latent, expected)
    assert (latent - start).abs().max() > 0.01


def test_beta_grows_after_iteration_0_and_every_k_more_up_to_its_end() -> None:
    w = parameter(2, 2)
    pmf = PMF(vectors(w), rho=2.0, beta_every=3, beta_max=10.0)
    found = []
    for _ in range(11):
        constant_push(pmf, w)
        found.append(pmf.state[w]["beta"])
    assert found == [2, 2, 2, 4, 4, 4, 8, 8, 8, 10, 10]


@pytest.mark.parametrize(
    ("early", "factors"),
    [(True, [1, 0.2, 0.2, 0.2, 0.04, 0.04, 0.04, 0.008]),
     (False, [1, 1, 1, 0.2, 0.2, 0.2, 0.04, 0.04])],
)  # fmt: skip
def test_learning_rate_decays_as_published_right_after_iteration_0(
    early: bool, factors: list[float]
) -> None:
    """Under a constant gradient every step of Adam is as long as its learning rate."""
    w, lr = parameter(2, 2), 1e-7
    pmf = PMF(vectors(w), lr, rho=1.0, lr_scale=0.2, lr_interval=3, decay_at_start=early, eps=1e-30)
    (latent,) = pmf.latents()
    latent.zero_()
    for factor in factors:
        before = latent.clone()
        constant_push(pmf, w)
        torch.testing.assert_close(latent[1] - before[1], torch.full((2, 2), -lr * factor,
                                   dtype=torch.float64), rtol=1e-4, atol=0)  # fmt: skip


def test_the_published_constants_of_mnist_train_at_a_fifth_of_the_rate() -> None:
    w = parameter(2, 2)
    pmf = PMF(vectors(w), 1e-3)
    constant_push(pmf, w)
    (latent,) = pmf.latents()
    before = latent.clone()
    constant_push(pmf, w)
    assert (before - latent)[1].mean().item() == pytest.approx(2e-4, rel=1e-2)


@pytest.mark.parametrize("weight_decay", [1e-4, 1e-2])
def test_weight_decay_through_adam_ignores_its_size_where_gradients_vanish(
    weight_decay: float,
) -> None:
    """Adam divides it by itself, so latents lose lr a step; decoupled, lr * weight_decay of their
    size.
    """
    for decoupled in (False, True):
        w = parameter(2, 2)
        pmf = PMF(vectors(w), 0.01, weight_decay=weight_decay, decoupled_weight_decay=decoupled,
            decay_at_start=False,
        )  # fmt: skip
        (latent,) = pmf.latents()
        latent.fill_(0.5)
        constant_push(pmf, w, size=0.0)
        lost = 0.5 * 0.01 * weight_decay if decoupled else 0.01
        assert (0.5 - latent).flatten().tolist() == pytest.approx([lost] * 8, rel=1e-3)


def test_what_is_loaded_for_training_and_for_both_predictions() -> None:
    w = parameter(2, 2)
    pmf = PMF(vectors(w), beta_every=1, rho=3.0)
    (latent,) = pmf.latents()
    latent[0], latent[1] = torch.tensor([[0, 0.5], [0.2, 0]]), torch.tensor([[1, 0], [0.2, 0.1]])
    difference = torch.tensor([[1, -0.5], [0, 0.1]], dtype=torch.float64)
    pmf.draw()
    torch.testing.assert_close(w.data, torch.tanh(difference / 2))
    before = w.detach().clone()
    with pmf.mode():
        assert w.tolist() == [[1, -1], [1, 1]], "a tie is +1"
    pmf.state[w]["beta"] = 3.0
    with pmf.fractional():
        torch.testing.assert_close(w.data, torch.tanh(1.5 * difference))
    assert torch.equal(w, before)


def test_initial_latents_count_both_of_a_weight_as_outputs() -> None:
    """Xavier: U(-a, a) with a^2 = 6 / (fan_in + 2 fan_out)."""
    torch.manual_seed(0)
    matrix, kernel, vector = parameter(60, 80), parameter(16, 8, 3, 3), parameter(4000)
    pmf = PMF(vectors(matrix, kernel, vector))
    found = pmf.latents()
    for latent, fans in ((found[0], 80 + 2 * 60), (found[1], (8 + 2 * 16) * 9)):
        bound = (6 / fans) ** 0.5
        assert 0.98 * bound < latent.abs().max() <= bound
        assert latent.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
    assert found[2].shape == (2, 4000)
    assert found[2].std().item() == pytest.approx(0.1, rel=0.05)


def test_restart_begins_the_schedules_anew_and_keeps_what_was_learned() -> None:
    w, other = parameter(*SHAPE), parameter(*SHAPE)
    pmf = PMF(vectors(w, other), **SETTINGS)
    for used in (w, other):
        for _ in range(6):
            step(pmf, used)
    with pmf.fractional():
        before = w.detach().clone(), other.detach().clone()
    latent = pmf.latents()[0].clone()
    pmf.restart()
    with pmf.fractional():
        assert torch.equal(w, before[0]) and torch.equal(other, before[1])
    pmf.draw()
    assert torch.equal(w, effective_weights(*latent, 1.0)), "the forward pass is that of beta = 1"
    step(pmf, w)
    state = pmf.state[w]
    assert (state["beta"], state["iteration"], state["adam_step"]) == (1.5, 1, 7)
    assert 0 < (state["latent"] - latent).abs().max() < 2e-3, "the rate of iteration 0, 1e-3"
    with pmf.fractional():
        assert torch.equal(other, before[1]), "without a gradient there is nothing to anneal"


def test_each_parameter_is_annealed_from_its_own_first_gradient() -> None:
    early, late = parameter(2, 2), parameter(2, 2)
    pmf = PMF(vectors(early, late), beta_every=1, rho=2.0)
    for _ in range(3):
        constant_push(pmf, early)
    assert (pmf.state[early]["beta"], pmf.state[late]["beta"]) == (8.0, 1.0)
    constant_push(pmf, late)
    assert pmf.state[late]["beta"] == 2.0


def test_beta_and_counts_survive_a_file() -> None:
    w, again = parameter(*SHAPE), parameter(*SHAPE)
    pmf = PMF(vectors(w), **SETTINGS)
    for _ in range(5):
        step(pmf, w)
    file = io.BytesIO()
    torch.save(pmf.state_dict(), file)
    file.seek(0)
    continued = PMF(vectors(again), **SETTINGS)
    continued.load_state_dict(torch.load(file, weights_only=True))
    for key in ("beta", "iteration", "adam_step"):
        assert continued.state[again][key] == pmf.state[w][key]
    assert pmf.state[w]["beta"] == 2.25
    step(pmf, w)
    step(continued, again)
    assert torch.equal(pmf.latents()[0], continued.latents()[0])


def test_a_parameter_that_grows_keeps_its_latents_and_its_annealing() -> None:
    old, new = parameter(*SHAPE), parameter(5, 4)
    pmf = PMF(vectors(old), **SETTINGS)
    for _ in range(5):
        step(pmf, old)
    before = dict(pmf.state[old])
    pmf.grow(old, new)
    state = pmf.state[new]
    for key in ("latent", "exp_avg", "exp_avg_sq"):
        assert torch.equal(state[key][:, :3], before[key])
    assert not state["exp_avg"][:, 3:].any() and state["latent"][:, 3:].all()
    assert state["beta"] == before["beta"] == 2.25
    assert old not in pmf.state


@pytest.mark.parametrize("jacobian", ["second_softmax", "exact"])
def test_large_parameters_are_worked_on_in_blocks(
    jacobian: Jacobian, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for block in (100, 5):
        monkeypatch.setattr("cl_bnn.optim.inplace.BLOCK", block)
        torch.manual_seed(0)
        w = parameter(*SHAPE)
        pmf = PMF(vectors(w), 0.1, jacobian=jacobian, weight_decay=0.1, **SETTINGS)
        for _ in range(4):
            step(pmf, w)
        found.append(pmf.latents()[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=0)
