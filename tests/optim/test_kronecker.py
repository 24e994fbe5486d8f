"""Kronecker factors against sums written out, and the prior that is made of them."""

import copy
import io
import itertools
import math
from typing import Any

import pytest
import torch
from bayes import LR, N, linear_step, optimiser_at, parameter
from torch import Tensor, nn
from torch.nn import functional as F

from cl_bnn.optim import BayesBiNN, kronecker_factors
from cl_bnn.optim.kronecker import FactorMeter, Factors, layers_of, mean_pull


def symmetric(size: int, seed: int) -> Tensor:
    root = torch.randn(size, size + 2, generator=torch.Generator().manual_seed(seed)).double()
    return root @ root.t()


def expected_cost(mean: Tensor, anchor: Tensor, factors: Factors) -> Tensor:
    """E[tr(G (W - M) A (W - M)^T)] / 2 as a sum over all matrices of +-1."""
    total = torch.zeros((), dtype=torch.float64)
    for signs in itertools.product((-1.0, 1.0), repeat=mean.numel()):
        w = torch.tensor(signs).double().view_as(mean)
        probability = ((1 + w * mean) / 2).prod()
        d = w - anchor
        total = total + probability * (factors.outputs @ d @ factors.inputs @ d.t()).trace() / 2
    return total


def test_the_pull_is_the_gradient_of_the_expected_cost() -> None:
    mean = torch.tensor([[0.3, -0.9, 0.0], [0.5, 0.7, -0.2]]).double().requires_grad_()
    anchor = torch.tensor([[0.9, 0.1, -0.4], [0.0, -0.6, 0.2]]).double()
    factors = Factors(symmetric(3, 0), symmetric(2, 1))
    (gradient,) = torch.autograd.grad(expected_cost(mean, anchor, factors), mean)
    torch.testing.assert_close(mean_pull(mean.detach(), anchor, factors), gradient)


def test_a_single_weight_is_pulled_to_its_anchor_only_as_far_as_the_sign_matters() -> None:
    """(w - m)^2 is 1 - 2 w m + m^2 for w = +-1: linear in w, so that the pull is - g a m."""
    factors = Factors(torch.tensor([[2.0]]), torch.tensor([[3.0]]))
    pull = mean_pull(torch.tensor([[0.4]]), torch.tensor([[0.5]]), factors)
    assert pull.item() == pytest.approx(-6 * 0.5)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False), nn.Tanh(), nn.Flatten(),
        nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 3, bias=False),
    ).double()  # fmt: skip


@pytest.mark.parametrize("fits", [True, False])
def test_modules_learn_or_predict_as_before_when_factors_were_measured(fits: bool) -> None:
    norm = nn.BatchNorm1d(4)
    model = nn.Sequential(nn.Linear(4, 4, bias=False), norm, nn.Linear(4, 2, bias=False))
    norm.eval()  # its statistics are frozen
    optimiser = BayesBiNN([model[0].weight, model[2].weight], train_set_size=9)
    if fits:
        kronecker_factors(model, optimiser, torch.randn(9, 4))
    else:
        with pytest.raises(RuntimeError):
            kronecker_factors(model, optimiser, torch.randn(9, 5))
    assert [module.training for module in model] == [True, False, True]


def test_factors_of_linear_layers_are_means_over_samples() -> None:
    model, x = network(), torch.randn(5, 2, 4, 4).double()
    y = torch.tensor([0, 1, 2, 1, 0])
    layers = layers_of(model, [model[3].weight, model[5].weight])
    meter = FactorMeter(layers)
    with meter.listening():
        for part in (slice(0, 2), slice(2, 5)):
            F.cross_entropy(model(x[part]), y[part], reduction="sum").backward()
    found = meter.factors(5)
    a, g = torch.zeros(4, 4).double(), torch.zeros(3, 3).double()
    for image, label in zip(x, y, strict=True):
        hidden = model[:5](image[None])
        logits = model[5](hidden)
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, label[None]), logits)
        a += hidden.t() @ hidden / 5
        g += gradient.t() @ gradient / 5
    torch.testing.assert_close(found[model[5].weight].inputs, a.detach())
    torch.testing.assert_close(found[model[5].weight].outputs, g)
    assert found[model[3].weight].inputs.shape == (12, 12)
    before = meter.factors(1)[model[5].weight].inputs.clone()
    F.cross_entropy(model(x), y).backward()  # nobody listens any more
    assert torch.equal(meter.factors(1)[model[5].weight].inputs, before)


def test_factors_of_one_sample_and_place_are_its_fisher_information() -> None:
    """With a single sample whose output has one place, A (x) G is exactly the outer product of the
    gradient with itself, for a convolution as for a linear layer.
    """
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 3, 2, bias=False), nn.Flatten(), nn.Linear(3, 2)).double()
    x, y = torch.randn(1, 2, 2, 2).double(), torch.tensor([1])
    weights = [model[0].weight, model[2].weight]
    meter = FactorMeter(layers_of(model, weights))
    with meter.listening():
        F.cross_entropy(model(x), y, reduction="sum").backward()
    for weight in weights:
        a, g = meter.factors(1)[weight]
        assert weight.grad is not None
        gradient = weight.grad.flatten(1)
        outer = torch.einsum("oi,pj->oipj", gradient, gradient)
        torch.testing.assert_close(torch.einsum("op,ij->oipj", g, a), outer)


def test_factors_of_a_convolution_are_a_mean_and_a_sum_over_places() -> None:
    model, x = network(), torch.randn(3, 2, 4, 4).double()
    layer: Any = model[0]
    meter = FactorMeter(layers_of(model, [layer.weight]))
    with meter.listening():
        out = layer(x)
        loss = F.cross_entropy(model[1:](out), torch.tensor([0, 1, 2]), reduction="sum")
        (given,) = torch.autograd.grad(loss, out)
    padded = F.pad(x, (1, 1, 1, 1))
    a, g = torch.zeros(18, 18).double(), torch.zeros(3, 3).double()
    for n, i, j in itertools.product(range(3), range(2), range(2)):
        patch = padded[n, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].flatten()
        a += torch.outer(patch, patch) / (3 * 4)
        g += torch.outer(given[n, :, i, j], given[n, :, i, j]) / 3
    found = meter.factors(3)[layer.weight]
    torch.testing.assert_close(found.inputs, a)
    torch.testing.assert_close(found.outputs, g)


def test_factors_of_a_layer_used_twice_are_a_mean_and_a_sum_over_its_uses() -> None:
    layer = nn.Linear(3, 3, bias=False).double()
    meter = FactorMeter(layers_of(layer, [layer.weight]))
    a = g = torch.zeros(3, 3, dtype=torch.float64)
    for x in torch.randn(2, 5, 3, dtype=torch.float64):
        once = layer(x)
        twice = layer(once)
        d_once, d_twice = torch.autograd.grad(twice.pow(2).sum(), [once, twice])
        a = a + (x.T @ x + once.T @ once).detach() / 2
        g = g + d_once.T @ d_once + d_twice.T @ d_twice
        with meter.listening():
            layer(layer(x)).pow(2).sum().backward()
    found = meter.factors(10)[layer.weight]
    torch.testing.assert_close(found.inputs, a / 10)
    torch.testing.assert_close(found.outputs, g / 10)


def test_layers_without_factors_are_refused() -> None:
    class Signed(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight.sign().T

    round_about = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
    for layer in (nn.Conv2d(4, 4, 3, groups=2), round_about, Signed(2, 2)):
        with pytest.raises(ValueError, match="has no Kronecker factors: they are known of linear"):
            layers_of(layer, [layer.weight])
    with pytest.raises(ValueError, match=r"a weight of shape \(2, 2\) has no Kronecker factors"):
        layers_of(nn.Linear(2, 2), [nn.Parameter(torch.zeros(2, 2))])
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    with pytest.raises(ValueError, match="each with weights of its own"):
        layers_of(nn.Sequential(first, second), [first.weight])


def test_a_linear_layer_on_a_grid_of_vectors_has_the_factors_of_its_outputs() -> None:
    layer = nn.Linear(3, 5, bias=False)
    meter = FactorMeter(layers_of(layer, [layer.weight]))
    with meter.listening():
        layer(torch.randn(2, 4, 4, 3)).sum().backward()
    assert meter.factors(2)[layer.weight].outputs.shape == (5, 5)


# The prior of BayesBiNN --------------------------------------------------------------------------

START = torch.tensor([[0.5, -1.0], [2.0, 0.1]]).double()
FIRST = Factors(symmetric(2, 2), symmetric(2, 3))
SECOND = Factors(symmetric(2, 4), symmetric(2, 5))


def test_the_posterior_becomes_a_prior_that_knows_what_belongs_together() -> None:
    settings: Any = dict(mode="straight", temperature=1.0, prior_strength=0.5, prior_power=0.8)
    weights, optimiser = optimiser_at(START, **settings)
    optimiser.state[weights]["step"] = 1  # it has learned a task
    optimiser.posterior_to_prior({weights: FIRST})
    moved = torch.tensor([[0.2, 0.3], [-0.4, 0.1]]).double()
    optimiser.state[weights]["natural"] += moved
    gradient = torch.tensor([[1.0, 0.0], [0.5, -2.0]]).double()
    now = START + moved
    linear_step(optimiser, weights, gradient)
    pull = 0.5 * mean_pull(now.tanh(), START.tanh(), Factors(N * FIRST.inputs, FIRST.outputs))
    expected = now - LR * (N * gradient + pull + now - 0.8 * START)
    torch.testing.assert_close(optimiser.naturals()[0], expected)

    optimiser.posterior_to_prior({weights: SECOND})
    state = optimiser.state[weights]
    torch.testing.assert_close(state["inputs"], N * (0.8 * FIRST.inputs + SECOND.inputs))
    torch.testing.assert_close(state["outputs"], (FIRST.outputs + SECOND.outputs) / 2)
    torch.testing.assert_close(state["anchor"], expected.tanh())
    torch.testing.assert_close(state["prior"], 0.8 * expected)


def test_without_factors_or_strength_nothing_pulls() -> None:
    ends = []
    for factors, strength in ((None, 1.0), (FIRST, 0.0)):
        weights, optimiser = optimiser_at(START, mode="straight", prior_strength=strength)
        optimiser.state[weights]["step"] = 1
        optimiser.posterior_to_prior(None if factors is None else {weights: factors})
        linear_step(optimiser, weights, torch.ones(2, 2).double())
        ends.append(optimiser.naturals()[0])
    torch.testing.assert_close(ends[0], START - LR * N * torch.ones(2, 2).double())
    assert torch.equal(*ends)


def test_weights_are_held_where_old_outputs_would_change_and_free_where_not() -> None:
    """Old inputs were all (1, 1): the sum of the two means is held, their difference is not."""
    weights = parameter(1, 2)
    optimiser = BayesBiNN(
        [weights], 0.02, train_set_size=10, mode="straight", temperature=1.0, kl_weight=0.0,
        init_lambda=0.0,
    )  # fmt: skip
    optimiser.naturals()
    factors = Factors(torch.ones(2, 2).double(), torch.ones(1, 1).double())
    optimiser.posterior_to_prior({weights: factors})
    for _ in range(300):
        linear_step(optimiser, weights, torch.tensor([[-0.3, 0.0]]).double())  # pushes the first up
    first, second = optimiser.naturals()[0].tanh()[0].tolist()
    assert first > 0.9 and second < -0.9  # nothing but the prior pushes the second down


def test_the_state_of_a_prior_is_saved_and_grows() -> None:
    weights, optimiser = optimiser_at(START, temperature=1.0)
    linear_step(optimiser, weights, torch.ones(2, 2).double())
    optimiser.posterior_to_prior({weights: FIRST})
    saved = io.BytesIO()
    torch.save(optimiser.state_dict(), saved)
    saved.seek(0)
    again = nn.Parameter(weights.detach().clone())
    other = BayesBiNN([{"params": [again]}], LR, train_set_size=N, temperature=1.0)
    other.load_state_dict(torch.load(saved, weights_only=True))
    for one, its in ((optimiser, weights), (other, again)):
        torch.manual_seed(3)
        linear_step(one, its, torch.ones(2, 2).double())
    assert torch.equal(other.naturals()[0], optimiser.naturals()[0])

    before, new = copy.copy(optimiser.state[weights]), parameter(3, 4)
    optimiser.grow(weights, new)
    state = optimiser.state[new]
    assert torch.equal(state["inputs"][:2, :2], before["inputs"])
    assert torch.equal(state["outputs"][:2, :2], before["outputs"])
    assert state["inputs"].shape == (4, 4) and state["outputs"].shape == (3, 3)
    assert not state["inputs"][2:].any() and not state["outputs"][:, 2:].any()
    assert torch.equal(state["anchor"][:2, :2], before["anchor"])
    linear_step(optimiser, new, torch.ones(3, 4).double())
    assert math.isfinite(optimiser.naturals()[0].sum())


def test_factors_measured_under_autocast_are_those_of_the_weights_type() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2, bias=False)
    optimiser = BayesBiNN(layer.parameters(), LR, train_set_size=N)
    x = torch.randn(8, 3)
    exact = kronecker_factors(layer, optimiser, x)[layer.weight]
    with torch.autocast("cpu", torch.bfloat16):
        factors = kronecker_factors(layer, optimiser, x)
    found = factors[layer.weight]
    assert found.inputs.dtype == found.outputs.dtype == torch.float32
    torch.testing.assert_close(found.inputs, exact.inputs, rtol=0.02, atol=0.02)
    optimiser.posterior_to_prior(factors)
    optimiser.step(lambda: F.cross_entropy(layer(x), torch.zeros(8, dtype=torch.int64)))
