"""A Bernoulli posterior for every binary weight, kept as the state of an optimiser."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from cl_bnn.errors import require
from cl_bnn.optim.inner import WithInner
from cl_bnn.optim.weights import (
    WeightSamples,
    carry_over,
    draw_signs,
    group_of,
    replace_in_groups,
    restored,
)


class BernoulliPosterior(WithInner):
    """What every Bayesian optimiser of +-1 weights can do with its posterior, however it learns it.

    Each weight has `P(w = +1) = sigmoid(2 lambda)` and mean `tanh(lambda)`. The state of a
    parameter holds lambda as `"natural"` and that of the prior as `"prior"`; it is made when first
    needed, because Avalanche wipes the state when training begins. Groups need the setting
    `init_lambda`.
    """

    @contextmanager
    def mode(self) -> Iterator[None]:
        """Inside, the parameters hold the mode of the posterior: +1 where mu > 0, else -1."""
        entries = [(p, self._centre(state)) for _, p, state in self._posteriors()]
        with restored(p for p, _ in entries):
            for parameter, centre in entries:
                parameter.data = torch.where(centre > 0, 1.0, -1.0).to(parameter.dtype)
            yield

    @contextmanager
    def posterior_samples(
        self, count: int, generator: torch.Generator | None = None
    ) -> Iterator[WeightSamples]:
        """Inside, iterating over the result loads `count` independent samples of the binary
        weights.

        They are drawn once, on entering (8 bit a weight and sample), so several batches or test
        sets can be predicted with the same networks.

        Args:
            count: C >= 1.
            generator: source of randomness on the parameters' device; the global one if None.

        Raises:
            ValueError: `count` is less than 1.
        """
        require(count >= 1, "count", count, ">= 1")
        with restored(p for _, p, _ in self._posteriors()) as parameters:
            signs = [draw_signs(self.state[p]["natural"], count, generator) for p in parameters]
            yield WeightSamples(cast(list[Parameter], parameters), signs)

    def naturals(self) -> list[Tensor]:
        """The natural parameter lambda of every binary parameter, in the order of the groups."""
        return [state["natural"] for _, _, state in self._posteriors()]

    @torch.no_grad()
    def grow(self, old: Parameter, new: Parameter) -> None:
        """Replace `old` by the larger `new` (a head that grew): the overlap keeps its posterior.

        Weights that `old` did not have start like those of a new network.
        """
        replace_in_groups(self, old, new)
        before = self.state.pop(old, None)
        if before is None:
            return
        carry_over(before, self._posterior_of(group_of(self, new), new), old.shape)

    # State ---------------------------------------------------------------------------------------

    def _posteriors(self) -> Iterator[tuple[dict[str, Any], Parameter, dict[str, Any]]]:
        for group in self.param_groups:
            for parameter in group["params"]:
                yield group, parameter, self._posterior_of(group, parameter)

    def _posterior_of(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if "natural" not in state:
            with torch.inference_mode(False):  # it is to be trained
                # drawn on the processor: the same for a seed on every device
                sign = torch.randint(2, parameter.shape, dtype=parameter.dtype).mul_(2).sub_(1)
                sign = sign.to(parameter.device)
                state["natural"] = sign * group["init_lambda"]
                state["prior"] = torch.zeros_like(sign)
                self._begin(state)
        return state

    def _begin(self, state: dict[str, Any]) -> None:
        """Add what the method keeps besides natural and prior to the state of a new parameter."""

    def _centre(self, state: dict[str, Any]) -> Tensor:
        """A tensor whose sign is the mode."""
        natural: Tensor = state["natural"]
        return natural
