"""Mistakes that once went unnoticed, and corners that once crashed."""

import math

import pytest
import torch
from torch import nn

from cl_bnn import metrics
from cl_bnn.nn import mlp
from cl_bnn.optim import STE, BayesBiNN


def test_bayesbinn_step_without_draw_is_refused() -> None:
    weights = nn.Parameter(torch.zeros(1, 3))
    optimiser = BayesBiNN([weights], train_set_size=1)
    weights.sum().backward()
    with pytest.raises(RuntimeError, match="draw"):
        optimiser.step()


@pytest.mark.parametrize("name, value", [("temperature", 0.0), ("lr", -1.0), ("momentum", 1.0)])
def test_wrong_value_of_a_group_is_named(name, value) -> None:
    weights = nn.Parameter(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=name):
        BayesBiNN([{"params": [weights], name: value}], train_set_size=1)


@pytest.mark.parametrize("count", [0, -1])
def test_number_of_posterior_samples_is_checked(count) -> None:
    optimiser = BayesBiNN([nn.Parameter(torch.zeros(1, 3))], train_set_size=1)
    with pytest.raises(ValueError, match="count"), optimiser.posterior_samples(count):
        pass


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


def test_inner_gradient_is_the_mean_over_the_samples() -> None:
    torch.manual_seed(1)
    weights, bias = nn.Parameter(torch.zeros(1, 4)), nn.Parameter(torch.zeros(()))
    inner = torch.optim.SGD([bias], 1.0)
    optimiser = BayesBiNN([weights], train_set_size=1, mc_samples=3, init_lambda=0.0, inner=inner)
    gradients = []

    def closure():
        optimiser.zero_grad()
        loss = (weights * bias + weights * 0).sum() + bias * weights.sum()
        loss.backward()
        gradients.append(2 * weights.sum().item())
        return loss

    optimiser.step(closure)
    assert bias.item() == pytest.approx(-sum(gradients) / 3)


def test_entropy_of_a_fair_coin_is_one_bit_in_double() -> None:
    assert metrics.entropy_bits(torch.zeros(1)).item() == pytest.approx(1.0, abs=1e-12)
    p = 1 / (1 + math.exp(-2))
    bits = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    assert metrics.entropy_bits(torch.ones(1)).item() == pytest.approx(bits, rel=1e-12)


def test_one_sample_of_a_task_in_a_mixed_training_batch() -> None:
    model = mlp(in_features=6, out_features=2, n_heads=2, n_tasks=2)
    logits = model(torch.randn(4, 6), torch.tensor([0, 0, 0, 1]))
    assert logits.shape == (4, 2)
