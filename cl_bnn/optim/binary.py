"""What optimisers share that keep a state of their own for every binary weight."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from cl_bnn.optim.weights import (
    refuse_vectors,
    replace_in_groups,
    require,
    restored,
    some,
)

# What a setting of a parameter group must satisfy, as a condition and in words.
Range = tuple[Callable[[float], bool], str]


class BinaryOptimizer(Optimizer):
    """An optimiser of binary weights, beside an inner one for the real-valued parameters.

    A subclass says what `draw` loads into one parameter (`_load`), which +-1 weights predict
    (`_mode_of`), how one parameter follows its gradient (`_update`), what it keeps for it
    (`_begin`), and what its settings must satisfy (`ranges`).

    Args:
        params: the weights to be binary (parameters or groups, like every torch optimiser).
        defaults: the settings of a group.
        inner: an optimiser for the real-valued parameters (BatchNorm gains, biases), or None;
            stepped, zeroed and saved along. Its learning-rate scheduler is the user's own.

    Raises:
        ValueError: a setting is outside its range, there are no parameters, or a bias or gain would
            become binary.
    """

    ranges: ClassVar[dict[str, Range]]

    def __init__(
        self, params: Iterable[Any], defaults: dict[str, Any], inner: Optimizer | None
    ) -> None:
        super().__init__(some(params), defaults)
        self.inner = inner
        self._drawn = False  # whether the weights were loaded since the last step

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
            with torch.enable_grad():
                loss = closure()
        elif not self._drawn:
            name = type(self).__name__
            raise RuntimeError(f"{name} has gradients at weights it did not draw: call draw()")
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
        if not before:
            return
        overlap: tuple[Any, ...] = (..., *(slice(0, length) for length in old.shape))
        for key, value in self._state_of(new).items():
            if isinstance(value, Tensor):
                value[overlap] = before[key]
            else:
                self.state[new][key] = before[key]

    # State ---------------------------------------------------------------------------------------

    def _binary(self) -> Iterator[tuple[dict[str, Any], Parameter]]:
        for group in self.param_groups:
            for parameter in group["params"]:
                yield group, parameter

    def _state_of(self, parameter: Parameter) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state.update(self._begin(parameter))
        return state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take in a group of binary parameters, its settings checked.

        Raises:
            ValueError: a setting is outside its range, or a bias or gain would become binary: see
                `cl_bnn.optim.weights.refuse_vectors`.
        """
        settings = {**self.defaults, **param_group}
        for name, (holds, allowed) in self.ranges.items():
            require(holds(settings[name]), name, settings[name], allowed)
        refuse_vectors(param_group)
        super().add_param_group(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of the binary parameters and of those of the inner optimiser."""
        super().zero_grad(set_to_none)
        if self.inner is not None:
            self.inner.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Everything a run needs to continue, that of the inner optimiser under `"inner"`."""
        own = super().state_dict()
        return own if self.inner is None else {**own, "inner": self.inner.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; weights drawn but not yet used are forgotten."""
        super().load_state_dict(state_dict)
        if self.inner is not None:
            self.inner.load_state_dict(state_dict["inner"])
        self._drawn = False
