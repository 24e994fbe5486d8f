"""VCL: the Gaussian posterior of one task is the prior of the next (Nguyen, Li, Bui, Turner 2018,
arXiv:1710.10628).
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.adam import adam

from cl_bnn.errors import require
from cl_bnn.optim.gaussian import GaussianPosterior
from cl_bnn.optim.inner import Range


def gaussian_kl(
    mean: Tensor, log_variance: Tensor, prior_mean: Tensor, prior_log_variance: Tensor
) -> Tensor:
    """KL(q || p) in nats of q = N(m, e^v) from p = N(m_0, e^{v_0}), summed over all elements.

        KL = 1/2 sum ( v_0 - v + e^{v - v_0} + (m - m_0)^2 e^{-v_0} - 1 )

    Args:
        mean: m, any shape.
        log_variance: v, same shape.
        prior_mean: m_0, same shape.
        prior_log_variance: v_0, same shape.
    """
    apart = (mean - prior_mean).square() * (-prior_log_variance).exp()
    ratio = log_variance - prior_log_variance
    return (apart + ratio.exp() - ratio - 1).sum() / 2


class VCL(GaussianPosterior):
    r"""Variational continual learning (Nguyen, Li, Bui and Turner 2018, arXiv:1710.10628).

    The posterior q_t = N(m, e^v) of task t, m and v for every parameter, minimises by Adam

        E_q[loss] + KL(q || q_{t-1}) / N

    with `loss` the mean over the samples of a mini-batch and N the number of training samples of
    the task: the negative evidence lower bound, divided by N. The expectation is taken over S
    samples of the weights (`GaussianPosterior`, with dC/dv = sigma/2 dC/dsigma), the divergence in
    closed form (`gaussian_kl`):

        dKL/dm = (m - m_0) e^{-v_0},    dKL/dv = (e^{v - v_0} - 1) / 2

    The first prior is N(0, sigma_0^2), and `posterior_to_prior()` makes the posterior the next one;
    Adam begins anew with it, as in the authors' code, which builds a new network for every task.
    Parameters that no loss has reached yet (heads of tasks to come) keep the first prior; those
    that none reaches any more are at their prior already, where the divergence has no gradient.

    Of the initial variances that are in use we take that of the authors' code
    (nvcuong/variational-continual-learning), v = -6; the paper is quoted with 1e-6, v = -13.8,
    which we could not check. Their first means come from a training by maximum likelihood; here
    they are what the parameters hold.

    Use it like `BayesBiNN`: `step(closure)`, or `draw()`, `accumulate()` and `step()`; evaluate
    inside `mode()` or `posterior_samples()`.

    Args:
        params: the parameters (or groups); their values are the initial means.
        lr: Adam's learning rate > 0.
        train_set_size: N >= 1.
        prior_sigma: sigma_0 > 0, of the first prior.
        init_log_variance: v at the start.
        betas: Adam's decay rates, in [0, 1).
        eps: Adam's constant > 0.
        mc_samples: S >= 1, used by `step(closure)`.
        noise: the source of eps; gets a tensor and returns one like it. None: torch's global
            generator.

    Raises:
        ValueError: a value is outside its range, or there are no parameters.
    """

    ranges: ClassVar[dict[str, Range]] = {
        "lr": (lambda v: v > 0, "> 0"),
        "train_set_size": (lambda v: v >= 1, ">= 1"),
        "prior_sigma": (lambda v: v > 0, "> 0"),
        "init_log_variance": (math.isfinite, "finite"),
        "eps": (lambda v: v > 0, "> 0"),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        *,
        train_set_size: float,
        prior_sigma: float = 1.0,
        init_log_variance: float = -6.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        mc_samples: int = 10,
        noise: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        require(all(0 <= b < 1 for b in betas), "betas", betas, "in [0, 1)")
        super().__init__(params, dict(
            lr=lr, train_set_size=train_set_size, prior_sigma=prior_sigma,
            init_log_variance=init_log_variance, betas=betas, eps=eps,
        ), mc_samples, noise)  # fmt: skip

    @torch.no_grad()
    def posterior_to_prior(self) -> None:
        """Continual learning: the posterior of every parameter that has learned since the last call
        becomes its prior, and Adam begins anew with it. What a head that grows has got before its
        task, as Avalanche's do in an evaluation of tasks to come, counts with the rest of the head.
        """
        for _, parameter, state in self._posteriors():
            if state["step"]:
                state["prior_mean"] = self._mean_of(parameter).clone()
                state["prior_log_variance"] = state["log_variance"].clone()
                state.update(_adam_state(parameter))

    @torch.no_grad()
    def kl(self) -> float:
        """KL(q || q_{t-1}) in nats, of all parameters that have learned since `posterior_to_prior`
        was called.
        """
        parts = [
            gaussian_kl(
                self._mean_of(parameter), state["log_variance"], state["prior_mean"],
                state["prior_log_variance"],
            )
            for _, parameter, state in self._posteriors() if state["step"]
        ]  # fmt: skip
        return float(sum(parts))

    def _begin(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        mean = self._mean_of(parameter)
        return {
            "log_variance": torch.full_like(mean, group["init_log_variance"]),
            "prior_mean": torch.zeros_like(mean),
            "prior_log_variance": torch.full_like(mean, 2 * math.log(group["prior_sigma"])),
            **_adam_state(mean),
        }

    def _sigma(self, state: dict[str, Any]) -> Tensor:
        log_variance: Tensor = state["log_variance"]
        return (log_variance / 2).exp_()

    def _update(
        self, group: dict[str, Any], mean: Tensor, state: dict[str, Any], slope: Tensor,
        sigma_slope: Tensor,
    ) -> None:  # fmt: skip
        m, v, n = mean, state["log_variance"], group["train_set_size"]
        m_0, v_0 = state["prior_mean"], state["prior_log_variance"]
        slope.addcmul_(m - m_0, (-v_0).exp_(), value=1 / n)
        log_slope = sigma_slope.mul_(self._sigma(state) / 2)
        log_slope.add_(torch.expm1(v - v_0), alpha=1 / (2 * n))
        beta1, beta2 = group["betas"]
        adam(
            [m, v], [slope, log_slope], list(state["exp_avg"]), list(state["exp_avg_sq"]), [],
            [state["step"], state["step"].clone()], amsgrad=False, beta1=beta1, beta2=beta2,
            lr=group["lr"], weight_decay=0.0, eps=group["eps"], maximize=False,
        )  # fmt: skip


def _adam_state(like: Tensor) -> dict[str, Any]:
    """What Adam knows before its first step: number of steps, moments of the gradients of m and
    of v.
    """
    pair = like.new_zeros((2, *like.shape))
    return {"step": torch.zeros(()), "exp_avg": pair, "exp_avg_sq": pair.clone()}
