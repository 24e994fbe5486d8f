"""Straight-through estimator: real latent weights, their signs in the network."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.optim import Adam

from cl_bnn.errors import one_of, require
from cl_bnn.optim.weights import asked, refuse_vectors, restored, some, whole

Backward = Literal["identity", "hard_tanh"]


def signs(latent: Tensor, out: Tensor | None = None) -> Tensor:
    """+1 where `latent >= 0`, else -1 (never 0), any shape; written into `out` if given. NaN stays
    NaN, lest a network that broke down look healthy.
    """
    latent = latent.detach()
    held = torch.empty_like(latent) if out is None else out
    return torch.clamp(latent, -1, 0.5, out=held).floor_().mul_(2).add_(1)


class STE(Adam):
    """Adam on latent weights, with the gradient taken at their signs (Courbariaux et al. 2015,
    arXiv:1511.00363; constants of the BayesBiNN authors' baseline, arXiv:2002.10778, Table 9).

        w = sign(v),    g = dloss/dw,    v <- clip(v - Adam(g * h(v)), -c, c)

    with `h = 1` for the identity and `h(v) = 1 where |v| <= 1, else 0` for the hard tanh, which is
    the same as long as `c <= 1`.

    Call `draw()` before the forward pass, `step()` after the backward pass; or `step(closure)`,
    which does both. The parameters hold the latent weights between steps, so that
    `model.state_dict()` and `state_dict()` together are everything a run needs to continue;
    evaluate inside `mode()`.

    A group with `binary=False` holds real-valued parameters (BatchNorm gains, biases): plain Adam.

    Args:
        params: parameters or groups; their values are the initial latent weights.
        lr: learning rate of Adam, > 0.
        betas: Adam's decay rates.
        eps: Adam's constant.
        weight_decay: added to the gradient, times the latent weights; >= 0.
        backward: `"identity"` or `"hard_tanh"`.
        clamp: c > 0, or None for unbounded latent weights.
        grad_clip: gradients are clipped element by element to plus or minus this value, > 0, or
            None.

    Raises:
        ValueError: a value is outside its range, there are no parameters, or a bias or gain would
            become binary (a group with the key `"binary_vectors": True` may hold them).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        backward: Backward = "identity",
        clamp: float | None = 1.0,
        grad_clip: float | None = None,
    ) -> None:
        require(lr > 0, "lr", lr, "> 0")
        one_of("backward", backward, get_args(Backward))
        require(clamp is None or clamp > 0, "clamp", clamp, "> 0 or None")
        require(grad_clip is None or grad_clip > 0, "grad_clip", grad_clip, "> 0 or None")
        require(weight_decay >= 0, "weight_decay", weight_decay, ">= 0")
        super().__init__(some(params), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self.backward, self.clamp, self.grad_clip = backward, clamp, grad_clip
        self._latent: dict[Tensor, Tensor] = {}  # while the parameters hold signs
        self._signs: dict[Tensor, Tensor] = {}  # memory for these signs

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take in a group of parameters, binary unless its key `"binary"` is false.

        Raises:
            ValueError: a bias or gain would become binary: see
                `cl_bnn.optim.weights.refuse_vectors`.
        """
        if param_group.get("binary", True):
            refuse_vectors(param_group)
        super().add_param_group(param_group)

    __getstate__ = whole

    def _binary(self) -> Iterator[Tensor]:
        for group in self.param_groups:
            if group.get("binary", True):
                yield from group["params"]

    @torch.no_grad()
    def draw(self) -> None:
        """Load the signs of the latent weights into the parameters."""
        for parameter in self._binary():
            if parameter not in self._latent:
                latent = self._latent[parameter] = self._settle(parameter.data)
                parameter.data = self._weights(latent, self._memory(parameter, latent))
        torch.clear_autocast_cache()

    def _settle(self, latent: Tensor) -> Tensor:
        """The latent weights of the next step, from what the last one has left."""
        return latent

    def _weights(self, latent: Tensor, out: Tensor | None = None) -> Tensor:
        """The weights that latent ones stand for, in `out` if given."""
        return signs(latent, out)

    def _memory(self, parameter: Tensor, latent: Tensor) -> Tensor:
        """Where the signs of a parameter are written; never over its latent weights, which a user
        may have loaded into what held signs.
        """
        held = self._signs.get(parameter)
        if (
            held is None
            or (held.dtype, held.device) != (latent.dtype, latent.device)
            or held.data_ptr() == latent.data_ptr()
        ):
            held = self._signs[parameter] = torch.empty_like(latent)
        return held

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of the latent weights; with a closure, its loss at the signs is returned.

        Raises:
            RuntimeError: without a closure, `draw()` was not called since the last step.
        """
        loss = None
        if closure is not None:
            self.draw()
            loss = asked(self, closure)
        elif not self._latent and any(True for _ in self._binary()):
            name = type(self).__name__
            raise RuntimeError(f"{name} has gradients at latent weights: call draw() first")
        for parameter in self._binary():
            parameter.data = self._latent.pop(parameter)
            self._shape_gradient(parameter)
        self._descend()
        if self.clamp is not None:
            for parameter in self._binary():
                parameter.clamp_(-self.clamp, self.clamp)
        return loss

    def _descend(self) -> None:
        """The step of the latent weights and of the real parameters, each from its gradient."""
        super().step()

    def _shape_gradient(self, latent: Tensor) -> None:
        if latent.grad is None:
            return
        if self.backward == "hard_tanh":
            latent.grad.mul_(latent.abs() <= 1)
        if self.grad_clip is not None:
            latent.grad.clamp_(-self.grad_clip, self.grad_clip)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; signs drawn but not yet used are forgotten."""
        super().load_state_dict(copy.deepcopy(state_dict))  # torch shares what it is given
        self._latent.clear()

    def undraw(self) -> None:
        """Put the latent weights back where a step was begun and not ended."""
        for parameter, latent in self._latent.items():
            parameter.data = latent
        self._latent.clear()

    @contextmanager
    def mode(self) -> Iterator[None]:
        """Inside, the parameters hold the signs of the latent weights."""
        with restored(self._binary()) as parameters:
            for parameter in parameters:
                drawn = self._latent.get(parameter)
                latent = self._settle(parameter.data) if drawn is None else drawn
                parameter.data = self._weights(latent)
            yield
