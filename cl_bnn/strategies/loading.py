"""Ready batches of tensors for Avalanche's loop, where the data allow it."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from cl_bnn import distributed
from cl_bnn.data.folder import Decoders, FolderView, View
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.nn.norm import TestBatchNorm

# Images of a folder are tested in smaller batches than asked for: they are large.
STREAMED_EVAL = 250


def task_view(dataset: Any) -> TaskView | None:
    """The `TaskView` behind an Avalanche data set, or None if anything lies between them."""
    view = view_behind(dataset)
    return view if isinstance(view, TaskView) else None


def view_behind(dataset: Any) -> View | None:
    """The `TaskView` or `FolderView` behind an Avalanche data set, or None if anything lies between
    them.

    Subsets, concatenations and per-sample transforms are left to Avalanche's own loading.
    """
    flat = dataset._flat_data
    leaves = flat._datasets
    if flat._indices is not None or len(leaves) != 1 or not isinstance(leaves[0], View):
        return None
    for groups in (flat._transform_groups, flat._frozen_transform_groups):
        if groups is not None and groups[groups.current_group] is not None:
            return None
    view: View = leaves[0]
    return view


def samples_of(dataset: Any, rows: Tensor, device: torch.device) -> list[Tensor]:
    """Some samples of an Avalanche data set, as a batch `[x, y, task label]` on a device; the label
    is 0 where the data have none.
    """
    samples = ((*dataset[row], 0)[:3] for row in rows.tolist())
    columns = zip(*samples, strict=True)
    return [torch.stack([torch.as_tensor(v) for v in c]).to(device) for c in columns]


def require_single_samples(what: str, strategy: Any) -> None:
    """Raise `UserError` where samples cannot be looked at one by one."""
    if any(isinstance(module, TestBatchNorm) for module in strategy.model.modules()):
        raise UserError(
            f'{what} looks at samples one at a time, which norm = "batch" cannot normalise: take '
            "another norm"
        )


class Batches:
    """Mini-batches `[x, y, task label]` of one or several tasks, in one shuffled or the given
    order.

    A single task is materialised when iteration begins, on the device of the strategy, and let go
    with this object: as floats, or as it is in the data set if it is augmented batch by batch.
    Several tasks (joint training) are cut batch by batch from the shared bytes.

    Args:
        tasks: the views and the label of each task.
        batch_size: samples a batch; the last batch may be smaller, or larger by one in training.
        shuffle: draw the order anew, from torch's global generator, every time iteration begins.
        device: where the batches are needed.
        augment_seed: where augmentation draws from a generator of its own, the same at every
            iteration, as for a validation set; None: from the global one.

    Attributes:
        order: called when iteration begins, returns the indices of the samples to be shown, in
            their order; None for all of them, as `shuffle` says.
        repeats: how many times as many `order` returns as there are samples: those of so many
            networks, in equal parts of every batch.
        shown: the indices of the samples of the batch under way.
    """

    order: Callable[[], Tensor] | None = None
    repeats = 1
    shown: Tensor

    def __init__(
        self,
        tasks: list[tuple[TaskView, int]],
        batch_size: int,
        *,
        shuffle: bool,
        device: torch.device,
        augment_seed: int | None = None,
    ) -> None:
        if len(tasks) > 1 and distributed.size() > 1:
            raise UserError("several tasks at once are trained by a single process only")
        self.augment_seed = augment_seed
        self.tasks, self.batch_size, self.shuffle, self.device = tasks, batch_size, shuffle, device
        self.n_samples = sum(len(view) for view, _ in tasks)
        self._whole: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        count = self.n_samples * self.repeats
        return distributed.n_batches(count, self.batch_size, networks=self.repeats)

    def __iter__(self) -> Iterator[list[Tensor]]:
        self._generator = (
            None
            if self.augment_seed is None
            else torch.Generator(self.device).manual_seed(self.augment_seed)
        )
        order = _order(self.n_samples, self.shuffle) if self.order is None else self.order()
        training = self.augment_seed is None
        if len(self.tasks) == 1:
            order = order.to(self.device)
        batches = distributed.batches(
            order, self.batch_size, training=training, networks=self.repeats
        )
        for self.shown in batches:
            yield self._single(self.shown) if len(self.tasks) == 1 else self._mixed(self.shown)

    @property
    def way(self) -> tuple[Any, Any] | None:
        """How the samples of a single task are augmented and normalised; None where they are not
        augmented, or have their pixels in an order of their own.
        """
        view, _ = self.tasks[0]
        alike = len(self.tasks) == 1 and view.augment is not None and view.pixels is None
        return (view.augment, view.normalise) if alike else None

    def plain(self) -> Tensor:
        """The samples of the batch under way as they are in the data set, where `way` is known."""
        assert self._whole is not None, "a batch is under way"
        return self._whole[0].index_select(0, self.shown)

    def augmented(self, plain: Tensor) -> Tensor:
        """Samples that `plain` returned, of this task or of one with the same `way`, changed anew:
        (b, ...).
        """
        view, _ = self.tasks[0]
        assert view.augment is not None
        return view.finish(view.augment(plain, self._generator))

    def _single(self, index: Tensor) -> list[Tensor]:
        view, label = self.tasks[0]
        if self._whole is None:
            x, y = view.materialise() if view.augment is None else (view.raw(), view.targets)
            self._whole = x.to(self.device), y.to(self.device)
        x, y = (values.index_select(0, index) for values in self._whole)
        if view.augment is not None:
            x = self.augmented(x)
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


class StreamedBatches:
    """Mini-batches `[x, y, task label]` of a task whose images are read from disk.

    The order, and the seed of the random changes, are drawn from torch's global generator every
    time iteration begins, before the first batch.

    Args:
        view: the images.
        label: of the task.
        batch_size: samples a batch; the last batch may be smaller.
        shuffle: draw the order anew.
        device: where the batches are needed.
        augment_seed: for an evaluation: the seed of the random changes, the same at every
            iteration, if the images are changed at all. Batches have at most 250 images.

    Attributes:
        order, repeats: as in `Batches`.
    """

    order: Callable[[], Tensor] | None = None
    repeats = 1

    def __init__(
        self, view: FolderView, label: int, batch_size: int, *, shuffle: bool,
        device: torch.device, augment_seed: int | None = None,
    ) -> None:  # fmt: skip
        self.view, self.label, self.shuffle, self.device = view, label, shuffle, device
        self.augment_seed, self.n_samples = augment_seed, len(view)
        self._decoders = Decoders(view, pin=device.type == "cuda")
        self.batch_size = batch_size if augment_seed is None else min(batch_size, STREAMED_EVAL)

    def __len__(self) -> int:
        count = self.n_samples * self.repeats
        return distributed.n_batches(count, self.batch_size, networks=self.repeats)

    def __iter__(self) -> Iterator[list[Tensor]]:
        order = _order(self.n_samples, self.shuffle) if self.order is None else self.order()
        seed = self.augment_seed
        plan = distributed.batches(
            order, self.batch_size, training=seed is None, networks=self.repeats
        )
        if seed is None:
            seed = int(torch.randint(2**31, ()))
        for x, y in self._decoders.stream(plan, seed):
            x = self.view.normalise(x.to(self.device, non_blocking=True))
            label = torch.full((len(y),), self.label, device=self.device)
            yield [x, y.to(self.device, non_blocking=True), label]


def batches_of(
    view: View, label: int, batch_size: int, *, shuffle: bool, device: torch.device,
    augment_seed: int | None = None,
) -> Batches | StreamedBatches:  # fmt: skip
    """Mini-batches of one task, from memory or from disk; arguments as there."""
    more: Any = dict(shuffle=shuffle, device=device, augment_seed=augment_seed)
    if isinstance(view, FolderView):
        return StreamedBatches(view, label, batch_size, **more)
    return Batches([(view, label)], batch_size, **more)


def _order(n_samples: int, shuffle: bool) -> Tensor:
    return torch.randperm(n_samples) if shuffle else torch.arange(n_samples)
