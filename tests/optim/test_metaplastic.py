"""Metaplastic Adam against numbers worked out by hand, and against torch's Adam."""

import math
from typing import Any

import pytest
import torch
from bayes import vectors
from torch import Tensor, nn

from cl_bnn.optim import MetaplasticAdam
from cl_bnn.optim.inplace import BLOCK
from cl_bnn.optim.metaplastic import metaplastic_factor

LR = 0.1


def latent(values: list[float]) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def step(optimiser: MetaplasticAdam, weights: nn.Parameter, gradient: Tensor) -> None:
    optimiser.draw()
    weights.grad = gradient.to(weights.dtype, copy=True)
    optimiser.step()


def moved(start: list[float], gradient: list[float], **settings: Any) -> list[float]:
    """How far the latent weights go in the first step."""
    weights = latent(start)
    optimiser = MetaplasticAdam(vectors(weights), LR, **{"weight_decay": 0.0, **settings})
    step(optimiser, weights, torch.tensor(gradient, dtype=torch.float64))
    return (weights.detach() - torch.tensor(start, dtype=torch.float64)).tolist()


def test_factor_by_hand() -> None:
    """tanh(ln 2) = 3/5 and tanh(ln 3) = 4/5; only steps towards zero are damped."""
    w = torch.tensor([math.log(2), -math.log(3), math.log(2), -math.log(3), 0.0]) / 2
    m = torch.tensor([1.0, -1e-30, -1.0, 1.0, 1.0])
    found = metaplastic_factor(w, m, 2.0, (torch.empty(5), torch.empty(5)))
    assert found.tolist() == pytest.approx([16 / 25, 9 / 25, 1, 1, 1])


def test_first_step_by_hand() -> None:
    """m / sqrt(v) of the first step is 0.1 g / sqrt(0.001 g^2), so that W moves by lr f."""
    start = [0.2, 0.2, -0.2, -0.2, 0.0]
    damped = 1 - math.tanh(5 * 0.2) ** 2
    found = moved(start, [3.0, -0.5, -7.0, 2.0, 4.0], meta=5.0)
    expected = [-damped, 1, damped, -1, -1]
    assert found == pytest.approx([LR * x for x in expected], rel=1e-6)


def test_two_steps_by_hand() -> None:
    """beta_1 = beta_2 = 1/2, g = 4 then 1: m 2 then 3/2, v 8 then 9/2; the second m still leads
    towards zero, from another |W|."""
    weights = latent([2.0])
    optimiser = MetaplasticAdam(
        vectors(weights), LR, meta=0.5, betas=(0.5, 0.5), eps=1e-12, weight_decay=0.0
    )
    step(optimiser, weights, torch.tensor([4.0]))
    first = 2.0 - LR * (1 - math.tanh(0.5 * 2.0) ** 2) * math.sqrt(0.5) / 0.5 * 2 / math.sqrt(8)
    assert weights.item() == pytest.approx(first, rel=1e-9)
    step(optimiser, weights, torch.tensor([1.0]))
    eta = LR * math.sqrt(0.75) / 0.75
    second = first - eta * (1 - math.tanh(0.5 * first) ** 2) * 1.5 / math.sqrt(4.5)
    assert weights.item() == pytest.approx(second, rel=1e-9)


def test_it_is_the_momentum_that_says_where_a_step_leads() -> None:
    """A gradient that leads away from zero, while the average of all still leads towards it."""
    weights = latent([0.5])
    optimiser = MetaplasticAdam(vectors(weights), LR, meta=3.0, weight_decay=0.0)
    step(optimiser, weights, torch.tensor([10.0]))
    before = weights.item()
    step(optimiser, weights, torch.tensor([-1.0]))
    m, v = 0.9 * 1.0 - 0.1, 0.999 * 0.1 + 0.001
    eta = LR * math.sqrt(1 - 0.999**2) / (1 - 0.9**2)
    factor = 1 - math.tanh(3 * before) ** 2
    assert weights.item() == pytest.approx(before - eta * factor * m / math.sqrt(v), rel=1e-6)


def test_weight_decay_is_part_of_the_gradient() -> None:
    """Without a gradient of the loss, g = d W: the whole step of Adam, towards zero."""
    start = [0.2, -0.2]
    damped = LR * (1 - math.tanh(5 * 0.2) ** 2)
    found = moved(start, [0.0, 0.0], meta=5.0, weight_decay=0.3)
    assert found == pytest.approx([-damped, damped], rel=1e-5)


def test_a_far_latent_weight_never_turns() -> None:
    weights = nn.Parameter(torch.tensor([20.0, 0.2]))
    optimiser = MetaplasticAdam(vectors(weights), LR, meta=1.0, weight_decay=0.0)
    for _ in range(50):
        step(optimiser, weights, torch.ones(2))
    assert weights[0] == 20
    assert weights[1] < 0


def test_latent_weights_are_not_clipped() -> None:
    weights = latent([0.0])
    optimiser = MetaplasticAdam(vectors(weights), LR, meta=1.35)
    for _ in range(30):
        step(optimiser, weights, torch.tensor([-1.0]))
    assert weights.item() == pytest.approx(30 * LR, rel=1e-4)


def test_zero_is_positive() -> None:
    weights = latent([0.0, -0.0, -1e-300])
    optimiser = MetaplasticAdam(vectors(weights))
    optimiser.draw()
    assert weights.tolist() == [1, 1, -1]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_without_metaplasticity_it_is_adam(weight_decay: float) -> None:
    """torch adds eps to the corrected root: dividing eps by the correction makes both the same."""
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.randn(4, 3).double()) for _ in range(2))
    theirs.data = ours.detach().clone()
    optimiser = MetaplasticAdam([ours], LR, meta=0.0, eps=0.01, weight_decay=weight_decay)
    adam = torch.optim.Adam([theirs], LR, weight_decay=weight_decay)
    for t in range(1, 11):
        gradient = torch.randn(4, 3).double()
        step(optimiser, ours, gradient)
        theirs.grad = gradient
        adam.param_groups[0]["eps"] = 0.01 / math.sqrt(1 - 0.999**t)
        adam.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_real_parameters_are_plain_adam() -> None:
    """Neither signs nor factors for a group with `binary=False`."""
    binary, real, plain = latent([0.5]), latent([3.0, -0.4]), latent([3.0, -0.4])
    optimiser = MetaplasticAdam(
        [*vectors(binary), {"params": [real], "binary": False, "lr": 0.3}], weight_decay=0.0
    )
    adam = torch.optim.Adam([plain], 0.3)
    for _ in range(6):
        optimiser.zero_grad()
        adam.zero_grad()
        optimiser.draw()
        assert binary.tolist() == [1]
        (binary.sum() + 5 * (real**2).sum()).backward()
        (5 * (plain**2).sum()).backward()
        optimiser.step()
        adam.step()
    torch.testing.assert_close(real, plain, rtol=1e-5, atol=0)


def test_groups_have_a_meta_of_their_own() -> None:
    one, other = latent([0.5]), latent([0.5])
    optimiser = MetaplasticAdam(
        [*vectors(one), {**vectors(other)[0], "meta": 2.0}], LR, meta=1.0, weight_decay=0.0
    )
    optimiser.draw()
    one.grad, other.grad = torch.ones(2, 1).double()
    optimiser.step()
    for weights, meta in ((one, 1.0), (other, 2.0)):
        assert weights.item() == pytest.approx(0.5 - LR * (1 - math.tanh(meta / 2) ** 2), rel=1e-6)
    with pytest.raises(ValueError, match="meta must be >= 0, got -1"):
        optimiser.add_param_group({**vectors(latent([1.0]))[0], "meta": -1})


def test_restart_is_a_new_optimiser_on_the_same_latent_weights() -> None:
    torch.manual_seed(0)
    gradients = torch.randn(10, 2, 3)
    weights = nn.Parameter(torch.randn(2, 3))
    optimiser = MetaplasticAdam([weights], LR)
    for gradient in gradients[:5]:
        step(optimiser, weights, gradient)
    again = nn.Parameter(weights.detach().clone())
    optimiser.restart()
    new = MetaplasticAdam([again], LR)
    for gradient in gradients[5:]:
        step(optimiser, weights, gradient)
        step(new, again, gradient)
        assert torch.equal(weights, again)


def test_large_tensors_are_the_same_block_by_block() -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(3, BLOCK // 2), torch.randn(2, 3, BLOCK // 2)
    whole = nn.Parameter(start.clone())
    rows = [nn.Parameter(row[None].clone()) for row in start]
    together, apart = MetaplasticAdam([whole], LR), MetaplasticAdam(rows, LR)
    for gradient in gradients:
        step(together, whole, gradient)
        apart.draw()
        for row, piece in zip(rows, gradient, strict=True):
            row.grad = piece[None].clone()
        apart.step()
    assert torch.equal(whole, torch.cat(rows))
