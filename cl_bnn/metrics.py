"""Measures of predictions and of the posterior over binary weights."""

import math

import torch
from torch import Tensor

N_BINS = 15  # of the calibration error, the usual choice since Guo et al. 2017 (arXiv:1706.04599)
MANY_CLASSES = 100  # from here on, as for CIFAR-100 and ImageNet, the top-5 accuracy says something
SATURATED_MEAN = 0.999  # a weight is called saturated when |tanh(lambda)| exceeds this


def accuracy(log_probabilities: Tensor, targets: Tensor) -> float:
    """Share of samples whose most probable class is the target; (n, classes) and (n,)."""
    return (log_probabilities.argmax(1) == targets).double().mean().item()


def top_accuracy(log_probabilities: Tensor, targets: Tensor, count: int) -> float:
    """Share of samples whose target is among the `count` most probable classes; (n, classes) and
    (n,).
    """
    best = log_probabilities.topk(count, 1).indices
    return (best == targets[:, None]).any(1).double().mean().item()


def nll(log_probabilities: Tensor, targets: Tensor) -> float:
    """Mean negative log-likelihood in nats of targets (n,) under log-probabilities (n, classes)."""
    return -log_probabilities.double().gather(1, targets[:, None]).mean().item()


def ece(log_probabilities: Tensor, targets: Tensor, bins: int = N_BINS) -> float:
    """Expected calibration error: sum over bins of |accuracy - confidence|, weighted by their
    share.

    The confidence is the largest probability. The bins have equal width and are closed above, so
    that p = 1 belongs to the last (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599, eq. 3).

    Args:
        log_probabilities: (n, classes).
        targets: (n,).
        bins: number of bins.
    """
    confidence, predicted = log_probabilities.double().exp().max(1)
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.float64, device=confidence.device)
    gap.index_add_(0, index, (predicted == targets).double() - confidence)
    return gap.abs().sum().item() / len(targets)


def prediction(log_probabilities: Tensor, targets: Tensor) -> dict[str, float]:
    """Accuracy (fraction), NLL (nats) and ECE of log-probabilities (n, classes) for targets (n,);
    of at least `MANY_CLASSES` classes also the top-5 accuracy.
    """
    found = {
        "accuracy": accuracy(log_probabilities, targets),
        "nll": nll(log_probabilities, targets),
        "ece": ece(log_probabilities, targets),
    }
    if log_probabilities.shape[1] >= MANY_CLASSES:
        found["accuracy_top5"] = top_accuracy(log_probabilities, targets, 5)
    return found


def rmse(outputs: Tensor, targets: Tensor) -> float:
    """Root of the mean squared error of numbers, any one shape."""
    return (outputs.double() - targets.double()).square().mean().sqrt().item()


def iou(predicted: Tensor, targets: Tensor, smoothing: int = 0) -> float:
    """Intersection over union of two sets of pixels (bool, any one shape); 1 if both are empty.

    `smoothing` is added to the number of pixels in either.
    """
    union = (predicted | targets).sum().item() + smoothing
    return ((predicted & targets).sum().item() + smoothing) / union if union else 1.0


def segmentation(log_probabilities: Tensor, targets: Tensor) -> dict[str, float]:
    """Measures of log-probabilities (n, 2, height, width) for targets (n, height, width) in {0, 1}.

    `accuracy` of the pixels; `nll` (nats a pixel); `iou_foreground` of class 1, `iou_membrane` of
    class 0, each over all pixels of the set at once; `iou_mean` of the two; `one_minus_iou`, the
    score published in prateekstark/training-binary-neural-network: 1 - (I + 1) / (U + 1) with the
    intersection I and the union U of class 1 (less is better).
    """
    predicted = log_probabilities.argmax(1)
    foreground = iou(predicted == 1, targets == 1)
    membrane = iou(predicted == 0, targets == 0)
    return {
        "accuracy": (predicted == targets).double().mean().item(),
        "nll": -log_probabilities.gather(1, targets[:, None]).double().mean().item(),
        "iou_foreground": foreground,
        "iou_membrane": membrane,
        "iou_mean": (foreground + membrane) / 2,
        "one_minus_iou": 1 - iou(predicted == 1, targets == 1, smoothing=1),
    }


def entropy_bits(natural: Tensor) -> Tensor:
    """Entropy in bits of each +-1 weight with `P(+1) = sigmoid(2 lambda)`, same shape as lambda."""
    p = torch.sigmoid(2 * natural.double())
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)) / math.log(2)


def posterior(naturals: list[Tensor], modes_before: list[Tensor] | None) -> dict[str, float]:
    """Of all weights of a network: mean entropy (bits), share saturated, share of flipped modes.

    Args:
        naturals: lambda of each binary parameter.
        modes_before: where the mode was +1 at the end of the last task (bool, same shapes), or
            None.
    """
    flat = torch.cat([n.flatten() for n in naturals])
    found = {
        "entropy": entropy_bits(flat).mean().item(),
        "saturated": (flat.double().tanh().abs() > SATURATED_MEAN).double().mean().item(),
    }
    if modes_before is not None:
        before = torch.cat([m.flatten() for m in modes_before])
        found["flipped"] = ((flat > 0) != before).double().mean().item()
    return found
