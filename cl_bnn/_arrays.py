"""Inputs and targets of a user's own: tensors or arrays, checked, as data that strategies take."""

from typing import Any

import numpy as np
import torch
from avalanche.benchmarks import benchmark_from_datasets, with_task_labels
from avalanche.benchmarks.utils import AvalancheDataset, ConstantSequence, DataAttribute
from torch import Tensor, nn

from cl_bnn.data.dataset import Split
from cl_bnn.data.task import TaskView
from cl_bnn.errors import one_line, require
from cl_bnn.objectives import Objective
from cl_bnn.optim.weights import evaluating

# Samples shown to the network before anything is trained; some norms need two.
PROBE = 2
# What a network or a loss raises on data that do not fit it.
MISFITS = (RuntimeError, ValueError, IndexError, TypeError)


def floating(values: Any, like: Tensor, name: str) -> Tensor:
    """`values`, a tensor or array of numbers (n, ...) that are finite, in the type of `like`.

    Raises:
        ValueError: no numbers, no samples, NaN or infinity.
    """
    found = _tensor(values, name).to(like.dtype)
    require(found.dim() > 0 and len(found) > 0, name, _shape(found), "at least one sample")
    if not bool(torch.isfinite(found.sum())):  # one pass; a NaN or an infinity survives a sum
        bad = int((~torch.isfinite(found)).reshape(len(found), -1).any(1).sum())
        if bad:
            raise ValueError(f"{name} holds NaN or infinity in {bad} of {len(found)} samples")
    return found


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: Tensor, device: torch.device, name: str) -> Tensor:
    """What the network says to the first inputs; it is left as it was.

    Raises:
        ValueError: the inputs do not fit the network, or it returns no (batch, outputs, ...).
    """
    try:
        with evaluating(model):
            outputs = model(inputs[:PROBE].to(device))
    except MISFITS as error:
        raise ValueError(
            f"{name} of shape {_shape(inputs)} does not fit the network: {one_line(error)}"
        ) from error
    right = isinstance(outputs, Tensor) and outputs.dim() >= 2
    require(right, f"the network's output for {name}", _shape(outputs), "(batch, outputs, ...)")
    found: Tensor = outputs
    return found


def targets_for(values: Any, n: int, outputs: Tensor, objective: Objective, name: str) -> Tensor:
    """`values`, targets of n samples, in the type that `objective` wants.

    Args:
        values: a tensor or array: labels as whole numbers, or numbers for a regression.
        n: number of samples.
        outputs: of the network for the first samples, (batch, outputs, ...).
        objective: what the network is asked for.
        name: what messages call them.

    Raises:
        ValueError: targets that fit neither the samples nor the network nor the loss.
    """
    if objective.hits is None:
        targets = floating(values, outputs, name)
        _check_shape(targets, (n, *outputs.shape[1:]), name)
    else:
        if objective.of_classes and outputs.dim() > 2:
            raise ValueError(
                f"loss is that of one label a sample, and the network says {_shape(outputs)}: take "
                "cl_bnn.objectives.SEGMENTATION, or dataclasses.replace(SEGMENTATION, loss=...)"
            )
        targets = _labels(values, n, objective.average([outputs], "probabilities"), name)
    _try_loss(objective, outputs, targets[:PROBE].to(outputs.device))
    return targets


def experience(x: Tensor, y: Tensor) -> Any:
    """Inputs (n, ...) and targets (n, ...) as an experience of Avalanche."""
    view = _Whole(Split(x, y), _as_it_is)
    label = ConstantSequence(0, len(view))
    attribute = DataAttribute(label, "targets_task_labels", use_in_getitem=True)
    data = AvalancheDataset([view], data_attributes=[attribute])
    return with_task_labels(benchmark_from_datasets(train=[data])).train_stream[0]


class _Whole(TaskView):
    """Data in memory that are ready, and used without a copy."""

    def materialise(self) -> tuple[Tensor, Tensor]:
        return self.split.x, self.split.y


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _tensor(values: Any, name: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    try:
        # Torch shares the memory of arrays that are contiguous and may be written to.
        return torch.from_numpy(np.require(np.asarray(values), requirements=["C", "W"]))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a tensor or an array of numbers: {one_line(error)}"
        ) from error


def _labels(values: Any, n: int, outputs: Tensor, name: str) -> Tensor:
    """Labels (n, ...) as int64, for outputs (batch, classes, ...)."""
    targets = _tensor(values, name)
    if targets.is_floating_point() or targets.is_complex():
        raise ValueError(
            f"{name} must be labels of classes, whole numbers, got {targets.dtype}; for a "
            "regression give loss=cl_bnn.objectives.REGRESSION"
        )
    _check_shape(targets, (n, *outputs.shape[2:]), name)
    targets = targets.long()  # torch compares few of the unsigned types
    last = outputs.shape[1] - 1
    low, high = int(targets.min()), int(targets.max())
    allowed = f"labels from 0 to {last}, as the network has {last + 1} classes"
    require(low >= 0, name, low, allowed)
    require(high <= last, name, high, allowed)
    return targets


def _check_shape(values: Tensor, wanted: tuple[int, ...], name: str) -> None:
    if tuple(values.shape) != wanted:
        one_hot = values.dim() == 2 and len(wanted) == 1 and values.shape[1] > 1
        hint = " (labels, not a column for every class)" if one_hot else ""
        raise ValueError(f"{name} must have the shape {wanted}{hint}, got {_shape(values)}")


@torch.no_grad()
def _try_loss(objective: Objective, outputs: Tensor, targets: Tensor) -> None:
    try:
        loss = objective.loss(outputs, targets)
    except MISFITS as error:
        raise ValueError(
            f"loss does not fit outputs of shape {_shape(outputs)} and targets of shape "
            f"{_shape(targets)}, {targets.dtype}: {one_line(error)}"
        ) from error
    scalar = isinstance(loss, Tensor) and loss.dim() == 0
    require(scalar, "loss", _shape(loss), "a mean, that is a tensor without dimensions")


def _shape(value: Any) -> tuple[int, ...] | type:
    """The shape of a tensor; of anything else, what it is."""
    return tuple(value.shape) if isinstance(value, Tensor) else type(value)
