"""STE against torch's Adam on latent weights, run by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from bayes import vectors
from torch import Tensor, nn

from cl_bnn.optim import STE
from cl_bnn.optim.ste import signs

LR = 0.1
START = [0.9, 0.02, 0.0, -0.03, -0.95]
TARGET = torch.tensor([2.0, -0.3, 0.5, 0.1, -1.5])


def latent(values: list[float]) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def loss_of(weights: Tensor) -> Tensor:
    return (weights * TARGET).sum() + 0.05 * (weights.sum() - 1) ** 2


def by_hand(
    start: list[float], steps: int, shape: Callable[[Tensor, Tensor], Tensor], clamp: float | None
) -> Tensor:
    """Adam on latent weights v with the gradient taken at sign(v) and changed by `shape(g, v)`."""
    v = latent(start)
    adam = torch.optim.Adam([v], LR)
    for _ in range(steps):
        binary = torch.where(v.detach() >= 0, 1.0, -1.0).requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of(binary), binary)
        v.grad = shape(gradient, v.detach())
        adam.step()
        if clamp is not None:
            v.data = v.data.clip(-clamp, clamp)
    return v.detach()


def by_ste(start: list[float], steps: int, **settings: Any) -> Tensor:
    v = latent(start)
    optimiser = STE(vectors(v), LR, **settings)
    for _ in range(steps):
        optimiser.zero_grad()
        optimiser.draw()
        loss_of(v).backward()
        optimiser.step()
    return v.detach()


def test_signs_are_never_zero() -> None:
    tiny = torch.finfo(torch.float32).tiny
    found = signs(torch.tensor([-2.0, -tiny, -0.0, 0.0, tiny, 3.0], dtype=torch.float64))
    assert found.tolist() == [-1, -1, 1, 1, 1, 1]
    assert found.dtype == torch.float64


def test_identity_is_adam_on_clamped_latent_weights() -> None:
    found = by_ste(START, 12)
    assert torch.equal(found, by_hand(START, 12, lambda g, _: g, 1.0))
    assert found.abs().max() == 1, "the clamp was at work"
    assert found[1:4].abs().max() > 0.1


def test_hard_tanh_hides_gradients_beyond_one() -> None:
    start = [1.5, 1.0, 0.5, -1.0, -1.01]
    shape = by_hand(start, 1, lambda g, v: torch.where(v.abs() <= 1, g, 0.0), None)
    found = by_ste(start, 1, backward="hard_tanh", clamp=None)
    assert torch.equal(found, shape)
    assert (found == torch.tensor(start)).tolist() == [True, False, False, False, True]
    found = by_ste(start, 8, backward="hard_tanh", clamp=None)
    assert torch.equal(
        found, by_hand(start, 8, lambda g, v: torch.where(v.abs() <= 1, g, 0.0), None)
    )


@pytest.mark.parametrize("clamp", [0.05, 0.5, None])
def test_clamp_is_the_largest_latent_weight(clamp: float | None) -> None:
    found = by_ste(START, 12, clamp=clamp)
    assert torch.equal(found, by_hand(START, 12, lambda g, _: g, clamp))
    assert (found.abs().max() > 1) == (clamp is None)


def test_gradients_are_clipped_one_by_one() -> None:
    found = by_ste(START, 5, grad_clip=0.4, clamp=None)
    assert torch.equal(found, by_hand(START, 5, lambda g, _: g.clip(-0.4, 0.4), None))
    assert not torch.equal(found, by_ste(START, 5, clamp=None))


def test_real_parameters_are_plain_adam() -> None:
    """Neither signs nor masks, clips or clamps for a group with `binary=False`."""
    binary, real, plain = latent(START), latent([3.0, -0.4]), latent([3.0, -0.4])
    optimiser = STE(
        [*vectors(binary), {"params": [real], "binary": False, "lr": 0.3}],
        backward="hard_tanh", grad_clip=0.1,
    )  # fmt: skip
    adam = torch.optim.Adam([plain], 0.3)
    for _ in range(6):
        optimiser.zero_grad()
        adam.zero_grad()
        optimiser.draw()
        assert (binary.abs() == 1).all()
        assert torch.equal(real, plain), "real parameters are not drawn"
        (loss_of(binary) + 5 * (real**2).sum()).backward()
        (5 * (plain**2).sum()).backward()
        optimiser.step()
        adam.step()
    assert torch.equal(real, plain)
    with optimiser.mode():
        assert torch.equal(real, plain)


def test_parameters_hold_latent_weights_between_steps() -> None:
    start, ones = [0.9, 0.02, -0.03, -0.95], [1, 1, -1, -1]
    v = latent(start)
    optimiser = STE(vectors(v), 1e-30)  # too small to change a number near 1
    for _ in range(2):  # drawing twice is drawing once
        optimiser.draw()
        assert v.tolist() == ones
    v.sum().backward()
    optimiser.step()
    assert torch.equal(v, torch.tensor(start))
    with optimiser.mode():
        assert v.tolist() == ones
    assert torch.equal(v, torch.tensor(start))


def test_real_parameters_alone_need_no_draw() -> None:
    real = latent([3.0])
    optimiser = STE([{"params": [real], "binary": False}], LR)
    (real**2).sum().backward()
    optimiser.step()
    assert real.item() == pytest.approx(3.0 - LR)


def test_ste_loading_forgets_weights_that_were_drawn() -> None:
    model = nn.Linear(3, 1, bias=False)
    optimiser = STE(model.parameters(), 1e-30)
    saved = {k: v.clone() for k, v in model.state_dict().items()}, optimiser.state_dict()
    model.weight.data = model.weight.data + 0.1
    optimiser.draw()  # and then interrupted
    model.load_state_dict(saved[0])
    optimiser.load_state_dict(saved[1])
    optimiser.draw()
    model(torch.ones(2, 3)).sum().backward()
    optimiser.step()
    torch.testing.assert_close(model.weight.data, saved[0]["weight"])


def test_a_network_that_broke_down_does_not_look_healthy() -> None:
    latent = torch.tensor([float("nan"), -0.0, 0.3, -0.3, -7.0, 7.0])
    assert signs(latent).isnan().tolist() == [True, *[False] * 5]
    assert signs(latent)[1:].tolist() == [1, 1, -1, -1, 1]
