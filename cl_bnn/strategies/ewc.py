"""Elastic weight consolidation: what mattered to old tasks is held where it was."""

from typing import Any, Literal

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models.utils import avalanche_forward
from torch import Tensor

from cl_bnn.errors import UserError
from cl_bnn.objectives import CLASSIFICATION
from cl_bnn.optim.weights import require
from cl_bnn.strategies.loading import samples_of

Labels = Literal["all", "sampled", "true"]
LABELS: tuple[Labels, ...] = ("all", "sampled", "true")


class EWC(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]
    r"""Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv:1612.00796) for any strategy of
    this package or of Avalanche, and its online form (Schwarz et al. 2018, arXiv:1805.06370).

        loss + strength / 2 sum_i A_i (w_i - c_i)^2,    F_i = mean of (dlog p(y | x) / dw_i)^2

    with the mean over samples x of the task that has just been learned, one at a time, and labels y
    of the network's own distribution. After a task

        A <- A + F, c <- (A c + F w) / (A + F)      which is sum_t F_t (w - w_t)^2 up to a constant
        A <- decay A + F, c <- w                    online

    Avalanche's own plugin squares the gradient of the *mean* loss of a batch, so that its F depends
    on the size of the batches and on the order of the samples.

    Args:
        strength: lambda >= 0.
        online: whether one anchor is kept instead of (in effect) one a task.
        decay: gamma of the online form, in (0, 1].
        samples: of a task, of which F is the mean; drawn from torch's global generator; >= 1.
        labels: `"all"`: the expectation over all classes; `"sampled"`: one label a sample, drawn
            from the network's distribution; `"true"`: the label of the data ("empirical Fisher").

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(
        self, *, strength: float = 100.0, online: bool = False, decay: float = 1.0,
        samples: int = 1000, labels: Labels = "all",
    ) -> None:  # fmt: skip
        super().__init__()
        require(strength >= 0, "strength", strength, ">= 0")
        require(0 < decay <= 1, "decay", decay, "in (0, 1]")
        require(samples >= 1, "samples", samples, ">= 1")
        require(labels in LABELS, "labels", labels, f"one of {', '.join(LABELS)}")
        self.strength, self.online, self.decay = strength, online, decay
        self.samples, self.labels = samples, labels
        self.importance: dict[str, Tensor] = {}  # A by the name of the parameter
        self.anchor: dict[str, Tensor] = {}  # c

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the penalty to the loss."""
        for name, w in strategy.model.named_parameters():
            if name in self.importance:
                a, c = self.importance[name], self.anchor[name]
                away = w[tuple(slice(n) for n in a.shape)] - c
                strategy.loss = strategy.loss + self.strength / 2 * (a * away.square()).sum()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Measure what matters to the task that has been learned."""
        found = self.fisher(strategy)
        for name, w in strategy.model.named_parameters():
            if name in found:
                self._consolidate(name, found[name], w.detach().clone())

    @torch.no_grad()
    def _consolidate(self, name: str, fisher: Tensor, w: Tensor) -> None:
        a, c = torch.zeros_like(w), w.clone()
        if name in self.importance:
            inside = tuple(slice(n) for n in self.importance[name].shape)
            a[inside], c[inside] = self.importance[name], self.anchor[name]
        if self.online:
            self.importance[name], self.anchor[name] = self.decay * a + fisher, w
            return
        total = a + fisher
        self.anchor[name] = torch.where(total > 0, (a * c + fisher * w) / total, w)
        self.importance[name] = total

    def fisher(self, strategy: Any) -> dict[str, Tensor]:
        """F of the current experience by the name of the parameter; parameters that the outputs do
        not depend on are left out.

        Raises:
            UserError: the network does not predict classes.
        """
        if not getattr(strategy, "objective", CLASSIFICATION).of_classes:
            raise UserError("EWC needs a benchmark of classification: this one has no classes")
        named = {name: p for name, p in strategy.model.named_parameters() if p.requires_grad}
        data = strategy.experience.dataset
        total = {name: torch.zeros_like(p) for name, p in named.items()}
        touched: set[str] = set()
        strategy.model.eval()
        rows = torch.randperm(len(data))[: self.samples]
        for row in torch.split(rows, 1):
            x, y, task = samples_of(data, row, strategy.device)
            log_p = avalanche_forward(strategy.model, x, task).log_softmax(1)[0]
            for weight, label in self._weighted(log_p.detach().exp(), int(y)):
                found = torch.autograd.grad(
                    log_p[label], list(named.values()), retain_graph=True, allow_unused=True
                )
                for name, gradient in zip(named, found, strict=True):
                    if gradient is not None:
                        total[name].addcmul_(gradient, gradient, value=weight / len(rows))
                        touched.add(name)
        strategy.model.train()
        return {name: total[name] for name in touched}

    def _weighted(self, p: Tensor, y: int) -> list[tuple[float, int]]:
        """The labels whose gradients are squared, and how much each counts."""
        if self.labels == "true":
            return [(1.0, y)]
        if self.labels == "sampled":
            return [(1.0, int(torch.multinomial(p, 1)))]
        return [(weight, label) for label, weight in enumerate(p.tolist())]

    def state_dict(self) -> dict[str, Any]:
        """A and c, for `load_state_dict`."""
        return {"importance": self.importance, "anchor": self.anchor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.importance, self.anchor = state["importance"], state["anchor"]
