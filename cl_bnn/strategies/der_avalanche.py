"""Dark experience replay as Avalanche does it, beside any optimiser."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models.utils import avalanche_forward
from avalanche.training.supervised.der import ClassBalancedBufferWithLogits
from avalanche.training.utils import cycle
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from cl_bnn.errors import UserError
from cl_bnn.strategies.der import require_ranges
from cl_bnn.strategies.loading import view_behind


class AvalancheDER(SupervisedPlugin):
    r"""What Avalanche's strategy `DER` computes, as a plugin, to be compared with our `DER`.

        loss + alpha mean (f(x) - z)^2 + beta criterion(f(x), y)

    over one batch of a memory that holds as many samples of every class. Unlike in the paper, z is
    what the network says, in evaluation mode and of the sample as it is stored, once it has learned
    the task, both terms take the same samples, these go through the network together with the
    mini-batch, and the memory is that of the tasks before. The memory is Avalanche's own; the
    network is told the task labels, which Avalanche's strategy leaves out. A run with it that was
    interrupted begins anew.

    Args:
        memory: samples that are kept, >= 1.
        batch_size: of them in a step, >= 1; with a smaller memory there is none.
        alpha: >= 0.
        beta: >= 0; 0 is DER, else it is DER++.

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(
        self, *, memory: int = 500, batch_size: int = 100, alpha: float = 0.5, beta: float = 0.5
    ) -> None:
        super().__init__()
        require_ranges(memory, batch_size, alpha, beta)
        self.batch_size, self.alpha, self.beta = batch_size, alpha, beta
        self.storage = ClassBalancedBufferWithLogits(memory)
        self._replayed: Any = None  # batches without end, while a task is learned
        self._current: list[Tensor] = []  # the mini-batch under way
        self._old: list[Tensor] = []  # y and z of the samples that joined it
        self._outputs: Tensor | None = None  # for these

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Take the memory as it is now.

        Raises:
            UserError: the data have no task labels.
        """
        if not hasattr(strategy.experience, "task_label"):
            raise UserError("Avalanche's DER keeps samples by their task labels: take DER instead")
        kept = self.storage.buffer
        if len(kept) >= self.batch_size:
            self._replayed = cycle(DataLoader(kept, self.batch_size, shuffle=True, drop_last=True))

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Let samples of the memory join the mini-batch."""
        if self._replayed is None:
            return
        self._current = strategy.mbatch
        x, y, task, z = (column.to(strategy.device) for column in next(self._replayed))
        pairs = zip((x, y, task), self._current, strict=True)
        strategy.mbatch, self._old = [torch.cat(pair) for pair in pairs], [y, z]

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Part them again."""
        if self._replayed is not None:
            self._outputs, strategy.mb_output = strategy.mb_output.tensor_split([self.batch_size])
            strategy.mbatch = self._current

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the terms of the memory to the loss."""
        if self._replayed is not None:
            y, z = self._old
            assert self._outputs is not None
            strategy.loss = strategy.loss + self.alpha * F.mse_loss(self._outputs, z)
            strategy.loss = strategy.loss + self.beta * strategy._criterion(self._outputs, y)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Ask the network about the samples of the task, and keep as many of each class."""
        label = int(strategy.experience.task_label)
        self._replayed = self._outputs = None
        self._current, self._old = [], []
        told = SimpleNamespace(
            experience=strategy.experience, model=_Told(strategy.model, label),
            train_mb_size=strategy.train_mb_size, device=strategy.device,
        )  # fmt: skip
        with _not_augmented(strategy.experience.dataset):
            self.storage.update(told)


@contextmanager
def _not_augmented(dataset: Any) -> Iterator[None]:
    """Inside, samples are as they are stored; Avalanche's `eval()` does not know our views."""
    view = view_behind(dataset)
    if view is None:
        yield
        return
    held = dict(vars(view))
    vars(view).update(vars(view.still()))
    try:
        yield
    finally:
        vars(view).update(held)


class _Told(nn.Module):
    """A network that is told the task label, always the same."""

    def __init__(self, model: nn.Module, label: int) -> None:
        super().__init__()
        self.model, self.label = model, label

    def forward(self, x: Tensor) -> Any:
        return avalanche_forward(self.model, x, torch.full((len(x),), self.label, device=x.device))
