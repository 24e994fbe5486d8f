"""BENN: ensembles of binary networks (Zhu, Dong, Su 2019, arXiv:1806.07550): what a member learns
from, how much it counts, how members vote.

Pure functions. A *rule* is called by what it does; the letters of the published code, which mean
other rules for ImageNet than for CIFAR, are aliases that say which code is meant. n samples, K
classes, M members; a member's error on the training set is e.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from cl_bnn.errors import UserError, near

Vote = Literal["soft", "soft_outputs", "hard", "weighted"]
VOTES: tuple[Vote, ...] = get_args(Vote)
# Factors by which the published code shrinks the member weight of SAMME, on CIFAR and on ImageNet.
CIFAR_FACTOR, IMAGENET_FACTOR = 0.1, 0.001


# How much a member counts ----------------------------------------------------------------------


def weighted_error(weights: Tensor, wrong: Tensor) -> float:
    """The error e: the weights of the samples that are wrong / all weights.

    At least half a sample's share is wrong and half a sample's share is right, so that the
    logarithms of the rules stay finite.

    Args:
        weights: D, > 0, shape (n,).
        wrong: whether the member predicts another class, bool (n,).
    """
    error = float(weights[wrong].sum() / weights.sum())
    least = 0.5 / len(weights)
    return min(max(error, least), 1 - least)


def equal_weight(error: float, classes: int) -> float:
    """1 for every member, as in bagging."""
    return 1.0


def adaboost_weight(error: float, classes: int) -> float:
    """The weight alpha = 1/2 ln((1 - e) / e) of AdaBoost (Freund and Schapire 1997).

    Negative for a member that is wrong more often than not.
    """
    return 0.5 * math.log((1 - error) / error)


def samme_weight(error: float, classes: int, factor: float = 1.0) -> float:
    """The weight alpha = ln((1 - e) / e) + ln(K - 1) of SAMME (Zhu et al. 2009), times a factor.

    Positive for any member better than chance.
    """
    return factor * (math.log((1 - error) / error) + math.log(classes - 1))


# What the next member learns from --------------------------------------------------------------


def exponential_update(weights: Tensor, wrong: Tensor, alpha: float, classes: int) -> Tensor:
    """D <- D exp(alpha s) with s = +1 where the member is wrong, -1 where it is right."""
    return weights * torch.exp(alpha * _side(wrong, weights))


def logistic_update(weights: Tensor, wrong: Tensor, alpha: float, classes: int) -> Tensor:
    """The logit of D moves by alpha s, that is D <- 1 / ((1 / D - 1) exp(-alpha s) + 1).

    Nearly the exponential update while D is small, as it is at first; D never passes 1.
    """
    return 1 / ((1 / weights - 1) * torch.exp(-alpha * _side(wrong, weights)) + 1)


def mild_update(weights: Tensor, wrong: Tensor, alpha: float, classes: int) -> Tensor:
    """D <- 1 - u, where u <- (1 - D) exp(-alpha s), brought to the mean 1 / K.

    All D stay near 1 - 1 / K: little more than a fresh bootstrap for every member. Where few
    samples are wrong, u stays below 1; what would pass it is cut off there.
    """
    u = (1 - weights) * torch.exp(-alpha * _side(wrong, weights))
    u *= len(u) / classes / u.abs().sum()
    return (1 - u).clamp_(min=torch.finfo(u.dtype).tiny)


def samme_update(weights: Tensor, wrong: Tensor, alpha: float, classes: int) -> Tensor:
    """D <- D exp(alpha) where the member is wrong (Zhu et al. 2009); elsewhere D stays."""
    return torch.where(wrong, weights * math.exp(alpha), weights)


def _side(wrong: Tensor, like: Tensor) -> Tensor:
    return torch.where(wrong, 1.0, -1.0).to(like)


Weigh = Callable[[float, int], float]
Update = Callable[[Tensor, Tensor, float, int], Tensor]


@dataclass(frozen=True)
class Rule:
    """How an ensemble is made.

    Attributes:
        weigh: alpha of a member from its error and the number of classes.
        update: D for the next member from D, what is wrong, alpha and the number of classes; None
            where members learn from bootstraps (n samples drawn with replacement once a member)
            and not from samples drawn anew every epoch with probabilities D.
    """

    weigh: Weigh
    update: Update | None

    @property
    def boosts(self) -> bool:
        """Whether a member depends on the errors of those before it."""
        return self.update is not None


RULES: dict[str, Rule] = {
    "bagging": Rule(equal_weight, None),
    "adaboost": Rule(adaboost_weight, exponential_update),
    "logitboost": Rule(adaboost_weight, logistic_update),
    "mildboost": Rule(adaboost_weight, mild_update),
    "samme": Rule(samme_weight, samme_update),
    # As published: the weight of SAMME a tenth or a thousandth as large, and the samples that are
    # right lose what those that are wrong gain.
    "samme_tenth": Rule(partial(samme_weight, factor=CIFAR_FACTOR), exponential_update),
    "samme_thousandth": Rule(partial(samme_weight, factor=IMAGENET_FACTOR), exponential_update),
    "logitboost_samme_tenth": Rule(partial(samme_weight, factor=CIFAR_FACTOR), logistic_update),
    "logitboost_samme": Rule(samme_weight, logistic_update),
    "mildboost_samme": Rule(samme_weight, mild_update),
}

#: The names in the published code -> those of `RULES`. CIFAR's BoostB has another alpha in its
#: independent than in its sequential version.
ALIASES = {
    "cifar_boost_a": "adaboost",
    "cifar_boost_b_sequential": "logitboost",
    "cifar_boost_b_independent": "logitboost_samme_tenth",
    "cifar_boost_c": "mildboost",
    "cifar_boost_d": "samme_tenth",
    "imagenet_boost_a": "mildboost_samme",
    "imagenet_boost_b": "logitboost_samme",
    "imagenet_boost_c": "samme_thousandth",
}


def rule_of(name: str) -> Rule:
    """The rule of this name or alias.

    Raises:
        UserError: there is none; a bare letter would mean two things.
    """
    found = RULES.get(ALIASES.get(name, name))
    if found is None:
        raise UserError(f"unknown rule {name!r}{near(name, [*RULES, *ALIASES])}")
    return found


# Which samples ---------------------------------------------------------------------------------


def bootstrap(count: int, generator: torch.Generator) -> Tensor:
    """`count` indices drawn from as many with replacement, int64 (count,)."""
    return torch.randint(count, (count,), generator=generator)


def resample(weights: Tensor, generator: torch.Generator) -> Tensor:
    """As many indices as there are weights, drawn with replacement with these probabilities.

    By inversion of the distribution function; unlike `torch.multinomial` without bound on n.

    Args:
        weights: D, > 0, shape (n,).
        generator: source of randomness.

    Returns:
        int64 (n,).
    """
    total = weights.double().cumsum(0)
    u = torch.rand(len(weights), generator=generator, dtype=torch.float64) * total[-1]
    return torch.searchsorted(total, u, right=True).clamp_(max=len(weights) - 1)


# Votes -----------------------------------------------------------------------------------------


def vote(outputs: Tensor, alphas: Tensor, how: Vote) -> Tensor:
    """Log-probabilities of what the members predict together.

    * `"soft"`: the mean of their probabilities, weighted by alpha.
    * `"soft_outputs"`, as published: the sum of alpha times their raw outputs, whatever their size,
      taken for logits.
    * `"hard"`: every member has one vote; `"weighted"`: as many as alpha says. Ties go to the
      lowest class, as published. A class has the probability (votes + 1 / K) / (all votes + 1), so
      that one without votes is not impossible.

    Members with alpha <= 0, worse than chance in the eyes of their rule, count nothing where
    probabilities or weighted votes are summed, unless that leaves nobody.

    Args:
        outputs: logits (M, n, K).
        alphas: (M,).
        how: one of `VOTES`.

    Returns:
        (n, K), float32 or the type of the outputs.
    """
    weights = alphas.to(outputs).clamp(min=0) if bool((alphas > 0).any()) else None
    if how == "soft_outputs":
        return torch.einsum("m,mnk->nk", alphas.to(outputs), outputs).log_softmax(1)
    if weights is None or how == "hard":
        weights = torch.ones(len(outputs)).to(outputs)
    if how == "soft":
        mean = torch.einsum("m,mnk->nk", weights / weights.sum(), outputs.softmax(2))
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()
    classes = outputs.shape[2]
    # argmax gives the first of equals, and so does the argmax of the votes.
    ballots = F.one_hot(outputs.argmax(2), classes).to(outputs)
    votes = torch.einsum("m,mnk->nk", weights, ballots)
    return ((votes + 1 / classes) / (weights.sum() + 1)).log()


def disagreement(outputs: Tensor) -> float:
    """The mean over all pairs of members of the share of samples for which they predict different
    classes; outputs (M, n, K), NaN for a single member.
    """
    predicted = outputs.argmax(2)
    pairs = torch.combinations(torch.arange(len(predicted)))
    if not len(pairs):
        return math.nan
    return (predicted[pairs[:, 0]] != predicted[pairs[:, 1]]).double().mean().item()
