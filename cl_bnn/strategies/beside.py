"""Ensembles whose members are trained side by side, as one network."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from cl_bnn import distributed
from cl_bnn.nn import Stacked, reinitialise
from cl_bnn.strategies.ensemble import Ensemble
from cl_bnn.strategies.task_aware import TaskAware
from cl_bnn.strategies.template import Template


class SideBySideEnsemble(Ensemble):
    """Independent members of bagging, trained at once: their weights stacked, every layer one
    batched product.

    Each learns what it would learn alone: from the same bootstrap in the same order, with initial
    weights and an optimiser state of its own. The optimiser has to work element by element.
    """

    def arranged(self, model: nn.Module) -> nn.Module:
        """The networks of all members: the given one, and copies with weights drawn anew."""
        self.initialise(model)
        networks = [model]
        for member in range(1, self.size):
            networks.append(copy.deepcopy(model))
            with self.drawing("start", member):
                reinitialise(networks[-1])
                self.initialise(networks[-1])
        return TaskAware(Stacked(networks))

    def initialise(self, model: nn.Module) -> None:  # type: ignore[override]
        """Initial weights of a network; those that are stacked have them."""
        if not any(isinstance(module, Stacked) for module in model.modules()):
            super().initialise(model)

    @property
    def n_weights(self) -> int:
        """The number of weights of a member."""
        return super().n_weights // self.size

    def make_train_dataloader(
        self, shuffle: bool = True, drop_last: bool = False, **kwargs: Any
    ) -> None:
        """Batches of the samples of all members, one member's after the other's."""
        super().make_train_dataloader(shuffle, drop_last, **kwargs)
        self.batches.repeats = self.size
        self.batches.batch_size *= self.size

    def order(self) -> Tensor:
        """The samples of the next epoch, so that each batch is cut into M equal parts."""
        orders = [self.bagged(member) for member in range(self.size)]
        parts = distributed.cut(torch.stack(orders), self.train_mb_size, dim=1)
        return torch.cat([part.flatten() for part in parts])

    def differentiate(self, loss: Tensor) -> None:
        """Gradients of the sum of the members' mean losses; `loss` is their mean."""
        super().differentiate(loss * self.size)

    def member_outputs(self) -> Tensor:
        """Logits of all members for the current mini-batch, (M, batch, classes)."""
        return Template.forward(self)

    def learned(self) -> dict[str, float]:
        """At the end of a task, the mean error of the members on the training set; the KL term, of
        members that have one, is the mean over them.
        """
        found = super().learned()
        if "kl" in found:
            found["kl"] /= self.size
        if self.epoch + 1 == self.n_epochs:
            found["member_error"] = self.wrong().double().mean().item()
        return found
