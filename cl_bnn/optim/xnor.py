"""XNOR weights: signs of centred latent weights, scaled filter by filter (Rastegari et al. 2016,
arXiv:1603.05279), as BENN trains its members.
"""

from collections.abc import Iterable
from typing import Any, Literal, get_args

from torch import Tensor

from cl_bnn.errors import one_of
from cl_bnn.optim.ste import STE, signs

Derivative = Literal["published", "exact"]


def centre(latent: Tensor) -> Tensor:
    """`clip(v - mean of v over the inputs, -1, 1)`, for every output and, in a convolution, every
    place of the kernel; a new tensor.

    Args:
        latent: v, (outputs, inputs, ...).
    """
    return (latent - latent.mean(1, keepdim=True)).clamp_(-1, 1)


def filter_scale(latent: Tensor) -> Tensor:
    """`alpha = mean of |v|` over all weights of an output: (outputs, 1, ...)."""
    return latent.abs().mean(tuple(range(1, latent.dim())), keepdim=True)


def latent_gradient(gradient: Tensor, latent: Tensor, derivative: Derivative) -> Tensor:
    """dloss/dv from g = dloss/dw, with `w = alpha sign(v)`.

    With n weights an output, d sign(v)/dv taken to be 1 (|v| <= 1), and alpha = sum |v| / n,

        h = alpha g + sign(v) / n sum (sign(v) g)

    where the sum is over the weights of an output. `"exact"` goes on through the centring: `h -
    mean of h over the inputs`. `"published"` multiplies instead by 1 - 1 / inputs, what a weight's
    own part in the mean leaves of it, and by n, which Adam divides by again.

    Args:
        gradient: g, (outputs, inputs, ...).
        latent: v, centred and clipped, same shape.
        derivative: which of the two.

    Returns:
        A new tensor of that shape.
    """
    w, own = signs(latent), tuple(range(1, latent.dim()))
    count, inputs = latent[0].numel(), latent.shape[1]
    h = filter_scale(latent) * gradient
    h += w * (w * gradient).sum(own, keepdim=True) / count
    if derivative == "exact":
        return h - h.mean(1, keepdim=True)
    return h.mul_((1 - 1 / inputs) * count)


class XNOR(STE):
    """Adam on latent weights, with the gradient taken at their scaled signs.

        v <- clip(v - mean(v), -1, 1),   w = mean|v| sign(v)     (a scale for every output)
        v <- Adam(v, dloss/dv),          dloss/dv of `latent_gradient`

    A binary network up to a factor for every output, which a BatchNorm behind it would swallow. As
    coded in XinDongol/BENN-PyTorch (arXiv:1806.07550). The verbs are those of `STE`.

    Args:
        params: parameters or groups; their values are the initial latent weights.
        lr: learning rate of Adam, > 0.
        betas: Adam's decay rates.
        eps: Adam's constant.
        weight_decay: added to the gradient, times the latent weights; >= 0.
        derivative: `"published"` or `"exact"`, see `latent_gradient`.

    Raises:
        ValueError: a value is outside its range, there are no parameters, or a bias or gain would
            become binary.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, *,
        betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-5,
        derivative: Derivative = "published",
    ) -> None:  # fmt: skip
        one_of("derivative", derivative, get_args(Derivative))
        super().__init__(
            params, lr, betas=betas, eps=eps, weight_decay=weight_decay, clamp=None
        )  # fmt: skip
        self.derivative: Derivative = derivative

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take in a group of parameters, as `STE` does, with inputs that they can be centred over.

        Raises:
            ValueError: a bias or gain would become binary, or there is one input an output.
        """
        super().add_param_group(param_group)
        added = self.param_groups[-1]
        for parameter in added["params"] if added.get("binary", True) else ():
            if parameter.dim() < 2 or parameter.shape[1] == 1:
                raise ValueError(
                    f"XNOR centres weights over their inputs, and those of shape "
                    f"{tuple(parameter.shape)} have one at most: all would be 0"
                )

    def _settle(self, latent: Tensor) -> Tensor:
        return centre(latent)

    def _weights(self, latent: Tensor, out: Tensor | None = None) -> Tensor:
        return signs(latent, out).mul_(filter_scale(latent))

    def _shape_gradient(self, latent: Tensor) -> None:
        if latent.grad is not None:
            latent.grad = latent_gradient(latent.grad, latent.detach(), self.derivative)
