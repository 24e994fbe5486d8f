"""The equations of BayesBiNN once more, written into memory that is there already.

Bit for bit the results of `cl_bnn.optim.equations`, which is the reference and is tested to agree.
An operator that returns a new tensor of ten million weights spends most of its time on fresh pages
of memory: these take a third of the time of a step.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from cl_bnn.optim.equations import LEAST_EXPONENT, REFERENCE_EPS

#: At most this temperature, weights that the noise cannot turn are +-1 whatever the noise is.
SATURATING_TEMPERATURE = 1e-6

#: Random bits of a uniform number in float32.
UNIFORM_BITS = 24
#: Weights worked on at a time: few enough that five tensors of them stay in the cache, and enough
#: that threads which share them do not wait for each other.
BLOCK = 1 << 19
#: Uniform numbers drawn at a time.
DRAWN = 1 << 17

Work = tuple[Tensor, Tensor]


class Workspace:
    """Two pieces of working memory for any tensor, the same for all tensors: valid until next asked
    for.
    """

    def __init__(self) -> None:
        self._views: dict[tuple[torch.Size, torch.dtype, torch.device], Work] = {}

    def like(self, tensor: Tensor) -> Work:
        """Two tensors of the shape, type and device of `tensor`, with any content."""
        key = tensor.shape, tensor.dtype, tensor.device
        if key not in self._views:
            self._views[key] = tensor.new_empty(tensor.shape), tensor.new_empty(tensor.shape)
        return self._views[key]


def blocks(*tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Tensors of one shape cut into blocks of the same elements, on a processor, if they are large.

    One that lies in memory with gaps is left whole, and so are all.
    """
    first = tensors[0]
    if first.numel() <= BLOCK or first.device.type != "cpu":
        return [tensors]
    if not all(tensor.is_contiguous() for tensor in tensors):
        return [tensors]
    return zip(*(torch.split(tensor.view(-1), BLOCK) for tensor in tensors), strict=True)


def draw_uniform(uniform: Tensor, work: Work) -> None:
    """Fill `uniform` with draws from U[0, 1): multiples of 2^-24, as torch draws them in float32.

    In float32 on a processor, every `DRAWN` of them get two numbers from the 63 bits of one random
    integer, which takes three quarters of the time; the rest, anything else, and what lies in
    memory in another order get `uniform_()`.
    """
    few = uniform.numel() < DRAWN or not uniform.is_contiguous()
    if few or uniform.dtype != torch.float32 or uniform.device.type != "cpu":
        uniform.uniform_()
        return
    spare = work[0].view(-1)[:DRAWN]
    for piece in torch.split(uniform.view(-1), DRAWN):
        if piece.numel() < DRAWN:
            piece.uniform_()
            continue
        bits = spare.view(torch.int64).random_().view(torch.int32)
        piece.copy_(bits.bitwise_and_((1 << UNIFORM_BITS) - 1)).mul_(2.0**-UNIFORM_BITS)


def load_relaxed(
    weights: Tensor, argument: Tensor, natural: Tensor, uniform: Tensor, temperature: float
) -> None:
    """`relaxed_argument` into `argument`, `relaxed_weights` into `weights`.

    `uniform` may be `argument` itself.
    """
    torch.logit(uniform, out=argument)
    torch.add(natural, argument, alpha=0.5, out=argument).div_(temperature)
    torch.tanh(argument, out=weights)


def load_saturated(
    weights: Tensor, argument: Tensor, natural: Tensor, temperature: float, work: Work
) -> None:
    """What `load_relaxed` loads, at a temperature of at most `SATURATING_TEMPERATURE`, drawing only
    what matters.

    A uniform number of b bits gives `|delta| <= b log(2) / 2`, 8.3 in float32, but for u = 0. A
    weight with a larger |lambda| is `sign(lambda)` for all other u, and gets `a = lambda / tau`;
    noise is drawn for the rest, from torch's global generator. `argument` may be `weights` itself,
    and is lost then.
    """
    bound = 0.1 - math.log(torch.finfo(natural.dtype).eps / 2) / 2
    open_ = (torch.abs(natural, out=work[0]) <= bound).nonzero(as_tuple=True)
    rest = natural[open_]
    noise = torch.rand_like(rest).logit_()
    rest = torch.add(rest, noise, alpha=0.5).div_(temperature)
    torch.div(natural, temperature, out=argument)[open_] = rest
    torch.clamp(argument, -1, 1, out=weights)[open_] = rest.tanh_()  # a sign, but NaN stays NaN


def scale_gradient(
    gradient: Tensor, weights: Tensor, mean: Tensor, temperature: float, work: Work
) -> None:
    """Multiply `gradient` by `gradient_scale` with the constant of the authors."""
    scale, lower = work
    torch.mul(weights, weights, out=scale).neg_().add_(1).add_(REFERENCE_EPS).div_(temperature)
    torch.mul(mean, mean, out=lower).neg_().add_(1).add_(REFERENCE_EPS)
    gradient.mul_(scale.div_(lower))


def scale_gradient_bounded(
    gradient: Tensor, argument: Tensor, weights: Tensor, natural: Tensor, temperature: float,
    bound: float, work: Work,
) -> None:  # fmt: skip
    """Multiply `gradient` by `bounded_gradient_scale`; what `argument` holds is lost.

    `tanh|a|` is `|w|`, which was computed when the weights were drawn.
    """
    size, ratio = work
    torch.abs(natural, out=size)
    torch.sub(size, argument.abs_(), out=ratio).clamp_(min=LEAST_EXPONENT).exp_()
    ratio.mul_(torch.abs(weights, out=argument).add_(1)).div_(size.tanh_().add_(1))
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
