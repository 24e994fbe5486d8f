"""Synaptic intelligence: weights are held by what their way has done for the loss."""

from typing import Any

import torch

from cl_bnn.errors import require
from cl_bnn.strategies.anchored import Anchored, State, within
from cl_bnn.strategies.following import trained


class SI(Anchored):
    r"""Synaptic intelligence (Zenke, Poole, Ganguli 2017, arXiv:1703.04200) for any strategy of
    this package or of Avalanche.

        loss + strength sum_i Omega_i (w_i - c_i)^2

    Along a task every weight gathers how far it has brought the loss down, and after it becomes
    important by that (eqs 3 to 5), with w_0 the weights at the beginning of the task:

        omega <- omega - g (w_after - w_before)     at every step, g without this penalty
        Omega <- Omega + max(omega, 0) / ((w - w_0)^2 + damping),    c <- w

    Weights that brought the loss up are not important, as in the authors' code: a negative Omega
    would drive its weight away. Of several samples of the weights in a step, g is that of the last.

    Avalanche's own plugin keeps views of the weights instead of copies: on a processor nothing of
    full-precision weights is held, whatever the strength.

    Args:
        strength: c of the paper, >= 0.
        damping: xi > 0.

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(self, *, strength: float = 1.0, damping: float = 0.1) -> None:
        require(strength >= 0, "strength", strength, ">= 0")
        require(damping > 0, "damping", damping, "> 0")
        super().__init__(strength)
        self.damping = damping
        self.start: State = {}  # w_0, while a task is learned
        self.path: State = {}  # omega, while a task is learned
        self._before: State = {}  # the weights where the step under way sets out
        self._gradients: State = {}  # g at it

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Note where the step sets out from."""
        self._before = self._weights(strategy)

    @torch.no_grad()
    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Note the gradient of the loss without this penalty; those of other plugins are in it."""
        self._gradients = {}
        for name, w in strategy.model.named_parameters():
            if w.grad is None:
                continue
            g = self._gradients[name] = w.grad.clone()
            if name in self.importance:
                pull = self.importance[name] * self.away(name, w)
                g[self.held(name)] -= 2 * self.factor * pull

    @torch.no_grad()
    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Add what the step has done."""
        for name, w in trained(strategy.model).items():
            if name in self._gradients:
                self.path[name] -= self._gradients[name] * (w - self._before[name])

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Make important what brought the loss down."""
        for name, w in self._weights(strategy).items():
            moved = (w - self.start[name]).square()
            found = self.path[name].clamp_min(0) / (moved + self.damping)
            if name in self.importance:
                found[self.held(name)] += self.importance[name]
            elif not found.any():  # the head of a task to come, which no penalty shall move
                continue
            self.importance[name], self.anchor[name] = found, w
        self.start, self.path, self._before, self._gradients = {}, {}, {}, {}

    def state_dict(self) -> dict[str, Any]:
        """All that is known between two steps, for `load_state_dict`."""
        return super().state_dict() | {"start": self.start, "path": self.path}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.start, self.path = state["start"], state["path"]

    def _weights(self, strategy: Any) -> State:
        """Copies of the trained weights that the model holds, by name. Those that have come since
        the last step, as where an evaluation lets a head grow, set out here.
        """
        found = {name: w.detach().clone() for name, w in trained(strategy.model).items()}
        for name, w in found.items():
            old = self.start.get(name)
            if old is not None and old.shape == w.shape:
                continue
            start, path = w.clone(), torch.zeros_like(w)
            if old is not None:
                start[within(old)], path[within(old)] = old, self.path[name]
            self.start[name], self.path[name] = start, path
        return found
