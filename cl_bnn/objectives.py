"""What a network is asked for: its loss, how samples of the posterior are averaged, what is
measured.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cl_bnn import metrics
from cl_bnn.errors import UserError
from cl_bnn.optim.prediction import Average, averaged_prediction


@dataclass(frozen=True)
class Objective:
    """A kind of problem: classification, regression, segmentation.

    Attributes:
        loss: mean loss of a mini-batch of network outputs and targets.
        average: one prediction from the outputs of several sampled networks.
        measure: metrics by name of outputs, or of an averaged prediction, for all targets of a
            test set.
        hits: how many samples of a mini-batch are predicted rightly (0-dimensional); None where
            right and wrong do not exist.
        score: the metric in which a result is told in short.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    average: Callable[[Iterable[Tensor], Average], Tensor]
    measure: Callable[[Tensor, Tensor], dict[str, float]]
    hits: Callable[[Tensor, Tensor], Tensor] | None
    score: str

    @property
    def of_classes(self) -> bool:
        """Whether outputs are logits (batch, classes), of which one is right."""
        return self.hits is _hits


def _measure_classes(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    return metrics.prediction(outputs.log_softmax(1), targets)


def _hits(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets).sum()


CLASSIFICATION = Objective(
    loss=nn.CrossEntropyLoss(),  # whose reduction some plugins of Avalanche set for a while
    average=averaged_prediction,
    measure=_measure_classes,
    hits=_hits,
    score="accuracy",
)
"""Outputs are logits (batch, classes), targets int64 (batch,); cross-entropy in nats."""


def two_logits(outputs: Tensor) -> Tensor:
    """Logits (batch, 2) of the classes 0 and 1 from the single logit (batch, 1) of class 1.

    Their cross-entropy is the binary cross-entropy of the single logit; outputs that have two
    columns already are left as they are.

    Raises:
        ValueError: there are more columns.
    """
    if outputs.shape[1] not in (1, 2):
        raise ValueError(
            f"outputs of {outputs.shape[1]} columns: two classes are told apart by one logit"
        )
    return outputs if outputs.shape[1] == 2 else F.pad(outputs, (1, 0))


BINARY = Objective(
    loss=lambda outputs, targets: F.cross_entropy(two_logits(outputs), targets),
    average=lambda outputs, average: averaged_prediction(map(two_logits, outputs), average),
    measure=lambda outputs, targets: _measure_classes(two_logits(outputs), targets),
    hits=lambda outputs, targets: _hits(two_logits(outputs), targets),
    score="accuracy",
)
"""Classification by one logit: outputs (batch, 1), targets int64 (batch,) of 0 and 1."""


def mean_output(outputs: Iterable[Tensor], average: Average = "probabilities") -> Tensor:
    """The mean of what the networks say; there are no logits to choose an average of.

    Raises:
        ValueError: no outputs.
    """
    found = list(outputs)
    if not found:
        raise ValueError("outputs must be those of at least one network, got nothing")
    return torch.stack(found).mean(0)


REGRESSION = Objective(
    loss=F.mse_loss,
    average=mean_output,
    measure=lambda outputs, targets: {"rmse": metrics.rmse(outputs, targets)},
    hits=None,
    score="rmse",
)
"""Outputs and targets are numbers (batch, outputs); mean squared error. Standardise both, and
take a network without a norm behind its last layer, such as `cl_bnn.nn.tanh_mlp`.
"""


def _pixel_hits(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets).float().mean((1, 2)).sum()


SEGMENTATION = Objective(
    loss=F.cross_entropy,
    average=averaged_prediction,
    measure=lambda outputs, targets: metrics.segmentation(outputs.log_softmax(1), targets),
    hits=_pixel_hits,
    score="iou_membrane",
)
"""Outputs are logits (batch, 2, height, width), targets int64 (batch, height, width), 1 for the
foreground; the loss is the mean over pixels.
"""


def require_classes(what: str, strategy: Any) -> None:
    """Refuse what needs classes where a strategy learns none.

    Args:
        what: the name of what needs them.
        strategy: under way; one of Avalanche's own is taken for one that learns classes.

    Raises:
        UserError: outputs are no logits, of which one is right.
    """
    if not getattr(strategy, "objective", CLASSIFICATION).of_classes:
        raise UserError(f"{what} needs a benchmark of classification: this one has no classes")
