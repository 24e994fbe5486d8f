"""The Laplace approximation with Kronecker factors: what mattered together to old tasks is held."""

from typing import Any

from avalanche.core import SupervisedPlugin
from torch import Tensor

from cl_bnn.errors import require
from cl_bnn.optim.kronecker import Factors, owners, remembered
from cl_bnn.strategies.anchored import reached, within
from cl_bnn.strategies.following import trained
from cl_bnn.strategies.priors import measured

State = dict[str, Tensor]


class KroneckerLaplace(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]
    r"""Online structured Laplace (Ritter, Botev, Barber 2018, arXiv:1805.07810) for any strategy of
    this package or of Avalanche.

        loss + strength / 2 sum over layers tr[G (W - C) A (W - C)^T]

    with the Kronecker factors A and G of the Fisher information of a layer's weights, see
    `cl_bnn.optim.kronecker`. After a task

        A <- A + A_task,    G <- the mean of G_task over tasks,    C <- W

    where EWC keeps the diagonal alone. A strength of 1 is what Bayes' rule says for tasks of one
    size. Memory and time do not grow with the tasks. Held are the weights of linear layers and of
    ungrouped convolutions in two dimensions that pad with zeros, each with weights of its own and
    with torch's `forward`; biases, gains and anything else are free.

    Args:
        strength: >= 0.
        samples: of a task, through which the factors are measured; >= 1.

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(self, *, strength: float = 1.0, samples: int = 2000) -> None:
        super().__init__()
        require(strength >= 0, "strength", strength, ">= 0")
        require(samples >= 1, "samples", samples, ">= 1")
        self.strength, self.samples = strength, samples
        self.inputs: State = {}  # A by the name of the weight
        self.outputs: State = {}  # G
        self.anchor: State = {}  # C
        self.tasks: dict[str, int] = {}  # that the weight has learned

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the penalty to the loss."""
        for name, w in reached(strategy):
            if name in self.anchor:
                away = (w[within(self.anchor[name])] - self.anchor[name]).flatten(1)
                cost = (self.outputs[name] @ away @ self.inputs[name] * away).sum()
                strategy.loss = strategy.loss + self.strength / 2 * cost

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Measure what matters to the task that has been learned."""
        known = owners(strategy.model)
        named = {name: w for name, w in trained(strategy.model).items() if w in known}
        found = measured(strategy, named.values(), self.samples)
        for name, w in named.items():
            if w in found:
                self._consolidate(name, found[w])
                self.anchor[name] = w.detach().clone()

    def _consolidate(self, name: str, found: Factors) -> None:
        n_tasks = self.tasks.get(name, 0)
        before = Factors(self.inputs[name], self.outputs[name]) if n_tasks else None
        self.inputs[name], self.outputs[name] = remembered(before, found, n_tasks)
        self.tasks[name] = n_tasks + 1

    def state_dict(self) -> dict[str, Any]:
        """A, G, C and the number of tasks, for `load_state_dict`."""
        return {
            "inputs": self.inputs, "outputs": self.outputs, "anchor": self.anchor,
            "tasks": self.tasks,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.inputs, self.outputs = state["inputs"], state["outputs"]
        self.anchor, self.tasks = state["anchor"], state["tasks"]
