"""Always the same answer: what a measure is worth can be read off."""

from typing import Any

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from torch import Tensor, nn

from cl_bnn.errors import UserError
from cl_bnn.strategies.loading import task_view
from cl_bnn.strategies.template import Template


class ConstantStrategy(Template):
    """Predicts the majority class of the training labels for every sample, or every pixel.

    The answer to every input is log p with p_c = (n_c + 1) / (n + C): how often the class c of C
    was the label so far, in this task and those before (n labels in all). The network is neither
    asked nor trained; one pass over a task measures the training loss.

    Args:
        model: a network; it is not used.
        template: every keyword of Avalanche's `SupervisedTemplate`.
    """

    def __init__(self, *, model: nn.Module, **template: Any) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        super().__init__(model=model, optimizer=optimizer, **template)
        self.counts: dict[int, Tensor] = {}  # by task, so that one begun anew counts once

    @property
    def n_epochs(self) -> int:
        """One, for the second would be the same."""
        return 1

    def _before_training_exp(self, **kwargs: Any) -> None:
        """Count the labels; how many classes there are is read off all tasks of the stream."""
        super()._before_training_exp(**kwargs)
        task, n_classes = int(self.experience.current_experience), self._n_classes()
        self.counts[task] = torch.bincount(_labels(self.adapted_dataset), minlength=n_classes)

    def _n_classes(self) -> int:
        return 1 + max(int(_labels(e.dataset).max()) for e in self.experience.origin_stream)

    def forward(self) -> Tensor:
        """Log-probabilities (batch, C) or (batch, C, height, width), all the same."""
        known = [*self.counts.values()] or [torch.zeros(self._n_classes())]
        counts = torch.stack(known).sum(0) + 1
        log_p = (counts / counts.sum()).log().to(self.device)
        batch, *pixels = self.mb_y.shape
        return log_p.view(1, -1, *(1 for _ in pixels)).expand(batch, -1, *pixels)

    def backward(self) -> None:
        """Nothing is learned from a gradient."""

    def extra_state(self) -> dict[str, Any]:
        """How often every class was the label in every task."""
        return {**super().extra_state(), "counts": self.counts}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `extra_state` returned."""
        super().load_extra_state(state)
        self.counts = state["counts"]


def _labels(dataset: AvalancheDataset) -> Tensor:
    """All labels of a data set, of its samples or its pixels, int64 (n,)."""
    view = task_view(dataset)
    labels = torch.as_tensor(list(dataset.targets)) if view is None else view.targets
    if labels.is_floating_point():
        raise UserError("the constant predictor chooses a class: the targets are numbers")
    return labels.flatten()
