"""Dark experience replay: samples of the past, with what the network said of them then."""

import math
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models.utils import avalanche_forward
from torch import Tensor
from torch.nn import functional as F

from cl_bnn import distributed
from cl_bnn.errors import UserError, require
from cl_bnn.strategies.loading import Batches


def require_ranges(memory: int, batch_size: int, alpha: float, beta: float) -> None:
    """Raise `ValueError` if a setting of dark experience replay is outside its range."""
    require(memory >= 1, "memory", memory, ">= 1")
    require(batch_size >= 1, "batch_size", batch_size, ">= 1")
    require(alpha >= 0, "alpha", alpha, ">= 0")
    require(beta >= 0, "beta", beta, ">= 0")


class DER(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]
    r"""Dark experience replay (Buzzega et al. 2020, arXiv:2004.07211): DER, DER++ and plain
    experience replay.

        loss + alpha mean (f(x) - z)^2 + beta criterion(f(x'), y')

    over two batches drawn from a memory of samples with the outputs z that the network had when
    they came by. `beta = 0` is DER, `alpha = 0` experience replay, anything else DER++. The memory
    is a reservoir: at any time every sample seen so far is in it with the same probability, and no
    task boundary is needed.

    Avalanche's own DER, which is another method, is `AvalancheDER`.

    Args:
        memory: M >= 1, samples that are kept: where images are augmented, as they are in the data
            set, to be augmented anew whenever they are drawn, as in the authors' code; images that
            are read from disk, have their pixels permuted or are of several tasks at once, and all
            that is not augmented, as the network saw them.
        batch_size: samples drawn from the memory for each of the two terms, >= 1.
        alpha: >= 0.
        beta: >= 0.

    Attributes:
        x, outputs, y, tasks: the memory: inputs, z, targets and task labels, one row a sample.
        plain: whether x are images that are to be augmented.
        grown: whether some z may lack outputs that the network has got since; they are NaN.
        seen: samples that have come by.

    Raises:
        ValueError: a value is outside its range.
    """

    x: Tensor
    outputs: Tensor
    y: Tensor
    tasks: Tensor

    def __init__(
        self, *, memory: int = 500, batch_size: int = 100, alpha: float = 0.5, beta: float = 0.5
    ) -> None:
        super().__init__()
        require_ranges(memory, batch_size, alpha, beta)
        self.memory, self.batch_size, self.alpha, self.beta = memory, batch_size, alpha, beta
        self.seen, self.grown, self.plain = 0, False, False
        self._way: tuple[Any, Any] | None = None  # in which all samples are augmented

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Note how samples are augmented.

        Raises:
            UserError: in another way than those in the memory.
        """
        way = strategy.dataloader.way if isinstance(strategy.dataloader, Batches) else None
        other = self._way is not None and way != self._way
        if self.seen and (other or self.plain != (way is not None)):
            raise UserError(
                "DER keeps samples that are all augmented and normalised in one way, or not "
                "augmented, and come from one kind of loader: leave out plugins with their own"
            )
        self.plain, self._way = way is not None, way

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the terms of the memory to the loss."""
        if not self.seen:
            return
        if self.alpha:
            found, rows = self._asked(strategy)
            strategy.loss = strategy.loss + self.alpha * self._distance(found, self.outputs[rows])
        if self.beta:
            found, rows = self._asked(strategy)
            strategy.loss = strategy.loss + self.beta * strategy._criterion(found, self.y[rows])

    def _asked(self, strategy: Any) -> tuple[Tensor, Tensor]:
        """What the network says of a batch from the memory, and the places of its samples."""
        rows = self._rows()
        x = strategy.dataloader.augmented(self.x[rows]) if self.plain else self.x[rows]
        return avalanche_forward(strategy.model, x, self.tasks[rows]), rows

    def _distance(self, found: Tensor, stored: Tensor) -> Tensor:
        """The mean squared difference of the outputs that there were when samples were stored."""
        found = found[:, : stored.shape[1]]  # in a task's first step more than any stored
        if not self.grown:
            return F.mse_loss(found, stored)
        there = ~stored.isnan()
        return (found[there] - stored[there]).square().mean()

    def _rows(self) -> Tensor:
        """Places in the memory for a batch, each at most once."""
        return torch.randperm(len(self.x))[: self.batch_size].to(self.x.device)

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Offer the samples of the mini-batch to the memory (Vitter 1985, algorithm R)."""
        known = strategy.mbatch[2:]  # the task label, where the benchmark has any
        tasks = known[-1] if known else torch.zeros_like(strategy.mb_y)
        x = strategy.dataloader.plain() if self.plain else strategy.mb_x
        own = x, self._unmasked(strategy), strategy.mb_y, tasks
        batch = [distributed.gather(column) for column in own]
        numbers = torch.arange(self.seen, self.seen + len(batch[0]))
        drawn = (torch.rand(len(numbers), dtype=torch.float64) * (numbers + 1)).long()
        places = torch.where(numbers < self.memory, numbers, drawn).tolist()
        kept = {place: row for row, place in enumerate(places) if place < self.memory}
        self._store(list(kept), [column[list(kept.values())] for column in batch])
        self.seen += len(numbers)

    def _unmasked(self, strategy: Any) -> Tensor:
        """The outputs of the mini-batch; NaN where a head that grows masks them."""
        found: Tensor = strategy.mb_output.detach()
        for head in strategy.model.modules():
            if getattr(head, "masking", False):
                masked = found == head.mask_value
                found, self.grown = found.masked_fill(masked, math.nan), True
        return found

    def _store(self, places: list[int], rows: list[Tensor]) -> None:
        if not self.seen:
            self._columns([row.new_empty((0, *row.shape[1:])) for row in rows])
        new = rows[1].shape[1] - self.outputs.shape[1]
        if new > 0:  # outputs that the samples stored so far did not have
            self.outputs, self.grown = F.pad(self.outputs, (0, new), value=math.nan), True
        columns = [self.x, self.outputs, self.y, self.tasks]
        missing = max(places, default=-1) + 1 - len(self.x)
        if missing > 0:
            columns = [torch.cat([c, c.new_empty((missing, *c.shape[1:]))]) for c in columns]
        for column, row in zip(columns, rows, strict=True):
            column[places] = row
        self._columns(columns)

    def _columns(self, columns: list[Tensor]) -> None:
        self.x, self.outputs, self.y, self.tasks = columns

    def state_dict(self) -> dict[str, Any]:
        """The memory, for `load_state_dict`."""
        if not self.seen:
            return {"seen": 0, "plain": False}
        memory = {"x": self.x, "outputs": self.outputs, "y": self.y, "tasks": self.tasks}
        return {**memory, "seen": self.seen, "plain": self.plain}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.seen, self.plain = state["seen"], state["plain"]
        if self.seen:
            self._columns([state[key] for key in ("x", "outputs", "y", "tasks")])
            self.grown = bool(self.outputs.isnan().any())
