"""What optimisers share that keep a state of their own for every binary weight."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from cl_bnn.optim.inner import WithInner
from cl_bnn.optim.weights import asked, carry_over, replace_in_groups, require_drawn, restored


class BinaryOptimizer(WithInner):
    """An optimiser with a state of its own for every binary weight; the inner one steps along.

    A subclass says what `draw` loads into one parameter (`_load`), which +-1 weights predict
    (`_mode_of`), how one parameter follows its gradient (`_update`), what it keeps for it
    (`_begin`), and what its settings must satisfy (`ranges`).
    """

    # What a subclass says ------------------------------------------------------------------------

    def _load(self, parameter: Parameter) -> None:
        """Load into `parameter` the weights at which its gradient is wanted."""
        raise NotImplementedError

    def _mode_of(self, parameter: Parameter) -> Tensor:
        """The +-1 weights that predict, in the shape of `parameter`."""
        raise NotImplementedError

    def _update(self, group: dict[str, Any], parameter: Parameter, gradient: Tensor) -> None:
        """One step of `parameter` from its gradient, which is left as it is."""
        raise NotImplementedError

    def _begin(self, parameter: Parameter) -> dict[str, Any]:
        """The state of a parameter that has none yet."""
        raise NotImplementedError

    # Verbs ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def draw(self) -> None:
        """Load the weights at which the gradient is wanted into the parameters."""
        for _, parameter in self._binary():
            self._load(parameter)
        torch.clear_autocast_cache()
        self._drawn = True

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update from the gradients; with a closure, `draw` and the closure come first, and its
        loss is returned.

        Parameters without a gradient are left alone.

        Raises:
            RuntimeError: without a closure, `draw` was not called since the last step.
        """
        loss = None
        if closure is not None:
            self.draw()
            loss = asked(self, closure)
        else:
            require_drawn(self)
        for group, parameter in self._binary():
            if parameter.grad is not None:
                self._update(group, parameter, parameter.grad)
        if self.inner is not None:
            self.inner.step()
        self._drawn = False
        return loss

    def mode(self) -> AbstractContextManager[None]:
        """Inside, the parameters hold the +-1 weights that predict."""
        return self._holding(self._mode_of)

    @contextmanager
    def _holding(self, weights_of: Callable[[Parameter], Tensor]) -> Iterator[None]:
        parameters = [parameter for _, parameter in self._binary()]
        with restored(parameters):
            for parameter in parameters:
                parameter.data = weights_of(parameter)
            yield

    @torch.no_grad()
    def grow(self, old: Parameter, new: Parameter) -> None:
        """Replace `old` by the larger `new` (a head that grew): the overlap keeps its state.

        Weights that `old` did not have start like those of a new network.
        """
        replace_in_groups(self, old, new)
        before = self.state.pop(old, None)
        if before:
            carry_over(before, self._state_of(new), old.shape)

    # State ---------------------------------------------------------------------------------------

    def _binary(self) -> Iterator[tuple[dict[str, Any], Parameter]]:
        for group in self.param_groups:
            for parameter in group["params"]:
                yield group, parameter

    def _state_of(self, parameter: Parameter) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            with torch.inference_mode(False):  # it is to be trained
                state.update(self._begin(parameter))
        return state
