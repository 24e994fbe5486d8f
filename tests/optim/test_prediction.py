"""One prediction from many networks, against values worked out by hand."""

import math

import pytest
import torch
from torch import nn

from cl_bnn.optim import BayesBiNN, averaged_prediction

# Two networks, one sample, two classes: logits whose probabilities are 0.9 / 0.1 and 0.2 / 0.8.
NINE_TO_ONE = torch.tensor([[math.log(0.9), math.log(0.1)]])
ONE_TO_FOUR = torch.tensor([[math.log(0.2), math.log(0.8)]])


def test_probabilities_are_averaged() -> None:
    found = averaged_prediction([NINE_TO_ONE, ONE_TO_FOUR]).exp()
    torch.testing.assert_close(found, torch.tensor([[0.55, 0.45]]))


def test_logits_are_averaged_if_wanted() -> None:
    found = averaged_prediction([NINE_TO_ONE, ONE_TO_FOUR], "logits").exp()
    odds = math.sqrt(0.9 * 0.2) / math.sqrt(0.1 * 0.8)  # the geometric mean
    torch.testing.assert_close(found, torch.tensor([[odds, 1.0]]) / (1 + odds))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_many_networks_of_16_bits_are_summed_up_in_32(dtype: torch.dtype) -> None:
    found = averaged_prediction(NINE_TO_ONE.to(dtype) for _ in range(1000)).exp()
    torch.testing.assert_close(found, torch.tensor([[0.9, 0.1]]), atol=2e-3, rtol=0)


def test_a_class_without_any_probability_stays_finite() -> None:
    found = averaged_prediction([torch.tensor([[0.0, 200.0]])] * 3)
    assert torch.isfinite(found).all() and found[0, 0] < -80 and found[0, 1] == 0


@pytest.mark.parametrize(
    "outputs, average, named",
    [([], "probabilities", "^outputs must"), ([NINE_TO_ONE], "medians", "^average must")],
)
def test_misuse_is_named(outputs: list[torch.Tensor], average: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        averaged_prediction(outputs, average)  # type: ignore[arg-type]


def test_with_samples_of_a_posterior() -> None:
    """As the docstring shows it: 4000 networks of two weights approach the exact predictive."""
    model = nn.Linear(1, 2, bias=False)
    optimiser = BayesBiNN(model.parameters(), train_set_size=1)
    optimiser.naturals()
    optimiser.state[model.weight]["natural"] = torch.tensor([[0.5], [-0.25]])
    torch.manual_seed(0)
    x = torch.ones(1, 1)
    with optimiser.posterior_samples(4000) as samples:
        found = averaged_prediction(model(x) for _ in samples).exp()[0, 0].item()
    up, down = torch.sigmoid(2 * torch.tensor([0.5, -0.25])).tolist()
    two = 1 / (1 + math.exp(-2))  # probability of class 0 when its weight is +1 and the other's -1
    exact = up * (1 - down) * two + (1 - up) * down * (1 - two)
    exact += 0.5 * (up * down + (1 - up) * (1 - down))
    assert found == pytest.approx(exact, abs=0.02)
