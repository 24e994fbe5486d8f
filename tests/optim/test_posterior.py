"""The posterior of BayesBiNN: samples of it, and what it hands on to the next task."""

import copy
from typing import Any

import pytest
import torch
from bayes import LR, N, linear_step, optimiser_at, parameter, vectors
from torch import Tensor, nn

from cl_bnn.optim import BayesBiNN


def loaded(weights: nn.Parameter, samples: Any) -> Tensor:
    return torch.stack([weights.detach().clone() for _ in samples])


def test_posterior_samples_have_the_posterior_mean() -> None:
    natural = torch.tensor([-2.0, -0.5, 0.0, 0.3, 1.0, 8.0])
    weights, optimiser = optimiser_at(natural)
    count = 10_000
    with optimiser.posterior_samples(count, torch.Generator().manual_seed(0)) as samples:
        assert len(samples) == count
        drawn = loaded(weights, samples)
    assert (drawn.abs() == 1).all()
    torch.testing.assert_close(drawn.mean(0), torch.tanh(natural), rtol=0, atol=4 / count**0.5)


def test_posterior_samples_are_drawn_once_and_independently() -> None:
    first, second = parameter(6, 5), parameter(30)
    optimiser = BayesBiNN(vectors(first, second), train_set_size=1, init_lambda=0.0)
    with optimiser.posterior_samples(3) as samples:
        assert list(samples) == [0, 1, 2]
        drawn = loaded(first, samples)
        assert torch.equal(loaded(first, samples), drawn), "the same networks again"
        assert not torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[2].flatten(), second)
        assert [signs.dtype for signs in samples.values] == [torch.int8, torch.int8]


def test_posterior_samples_follow_their_generator() -> None:
    weights, optimiser = optimiser_at(torch.zeros(40))
    drawn = []
    before = torch.get_rng_state()
    for seed in (1, 1, 2):
        with optimiser.posterior_samples(2, torch.Generator().manual_seed(seed)) as samples:
            drawn.append(loaded(weights, samples))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), before), "the global generator was not used"


def test_posterior_samples_give_back_what_was_there() -> None:
    weights, optimiser = optimiser_at(torch.zeros(3))
    optimiser.draw()
    before = weights.detach().clone()
    with optimiser.posterior_samples(2) as samples:
        loaded(weights, samples)
    assert torch.equal(weights, before)
    with pytest.raises(ZeroDivisionError), optimiser.posterior_samples(2) as samples:
        loaded(weights, samples)
        raise ZeroDivisionError
    assert torch.equal(weights, before)


def test_posterior_becomes_the_prior_and_stays_it() -> None:
    start, zero = torch.tensor([2.0, -3.0], dtype=torch.float64), torch.zeros(2).double()
    weights, optimiser = optimiser_at(start)
    linear_step(optimiser, weights, zero)
    decayed = (1 - LR) * start
    torch.testing.assert_close(optimiser.naturals()[0], decayed)  # the first prior is lambda = 0
    optimiser.posterior_to_prior()
    linear_step(optimiser, weights, zero)
    torch.testing.assert_close(optimiser.naturals()[0], decayed)
    linear_step(optimiser, weights, torch.ones(2).double())
    assert not torch.equal(optimiser.naturals()[0], decayed)
    torch.testing.assert_close(optimiser.state[weights]["prior"], decayed)


def test_what_no_loss_has_reached_keeps_its_first_prior() -> None:
    """The head of a task to come holds random signs, which are no knowledge to be kept."""
    trunk, later = parameter(3), parameter(3)
    optimiser = BayesBiNN(vectors(trunk, later), LR, train_set_size=N, init_lambda=2.0)
    optimiser.draw()
    trunk.sum().backward()
    optimiser.step()
    optimiser.posterior_to_prior()
    states = optimiser.state[trunk], optimiser.state[later]
    assert torch.equal(states[0]["prior"], states[0]["natural"])
    assert torch.equal(states[1]["prior"], torch.zeros(3))
    assert torch.equal(states[1]["natural"].abs(), torch.full((3,), 2.0))


@pytest.mark.parametrize("draws", [1, 2, 5])
def test_real_parameters_get_the_mean_gradient_of_the_samples(draws: int) -> None:
    """Also where nobody clears gradients between samples, as in a strategy."""
    weights, bias = parameter(4), parameter(2)
    inner = torch.optim.SGD([bias], lr=1.0)
    optimiser = BayesBiNN(
        vectors(weights), LR, train_set_size=N, mc_samples=draws, inner=inner
    )  # fmt: skip
    before = bias.detach().clone()
    for number in range(draws):
        optimiser.draw()
        (weights.sum() + (number + 1) * bias.sum()).backward()
        optimiser.accumulate()
    optimiser.step()
    torch.testing.assert_close(bias.detach(), before - (draws + 1) / 2)


@pytest.mark.parametrize("mode", ["sound", "reference"])
def test_a_head_that_grows_keeps_what_it_learned(mode: Any) -> None:
    old, other, new = parameter(2, 3), parameter(4, 1), parameter(5, 3)
    optimiser = BayesBiNN(
        [{"params": [other]}, {"params": [old], "init_lambda": 7.0}],
        LR, train_set_size=N, temperature=1.0, momentum=0.5, mode=mode,
    )  # fmt: skip
    for _ in range(3):
        optimiser.draw()
        (old.sum() + other.sum()).backward()
        optimiser.step()
    optimiser.posterior_to_prior()
    before, untouched = dict(optimiser.state[old]), copy.deepcopy(optimiser.state[other])
    optimiser.grow(old, new)
    after = optimiser.state[new]
    tensors = [key for key, value in before.items() if isinstance(value, Tensor)]
    assert {"natural", "prior", "buffer"} <= set(tensors)
    for key in tensors:
        assert torch.equal(after[key][:2], before[key]), key
    assert after["step"] == 3
    assert (after["natural"][2:].abs() == 7).all()
    assert (after["prior"][2:] == 0).all() and (after["buffer"][2:] == 0).all()
    torch.testing.assert_close(optimiser.state[other], untouched, rtol=0, atol=0)
    assert old not in optimiser.state

    optimiser.draw()
    new.sum().backward()
    optimiser.step()
    assert (optimiser.naturals()[1] != after["prior"]).all()
    assert [n.shape for n in optimiser.naturals()] == [(4, 1), (5, 3)]


def test_a_head_that_never_learned_may_grow() -> None:
    old, new = parameter(2, 3), parameter(5, 3)
    optimiser = BayesBiNN(vectors(old), train_set_size=N)
    optimiser.grow(old, new)
    assert [n.shape for n in optimiser.naturals()] == [(5, 3)]


def test_loading_restores_the_learning_rate_and_the_number_of_samples() -> None:
    one = BayesBiNN([parameter(2, 3)], 0.1, train_set_size=7)
    other = BayesBiNN([parameter(2, 3)], 0.2, train_set_size=9)
    other.load_state_dict(one.state_dict())
    (group,) = other.param_groups
    assert (group["lr"], group["train_set_size"]) == (0.1, 7)
