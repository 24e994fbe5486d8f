"""Ready batches of tensors for Avalanche's loop, where the data allow it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from cl_bnn.data.task import TaskView


def task_view(dataset: Any) -> TaskView | None:
    """The `TaskView` behind an Avalanche data set, or None if anything lies between them.

    Subsets, concatenations and per-sample transforms are left to Avalanche's own loading.
    """
    flat = dataset._flat_data
    leaves = flat._datasets
    if flat._indices is not None or len(leaves) != 1 or not isinstance(leaves[0], TaskView):
        return None
    for groups in (flat._transform_groups, flat._frozen_transform_groups):
        if groups is not None and groups[groups.current_group] is not None:
            return None
    return leaves[0]


class Batches:
    """Mini-batches `[x, y, task label]` of one or several tasks, in one shuffled or the given
    order.

    A single task is materialised when iteration begins, on the device of the strategy, and let go
    with this object: as floats, or as it is in the data set if it is augmented batch by batch.
    Several tasks (joint training) are cut batch by batch from the shared bytes.

    Args:
        tasks: the views and the label of each task.
        batch_size: samples a batch; the last batch may be smaller.
        shuffle: draw the order anew, from torch's global generator, every time iteration begins.
        device: where the batches are needed.
        augment_seed: where augmentation draws from a generator of its own, the same at every
            iteration, as for a validation set; None: from the global one.
    """

    def __init__(
        self,
        tasks: list[tuple[TaskView, int]],
        batch_size: int,
        *,
        shuffle: bool,
        device: torch.device,
        augment_seed: int | None = None,
    ) -> None:
        self.augment_seed = augment_seed
        self.tasks, self.batch_size, self.shuffle, self.device = tasks, batch_size, shuffle, device
        self.n_samples = sum(len(view) for view, _ in tasks)
        self._whole: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return -(-self.n_samples // self.batch_size)

    def __iter__(self) -> Iterator[list[Tensor]]:
        self._generator = (
            None
            if self.augment_seed is None
            else torch.Generator(self.device).manual_seed(self.augment_seed)
        )
        order = torch.randperm(self.n_samples) if self.shuffle else torch.arange(self.n_samples)
        if len(self.tasks) == 1:
            order = order.to(self.device)
        for index in torch.split(order, self.batch_size):
            yield self._single(index) if len(self.tasks) == 1 else self._mixed(index)

    def _single(self, index: Tensor) -> list[Tensor]:
        view, label = self.tasks[0]
        if self._whole is None:
            x, y = view.materialise() if view.augment is None else (view.raw(), view.targets)
            self._whole = x.to(self.device), y.to(self.device)
        x, y = (values.index_select(0, index) for values in self._whole)
        if view.augment is not None:
            x = view.finish(view.augment(x, self._generator))
        return [x, y, torch.full((len(index),), label, device=self.device)]

    def _mixed(self, index: Tensor) -> list[Tensor]:
        """The batch in the order of its tasks; which samples it holds is what was shuffled."""
        parts, start = [], 0
        for view, label in self.tasks:
            inside = index[(index >= start) & (index < start + len(view))] - start
            start += len(view)
            if len(inside):
                parts.append((*view.batch(inside), torch.full((len(inside),), label)))
        return [torch.cat(column).to(self.device) for column in zip(*parts, strict=True)]
