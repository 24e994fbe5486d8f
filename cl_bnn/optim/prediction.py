"""One prediction from many sampled networks."""

from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from cl_bnn.errors import one_of, require

Average = Literal["probabilities", "logits"]
AVERAGES: tuple[Average, ...] = get_args(Average)


def averaged_prediction(outputs: Iterable[Tensor], average: Average = "probabilities") -> Tensor:
    """Log-probabilities of the averaged prediction of several networks.

        with optimizer.posterior_samples(100) as samples:
            log_p = averaged_prediction(model(x) for _ in samples)

    Args:
        outputs: logits (batch, classes), or (batch, classes, height, width), of one network after
            the other.
        average: `"probabilities"`, as eq. 26 of arXiv:2002.10778 says; or `"logits"`, as the
            authors' code does.

    Raises:
        ValueError: an unknown `average`, or no outputs.
    """
    one_of("average", average, AVERAGES)
    total, count = torch.zeros(()), 0
    for logits in outputs:
        if logits.dtype in (torch.float16, torch.bfloat16):  # too coarse for a sum of many
            logits = logits.float()
        total = total.to(logits) + (_softmax(logits) if average == "probabilities" else logits)
        count += 1
    require(count > 0, "outputs", "nothing", "those of at least one network")
    if average == "logits":
        return F.log_softmax(total / count, 1)
    # A class to which no network gives any probability must not become -inf.
    return (total / count).clamp_min(torch.finfo(total.dtype).tiny).log()


def _softmax(logits: Tensor) -> Tensor:
    """`logits.softmax(1)`, six times faster for few classes: torch vectorises the other way."""
    if logits.dim() > 2:
        return logits.softmax(1)
    return logits.t().contiguous().softmax(0).t()
