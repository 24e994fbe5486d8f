"""Bop: binary weights without latent weights, flipped when the gradient insists (Helwegen et al.
2019, arXiv:1906.02107), and its second-order variant (Suarez-Ramirez et al. 2021,
arXiv:2104.05124).
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from cl_bnn.errors import one_of
from cl_bnn.optim.binary import BinaryOptimizer
from cl_bnn.optim.inner import Range
from cl_bnn.optim.inplace import Workspace, blocks
from cl_bnn.optim.ste import signs

Start = Literal["signs", "real"]
Ties = Literal["keep", "plus"]
# What the authors of the second-order variant add to the root of the second moment.
SECOND_ORDER_EPS = 1e-10


class Flipping(BinaryOptimizer):
    """Weights +-1 that flip where the evidence against them exceeds a threshold; see `Bop`.

    A subclass says which averages of gradients it keeps (`moments`) and what the evidence is
    (`_evidence`).
    """

    moments: ClassVar[tuple[str, ...]]
    ranges: ClassVar[dict[str, Range]] = {
        "threshold": (lambda v: v >= 0, ">= 0"),
        "gamma": (lambda v: 0 < v <= 1, "in (0, 1]"),
    }

    def __init__(
        self, params: Iterable[Any], settings: dict[str, float], start: Start, ties: Ties,
        inner: Optimizer | None,
    ) -> None:  # fmt: skip
        one_of("start", start, get_args(Start))
        one_of("ties", ties, get_args(Ties))
        super().__init__(params, settings, inner)
        self.start, self.ties = start, ties
        self._work = Workspace()
        self._flips: dict[Tensor, Tensor] = {}  # of the last step, how many weights flipped

    def flip_ratio(self) -> Tensor:
        """The share of all binary weights that the last step flipped: a tensor without dimensions
        on their device, so that asking waits for nothing.
        """
        total = sum(parameter.numel() for _, parameter in self._binary())
        flips = [self._flips[p] for _, p in self._binary() if p in self._flips]
        return torch.stack(flips).sum() / total if flips else torch.zeros(())

    def grow(self, old: Parameter, new: Parameter) -> None:
        """Replace `old` by the larger `new` (a head that grew): the overlap keeps its state.

        Weights that `old` did not have start at the signs of what `new` holds.
        """
        super().grow(old, new)
        new.data = signs(new.data)

    def _evidence(self, group: dict[str, Any], moments: list[Tensor], gradient: Tensor) -> Tensor:
        """Take the gradient into the moments; what is compared with the threshold once multiplied
        by w.

        The result may be written to.
        """
        raise NotImplementedError

    def _load(self, parameter: Parameter) -> None:
        """The parameters are the weights; before their first step they are made binary."""
        if self.start == "signs" and not self.state[parameter]:
            parameter.copy_(signs(parameter))

    def _mode_of(self, parameter: Parameter) -> Tensor:
        return signs(parameter.data)

    def _begin(self, parameter: Parameter) -> dict[str, Any]:
        return {name: torch.zeros_like(parameter) for name in self.moments}

    def _update(self, group: dict[str, Any], parameter: Parameter, gradient: Tensor) -> None:
        first = not self.state[parameter]
        state = self._state_of(parameter)
        moments = [state[name] for name in self.moments]
        flips = [
            self._flip(group, weights, piece, rest, first)
            for weights, piece, *rest in blocks(parameter.data, gradient, *moments)
        ]
        self._flips[parameter] = torch.stack(flips).sum()

    def _flip(
        self, group: dict[str, Any], weights: Tensor, gradient: Tensor, moments: list[Tensor],
        first: bool,
    ) -> Tensor:  # fmt: skip
        """Flip what is to be flipped; how many weights were."""
        evidence = self._evidence(group, moments, gradient).mul_(weights)
        flips = evidence > group["threshold"]
        if self.ties == "plus":
            flips |= (evidence == group["threshold"]) & (weights < 0)
        if first:  # real weights, with start="real"
            weights.copy_(signs(weights))
        weights.mul_(evidence.copy_(flips).mul_(-2).add_(1))
        count: Tensor = flips.sum()
        return count

    def step(self, closure: Any = None) -> Any:
        """One update from the gradients, as in `BinaryOptimizer.step`; flips are counted anew."""
        self._flips.clear()
        return super().step(closure)


class Bop(Flipping):
    r"""A weight flips when the average of its gradients has pushed against it for long enough
    (Helwegen et al. 2019, arXiv:1906.02107, algorithm 1).

        m <- (1 - gamma) m + gamma g,    g = dloss/dw at the binary weights, m = 0 at first
        w <- -w  where  w m > tau,       else w stays

    The parameters *are* the weights +-1; there are no latent weights. There is no learning rate
    either, so groups have no `lr` and torch's schedulers do not apply: change `threshold` and
    `gamma` in `param_groups` instead, as the strategies do. m is neither corrected for its start
    at 0 nor reset when a weight flips. tau is compared with a gradient, whose size depends on the
    loss: the published values are those of a mean cross-entropy.

    Where the published code does otherwise:

    * It starts from real weights, which only the first step makes binary: the first forward pass
      and the first product w m are those of real weights. That is `start="real"`.
    * It computes the new weight as s(-sgn(w m - tau) w) with s(0) = +1 and sgn(0) = 0, so that on
      exact equality a weight does not stay but becomes +1. That is `ties="plus"`.

    Call `draw()` before the forward pass, `step()` after the backward pass; or `step(closure)`,
    which does both. Evaluate inside `mode()`.

    Args:
        params: the weights to be binary (parameters or groups); their signs are the initial
            weights.
        threshold: tau >= 0.
        gamma: in (0, 1], the weight of the newest gradient.
        start: `"signs"`, or `"real"` as published, see above.
        ties: `"keep"` (the rule of the paper), or `"plus"` as published in code, see above.
        inner: an optimiser for the real-valued parameters (BatchNorm gains, biases); stepped and
            saved along. Its learning-rate scheduler, if any, is the user's own.

    Raises:
        ValueError: a value is outside its range, there are no parameters, or a bias or gain would
            become binary: see `cl_bnn.optim.weights.refuse_vectors`.
    """

    moments = ("momentum",)

    def __init__(
        self,
        params: Iterable[Any],
        *,
        threshold: float = 1e-8,
        gamma: float = 1e-4,
        start: Start = "signs",
        ties: Ties = "keep",
        inner: Optimizer | None = None,
    ) -> None:
        super().__init__(params, dict(threshold=threshold, gamma=gamma), start, ties, inner)

    def _evidence(self, group: dict[str, Any], moments: list[Tensor], gradient: Tensor) -> Tensor:
        (momentum,) = moments
        momentum.lerp_(gradient, group["gamma"])
        return self._work.like(momentum)[0].copy_(momentum)


class Bop2ndOrder(Flipping):
    r"""Bop whose average is measured against the size of the gradients (Suarez-Ramirez et al. 2021,
    arXiv:2104.05124).

        m <- m + gamma (g - m),    v <- v + sigma (g^2 - v),    m = v = 0 at first
        biased:    w <- -w  where  w m / (sqrt(v) + eps) > tau
        unbiased:  w <- -w  where  w (m / gamma) / (sqrt(v / sigma) + eps) > tau

    with eps = 1e-10. What the paper calls unbiased divides by gamma and sigma, not by
    1 - (1 - gamma)^t and 1 - (1 - sigma)^t: m / gamma is a sum of gradients, not their mean, and
    where gamma or sigma change in the course of training so does the scale of what is compared
    with tau.

    Otherwise like `Bop`: the parameters are the weights, groups have `threshold`, `gamma` and
    `sigma`, and no `lr`.

    Args:
        params: the weights to be binary (parameters or groups); their signs are the initial
            weights.
        threshold: tau >= 0.
        gamma: in (0, 1], the weight of the newest gradient.
        sigma: in (0, 1], the weight of the newest squared gradient.
        unbiased: the second rule instead of the first.
        start: `"signs"` or `"real"`, see `Bop`.
        ties: `"keep"` or `"plus"`, see `Bop`.
        inner: an optimiser for the real-valued parameters, see `Bop`.

    Raises:
        ValueError: a value is outside its range, there are no parameters, or a bias or gain would
            become binary: see `cl_bnn.optim.weights.refuse_vectors`.
    """

    moments = ("momentum", "second_moment")
    ranges: ClassVar[dict[str, Range]] = {
        **Flipping.ranges, "sigma": (lambda v: 0 < v <= 1, "in (0, 1]"),
    }  # fmt: skip

    def __init__(
        self,
        params: Iterable[Any],
        *,
        threshold: float = 1e-6,
        gamma: float = 1e-7,
        sigma: float = 1e-3,
        unbiased: bool = False,
        start: Start = "signs",
        ties: Ties = "keep",
        inner: Optimizer | None = None,
    ) -> None:
        settings = dict(threshold=threshold, gamma=gamma, sigma=sigma)
        super().__init__(params, settings, start, ties, inner)
        self.unbiased = unbiased

    def _evidence(self, group: dict[str, Any], moments: list[Tensor], gradient: Tensor) -> Tensor:
        momentum, second = moments
        ratio, size = self._work.like(momentum)
        momentum.lerp_(gradient, group["gamma"])
        second.lerp_(torch.mul(gradient, gradient, out=size), group["sigma"])
        torch.div(second, group["sigma"] if self.unbiased else 1, out=size)
        size.sqrt_().add_(SECOND_ORDER_EPS)
        torch.div(momentum, size, out=ratio)
        return ratio.div_(group["gamma"]) if self.unbiased else ratio
