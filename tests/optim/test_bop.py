"""Bop and its second-order variant against numbers computed by hand and closed forms."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from bayes import vectors
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from cl_bnn.optim import Bop, Bop2ndOrder


def weights(values: list[float], dtype: torch.dtype = torch.float64) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=dtype))


def push(optimiser: Any, parameter: nn.Parameter, gradient: list[float]) -> list[float]:
    """One step with this gradient; the weights after it."""
    optimiser.zero_grad()
    optimiser.draw()
    (parameter * parameter.new_tensor(gradient)).sum().backward()
    optimiser.step()
    return parameter.tolist()


def flip_steps(optimiser: Any, w: nn.Parameter, gradient: Callable[[float], float]) -> list[int]:
    """The steps, 1 the first, after which the single weight had changed, in 200 steps."""
    flips, before = [], w.item()
    for step in range(1, 201):
        push(optimiser, w, [gradient(w.item())])
        if w.item() != before:
            flips.append(step)
        before = w.item()
    return flips


def test_bop_by_hand() -> None:
    w = weights([1, -1, 1, -1])
    bop = Bop(vectors(w), threshold=0.1, gamma=0.5)
    # m = 0.2, 0.2, -0.2, -0.2: pushes against the first and the last weight.
    assert push(bop, w, [0.4, 0.4, -0.4, -0.4]) == [-1, -1, 1, 1]
    assert bop.flip_ratio().item() == 0.5
    # m = 0.3, 0.3, -0.3, -0.3: all weights agree with it.
    assert push(bop, w, [0.4, 0.4, -0.4, -0.4]) == [-1, -1, 1, 1]
    assert bop.flip_ratio().item() == 0
    # m = -0.35, -0.1 + 1e-9, 0.1 + 1e-9, 0.15; the momentum was not reset by the first flip.
    assert push(bop, w, [-1.0, -0.5 + 2e-9, 0.5 + 2e-9, 0.6]) == [1, -1, -1, -1]
    assert bop.state[w]["momentum"].tolist() == pytest.approx([-0.35, -0.1, 0.1, 0.15])


@pytest.mark.parametrize(
    ("target", "times"),
    [(-3.0, "once"), (-0.92, "once"), (-0.5, "often"), (0.0, "often"), (0.2, "often"),
     (0.75, "often"), (0.92, "never"), (2.0, "never")],
)  # fmt: skip
def test_flips_on_a_parabola_follow_the_closed_form(target: float, times: str) -> None:
    """Loss (w - a)^2 / 2: the gradient w - a is constant between flips, so that after k steps
    m = g + (m_0 - g) q^k with q = 1 - gamma. It exceeds tau at the first k with
    q^k < (|g| - tau) / (|g| - |m_0|), m_0 counted in the direction of g.
    """
    gamma, threshold, q = 0.1, 0.1, 0.9
    expected, step, w, momentum = [], 0, 1.0, 0.0
    while True:
        force = w * (w - target)  # in the direction that flips w
        if force <= threshold:
            break
        wait = math.floor(math.log((force - threshold) / (force - w * momentum), q)) + 1
        step += wait
        if step > 200:
            break
        gradient = w - target
        momentum, w = gradient + (momentum - gradient) * q**wait, -w
        expected.append(step)
    parameter = weights([1.0])
    found = flip_steps(Bop(vectors(parameter), threshold=threshold, gamma=gamma), parameter,
                       lambda w: w - target)  # fmt: skip
    assert found == expected
    # Where a gradient larger than tau pushes both ways, the weight goes on flipping.
    assert {0: "never", 1: "once"}.get(len(found), "often") == times


def test_on_equality_a_weight_stays_or_becomes_plus_one() -> None:
    gradient = [0.25, -0.25]  # with gamma = 1/2, w m = 1/8 exactly for both
    keep, plus = weights([1, -1]), weights([1, -1])
    assert push(Bop(vectors(keep), threshold=0.125, gamma=0.5), keep, gradient) == [1, -1]
    published = Bop(vectors(plus), threshold=0.125, gamma=0.5, ties="plus")
    assert push(published, plus, gradient) == [1, 1]
    assert published.flip_ratio().item() == 0.5


def published_rule(w: Tensor, product: Tensor, threshold: float) -> Tensor:
    """s(-sgn(w m - tau) w) with s(0) = +1 and sgn(0) = 0."""
    return torch.where(-torch.sgn(product - threshold) * w >= 0, 1.0, -1.0).to(w.dtype)


@pytest.mark.parametrize("threshold", [0.0, 0.125])
def test_bop_as_published(threshold: float) -> None:
    """With gradients that are multiples of 1/4, equality happens, and no sum is rounded."""
    generator = torch.Generator().manual_seed(0)
    w = nn.Parameter(torch.randn(200, generator=generator, dtype=torch.float64))
    bop = Bop(vectors(w), threshold=threshold, gamma=0.5, start="real", ties="plus")
    theirs, momentum, ties = w.detach().clone(), torch.zeros(200, dtype=torch.float64), 0
    for _ in range(12):
        gradient = torch.randint(-2, 3, (200,), generator=generator) / 4
        momentum = (momentum + gradient) / 2
        product = theirs * momentum
        ties += int((product == threshold).sum())
        theirs = published_rule(theirs, product, threshold)
        assert push(bop, w, gradient.tolist()) == theirs.tolist()
    assert ties > 10


def test_real_start_shows_the_first_forward_pass_real_weights() -> None:
    # m = 0.2: with the weight 0.3 the product 0.06 is below the threshold, with its sign above.
    signs, real = weights([0.3]), weights([0.3])
    seen = []
    for w, start in ((signs, "signs"), (real, "real")):
        bop = Bop(vectors(w), threshold=0.1, gamma=0.5, start=start)  # type: ignore[arg-type]
        bop.draw()
        seen.append(w.item())
        push(bop, w, [0.4])
    assert seen == [1.0, 0.3]
    assert (signs.item(), real.item()) == (-1, 1)


def ratio_at(step: int, gamma: float, sigma: float, unbiased: bool) -> float:
    """Evidence after `step` equal gradients: the gradient cancels."""
    first, second = 1 - (1 - gamma) ** step, 1 - (1 - sigma) ** step
    return first / gamma / math.sqrt(second / sigma) if unbiased else first / math.sqrt(second)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("size", [0.04, 700.0])
def test_second_order_flips_after_the_predicted_step_whatever_the_size_of_the_gradient(
    unbiased: bool, size: float
) -> None:
    gamma, sigma = 0.1, 0.25
    by_hand = 1.9 / math.sqrt(1.75) if unbiased else 0.19 / math.sqrt(0.4375)
    assert ratio_at(2, gamma, sigma, unbiased) == pytest.approx(by_hand)
    for expected in (1, 2, 7):
        for slack, late in ((-1e-6, 0), (1e-6, 1)):
            threshold = ratio_at(expected, gamma, sigma, unbiased) + slack
            w = weights([1.0])
            bop = Bop2ndOrder(
                vectors(w), threshold=threshold, gamma=gamma, sigma=sigma, unbiased=unbiased
            )
            assert flip_steps(bop, w, lambda _: size)[0] == expected + late


def test_second_order_moments_by_hand() -> None:
    w = weights([1, 1])
    bop = Bop2ndOrder(vectors(w), threshold=1e9, gamma=0.5, sigma=0.25)
    push(bop, w, [0.4, -2.0])
    push(bop, w, [0.8, 4.0])
    state = bop.state[w]
    assert state["momentum"].tolist() == pytest.approx([0.5, 1.5])
    assert state["second_moment"].tolist() == pytest.approx([0.19, 4.75])


@pytest.mark.parametrize("unbiased", [False, True])
def test_second_order_adds_1e_10_to_the_root(unbiased: bool) -> None:
    # One gradient of 1e-10: 0.1 / (0.5 + 1) without, 1 / (1 + 1) with the correction.
    expected = 1 / 2 if unbiased else 0.1 / 1.5
    for factor, after in ((0.999, -1), (1.001, 1)):
        w = weights([1.0])
        bop = Bop2ndOrder(
            vectors(w), threshold=expected * factor, gamma=0.1, sigma=0.25, unbiased=unbiased
        )
        assert push(bop, w, [1e-10]) == [after]


def test_settings_may_be_changed_between_steps() -> None:
    w = weights([1.0])
    bop = Bop(vectors(w), threshold=math.inf, gamma=1.0)
    assert push(bop, w, [1.0]) == [1]
    bop.param_groups[0]["threshold"] = 0.0
    assert push(bop, w, [1.0]) == [-1]
    bop.param_groups[0]["gamma"] = 0.5  # m = (1 - 2) / 2
    push(bop, w, [-2.0])
    assert bop.state[w]["momentum"].item() == -0.5


def test_the_inner_optimiser_alone_has_a_learning_rate() -> None:
    w, real = weights([1.0]), weights([5.0])
    inner = torch.optim.SGD([real], lr=1.0)
    bop = Bop(vectors(w), threshold=10.0, inner=inner)
    with pytest.raises(KeyError, match="lr"):
        LambdaLR(bop, lambda epoch: 1.0)
    scheduler = LambdaLR(inner, lambda epoch: [1.0, 0.5][epoch])
    for expected in (4.0, 3.5):  # each step the gradient is 1
        bop.zero_grad()
        bop.draw()
        (w + real).sum().backward()
        bop.step()
        assert real.item() == expected
        if expected == 4.0:
            scheduler.step()
    bop.zero_grad()
    assert real.grad is None and w.grad is None
    state = bop.state_dict()
    inner.param_groups[0]["lr"] = 7.0
    bop.load_state_dict(state)
    assert inner.param_groups[0]["lr"] == 0.5


def test_flips_are_counted_among_all_binary_weights() -> None:
    used, unused = weights([1, 1, -1, -1]), weights([1] * 4)
    bop = Bop(vectors(used, unused), threshold=0.0, gamma=1.0)
    assert bop.flip_ratio().item() == 0
    push(bop, used, [1.0, 1.0, 1.0, 1.0])
    assert bop.flip_ratio().item() == 2 / 8
    push(bop, used, [1.0, 1.0, 1.0, 1.0])
    assert bop.flip_ratio().item() == 0


def test_large_parameters_are_worked_on_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(4, 23, generator=generator, dtype=torch.float64)
    found = []
    for block in (100, 5):
        monkeypatch.setattr("cl_bnn.optim.inplace.BLOCK", block)
        w = weights([1.0] * 23)
        bop = Bop2ndOrder(vectors(w), threshold=0.3, gamma=0.2, sigma=0.1, unbiased=True)
        steps = [(push(bop, w, gradient.tolist()), bop.flip_ratio()) for gradient in gradients]
        found.append((steps, bop.state[w]["momentum"].tolist()))
    assert found[0] == found[1]
    assert any(0 < ratio < 1 for _, ratio in found[0][0])


def test_a_parameter_that_grows_keeps_its_averages() -> None:
    """Without them, the first gradient would flip every weight that it points against."""
    old = nn.Parameter(torch.ones(2, 3))
    bop = Bop2ndOrder(vectors(old), threshold=1e9, gamma=0.5, sigma=0.5)
    bop.draw()
    (old * torch.tensor([[1.0, 2, 3], [4, 5, 6]])).sum().backward()
    bop.step()
    new = nn.Parameter(torch.full((3, 3), -0.1))
    new.data[:2] = old.data
    bop.grow(old, new)
    assert bop.param_groups[0]["params"] == [new] and old not in bop.state
    assert new.tolist() == [[1, 1, 1], [1, 1, 1], [-1, -1, -1]]
    assert bop.state[new]["momentum"].tolist() == [[0.5, 1, 1.5], [2, 2.5, 3], [0, 0, 0]]
    assert bop.state[new]["second_moment"].tolist() == [[0.5, 2, 4.5], [8, 12.5, 18], [0, 0, 0]]
