"""BayesBiNN: the Bayesian learning rule for binary weights (Meng et al. 2020, arXiv:2002.10778)."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from cl_bnn.optim.equations import gradient_scale, natural_step, relaxed_weights
from cl_bnn.optim.inner import Range
from cl_bnn.optim.inplace import (
    SATURATING_TEMPERATURE,
    Workspace,
    blocks,
    draw_uniform,
    load_relaxed,
    load_saturated,
    move_natural,
    scale_gradient,
    scale_gradient_bounded,
)
from cl_bnn.optim.posterior import BernoulliPosterior
from cl_bnn.optim.weights import require

__all__ = ["BayesBiNN", "Mode", "gradient_scale", "natural_step", "relaxed_weights"]

Mode = Literal["sound", "reference"]
MODES: tuple[Mode, ...] = ("sound", "reference")


class BayesBiNN(BernoulliPosterior):
    r"""Bayesian learning of weights that are +-1 (Meng, Bachmann, Khan 2020, arXiv:2002.10778).

    Each weight has a Bernoulli posterior with `P(w = +1) = sigmoid(2 lambda)` and mean
    `mu = tanh(lambda)`. A step draws S relaxed samples, takes the gradient g of the mean loss at
    each, and follows the Bayesian learning rule (eqs 15, 17, 21 of the paper):

        w_s    =  tanh((lambda + delta_s) / tau),    delta_s = log(u_s / (1 - u_s)) / 2
        g_hat  =  N/S sum_s s_s g_s,                 s_s = (1 - w_s^2) / (tau (1 - mu^2))
        m      <- beta m + (1 - beta) (g_hat + kappa (lambda - lambda_prior))
        lambda <- lambda - alpha m / (1 - beta^t)

    Two modes differ in how the scale s is computed:

    * `"reference"`: as the authors' code. It adds 1e-10 to numerator and denominator, and its mu
      lags one step behind (it is computed from lambda before the last update). In float32,
      tanh(lambda) is exactly 1 for |lambda| above about 9 and w is exactly +-1 for |lambda + delta|
      / tau above about 9, so both parts round to 1e-10 and s is exactly 1/tau: a weight that starts
      at lambda = +-10 gets a straight-through gradient times N/tau. In float64 the same start gives
      s = 1.2 instead of 100 at tau = 0.01, and learning begins only after the prior has pulled
      lambda below about 3: another algorithm. The two constants *are* the algorithm there.
    * `"sound"`: no lag, and `1 - tanh^2` computed as `sech^2` without rounding. The exact ratio is
      heavy tailed (it is unbounded when the sample falls near zero while mu is near +-1), so tau s
      is bounded by `scale_bound`; `math.inf` gives the estimator of the paper.

    Use either `step(closure)`, where the closure zeroes the gradients, computes the loss, calls
    `backward` and returns the loss, and is called S times; or, for S = 1, `draw()` before the
    forward pass and `step()` after the backward pass. Between steps the parameters hold the last
    relaxed sample: evaluate inside `mode()` or `posterior_samples()`, which put back what was
    there.

    Parameters without a gradient (the head of another task) are left alone by a step.

    Args:
        params: the weights to be binary (parameters or groups, like every torch optimiser).
        lr: alpha > 0.
        train_set_size: N >= 1, the number of training samples that the mean loss stands for.
        temperature: tau > 0.
        momentum: beta in [0, 1).
        mc_samples: S >= 0, used by `step(closure)`; 0 is the deterministic variant `w =
            tanh(lambda)`, `g_hat = N g`.
        kl_weight: kappa >= 0.
        init_lambda: lambda starts at plus or minus this value, with equal probability. The
            authors' 10 belongs to the reference mode; with a sound scale it learns only once the
            prior has pulled |lambda| below about 3.
        mode: `"sound"` or `"reference"`.
        scale_bound: the bound on tau s in the sound mode, > 0.
        inner: an optimiser for the real-valued parameters (BatchNorm gains, biases); stepped and
            saved along. Its learning-rate scheduler, if any, is the user's own.
        uniform: the source of the draws u in [0, 1); gets a tensor, which it may fill, and returns
            one like it. None: torch's global generator.

    Raises:
        ValueError: a value is outside its range, there are no parameters, or a bias or gain would
            become binary (a group with the key `"binary_vectors": True` may hold them).
    """

    ranges: ClassVar[dict[str, Range]] = {
        "lr": (lambda v: v > 0, "> 0"),
        "train_set_size": (lambda v: v >= 1, ">= 1"),
        "temperature": (lambda v: v > 0, "> 0"),
        "momentum": (lambda v: 0 <= v < 1, "in [0, 1)"),
        "kl_weight": (lambda v: v >= 0, ">= 0"),
        "init_lambda": (lambda v: v >= 0, ">= 0"),
        "scale_bound": (lambda v: v > 0, "> 0"),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        *,
        train_set_size: int,
        temperature: float = 1e-2,
        momentum: float = 0.0,
        mc_samples: int = 1,
        kl_weight: float = 1.0,
        init_lambda: float = 1.0,
        mode: Mode = "sound",
        scale_bound: float = 1.0,
        inner: Optimizer | None = None,
        uniform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        require(mc_samples >= 0, "mc_samples", mc_samples, ">= 0")
        require(mode in MODES, "mode", mode, f"one of {', '.join(MODES)}")
        super().__init__(params, dict(
            lr=lr, train_set_size=train_set_size, temperature=temperature, momentum=momentum,
            kl_weight=kl_weight, init_lambda=init_lambda, scale_bound=scale_bound,
        ), inner)  # fmt: skip
        self.mc_samples, self.reference, self.uniform = mc_samples, mode == "reference", uniform
        # Of the sample that the parameters hold, a = (lambda + delta) / tau.
        self._argument: dict[Tensor, Tensor] = {}
        self._work = Workspace()
        self._fresh: dict[Tensor, Tensor] = {}  # g at that sample, once it is known
        self._gradient: dict[Tensor, Tensor] = {}  # sum of s g over the samples before it
        self._n_samples = 0

    # Draw and step; the other verbs are those of every Bernoulli posterior ----------------------

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
        self._drawn = True

    @torch.no_grad()
    def accumulate(self) -> None:
        """Take the gradients at the drawn weights into the Monte-Carlo estimate, and clear them.

        Raises:
            RuntimeError: no weights were drawn since the last step.
        """
        if not self._drawn:
            raise RuntimeError(
                "BayesBiNN has gradients at weights it did not draw: call draw() first"
            )
        for _, parameter, _ in self._posteriors():
            if parameter.grad is not None:
                self._fresh[parameter], parameter.grad = parameter.grad, None
        for real in self._real_parameters():
            if real.grad is not None:
                total = self._gradient.get(real)
                self._gradient[real] = real.grad.clone() if total is None else total.add_(real.grad)
        self._drawn = False
        self._n_samples += 1

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of lambda; with a closure, the mean of its losses over the S samples is
        returned.
        """
        loss = None
        if closure is not None:
            loss = sum(self._sampled_loss(closure) for _ in range(self._draws)) / self._draws
        elif self._drawn or not self._n_samples:
            self.accumulate()
        if self._n_samples > 1:
            self._add_fresh()
        for group, parameter, state in self._posteriors():
            self._update(group, parameter, state)
        if self.inner is not None:
            for real in self._real_parameters():
                if real in self._gradient:
                    real.grad = self._gradient.pop(real).div_(self._n_samples)
            self.inner.step()
        self._n_samples = 0
        return loss

    # Arithmetic ----------------------------------------------------------------------------------

    @property
    def _draws(self) -> int:
        return max(self.mc_samples, 1)

    def _sampled_loss(self, closure: Callable[[], Any]) -> Any:
        self.draw()
        with torch.enable_grad():
            loss = closure()
        self.accumulate()
        return loss.detach() if isinstance(loss, Tensor) else loss

    def _add_fresh(self) -> None:
        """Add s g of the last sample to the sum."""
        if not self._fresh:
            return
        for group, parameter, state in self._posteriors():
            gradient = self._fresh.pop(parameter, None)
            if gradient is None:
                continue
            for n, a, w, mu, g in blocks(*self._scale_needs(parameter, state, gradient)):
                self._scale(group, n, a, w, mu, g)
            total = self._gradient.get(parameter)
            self._gradient[parameter] = gradient if total is None else total.add_(gradient)

    def _scale_needs(
        self, parameter: Tensor, state: dict[str, Any], gradient: Tensor
    ) -> tuple[Tensor, ...]:
        """lambda, a, w, mu and g; g stands in for what the mode does not keep."""
        argument = self._argument.get(parameter, gradient)
        return state["natural"], argument, parameter.data, state.get("mean", gradient), gradient

    def _scale(
        self, group: dict[str, Any], natural: Tensor, argument: Tensor, weights: Tensor,
        mean: Tensor, gradient: Tensor,
    ) -> None:  # fmt: skip
        """Multiply g by s at the weights drawn last; what `argument` holds is lost."""
        temperature, work = group["temperature"], self._work.like(gradient)
        if self.mc_samples == 0:
            return
        if self.reference:
            scale_gradient(gradient, weights, mean, temperature, work)
        else:
            bound = group["scale_bound"]
            scale_gradient_bounded(gradient, argument, weights, natural, temperature, bound, work)

    def _draws_little(self, natural: Tensor) -> bool:
        """Whether to draw noise only where it matters: not from a source of the user's own, and not
        on a GPU, which would have to wait for the number of such weights.
        """
        return self.uniform is None and natural.device.type == "cpu"

    def _argument_of(self, parameter: Tensor) -> Tensor:
        """Memory for the argument a of a parameter, made anew when its type or device changed.

        The reference mode does not look at a again: it may lie where the weights will.
        """
        if self.reference:
            return parameter.data
        held = self._argument.get(parameter)
        if held is None or (held.dtype, held.device) != (parameter.dtype, parameter.device):
            held = self._argument[parameter] = torch.empty_like(parameter)
        return held

    def _begin(self, state: dict[str, Any]) -> None:
        state["buffer"] = torch.zeros_like(state["natural"])
        state["step"] = 0
        if self.reference:
            state["mean"] = torch.tanh(state["natural"])

    def _centre(self, state: dict[str, Any]) -> Tensor:
        """The reference mode predicts from its lagging mean, as the authors' code does."""
        centre: Tensor = state["mean" if self.reference else "natural"]
        return centre

    def _update(self, group: dict[str, Any], parameter: Tensor, state: dict[str, Any]) -> None:
        """The natural step; the gradient of a single sample is scaled on the way, while its block
        is in the cache.
        """
        fresh = self._fresh.pop(parameter, None)
        gradient = self._gradient.pop(parameter, fresh)
        if gradient is None:
            return
        state["step"] += 1
        share = group["train_set_size"] / self._n_samples
        settings = {key: group[key] for key in ("lr", "momentum", "kl_weight")}
        needs = self._scale_needs(parameter, state, gradient)
        for n, a, w, mu, g, prior, m in blocks(*needs, state["prior"], state["buffer"]):
            if fresh is not None:
                self._scale(group, n, a, w, mu, g)
            if self.reference:
                torch.tanh(n, out=mu)
            work = self._work.like(n)
            move_natural(n, prior, g.mul_(share), m, step=state["step"], work=work, **settings)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; weights drawn but not yet used are forgotten."""
        super().load_state_dict(state_dict)
        self._fresh.clear()
        self._gradient.clear()
        self._n_samples = 0
