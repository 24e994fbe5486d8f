"""Synaptic metaplasticity: the larger a latent weight, the harder it is to turn (Laborieux et al.
2021, arXiv:2003.03533).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from cl_bnn.errors import require
from cl_bnn.optim.inplace import Work, Workspace, blocks
from cl_bnn.optim.ste import STE


def metaplastic_factor(latent: Tensor, momentum: Tensor, meta: float, work: Work) -> Tensor:
    """`1 - tanh^2(meta |W|)` where sign(W) m > 0, that is where the step -m leads towards 0; 1
    elsewhere.

    Args:
        latent: W, any shape.
        momentum: m, same shape.
        meta: >= 0.
        work: memory of that shape; the result lies in the first piece, the second one is lost.
    """
    factor, towards = work
    torch.mul(latent, meta, out=factor).tanh_().square_().neg_().add_(1)
    torch.sign(latent, out=towards).mul_(momentum)
    return factor.masked_fill_(towards <= 0, 1)


class MetaplasticAdam(STE):
    r"""Adam on latent weights which hardly moves large ones towards zero (Laborieux, Ernoult,
    Hirtzlin and Querlioz 2021, arXiv:2003.03533).

        w = sign(W),    g = dloss/dw + d W
        m <- beta_1 m + (1 - beta_1) g,    v <- beta_2 v + (1 - beta_2) g^2
        f =  1 - tanh^2(meta |W|)  where  sign(W) m > 0,    else 1
        W <- W - eta_t f m / (sqrt(v) + eps),    eta_t = lr sqrt(1 - beta_2^t) / (1 - beta_1^t)

    Where sign(W) m > 0 the step would make |W| smaller, and f makes that step the smaller the
    larger |W| is; a step that makes |W| larger is left as it is. Latent weights are unbounded: how
    far one has gone is how firmly its sign is kept. With `meta = 0` it is Adam, up to eps, which is
    added to a root that is not yet corrected for its start at 0, as torch did in 2019. `meta` is a
    setting of a group, so that layers can have values of their own. In float32 f is exactly 0 for
    `meta |W|` above about 9: such a weight never turns again.

    A latent weight of exactly 0 gives w = +1, as everywhere here. The authors' code has sign(0) =
    0, which takes the input out of the network until the next step: neither +1 nor -1, and no bit
    could hold it. A latent weight drawn from a continuous distribution is never 0 in practice.

    The verbs are those of `STE`: the parameters hold the latent weights between steps. A group with
    `binary=False` holds real-valued parameters (BatchNorm gains, biases): the same with f = 1.

    Args:
        params: parameters or groups; their values are the initial latent weights.
        lr: learning rate, > 0.
        meta: >= 0.
        betas: beta_1 and beta_2, in [0, 1).
        eps: > 0.
        weight_decay: d >= 0, added to the gradient, times the latent weights.

    Raises:
        ValueError: a value is outside its range, there are no parameters, or a bias or gain would
            become binary (a group with the key `"binary_vectors": True` may hold them).
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 5e-3, *, meta: float = 1.35,
        betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-7,
    ) -> None:  # fmt: skip
        require(all(0 <= b < 1 for b in betas), "betas", betas, "in [0, 1)")
        require(eps > 0, "eps", eps, "> 0")
        self._meta = meta  # of groups that have none of their own
        super().__init__(
            params, lr, betas=betas, eps=eps, weight_decay=weight_decay, clamp=None
        )  # fmt: skip
        self._work = Workspace()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take in a group of parameters, binary unless its key `"binary"` is false.

        Raises:
            ValueError: its `meta` is out of range, or a bias or gain would become binary.
        """
        meta = param_group.setdefault("meta", self._meta)
        require(meta >= 0, "meta", meta, ">= 0")
        super().add_param_group(param_group)

    def restart(self) -> None:
        """Continual learning: m, v and t begin anew with the next step, the latent weights stay."""
        self.state.clear()

    def _descend(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(group, parameter, parameter.grad)

    def _move(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        state = self._state_of(parameter)
        state["step"] += 1
        (beta1, beta2), step = group["betas"], float(state["step"])
        rate = group["lr"] * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
        meta = group["meta"] if group.get("binary", True) else 0.0
        moments = state["exp_avg"], state["exp_avg_sq"]
        for latent, piece, m, v in blocks(parameter.data, gradient, *moments):
            work = self._work.like(latent)
            g = torch.add(piece, latent, alpha=group["weight_decay"], out=work[0])
            m.lerp_(g, 1 - beta1)
            v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            descent = metaplastic_factor(latent, m, meta, work).mul_(m) if meta else m
            size = torch.sqrt(v, out=work[1]).add_(group["eps"])
            latent.addcdiv_(descent, size, value=-rate)

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        """Under Adam's own names, so that Adam restores it."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state
