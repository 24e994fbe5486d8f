"""Learning a Bernoulli posterior from gradients at relaxed samples of its weights."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from cl_bnn.optim.inplace import (
    SATURATING_TEMPERATURE,
    Workspace,
    blocks,
    draw_uniform,
    load_relaxed,
    load_saturated,
)
from cl_bnn.optim.posterior import BernoulliPosterior
from cl_bnn.optim.weights import require_drawn, sampled_loss


class RelaxedPosterior(BernoulliPosterior):
    """Draws relaxed weights `w = tanh((lambda + delta) / tau)`, sums up what their gradients say
    over S samples, and moves lambda.

    A subclass says what a gradient at a sample says (`_scale_gradient`) and how lambda follows
    (`_update`). Groups need the settings `init_lambda` and `temperature`.

    Args:
        params: the weights to be binary (parameters or groups, like every torch optimiser).
        defaults: the settings of a group.
        inner: an optimiser for the real-valued parameters, or None.
        mc_samples: S >= 0; 0 loads the means tanh(lambda) instead of a sample.
        uniform: the source of the draws u in [0, 1), or None for torch's global generator.
    """

    def __init__(
        self, params: Iterable[Any], defaults: dict[str, Any], inner: Optimizer | None,
        mc_samples: int, uniform: Callable[[Tensor], Tensor] | None,
    ) -> None:  # fmt: skip
        super().__init__(params, defaults, inner)
        self.mc_samples, self.uniform = mc_samples, uniform
        self._work = Workspace()
        self._fresh: dict[Tensor, Tensor] = {}  # g at the last sample, once it is known
        self._gradient: dict[Tensor, Tensor] = {}  # sum of scaled g over the samples before it
        self._n_samples = 0

    # What a subclass says ------------------------------------------------------------------------

    def _scale_gradient(
        self, group: dict[str, Any], parameter: Tensor, state: dict[str, Any], gradient: Tensor
    ) -> None:
        """Make of dloss/dw at the weights drawn last, which the parameter holds, what is summed
        up.
        """
        raise NotImplementedError

    def _update(
        self, group: dict[str, Any], parameter: Tensor, state: dict[str, Any], gradient: Tensor,
        scaled: bool,
    ) -> None:  # fmt: skip
        """Move lambda by the sum over `_n_samples` gradients; one alone is not `scaled` yet."""
        raise NotImplementedError

    def _argument_of(self, parameter: Tensor) -> Tensor:
        """Memory for a = (lambda + delta) / tau; it may lie where the weights will."""
        return parameter.data

    # Draw and step; the other verbs are those of every Bernoulli posterior -----------------------

    @torch.no_grad()
    def draw(self) -> None:
        """Load a relaxed sample (tanh(lambda) in the deterministic variant) into the parameters."""
        self._add_fresh()
        for group, parameter, state in self._posteriors():
            natural, weights = state["natural"], parameter.data
            if self.mc_samples == 0:
                torch.tanh(natural, out=weights)
                continue
            argument, temperature = self._argument_of(parameter), group["temperature"]
            given = argument if self.uniform is None else self.uniform(argument)
            saturated = temperature <= SATURATING_TEMPERATURE and self._draws_little(natural)
            for w, a, n, u in blocks(weights, argument, natural, given):
                work = self._work.like(n)
                if saturated:
                    load_saturated(w, a, n, temperature, work)
                    continue
                if self.uniform is None:
                    draw_uniform(u, work)
                load_relaxed(w, a, n, u, temperature)
        torch.clear_autocast_cache()
        self._drawn = True

    @torch.no_grad()
    def accumulate(self) -> None:
        """Take the gradients at the drawn weights into the Monte-Carlo estimate, and clear them.

        Raises:
            RuntimeError: no weights were drawn since the last step.
        """
        require_drawn(self)
        for _, parameter, _ in self._posteriors():
            if parameter.grad is not None:
                self._fresh[parameter], parameter.grad = parameter.grad, None
        for real in self._real_parameters():
            if real.grad is not None:
                total = self._gradient.get(real)
                self._gradient[real] = real.grad if total is None else total.add_(real.grad)
                real.grad = None
        self._drawn = False
        self._n_samples += 1

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of lambda; with a closure, the mean of its losses over the S samples is
        returned.
        """
        loss = None
        if closure is not None:
            loss = sampled_loss(self, closure, max(self.mc_samples, 1))
        elif self._drawn or not self._n_samples:
            self.accumulate()
        if self._n_samples > 1:
            self._add_fresh()
        for group, parameter, state in self._posteriors():
            fresh = self._fresh.pop(parameter, None)
            gradient = self._gradient.pop(parameter, fresh)
            if gradient is not None:
                self._update(group, parameter, state, gradient, scaled=fresh is None)
        if self.inner is not None:
            for real in self._real_parameters():
                if real in self._gradient:
                    real.grad = self._gradient.pop(real).div_(self._n_samples)
            self.inner.step()
        self._n_samples = 0
        return loss

    def undraw(self) -> None:
        """Forget weights drawn and gradients taken since the last step, which was not ended."""
        self._fresh.clear()
        self._gradient.clear()
        self._drawn, self._n_samples = False, 0

    def _add_fresh(self) -> None:
        """Add what the last sample says to the sum."""
        if not self._fresh:
            return
        for group, parameter, state in self._posteriors():
            gradient = self._fresh.pop(parameter, None)
            if gradient is None:
                continue
            self._scale_gradient(group, parameter, state, gradient)
            total = self._gradient.get(parameter)
            self._gradient[parameter] = gradient if total is None else total.add_(gradient)

    def _draws_little(self, natural: Tensor) -> bool:
        """Whether to draw noise only where it matters: not from a source of the user's own, and not
        on a GPU, which would have to wait for the number of such weights.
        """
        return self.uniform is None and natural.device.type == "cpu"
