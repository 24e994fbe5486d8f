"""Memory aware synapses: weights are held by what the outputs owe to them."""

from typing import Any

import torch
from torch import Tensor

from cl_bnn.errors import require
from cl_bnn.strategies.anchored import Anchored, State, mean_over_samples


class MAS(Anchored):
    r"""Memory aware synapses (Aljundi et al. 2018, arXiv:1711.09601) for any strategy of this
    package or of Avalanche.

        loss + strength sum_i Omega_i (w_i - c_i)^2,    Omega_i = mean of |d ||f(x)||^2 / dw_i|

    with the mean over samples x of the task that has just been learned, one at a time (eqs 2 to 5);
    labels are not needed. After a task

        Omega <- Omega + Omega_task,    c <- w

    Outputs that are normalised sample by sample (`norm = "layer"`) all have one norm: then hardly
    anything matters, and little is held.

    Avalanche's own plugin takes the absolute value of the gradient of a *batch's* mean, so that its
    importances depend on the size of the batches, and a running mean over tasks instead of a sum.

    Args:
        strength: lambda >= 0.
        samples: of a task, of which Omega is the mean; drawn from torch's global generator; >= 1.

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(self, *, strength: float = 1.0, samples: int = 1000) -> None:
        require(strength >= 0, "strength", strength, ">= 0")
        require(samples >= 1, "samples", samples, ">= 1")
        super().__init__(strength)
        self.samples = samples

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Measure what the outputs owe to every weight."""
        with torch.enable_grad():
            found = self.sensitivity(strategy)
        for name, w in strategy.model.named_parameters():
            if name in found:
                if name in self.importance:
                    found[name][self.held(name)] += self.importance[name]
                self.importance[name], self.anchor[name] = found[name], w.detach().clone()

    def sensitivity(self, strategy: Any) -> State:
        """Omega of the current experience by the name of the parameter; parameters that the outputs
        do not depend on are left out.

        Raises:
            UserError: the network does not predict classes.
        """
        return mean_over_samples("MAS", strategy, self.samples, _norms, torch.abs)


def _norms(outputs: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(torch.ones_like(outputs[:, 0]), outputs.square().sum(1))]
