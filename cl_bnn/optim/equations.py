"""The equations of BayesBiNN as pure functions on tensors of any one shape (arXiv:2002.10778)."""

import torch
from torch import Tensor

# The constant that the authors' code adds to 1 - w^2 and to 1 - mu^2. In float32 it decides the
# scale wherever tanh rounds to 1, that is for |lambda| above about 9: see `BayesBiNN`.
REFERENCE_EPS = 1e-10
# The square of exp(-20) is 4e-18, far below the rounding of any sum it enters; smaller numbers
# would soon be denormal, with which arithmetic is ten times slower.
LEAST_EXPONENT = -20.0


def relaxed_weights(natural: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """Relaxed binary weights `w = tanh((lambda + delta) / tau)`, `delta = log(u / (1 - u)) / 2`
    (eq. 15).

    Args:
        natural: natural parameter lambda of the Bernoulli posterior, any shape.
        uniform: draws u from U[0, 1), same shape.
        temperature: tau > 0; the weights become exactly +-1 as it goes to 0.
    """
    return torch.tanh(relaxed_argument(natural, uniform, temperature))


def relaxed_argument(natural: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """`a = (lambda + delta) / tau`, the relaxed weights before the tanh."""
    return torch.add(natural, torch.logit(uniform), alpha=0.5).div_(temperature)


def gradient_scale(weights: Tensor, mean: Tensor, temperature: float, eps: float) -> Tensor:
    """`s = (1 - w^2 + eps) / (tau (1 - mu^2 + eps))`, which turns dloss/dw into dloss/dmu (eq. 17).

    Args:
        weights: relaxed weights w, any shape.
        mean: posterior mean mu = tanh(lambda), same shape.
        temperature: tau > 0.
        eps: the authors use 1e-10 (`REFERENCE_EPS`).
    """
    return (1 - weights * weights + eps).div_(temperature).div_(1 - mean * mean + eps)


def bounded_gradient_scale(
    argument: Tensor, natural: Tensor, temperature: float, bound: float
) -> Tensor:
    """`s = min(sech^2(a) / sech^2(lambda), bound) / tau` with `w = tanh(a)`, `a = (lambda + delta)
    / tau`.

    The same ratio as `gradient_scale` without its rounding: `1 - tanh^2` is `sech^2`, and because
    `sech(x) = exp(-|x|) (1 + tanh|x|)`, nothing is subtracted from 1 and nothing overflows but to
    infinity, where the bound holds.

    Args:
        argument: a, the relaxed weights before the tanh, any shape.
        natural: lambda, same shape.
        temperature: tau > 0.
        bound: the largest value of tau s; `math.inf` for none.
    """
    size, spread = natural.abs(), argument.abs()
    exponent = (size - spread).clamp_(min=LEAST_EXPONENT)
    sech_ratio = exponent.exp_().mul_(spread.tanh_().add_(1)).div_(size.tanh_().add_(1))
    return sech_ratio.square_().clamp_(max=bound).div_(temperature)


def natural_step(
    natural: Tensor,
    prior: Tensor,
    gradient: Tensor,
    buffer: Tensor,
    *,
    lr: float,
    momentum: float,
    kl_weight: float,
    step: int,
) -> tuple[Tensor, Tensor]:
    """One step of the Bayesian learning rule (eq. 21), with bias-corrected momentum.

        m      <- beta m + (1 - beta) (g + kappa (lambda - lambda_prior))
        lambda <- lambda - alpha m / (1 - beta^t)

    Args:
        natural: lambda, any shape.
        prior: lambda_prior, same shape.
        gradient: g, an estimate of N dloss/dmu, same shape.
        buffer: m, same shape; zero before the first step.
        lr: alpha.
        momentum: beta in [0, 1).
        kl_weight: kappa, the weight of the Kullback-Leibler term.
        step: t, 1 at the first step.

    Returns:
        The new lambda and the new m; the arguments are left as they were.
    """
    target = torch.add(gradient, natural - prior, alpha=kl_weight)
    buffer = torch.lerp(target, buffer, momentum) if momentum else target
    return natural - (lr / (1 - momentum**step)) * buffer, buffer
