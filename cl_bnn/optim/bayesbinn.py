"""BayesBiNN: the Bayesian learning rule for binary weights (Meng et al. 2020, arXiv:2002.10778)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from cl_bnn.errors import one_of, require
from cl_bnn.optim.equations import gradient_scale, natural_step, relaxed_weights
from cl_bnn.optim.inner import Range
from cl_bnn.optim.inplace import blocks, move_natural, scale_gradient, scale_gradient_bounded
from cl_bnn.optim.kronecker import Factors, grown, mean_pull, remembered
from cl_bnn.optim.relaxed import RelaxedPosterior
from cl_bnn.optim.weights import group_of

__all__ = ["BayesBiNN", "Mode", "gradient_scale", "natural_step", "relaxed_weights"]

Mode = Literal["sound", "reference", "straight"]


class BayesBiNN(RelaxedPosterior):
    r"""Bayesian learning of weights that are +-1 (Meng, Bachmann, Khan 2020, arXiv:2002.10778).

    Each weight has a Bernoulli posterior with `P(w = +1) = sigmoid(2 lambda)` and mean
    `mu = tanh(lambda)`. A step draws S relaxed samples, takes the gradient g of the mean loss at
    each, and follows the Bayesian learning rule (eqs 15, 17, 21 of the paper):

        w_s    =  tanh((lambda + delta_s) / tau),    delta_s = log(u_s / (1 - u_s)) / 2
        g_hat  =  N/S sum_s s_s g_s,                 s_s = (1 - w_s^2) / (tau (1 - mu^2))
        m      <- beta m + (1 - beta) (g_hat + kappa (lambda - lambda_prior))
        lambda <- lambda - alpha m / (1 - beta^t)

    Three modes differ in the scale s:

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
    * `"straight"`: s = 1, the gradient at a sample stands for that at the mean. At a low
      temperature, where samples are +-1, it is the straight-through estimator of Bengio et al.
      (2013, arXiv:1308.3432), and exact for a loss that is linear in every weight.

    Between tasks, `posterior_to_prior()` makes lambda_prior <- rho lambda: the prior of the next
    task is the posterior to the power rho, so that about 1 / (1 - rho) tasks are remembered. Given
    the Kronecker factors of the layers, the prior knows more than single weights: which changes of
    them together old tasks would notice. With M the means at the end of the last task,

        p(w)  ~  Bernoulli(lambda_prior) exp(-gamma/2 sum over layers tr[G (W - M) A (W - M)^T])
        A  <-  rho A + N A_task,    G <- the mean of G_task over tasks,    M <- tanh(lambda)

    which is the Laplace approximation of Ritter, Botev, Barber (2018, arXiv:1805.07810) around the
    posterior's mean. With gamma = 1 old data count as much as new ones; what they say of single
    weights is in lambda_prior as well, and so counts more than once. The factors of the newest task
    enter whole, whatever rho. The expectation of the second factor adds gamma G (mu - M) A and a
    diagonal to g_hat, see `mean_pull`. A layer keeps inputs^2 + outputs^2 numbers for it, however
    many tasks there were.

    Use either `step(closure)`, where the closure zeroes the gradients, computes the loss, calls
    `backward` and returns the loss, and is called S times; or, for S = 1, `draw()` before the
    forward pass and `step()` after the backward pass. Between steps the parameters hold the last
    relaxed sample: evaluate inside `mode()` or `posterior_samples()`, which put back what was
    there.

    A mini-batch in parts: `draw()`, the backward passes of all parts, `step()`; or, with weights
    drawn anew for each part, `accumulate()` after each, of which `step()` takes the mean.

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
        mode: `"sound"`, `"reference"` or `"straight"`.
        scale_bound: the bound on tau s in the sound mode, > 0.
        prior_power: rho in [0, 1].
        prior_strength: gamma >= 0.
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
        "prior_power": (lambda v: 0 <= v <= 1, "in [0, 1]"),
        "prior_strength": (lambda v: v >= 0, ">= 0"),
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
        prior_power: float = 1.0,
        prior_strength: float = 1.0,
        inner: Optimizer | None = None,
        uniform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        require(mc_samples >= 0, "mc_samples", mc_samples, ">= 0")
        one_of("mode", mode, get_args(Mode))
        super().__init__(params, dict(
            lr=lr, train_set_size=train_set_size, temperature=temperature, momentum=momentum,
            kl_weight=kl_weight, init_lambda=init_lambda, scale_bound=scale_bound,
            prior_power=prior_power, prior_strength=prior_strength,
        ), inner, mc_samples, uniform)  # fmt: skip
        self.reference, self.straight = mode == "reference", mode == "straight"
        # Of the sample that the parameters hold, a = (lambda + delta) / tau.
        self._argument: dict[Tensor, Tensor] = {}

    # Between tasks -------------------------------------------------------------------------------

    @torch.no_grad()
    def posterior_to_prior(self, factors: Mapping[Tensor, Factors] | None = None) -> None:
        """The posterior becomes the prior, with what the Kronecker factors of the task just learned
        say of weights together; see the class. A weight without factors gets none, and one that no
        loss has reached yet, in the head of a task to come, keeps the prior 0: its lambda is where
        chance has put it. What a head that grows has got before its task, as Avalanche's do in an
        evaluation of tasks to come, counts with the rest of the head.
        """
        for group, _, state in self._posteriors():
            if state["step"]:
                state["prior"] = state["natural"] * group["prior_power"]
        for parameter, found in (factors or {}).items():
            group, state = group_of(self, parameter), self.state[parameter]
            n_tasks = state.get("factor_tasks", 0)
            state["inputs"], state["outputs"] = remembered(
                _factors(state), found, n_tasks,
                power=group["prior_power"], count=group["train_set_size"],
            )  # fmt: skip
            state["factor_tasks"] = n_tasks + 1
        for _, _, state in self._posteriors():
            if "inputs" in state:
                state["anchor"] = state["natural"].tanh()

    def grow(self, old: Parameter, new: Parameter) -> None:
        """Replace `old` by the larger `new`: the overlap keeps its posterior and its prior; old
        tasks do not mind what happens to the rest.
        """
        before = self.state.get(old, {})
        super().grow(old, new)
        if "inputs" in before:
            state = self.state[new]
            state["factor_tasks"], state["anchor"] = before["factor_tasks"], state["natural"].tanh()
            state["anchor"][tuple(map(slice, old.shape))] = before["anchor"]
            state["inputs"] = grown(before["inputs"], new[0].numel())
            state["outputs"] = grown(before["outputs"], len(new))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, also that of another mode."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            if self.reference and "natural" in state:
                state.setdefault("mean", state["natural"].tanh())

    # Arithmetic ----------------------------------------------------------------------------------

    def _scale_gradient(
        self, group: dict[str, Any], parameter: Tensor, state: dict[str, Any], gradient: Tensor
    ) -> None:
        for n, a, w, mu, g in blocks(*self._scale_needs(parameter, state, gradient)):
            self._scale(group, n, a, w, mu, g)

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
        if self.mc_samples == 0 or self.straight:
            return
        if self.reference:
            scale_gradient(gradient, weights, mean, temperature, work)
        else:
            bound = group["scale_bound"]
            scale_gradient_bounded(gradient, argument, weights, natural, temperature, bound, work)

    def _argument_of(self, parameter: Tensor) -> Tensor:
        """Memory for the argument a of a parameter, made anew when its type or device changed.

        Only the sound mode looks at a again.
        """
        if self.reference or self.straight:
            return super()._argument_of(parameter)
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

    def _update(
        self, group: dict[str, Any], parameter: Tensor, state: dict[str, Any], gradient: Tensor,
        scaled: bool,
    ) -> None:  # fmt: skip
        """The natural step; the gradient of a single sample is scaled on the way, while its block
        is in the cache.
        """
        state["step"] += 1
        pull = self._pull(group, state)
        share = group["train_set_size"] / self._n_samples
        settings = {key: group[key] for key in ("lr", "momentum", "kl_weight")}
        needs = self._scale_needs(parameter, state, gradient)
        tensors = *needs, state["prior"], state["buffer"], gradient if pull is None else pull
        for n, a, w, mu, g, prior, m, p in blocks(*tensors):
            if not scaled:
                self._scale(group, n, a, w, mu, g)
            if self.reference:
                torch.tanh(n, out=mu)
            g.mul_(share)
            if pull is not None:
                g.add_(p)
            work = self._work.like(n)
            move_natural(n, prior, g, m, step=state["step"], work=work, **settings)

    def _pull(self, group: dict[str, Any], state: dict[str, Any]) -> Tensor | None:
        """Where the Kronecker factors of old tasks pull lambda; None where there are none."""
        factors = _factors(state)
        if factors is None or not group["prior_strength"]:
            return None
        pull = mean_pull(state["natural"].tanh(), state["anchor"], factors)
        return pull.mul_(group["prior_strength"])


def _factors(state: dict[str, Any]) -> Factors | None:
    return Factors(state["inputs"], state["outputs"]) if "inputs" in state else None
