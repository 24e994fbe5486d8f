"""Metrics against numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from cl_bnn import metrics


def predicted(*rows: list[float]) -> Tensor:
    """Log-probabilities of these probabilities; log 0 is minus infinity."""
    return torch.tensor(rows, dtype=torch.float64).log()


def confident(*confidences: float) -> Tensor:
    """Predictions of class 0 of two with these probabilities."""
    return predicted(*([c, 1 - c] for c in confidences))


def test_accuracy_is_a_fraction() -> None:
    rows = predicted([0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4], [0.6, 0.3, 0.1])
    assert metrics.accuracy(rows, torch.tensor([0, 2, 2, 0])) == 0.75


def test_top_accuracy_counts_the_most_probable_classes() -> None:
    rows = predicted([0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.2, 0.5], [0.6, 0.3, 0.1])
    targets = torch.tensor([1, 2, 1, 0])
    assert [metrics.top_accuracy(rows, targets, k) for k in (1, 2, 3)] == [0.25, 0.75, 1.0]


def test_many_classes_have_a_top_5() -> None:
    """Class 4 comes fifth, class 5 sixth."""
    rows = torch.arange(100, 0, -1).double().log_softmax(0).expand(2, -1)
    assert metrics.prediction(rows, torch.tensor([4, 5]))["accuracy_top5"] == 0.5
    assert "accuracy_top5" not in metrics.prediction(rows[:, :99], torch.tensor([4, 5]))


def test_nll_is_in_nats() -> None:
    rows = predicted([0.5, 0.5], [0.25, 0.75], [0.0, 1.0])
    expected = (math.log(2) + math.log(4) + 0) / 3
    assert metrics.nll(rows, torch.tensor([1, 0, 1])) == pytest.approx(expected)
    assert metrics.nll(rows, torch.tensor([1, 0, 0])) == math.inf


def test_ece_of_two_bins() -> None:
    """Bin (12/15, 13/15] holds 0.81, 0.85 with one hit of two, (9/15, 10/15] holds 0.65, missed."""
    rows = confident(0.81, 0.85, 0.65)
    expected = (abs(1 - 0.81 - 0.85) + abs(0 - 0.65)) / 3
    assert metrics.ece(rows, torch.tensor([0, 1, 1])) == pytest.approx(expected)


def test_ece_averages_within_a_bin_before_it_takes_the_gap() -> None:
    rows = confident(0.82, 0.82, 0.82, 0.82, 0.82)
    hits = torch.tensor([0, 0, 0, 0, 1])
    assert metrics.ece(rows, hits) == pytest.approx(0.02)
    far_apart = confident(0.55, 1.0)  # a miss and a hit in bins of their own cancel nothing
    assert metrics.ece(far_apart, torch.tensor([1, 0])) == pytest.approx(0.55 / 2)


def test_ece_counts_certain_predictions() -> None:
    certain = confident(1.0, 1.0, 1.0, 1.0)
    assert metrics.ece(certain, torch.tensor([0, 0, 0, 0])) == 0
    assert metrics.ece(certain, torch.tensor([0, 0, 0, 1])) == pytest.approx(0.25)
    # p = 1 shares the last bin (14/15, 1] with 0.95: hit and miss are averaged first.
    both = confident(1.0, 0.95)
    assert metrics.ece(both, torch.tensor([0, 1])) == pytest.approx(0.95 / 2)


def test_ece_of_rounding_above_one() -> None:
    rows = torch.tensor([[1e-9, -30.0]], dtype=torch.float64)  # exp is a little more than 1
    assert metrics.ece(rows, torch.tensor([0])) == pytest.approx(0, abs=1e-8)


def test_bins_are_closed_above() -> None:
    """With two bins 0.5 belongs to the first: apart from 0.6, the gaps do not cancel."""
    rows = predicted([0.5, 0.25, 0.25], [0.6, 0.2, 0.2])
    hit_and_miss = torch.tensor([0, 1])
    assert metrics.ece(rows, hit_and_miss, bins=2) == pytest.approx((0.5 + 0.6) / 2)
    assert metrics.ece(rows, hit_and_miss, bins=1) == pytest.approx(abs(1 - 0.5 - 0.6) / 2)


def test_ece_of_perfectly_calibrated_predictions_is_zero() -> None:
    rows = confident(*[0.75] * 8)
    assert metrics.ece(rows, torch.tensor([0] * 6 + [1] * 2)) == pytest.approx(0)


def test_brier_sums_over_classes() -> None:
    rows = predicted([0.7, 0.2, 0.1], [0.0, 1.0, 0.0])
    expected = ((0.3**2 + 0.2**2 + 0.1**2) + (1 + 1)) / 2
    assert metrics.brier(rows, torch.tensor([0, 2])) == pytest.approx(expected)


def test_reliability_shows_every_bin_that_is_not_empty() -> None:
    """Of 15 bins, (9/15, 10/15] holds 0.65 and (12/15, 13/15] 0.81 and 0.85."""
    rows, targets = confident(0.81, 0.85, 0.65), torch.tensor([0, 1, 1])
    found = metrics.reliability(rows, targets)
    assert found == {
        "bin_share_10": pytest.approx(1 / 3),
        "bin_confidence_10": pytest.approx(0.65),
        "bin_accuracy_10": 0,
        "bin_share_13": pytest.approx(2 / 3),
        "bin_confidence_13": pytest.approx(0.83),
        "bin_accuracy_13": pytest.approx(0.5),
    }


def test_entropy_splits_into_what_networks_say_and_what_they_disagree_on() -> None:
    """Of two networks: sure of different classes, both in doubt, both sure of one class."""
    p = torch.tensor([[[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]])
    total, epistemic = metrics.entropies(p.clamp_min(1e-30).log())
    log2 = math.log(2)
    assert total.tolist() == pytest.approx([log2, log2, 0], abs=1e-9)
    assert epistemic.tolist() == pytest.approx([log2, 0, 0], abs=1e-9)
    ruled_out = torch.cat([torch.randn(3, 4, 2), torch.full((3, 4, 1), -torch.inf)], -1)
    for found, wanted in zip(
        metrics.entropies(ruled_out), metrics.entropies(ruled_out[..., :2]), strict=True
    ):
        torch.testing.assert_close(found, wanted)
    alone, disagreement = metrics.entropies(torch.randn(1, 4, 3))
    assert (alone > 0).all() and disagreement.tolist() == pytest.approx([0] * 4, abs=1e-12)


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    inside, outside = torch.tensor([0.1, 0.4, 0.5]), torch.tensor([0.4, 0.9])
    pairs = [(o > i) + (o == i) / 2 for o in outside.tolist() for i in inside.tolist()]
    assert metrics.auroc(inside, outside) == pytest.approx(sum(pairs) / 6)
    assert metrics.auroc(inside, inside) == 0.5
    assert metrics.auroc(torch.zeros(2), torch.ones(3)) == 1


def test_prediction_is_all_of_them() -> None:
    rows, targets = confident(0.9, 0.6), torch.tensor([0, 1])
    found = metrics.prediction(rows, targets)
    assert found == {
        "accuracy": 0.5,
        "nll": pytest.approx(-(math.log(0.9) + math.log(0.4)) / 2),
        "ece": pytest.approx((0.1 + 0.6) / 2),
        "brier": pytest.approx((2 * 0.1**2 + 2 * 0.6**2) / 2),
    }
    single = metrics.prediction(rows.float(), targets)
    assert single == pytest.approx(found, rel=1e-6), "single precision in, the same out"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_entropy_is_in_bits(dtype: torch.dtype) -> None:
    natural = torch.tensor([0.0, 0.5, -0.5, 30.0, -30.0, 1e6, -1e6], dtype=dtype)
    p = 1 / (1 + math.exp(-1))
    bits = -p * math.log2(p) - (1 - p) * math.log2(1 - p)
    found = metrics.entropy_bits(natural).tolist()
    assert found == pytest.approx([1, bits, bits, 0, 0, 0, 0], abs=1e-8)


def test_posterior_of_a_network_counts_every_weight_once() -> None:
    quarter = math.log(3) / 2  # sigmoid(2 lambda) = 3/4: 0.8113 bit, tanh = 1/2
    naturals = [torch.tensor([[0.0, quarter]]), torch.tensor([5.0, -5.0, -3.0, -quarter])]
    found = metrics.posterior(naturals, None)
    layers = {f"{name}_layer{k}" for name in ("entropy", "saturated") for k in (1, 2)}
    assert set(found) == {"entropy", "saturated"} | layers
    assert found["entropy_layer1"] == pytest.approx((1 + 0.811278) / 2, abs=1e-6)
    assert (found["saturated_layer1"], found["saturated_layer2"]) == (0, 0.5)
    p3, p5 = (1 / (1 + math.exp(-2 * x)) for x in (3, 5))
    h3, h5 = (-p * math.log2(p) - (1 - p) * math.log2(1 - p) for p in (p3, p5))
    assert found["entropy"] == pytest.approx((1 + 2 * 0.811278 + h3 + 2 * h5) / 6, abs=1e-6)
    assert found["saturated"] == pytest.approx(2 / 6)  # tanh 3 = 0.995, tanh 5 = 0.9999


def test_flipped_is_the_share_of_signs_that_changed() -> None:
    naturals = [torch.tensor([[1.0, -1.0], [0.2, 0.0]]), torch.tensor([-4.0])]
    before = [torch.tensor([[True, True], [True, False]]), torch.tensor([True])]
    found = metrics.posterior(naturals, before)
    flips = [found[name] for name in ("flipped", "flipped_layer1", "flipped_layer2")]
    assert flips == pytest.approx([2 / 5, 1 / 4, 1])
    now = [n > 0 for n in naturals]
    assert metrics.posterior(naturals, now)["flipped"] == 0
