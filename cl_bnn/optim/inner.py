"""An optimiser of binary weights beside an inner one for the real-valued parameters."""

import copy
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from cl_bnn.errors import require
from cl_bnn.optim.weights import refuse_vectors, some, whole

# What a setting of a parameter group must satisfy, as a condition and in words.
Range = tuple[Callable[[float], bool], str]


def check(ranges: dict[str, Range], settings: dict[str, Any]) -> None:
    """Raise `ValueError` naming the first of the `settings` that is outside its range."""
    for name, (holds, allowed) in ranges.items():
        require(holds(settings[name]), name, settings[name], allowed)


def all_groups(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The parameter groups of an optimiser, and those of its inner one if it has one."""
    inner = getattr(optimizer, "inner", None)
    return [*optimizer.param_groups, *(inner.param_groups if inner else ())]


class WithInner(Optimizer):
    """Checks what it is given, and clears and saves the inner optimiser along with itself.

    A subclass says what its settings must satisfy (`ranges`).

    Args:
        params: the weights to be binary (parameters or groups, like every torch optimiser).
        defaults: the settings of a group.
        inner: an optimiser for the real-valued parameters (BatchNorm gains, biases), or None. Its
            learning-rate scheduler is the user's own. Torch's `GradScaler` skips a step for the
            infinities of the optimiser that it is given, and not for those of `inner`: beside a
            `GradScaler` keep the real parameters in an optimiser of their own, stepped by
            `scaler.step` too, or take bfloat16, which needs no scaler.

    Raises:
        ValueError: a setting is outside its range, there are no parameters, a bias or gain would
            become binary, or `inner` holds a parameter as well.
    """

    ranges: ClassVar[dict[str, Range]]

    def __init__(
        self, params: Iterable[Any], defaults: dict[str, Any], inner: Optimizer | None
    ) -> None:
        self.inner = inner
        super().__init__(some(params), defaults)
        self._drawn = False  # whether the parameters hold weights that no gradient was taken at

    def undraw(self) -> None:
        """Forget weights drawn since the last step, which was not ended."""
        self._drawn = False

    def _real_parameters(self) -> list[Tensor]:
        groups = [] if self.inner is None else self.inner.param_groups
        return [parameter for group in groups for parameter in group["params"]]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take in a group of binary parameters, its settings checked.

        Raises:
            ValueError: a setting is outside its range, a bias or gain would become binary (see
                `cl_bnn.optim.weights.refuse_vectors`), or the group is not to be binary or is that
                of the inner optimiser.
        """
        check(self.ranges, {**self.defaults, **param_group})
        if not param_group.get("binary", True):
            raise ValueError(
                f"a group with binary = False: {type(self).__name__} has binary weights only; give "
                "real parameters to its inner optimiser"
            )
        refuse_vectors(param_group)
        super().add_param_group(param_group)
        real = set(self._real_parameters())
        if any(parameter in real for parameter in self.param_groups[-1]["params"]):
            self.param_groups.pop()
            raise ValueError(
                "the inner optimiser holds a weight that is to be binary: give it real parameters "
                "only, such as those of `cl_bnn.nn.real_parameters`"
            )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of the binary parameters and of those of the inner optimiser."""
        # torch's own notes every call in its profiler, which costs 2 % of a step on small networks.
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = None if set_to_none else torch.zeros_like(parameter)
        if self.inner is not None:
            self.inner.zero_grad(set_to_none)

    __getstate__ = whole

    def state_dict(self) -> dict[str, Any]:
        """Everything a run needs to continue, that of the inner optimiser under `"inner"`."""
        own = super().state_dict()
        return own if self.inner is None else {**own, "inner": self.inner.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, learning rate and `train_set_size` among it; weights
        drawn but not yet used are forgotten.

        Raises:
            ValueError: one of the two has no inner optimiser.
        """
        if ("inner" in state_dict) != (self.inner is not None):
            raise ValueError("one of state_dict and this optimiser has no inner optimiser")
        state_dict = copy.deepcopy(state_dict)  # torch shares what it is given, and lambda moves
        super().load_state_dict(state_dict)
        if self.inner is not None:
            self.inner.load_state_dict(state_dict["inner"])
        self.undraw()
