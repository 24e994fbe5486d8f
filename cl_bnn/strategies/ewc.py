"""Elastic weight consolidation: what mattered to old tasks is held where it was."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from cl_bnn.errors import one_of, require
from cl_bnn.strategies.anchored import Anchored, State, mean_over_samples

Labels = Literal["all", "sampled", "true"]


class EWC(Anchored):
    r"""Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv:1612.00796) for any strategy of
    this package or of Avalanche, and its online form (Schwarz et al. 2018, arXiv:1805.06370).

        loss + strength / 2 sum_i A_i (w_i - c_i)^2,    F_i = mean of (dlog p(y | x) / dw_i)^2

    with the mean over samples x of the task that has just been learned, one at a time, and labels y
    of the network's own distribution. After a task

        A <- A + F, c <- (A c + F w) / (A + F)      which is sum_t F_t (w - w_t)^2 up to a constant
        A <- decay A + F, c <- w                    online

    (Schwarz et al. penalise with decay A in place of A, so that their lambda is strength / decay.)

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
        require(strength >= 0, "strength", strength, ">= 0")
        require(0 < decay <= 1, "decay", decay, "in (0, 1]")
        require(samples >= 1, "samples", samples, ">= 1")
        one_of("labels", labels, get_args(Labels))
        super().__init__(strength / 2)
        self.online, self.decay, self.samples, self.labels = online, decay, samples, labels

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
            held = self.held(name)
            a[held], c[held] = self.importance[name], self.anchor[name]
        if self.online:
            self.importance[name], self.anchor[name] = self.decay * a + fisher, w
            return
        total = a + fisher
        self.anchor[name] = torch.where(total > 0, (a * c + fisher * w) / total, w)
        self.importance[name] = total

    def fisher(self, strategy: Any) -> State:
        """F of the current experience by the name of the parameter; parameters that the outputs do
        not depend on are left out.

        Raises:
            UserError: the network does not predict classes.
        """
        terms = self._log_likelihoods
        return mean_over_samples("EWC", strategy, self.samples, terms, torch.square)

    def _log_likelihoods(self, logits: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
        """How much each label counts, and the log p whose gradient is squared."""
        log_p = logits.log_softmax(1)
        p = log_p.detach().exp()
        if self.labels == "all":
            return list(zip(p.unbind(1), log_p.unbind(1), strict=True))
        chosen = y.unsqueeze(1) if self.labels == "true" else torch.multinomial(p, 1)
        return [(torch.ones_like(p[:, 0]), log_p.gather(1, chosen)[:, 0])]
