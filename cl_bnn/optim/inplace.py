"""The equations of BayesBiNN once more, written into memory that is there already.

Bit for bit the results of `cl_bnn.optim.equations`, which is the reference and is tested to agree.
An operator that returns a new tensor of ten million weights spends most of its time on fresh pages
of memory: these take a third of the time of a step.
"""

import torch
from torch import Tensor

from cl_bnn.optim.equations import LEAST_EXPONENT, REFERENCE_EPS

Work = tuple[Tensor, Tensor]


class Workspace:
    """Two pieces of working memory for any tensor, the same for all tensors: valid until next asked
    for.
    """

    def __init__(self) -> None:
        self._flat: dict[tuple[torch.dtype, torch.device], Work] = {}
        self._views: dict[tuple[torch.Size, torch.dtype, torch.device], Work] = {}

    def like(self, tensor: Tensor) -> Work:
        """Two tensors of the shape, type and device of `tensor`, with any content."""
        key = tensor.shape, tensor.dtype, tensor.device
        if key not in self._views:
            flat = self._flat.get(key[1:])
            if flat is None or len(flat[0]) < tensor.numel():
                self._views.clear()
                flat = tensor.new_empty(tensor.numel()), tensor.new_empty(tensor.numel())
                self._flat[key[1:]] = flat
            first, second = (piece[: tensor.numel()].view(tensor.shape) for piece in flat)
            self._views[key] = first, second
        return self._views[key]


def load_relaxed(
    weights: Tensor, argument: Tensor, natural: Tensor, uniform: Tensor, temperature: float
) -> None:
    """`relaxed_argument` into `argument`, `relaxed_weights` into `weights`.

    `uniform` may be `argument` itself.
    """
    torch.logit(uniform, out=argument)
    torch.add(natural, argument, alpha=0.5, out=argument).div_(temperature)
    torch.tanh(argument, out=weights)


def scale_gradient(
    gradient: Tensor, weights: Tensor, mean: Tensor, temperature: float, work: Work
) -> None:
    """Multiply `gradient` by `gradient_scale` with the constant of the authors."""
    scale, lower = work
    torch.mul(weights, weights, out=scale).neg_().add_(1).add_(REFERENCE_EPS).div_(temperature)
    torch.mul(mean, mean, out=lower).neg_().add_(1).add_(REFERENCE_EPS)
    gradient.mul_(scale.div_(lower))


def scale_gradient_bounded(
    gradient: Tensor, argument: Tensor, natural: Tensor, temperature: float, bound: float,
    work: Work,
) -> None:  # fmt: skip
    """Multiply `gradient` by `bounded_gradient_scale`; what `argument` holds is lost."""
    size, ratio = work
    torch.abs(natural, out=size)
    spread = argument.abs_()
    torch.sub(size, spread, out=ratio).clamp_(min=LEAST_EXPONENT).exp_()
    ratio.mul_(spread.tanh_().add_(1)).div_(size.tanh_().add_(1))
    gradient.mul_(ratio.square_().clamp_(max=bound).div_(temperature))


def move_natural(
    natural: Tensor, prior: Tensor, gradient: Tensor, buffer: Tensor, *, lr: float,
    momentum: float, kl_weight: float, step: int, work: Work,
) -> None:  # fmt: skip
    """`natural_step` on `natural` and `buffer` themselves; what `gradient` holds is lost.

    Without momentum the buffer is never read, and left as it is.
    """
    difference, move = work
    target = gradient.add_(torch.sub(natural, prior, out=difference), alpha=kl_weight)
    if momentum:
        target = torch.lerp(target, buffer, momentum, out=buffer)
    natural.sub_(torch.mul(target, lr / (1 - momentum**step), out=move))
