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


def brier(log_probabilities: Tensor, targets: Tensor) -> float:
    """Mean of sum_c (p_c - [c is the target])^2 (Brier 1950), in [0, 2]; (n, classes) and (n,)."""
    p = log_probabilities.double().exp()
    p[torch.arange(len(targets)), targets] -= 1
    return float(p.square().sum(1).mean())


def _calibration(log_probabilities: Tensor, targets: Tensor, bins: int) -> Tensor:
    """Of every bin of confidence the share of the samples, and the share of them times the mean
    confidence and times the accuracy: (3, bins).

    The confidence is the largest probability. The bins have equal width and are closed above, so
    that p = 1 belongs to the last.
    """
    confidence, predicted = log_probabilities.double().exp().max(1)
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    values = torch.stack([torch.ones_like(confidence), confidence, (predicted == targets).double()])
    found = torch.zeros(3, bins, dtype=torch.float64, device=confidence.device)
    return found.index_add_(1, index, values) / len(targets)


def ece(log_probabilities: Tensor, targets: Tensor, bins: int = N_BINS) -> float:
    """Expected calibration error: sum over bins of |accuracy - confidence|, weighted by their
    share (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599, eq. 3).

    Args:
        log_probabilities: (n, classes).
        targets: (n,).
        bins: number of bins.
    """
    found = _calibration(log_probabilities, targets, bins)
    return (found[2] - found[1]).abs().sum().item()


def reliability(log_probabilities: Tensor, targets: Tensor) -> dict[str, float]:
    """The reliability diagram behind the calibration error: of every bin k = 1, 2, ... that is not
    empty, `bin_share_k` of the samples, `bin_confidence_k` and `bin_accuracy_k`, means over them.
    """
    found = {}
    columns = _calibration(log_probabilities, targets, N_BINS).t().tolist()
    for k, (share, confidence, hits) in enumerate(columns, 1):
        if share:
            found[f"bin_share_{k}"] = share
            found[f"bin_confidence_{k}"] = confidence / share
            found[f"bin_accuracy_{k}"] = hits / share
    return found


def entropies(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """How unsure several networks are of every sample, in nats: the entropy of their mean
    probabilities, and the part of it that they do not agree on.

    The first is the sum of an aleatoric part, the mean entropy of a network, and the second, the
    epistemic part: the mutual information of prediction and network (Depeweg et al. 2018,
    arXiv:1710.07283, eq. 12).

    Args:
        outputs: logits (networks, n, classes).

    Returns:
        Total and epistemic entropy, (n,) each, float64.
    """
    log_p = outputs.double().log_softmax(-1)
    mean = log_p.exp().mean(0)
    total = -torch.xlogy(mean, mean).sum(-1)
    # A class that is ruled out has log p = -inf, and p log p is 0.
    aleatoric = -(log_p.exp() * log_p.clamp_min(torch.finfo(log_p.dtype).min)).sum(-1).mean(0)
    return total, (total - aleatoric).clamp_min(0)


def auroc(inside: Tensor, outside: Tensor) -> float:
    """Area under the ROC curve of a score that should be larger outside: the probability that it
    is, for two samples drawn at random, ties counted half.

    Args:
        inside: scores (n,) of what is known.
        outside: scores (m,) of what is not.
    """
    from scipy.stats import mannwhitneyu  # takes a second, and only this needs it

    test = mannwhitneyu(
        outside.double().cpu().numpy(), inside.double().cpu().numpy(), method="asymptotic"
    )
    return float(test.statistic / (len(outside) * len(inside)))


def prediction(log_probabilities: Tensor, targets: Tensor) -> dict[str, float]:
    """Accuracy (fraction), NLL (nats), ECE and Brier score of log-probabilities (n, classes) for
    targets (n,); of at least `MANY_CLASSES` classes also the top-5 accuracy.
    """
    found = {
        "accuracy": accuracy(log_probabilities, targets),
        "nll": nll(log_probabilities, targets),
        "ece": ece(log_probabilities, targets),
        "brier": brier(log_probabilities, targets),
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

    Raises:
        ValueError: there are not two classes.
    """
    if log_probabilities.shape[1] != 2:
        count = log_probabilities.shape[1]
        raise ValueError(f"a segmentation is measured for 2 classes, and there are {count}")
    predicted = log_probabilities.argmax(1)
    foreground = iou(predicted == 1, targets == 1)
    membrane = iou(predicted == 0, targets == 0)
    return {
        "accuracy": accuracy(log_probabilities, targets),
        "nll": nll(log_probabilities, targets),
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
    """Of all weights of a network: mean entropy (bits), share saturated, share of flipped modes; of
    several binary parameters also of each, as `entropy_layer1` (a binary bias counts as a layer).

    Args:
        naturals: lambda of each binary parameter.
        modes_before: where the mode was +1 at the end of the last task (bool, same shapes), or
            None.
    """
    natural = torch.cat([natural.flatten() for natural in naturals])
    values = {
        "entropy": entropy_bits(natural),
        "saturated": (natural.double().tanh().abs() > SATURATED_MEAN).double(),
    }
    if modes_before is not None:
        before = torch.cat([modes.flatten() for modes in modes_before])
        values["flipped"] = ((natural > 0) != before).double()
    found = {name: value.mean().item() for name, value in values.items()}
    sizes = [natural.numel() for natural in naturals]
    layers = {name: torch.split(value, sizes) for name, value in values.items()}
    for k in range(len(sizes) if len(sizes) > 1 else 0):
        for name, parts in layers.items():
            found[f"{name}_layer{k + 1}"] = parts[k].mean().item()
    return found
