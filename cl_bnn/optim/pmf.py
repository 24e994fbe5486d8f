"""PMF: proximal mean-field for binary weights (Ajanthan et al. 2019, arXiv:1812.04353)."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from cl_bnn.errors import one_of, require
from cl_bnn.optim.binary import BinaryOptimizer
from cl_bnn.optim.inner import Range
from cl_bnn.optim.inplace import blocks
from cl_bnn.optim.ste import signs

Jacobian = Literal["second_softmax", "exact"]
# The inverse temperature at the first step.
BETA_START = 1.0
# Standard deviation of the initial latents of a parameter that is no matrix.
VECTOR_STD = 0.1


def effective_weights(
    minus: Tensor, plus: Tensor, beta: float, out: Tensor | None = None
) -> Tensor:
    """`w = u+ - u- = tanh(beta (l+ - l-) / 2)` with `u = softmax(beta l)`.

    Args:
        minus: the latents l- of the value -1, any shape.
        plus: the latents l+ of the value +1, same shape.
        beta: inverse temperature > 0.
        out: where w is written; into a new tensor if None.
    """
    return torch.sub(plus, minus, out=out).mul_(beta / 2).tanh_()


def exact_gradients(
    gradient: Tensor, minus: Tensor, plus: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """dloss/dl- and dloss/dl+ from g = dloss/dw: the derivative of the softmax.

    The gradient with respect to u is (-g, g), and `beta (diag(u) - u u^T)` makes it
    `(-1, +1) 2 beta u+ u- g`.

    Args:
        gradient: g, any shape.
        minus: l-, same shape.
        plus: l+, same shape.
        beta: inverse temperature > 0.

    Returns:
        Two new tensors of that shape.
    """
    spread = (plus - minus).mul_(beta)
    up = torch.sigmoid(spread).mul_(spread.neg_().sigmoid_()).mul_(2 * beta).mul_(gradient)
    return -up, up


def second_softmax_gradients(
    gradient: Tensor, weights: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """dloss/dl- and dloss/dl+ from g = dloss/dw, as published.

    The gradient with respect to u is (-g, g), and is multiplied by `beta (I - v v^T)` with `v =
    softmax(beta u)`, a softmax of the probabilities once more. The authors find that it works
    slightly better than the derivative.

    Args:
        gradient: g, any shape.
        weights: w = u+ - u-, same shape.
        beta: inverse temperature > 0.

    Returns:
        Two new tensors of that shape.
    """
    mean = torch.mul(weights, beta / 2).tanh_()  # v is (1 -+ mean) / 2
    along = torch.mul(gradient, mean).mul_(beta / 2)  # of (-g, g) along v, times beta / 2
    up = torch.addcmul(along, along, mean).neg_().add_(gradient, alpha=beta)
    down = torch.addcmul(-along, along, mean).sub_(gradient, alpha=beta)
    return down, up


class PMF(BinaryOptimizer):
    r"""Proximal mean-field (Ajanthan et al. 2019, arXiv:1812.04353, algorithm 1): annealed weights
    between -1 and 1 that end at +-1.

    Each weight has two latents, one for each value it can take, and

        u = softmax(beta l),    w = u+ - u- = tanh(beta (l+ - l-) / 2)
        l <- Adam(l, dloss/dl),    dloss/dl = J dloss/du,    dloss/du = (-g, g)
        beta <- min(rho beta, beta_max)  after iterations 0, k, 2k, ... with k = `beta_every`

    starting at beta = 1, with g = dloss/dw. The learning rate is multiplied by `lr_scale` every
    `lr_interval` iterations. A parameter counts the iterations in which it had a gradient, so that
    a head that comes late is annealed from its own beginning.

    The published code has peculiarities, kept by default, each with its switch:

    * `jacobian="second_softmax"`: the softmax is applied to the probabilities once more, and J is
      beta (I - v v^T); `"exact"` is the derivative. See `second_softmax_gradients`.
    * `decay_at_start=True`: the learning rate is first decayed right after iteration 0, so that a
      nominal 1e-3 with scale 0.2 trains at 2e-4; False decays after `lr_interval` iterations for
      the first time.
    * `decoupled_weight_decay=False`: weight decay is added to the gradient and goes through Adam,
      which divides it by the size of the gradients: once beta is large and gradients vanish, it
      draws the latents to 0. True shrinks the latents by lr * weight_decay instead.

    Between steps the parameters hold the last w: evaluate inside `mode()` or `fractional()`, which
    put back what was there. The latents are drawn when first needed, whatever the parameters hold:
    Xavier-uniform with both latents of a weight counted as outputs, as published; normal for a
    vector.

    Use `draw()` before the forward pass and `step()` after the backward pass, or `step(closure)`.

    Args:
        params: the weights to be binary (parameters or groups, like every torch optimiser).
        lr: Adam's learning rate > 0.
        betas: Adam's decay rates, in [0, 1).
        eps: Adam's constant > 0.
        rho: growth of the inverse temperature beta, >= 1.
        beta_max: the largest beta, >= 1.
        beta_every: iterations from one growth of beta to the next, >= 1.
        lr_scale: factor of a decay of the learning rate, in (0, 1].
        lr_interval: iterations from one decay to the next, >= 1.
        weight_decay: >= 0.
        jacobian, decay_at_start, decoupled_weight_decay: see above.
        inner: an optimiser for the real-valued parameters (BatchNorm gains, biases); stepped and
            saved along. Its learning-rate scheduler, if any, is the user's own.

    Raises:
        ValueError: a value is outside its range, there are no parameters, or a bias or gain would
            become binary: see `cl_bnn.optim.weights.refuse_vectors`.
    """

    ranges: ClassVar[dict[str, Range]] = {
        "lr": (lambda v: v > 0, "> 0"),
        "eps": (lambda v: v > 0, "> 0"),
        "rho": (lambda v: v >= 1, ">= 1"),
        "beta_max": (lambda v: v >= 1, ">= 1"),
        "beta_every": (lambda v: v >= 1, ">= 1"),
        "lr_scale": (lambda v: 0 < v <= 1, "in (0, 1]"),
        "lr_interval": (lambda v: v >= 1, ">= 1"),
        "weight_decay": (lambda v: v >= 0, ">= 0"),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        rho: float = 1.2,
        beta_max: float = 1e4,
        beta_every: int = 100,
        lr_scale: float = 0.2,
        lr_interval: int = 7000,
        weight_decay: float = 0.0,
        jacobian: Jacobian = "second_softmax",
        decay_at_start: bool = True,
        decoupled_weight_decay: bool = False,
        inner: Optimizer | None = None,
    ) -> None:
        require(all(0 <= b < 1 for b in betas), "betas", betas, "in [0, 1)")
        one_of("jacobian", jacobian, get_args(Jacobian))
        super().__init__(params, dict(
            lr=lr, betas=betas, eps=eps, rho=rho, beta_max=beta_max, beta_every=beta_every,
            lr_scale=lr_scale, lr_interval=lr_interval, weight_decay=weight_decay,
        ), inner)  # fmt: skip
        self.jacobian: Jacobian = jacobian
        self.decay_at_start = decay_at_start
        self.decoupled_weight_decay = decoupled_weight_decay

    # What can be done with the latents -----------------------------------------------------------

    def fractional(self) -> AbstractContextManager[None]:
        """Inside, the parameters hold w at the current beta, between -1 and 1."""
        return self._holding(self._weights_of)

    def latents(self) -> list[Tensor]:
        """The latents (l-, l+) of every binary parameter, of shape (2, *parameter.shape), in the
        order of the groups.
        """
        return [self._state_of(parameter)["latent"] for _, parameter in self._binary()]

    def restart(self) -> None:
        """Continual learning: beta and the learning rate begin anew with the next step, the latents
        stay.

        A parameter that gets no gradient from then on (the head of another task) keeps its beta.
        """
        for _, parameter in self._binary():
            self._state_of(parameter)["anew"] = True

    # Arithmetic ----------------------------------------------------------------------------------

    def _weights_of(self, parameter: Parameter) -> Tensor:
        state = self._state_of(parameter)
        minus, plus = state["latent"]
        return effective_weights(minus, plus, state["beta"])

    def _load(self, parameter: Parameter) -> None:
        state = self._state_of(parameter)
        minus, plus = state["latent"]
        beta = BETA_START if state["anew"] else state["beta"]
        for weights, low, high in blocks(parameter.data, minus, plus):
            effective_weights(low, high, beta, out=weights)

    def _mode_of(self, parameter: Parameter) -> Tensor:
        latent = self._state_of(parameter)["latent"]
        return signs(latent[1] - latent[0])

    def _begin(self, parameter: Parameter) -> dict[str, Any]:
        shape = (2 * parameter.shape[0], *parameter.shape[1:])
        wide = torch.empty(shape, dtype=parameter.dtype)  # drawn on the processor, for all devices
        if wide.ndim > 1:
            nn.init.xavier_uniform_(wide)
        else:
            nn.init.normal_(wide, std=VECTOR_STD)
        latent = wide.view(2, *parameter.shape).to(parameter.device)
        return {
            "latent": latent,
            "exp_avg": torch.zeros_like(latent),
            "exp_avg_sq": torch.zeros_like(latent),
            "adam_step": 0,
            "iteration": 0,  # since the start, or since `restart`
            "beta": BETA_START,
            "anew": False,  # whether `restart` was called since the last step
        }

    def _update(self, group: dict[str, Any], parameter: Parameter, gradient: Tensor) -> None:
        state = self._state_of(parameter)
        if state["anew"]:
            state.update(beta=BETA_START, iteration=0, anew=False)
        state["adam_step"] += 1
        pairs = [*state["latent"], *state["exp_avg"], *state["exp_avg_sq"]]
        for piece, weights, *pieces in blocks(gradient, parameter.data, *pairs):
            if self.jacobian == "exact":
                descents = exact_gradients(piece, pieces[0], pieces[1], state["beta"])
            else:
                descents = second_softmax_gradients(piece, weights, state["beta"])
            for which, descent in enumerate(descents):
                self._adam(group, state, descent, *pieces[which::2])
        if state["iteration"] % group["beta_every"] == 0:
            state["beta"] = min(group["rho"] * state["beta"], group["beta_max"])
        state["iteration"] += 1

    def _adam(
        self, group: dict[str, Any], state: dict[str, Any], descent: Tensor, latent: Tensor,
        average: Tensor, square: Tensor,
    ) -> None:  # fmt: skip
        """Adam (Kingma and Ba 2014, arXiv:1412.6980, algorithm 1); `descent` is lost."""
        (beta1, beta2), step = group["betas"], state["adam_step"]
        lr, decay = self._lr(group, state["iteration"]), group["weight_decay"]
        if self.decoupled_weight_decay:
            latent.mul_(1 - lr * decay)
        else:
            descent.add_(latent, alpha=decay)
        average.lerp_(descent, 1 - beta1)
        square.mul_(beta2).addcmul_(descent, descent, value=1 - beta2)
        size = torch.sqrt(square, out=descent).div_((1 - beta2**step) ** 0.5).add_(group["eps"])
        latent.addcdiv_(average, size, value=-lr / (1 - beta1**step))

    def _lr(self, group: dict[str, Any], iteration: int) -> float:
        """The learning rate of an iteration, 0 the first."""
        interval = group["lr_interval"]
        decays = -(-iteration // interval) if self.decay_at_start else iteration // interval
        lr: float = group["lr"] * group["lr_scale"] ** decays
        return lr
