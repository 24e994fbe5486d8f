"""BiMU: a Bernoulli posterior with a bounded memory (Cottart, Ballet, Bonnet, Querlioz 2026,
arXiv:2605.30198).
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from cl_bnn.errors import require
from cl_bnn.optim.inner import Range
from cl_bnn.optim.inplace import Work, blocks
from cl_bnn.optim.relaxed import RelaxedPosterior


def bounded_step(
    natural: Tensor, gradient: Tensor, *, lr: float, kl_weight: float, lr_max: float,
    memory: float, work: Work,
) -> None:  # fmt: skip
    """One step of BiMU on `natural` itself.

        h      =  K (1 - tanh^2 lambda)
        lambda <- lambda - (lr g' + lambda h / N) / (h + 2 g' tanh lambda + 2 |g'| + 1 / lr_max)

    Args:
        natural: lambda, any shape.
        gradient: g', same shape.
        lr: > 0.
        kl_weight: K.
        lr_max: > 0.
        memory: N.
        work: memory of that shape, and lost.
    """
    mean, h = work
    torch.tanh(natural, out=mean)
    torch.mul(mean, mean, out=h).neg_().add_(1).mul_(kl_weight)
    resistance = mean.mul_(gradient).add_(gradient.abs()).mul_(2).add_(h).add_(1 / lr_max)
    pull = h.mul_(natural).div_(memory).add_(gradient, alpha=lr)
    natural.sub_(pull.div_(resistance))


class BiMU(RelaxedPosterior):
    r"""Binary weights that consolidate by what they know and forget by a bounded memory (Cottart,
    Ballet, Bonnet, Querlioz 2026, arXiv:2605.30198).

    Each weight has a Bernoulli posterior with `P(w = +1) = sigmoid(2 lambda)`. A step draws S
    relaxed samples and takes the gradient g of the loss with respect to lambda, through them:

        w_s    =  tanh((lambda + delta_s) / tau),    delta_s = log(u_s / (1 - u_s)) / 2
        g      =  1/S sum_s (1 - w_s^2) / tau  dloss/dw_s
        g'     =  L g,    h = K (1 - tanh^2 lambda)
        a      =  1 / (h + 2 g' tanh(lambda) + 2 |g'| + 1 / lr_max)
        lambda <- lambda - a (lr g' + lambda h / N)

    The step size a is at most lr_max, and the smaller the larger the gradient. Where lambda is far
    from 0 it is metaplastic: a gradient that pulls lambda back meets 4 |g'| in the denominator, one
    that pushes on meets nothing. `lambda h` is what the Kullback-Leibler divergence from the prior
    lambda = 0 has as its gradient, up to K; its weight 1 / N means a memory of N data rather than
    of all, so that lambda stays bounded and old data are forgotten.

    A summary of the update can leave open with respect to what g is a gradient. It is dloss/dlambda
    and not dloss/dmu as in BayesBiNN: only so are lr g' and lambda h / N gradients with respect to
    the same thing, and it is what differentiating the authors' relaxed weights gives. The loss they
    sum over the samples of a batch, of a single one in their experiments: L and lr are made for
    that. Their lambda starts uniform in +-1 / sqrt(inputs), ours at plus or minus the standard
    deviation of that for 784 inputs; the noise delta is fifty times larger.

    There is no prior to hand on: at a task's end nothing needs to be done.

    Use it like `BayesBiNN`: `step(closure)`, or `draw()`, `accumulate()` and `step()`; evaluate
    inside `mode()` or `posterior_samples()`.

    Args:
        params: the weights to be binary (parameters or groups, like every torch optimiser).
        lr: > 0, the weight of the gradient in a step; forgetting does not follow it.
        likelihood_weight: L > 0; the larger, the more a gradient resists itself.
        kl_weight: K >= 0.
        lr_max: the largest step size, > 0.
        memory: N >= 1, the number of steps remembered: data, where a batch is one sample.
        temperature: tau > 0.
        mc_samples: S >= 1, used by `step(closure)`.
        init_lambda: lambda starts at plus or minus this value, with equal probability.
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
        "likelihood_weight": (lambda v: v > 0, "> 0"),
        "kl_weight": (lambda v: v >= 0, ">= 0"),
        "lr_max": (lambda v: v > 0, "> 0"),
        "memory": (lambda v: v >= 1, ">= 1"),
        "temperature": (lambda v: v > 0, "> 0"),
        "init_lambda": (lambda v: v >= 0, ">= 0"),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 4.9,
        *,
        likelihood_weight: float = 161.3,
        kl_weight: float = 3.76,
        lr_max: float = 2.3e-3,
        memory: float = 700,
        temperature: float = 1.0,
        mc_samples: int = 5,
        init_lambda: float = 0.02,
        inner: Optimizer | None = None,
        uniform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        require(mc_samples >= 1, "mc_samples", mc_samples, ">= 1")
        super().__init__(params, dict(
            lr=lr, likelihood_weight=likelihood_weight, kl_weight=kl_weight, lr_max=lr_max,
            memory=memory, temperature=temperature, init_lambda=init_lambda,
        ), inner, mc_samples, uniform)  # fmt: skip

    def posterior_to_prior(self) -> None:
        """Nothing: the prior stays at lambda = 0, and what is old is forgotten step by step."""

    def _begin(self, state: dict[str, Any]) -> None:
        del state["prior"]  # always 0: no memory for it

    def _scale_gradient(
        self, group: dict[str, Any], parameter: Tensor, state: dict[str, Any], gradient: Tensor
    ) -> None:
        """dloss/dlambda from dloss/dw."""
        for w, g in blocks(parameter.data, gradient):
            slope, _ = self._work.like(w)
            torch.mul(w, w, out=slope).neg_().add_(1)
            g.mul_(slope).div_(group["temperature"])

    def _update(
        self, group: dict[str, Any], parameter: Tensor, state: dict[str, Any], gradient: Tensor,
        scaled: bool,
    ) -> None:  # fmt: skip
        if not scaled:
            self._scale_gradient(group, parameter, state, gradient)
        share = group["likelihood_weight"] / self._n_samples
        settings = {key: group[key] for key in ("lr", "kl_weight", "lr_max", "memory")}
        for n, g in blocks(state["natural"], gradient):
            bounded_step(n, g.mul_(share), work=self._work.like(n), **settings)
