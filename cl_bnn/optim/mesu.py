"""MESU: a Gaussian posterior that learns by its uncertainty and forgets (Bonnet, Cottart, Hirtzlin,
Januel, Dalgaty, Vianello, Querlioz 2025, arXiv:2504.13569).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from cl_bnn.optim.gaussian import GaussianPosterior
from cl_bnn.optim.inner import Range


def mesu_step(
    mean: Tensor, sigma: Tensor, slope: Tensor, sigma_slope: Tensor, *, lr: float,
    sigma_factor: float, memory: float, prior_mean: float, prior_sigma: float,
) -> None:  # fmt: skip
    """One step of MESU on `mean` and `sigma` themselves; the equations are those of `MESU`.

    Args:
        mean: mu, any shape.
        sigma: > 0, same shape.
        slope: dC/dmu, same shape.
        sigma_slope: dC/dsigma, same shape.
        lr: alpha > 0.
        sigma_factor: b > 0.
        memory: N >= 1.
        prior_mean: mu_0.
        prior_sigma: sigma_0 > 0.
    """
    variance, weight = sigma.square(), memory * prior_sigma**2
    mean.addcmul_(variance, (prior_mean - mean) / weight - slope, value=lr)
    pull = sigma * (prior_sigma**2 - variance) / weight - variance * sigma_slope
    sigma.add_(pull, alpha=lr * sigma_factor / 2).abs_()


class MESU(GaussianPosterior):
    r"""Metaplasticity from synaptic uncertainty (Bonnet et al. 2025, arXiv:2504.13569).

    Each parameter has the posterior N(mu, sigma^2), and with C the loss of a mini-batch, summed
    over its B samples, and its gradients through S samples of the weights (`GaussianPosterior`)

        mu    <- mu    + alpha     ( - sigma^2 dC/dmu    + sigma^2 (mu_0 - mu) / (N sigma_0^2) )
        sigma <- sigma + alpha b/2 ( - sigma^2 dC/dsigma + sigma (sigma_0^2 - sigma^2)
                                                           / (N sigma_0^2) )

    The less is known of a weight the faster it learns: sigma^2 is its learning rate. The prior
    N(mu_0, sigma_0^2) pulls back what a memory of N mini-batches does not hold up, so that old data
    are forgotten and sigma stays away from 0. Where the loss is quadratic and every batch the same,
    the fixed point is the posterior after N batches. There are no tasks, and the prior stays.

    With alpha = b = 1 this is the published rule; the authors' code (kellian-cottart/mesu-pmnist)
    has a factor for each of mu and sigma, here alpha and alpha b, so that a schedule of the
    learning rate moves both. It can also limit both gradients to plus or minus `clip / sigma`: then
    no step moves mu by much more than alpha clip sigma. That N counts mini-batches, whatever their
    size, and that the loss is summed over them, is what that code does; we have the paper's rule
    from a summary, and could not check it there.

    A sigma that a step takes below 0 becomes positive: only its size matters, to samples and steps
    alike.

    Use it like `BayesBiNN`: `step(closure)`, or `draw()`, `accumulate()` and `step()`; evaluate
    inside `mode()` or `posterior_samples()`.

    Args:
        params: the parameters (or groups); their values are the initial means.
        lr: alpha > 0.
        sigma_factor: b > 0.
        memory: N >= 1, the number of mini-batches remembered.
        prior_mean: mu_0.
        prior_sigma: sigma_0 > 0.
        batch_size: B >= 1; the loss handed in is multiplied by it, that of a shorter last batch as
            well. 1 where it is a sum already.
        clip: >= 0; 0 limits nothing.
        init_sigma: > 0; sigma starts at `init_sigma / sqrt(n)`, n the inputs of an output.
        inputs: n, of parameters whose shape does not tell; of others it is `w[0].numel()` or, of
            one dimension, the length.
        mc_samples: S >= 1, used by `step(closure)`.
        noise: the source of eps; gets a tensor and returns one like it. None: torch's global
            generator.

    Raises:
        ValueError: a value is outside its range, or there are no parameters.
    """

    ranges: ClassVar[dict[str, Range]] = {
        "lr": (lambda v: v > 0, "> 0"),
        "sigma_factor": (lambda v: v > 0, "> 0"),
        "memory": (lambda v: v >= 1, ">= 1"),
        "prior_mean": (math.isfinite, "finite"),
        "prior_sigma": (lambda v: v > 0, "> 0"),
        "batch_size": (lambda v: v >= 1, ">= 1"),
        "clip": (lambda v: v >= 0, ">= 0"),
        "init_sigma": (lambda v: v > 0, "> 0"),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        *,
        sigma_factor: float = 1.0,
        memory: float = 3e5,
        prior_mean: float = 0.0,
        prior_sigma: float = 1.0,
        batch_size: int = 1,
        clip: float = 0.0,
        init_sigma: float = 2.0,
        inputs: Mapping[Tensor, int] | None = None,
        mc_samples: int = 10,
        noise: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(params, dict(
            lr=lr, sigma_factor=sigma_factor, memory=memory, prior_mean=prior_mean,
            prior_sigma=prior_sigma, batch_size=batch_size, clip=clip, init_sigma=init_sigma,
        ), mc_samples, noise)  # fmt: skip
        self.inputs = dict(inputs or {})

    def posterior_to_prior(self) -> None:
        """Nothing: the prior stays, and what is old is forgotten step by step."""

    def _begin(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        mean = self._mean_of(parameter)
        shown = mean[0].numel() if mean.dim() > 1 else mean.numel()
        inputs = self.inputs.get(parameter, shown)
        return {"sigma": torch.full_like(mean, group["init_sigma"] / math.sqrt(inputs))}

    def _sigma(self, state: dict[str, Any]) -> Tensor:
        sigma: Tensor = state["sigma"]
        return sigma

    def _update(
        self, group: dict[str, Any], mean: Tensor, state: dict[str, Any], slope: Tensor,
        sigma_slope: Tensor,
    ) -> None:  # fmt: skip
        sigma = state["sigma"]
        for gradient in (slope, sigma_slope):
            gradient.mul_(group["batch_size"])
            if group["clip"]:
                bound = group["clip"] / sigma
                gradient.clamp_(-bound, bound)
        names = ("lr", "sigma_factor", "memory", "prior_mean", "prior_sigma")
        mesu_step(mean, sigma, slope, sigma_slope, **{name: group[name] for name in names})
