"""What networks are asked for, by hand-computed numbers."""

import math

import pytest
import torch
from torch.nn import functional as F

from cl_bnn import metrics
from cl_bnn.objectives import BINARY, CLASSIFICATION, REGRESSION, SEGMENTATION, two_logits

LOG3 = math.log(3)


def test_binary_loss_is_the_binary_cross_entropy_of_the_single_logit() -> None:
    logits = torch.tensor([[-3.0], [0.0], [0.7], [20.0]])
    targets = torch.tensor([0, 1, 1, 0])
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], targets.float())
    torch.testing.assert_close(BINARY.loss(logits, targets), expected)
    torch.testing.assert_close(BINARY.loss(two_logits(logits), targets), expected)


def test_binary_predictions_average_sigmoids() -> None:
    outputs = [torch.tensor([[LOG3]]), torch.tensor([[-LOG3]]), torch.tensor([[-LOG3]])]
    mean = (0.75 + 0.25 + 0.25) / 3
    probabilities = BINARY.average(outputs, "probabilities").exp()[0]
    assert probabilities.tolist() == pytest.approx([1 - mean, mean])
    of_logits = BINARY.average(outputs, "logits").exp()[0, 1].item()
    assert of_logits == pytest.approx(1 / (1 + math.exp(LOG3 / 3)))
    found = BINARY.measure(outputs[0].expand(2, 1), torch.tensor([1, 0]))
    assert found["accuracy"] == 0.5
    assert found["nll"] == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    assert BINARY.hits is not None
    assert BINARY.hits(torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([1, 1, 1])) == 2


def test_classification_measures_logits_and_log_probabilities_alike() -> None:
    logits = torch.tensor([[1.0, 4.0, -2.0], [0.3, 0.2, 0.1]])
    targets = torch.tensor([1, 2])
    found = CLASSIFICATION.measure(logits, targets)
    assert found == CLASSIFICATION.measure(logits.log_softmax(1), targets)
    assert found["accuracy"] == 0.5


def test_regression_averages_outputs() -> None:
    outputs = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [-2.0]])]
    assert REGRESSION.average(outputs, "probabilities").tolist() == [[2.0], [0.0]]
    assert REGRESSION.measure(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [6.0]])) == {
        "rmse": pytest.approx(8**0.5)
    }
    with pytest.raises(ValueError, match="outputs must be those of at least one network"):
        REGRESSION.average([], "probabilities")


def test_segmentation_counts_pixels_of_the_whole_set() -> None:
    targets = torch.tensor([[[1, 1], [0, 0]], [[1, 1], [1, 1]]])
    predicted = torch.tensor([[[1, 0], [1, 0]], [[1, 1], [1, 1]]])
    logits = F.one_hot(predicted, 2).permute(0, 3, 1, 2).float() * LOG3
    found = SEGMENTATION.measure(logits, targets)
    assert found["accuracy"] == 6 / 8
    assert found["iou_foreground"] == 5 / 7
    assert found["iou_membrane"] == 1 / 3
    assert found["iou_mean"] == pytest.approx((5 / 7 + 1 / 3) / 2)
    assert found["nll"] == pytest.approx(-(6 * math.log(0.75) + 2 * math.log(0.25)) / 8)
    assert SEGMENTATION.hits is not None
    assert SEGMENTATION.hits(logits, targets).item() == pytest.approx(0.5 + 1)
    assert SEGMENTATION.loss(logits, targets).item() == pytest.approx(found["nll"])


def test_segmentation_averages_probabilities_over_the_channel() -> None:
    sure = torch.tensor([0.0, 30.0]).view(1, 2, 1, 1).expand(1, 2, 3, 4)
    average = SEGMENTATION.average([sure, -sure], "probabilities")
    assert average.shape == (1, 2, 3, 4)
    torch.testing.assert_close(average.exp(), torch.full((1, 2, 3, 4), 0.5))


def test_iou_of_two_empty_sets_is_one() -> None:
    nothing = torch.zeros(3, dtype=torch.bool)
    assert metrics.iou(nothing, nothing) == 1.0
    assert metrics.iou(nothing, ~nothing) == 0.0


def test_more_than_two_columns_are_no_two_classes() -> None:
    with pytest.raises(ValueError, match="outputs of 10 columns: two classes are told apart by"):
        BINARY.loss(torch.zeros(3, 10), torch.zeros(3, dtype=torch.int64))
