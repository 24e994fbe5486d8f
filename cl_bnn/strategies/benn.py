"""The strategy `benn`: an ensemble of a rule, a mode and the strategy that trains a member."""

from functools import cache
from typing import Any, cast, get_args

from torch import nn

from cl_bnn._builders import import_target
from cl_bnn.ensembles import Vote, rule_of
from cl_bnn.errors import one_of
from cl_bnn.strategies.beside import SideBySideEnsemble
from cl_bnn.strategies.composed import keeps_nothing, own_classes, says_itself
from cl_bnn.strategies.constant import ConstantStrategy
from cl_bnn.strategies.ensemble import Ensemble, Mode, PosteriorEnsemble
from cl_bnn.strategies.joint import AllAtOnce
from cl_bnn.strategies.rounds import RoundEnsemble
from cl_bnn.strategies.template import Template


@cache
def ensemble_of(
    kind: Any, mode: Mode = "independent", *, side_by_side: bool = False
) -> type[Ensemble]:
    """The class of an ensemble whose members are trained by `kind`.

        strategy = ensemble_of(STEStrategy)(model=model, lr=1e-2, rule="adaboost", size=8)

    Args:
        kind: a strategy class of this package, whose keywords the ensemble takes beside those of
            `Ensemble`.
        mode: see `benn`.
        side_by_side: whether to train all members at once.

    Raises:
        ValueError: an unknown mode, members that learn nothing or all tasks at once, that predict
            by a `forward` of their own, that cannot be trained side by side, or of a class of the
            user's that is not `stateless`.
    """
    if issubclass(kind, AllAtOnce | ConstantStrategy):
        raise ValueError(f"member must learn task after task, and {kind.__name__} does not")
    one_of("mode", mode, get_args(Mode))
    if mode != "posterior" and not keeps_nothing(kind):
        raise ValueError(
            f"member: {kind.__name__} does not say that its network and optimiser are all that it "
            "remembers: add stateless = True to the class if they are, or take mode = 'posterior'"
        )
    if _overrides(kind, "forward"):
        raise ValueError(
            f"member: {kind.__name__} has a forward of its own, and members are asked by that of "
            "Template"
        )
    if side_by_side and (mode != "independent" or not _elementwise(kind)):
        raise ValueError(
            "side_by_side needs mode = 'independent' and a member whose optimiser works element by "
            f"element, got {mode!r} and {kind.__name__} (a class of your own says so by "
            "elementwise = True, if it adds nothing to the loss)"
        )
    base: type[Ensemble] = SideBySideEnsemble if side_by_side else RoundEnsemble
    if mode == "posterior":
        base = PosteriorEnsemble
    return type(f"{base.__name__}Of{kind.__name__}", (base, kind), {"mode": mode})


def _elementwise(kind: type[Template]) -> bool:
    """Whether members can go side by side, where a term of the loss counts for each of them."""
    alone = kind.elementwise and says_itself(kind, "elementwise")
    return alone and not _overrides(kind, "_before_backward")


def _overrides(kind: type[Template], name: str) -> bool:
    """Whether a class of the user's has a method of this name."""
    return any(name in vars(own) for own in own_classes(kind))


def benn(
    *,
    model: nn.Module,
    member: dict[str, Any],
    rule: str = "bagging",
    mode: Mode = "independent",
    size: int = 8,
    vote: Vote = "soft",
    side_by_side: bool | None = None,
    **template: Any,
) -> Ensemble:
    """An ensemble of binary networks (Zhu, Dong, Su 2019, arXiv:1806.07550), carried through a
    stream of tasks.

    Every member is trained for all the epochs of a task, from samples that the rule draws.

    Args:
        model: the network of a member.
        member: the strategy of a member: its class under `"build"`, and its settings. In a recipe,
            the name of another recipe.
        rule: `"bagging"`, `"adaboost"`, `"logitboost"`, `"mildboost"`, `"samme"` or another of
            `cl_bnn.ensembles`, or a letter of the published code, as `"cifar_boost_a"`.
        mode: `"independent"`: each member has initial weights of its own; `"sequential"`: each
            begins where the one before has ended; `"posterior"`: the members are samples of the
            posterior of a single network, which the rule does not concern.
        size: M, the number of members.
        vote: `"soft"` (mean probabilities), `"soft_outputs"` (sum of raw outputs, as published),
            `"hard"` or `"weighted"`.
        side_by_side: whether independent members of bagging are trained at once, which is faster
            for fully connected networks; None: where it is.
        template: every keyword of `cl_bnn.strategies.Template`.

    Raises:
        ValueError: a value is outside its range, or values that do not go together.
        UserError: an unknown rule, or a class that cannot be imported.
    """
    settings = dict(member)
    kind: Any = import_target(settings.pop("build"), ())
    if not (isinstance(kind, type) and issubclass(kind, Template)):
        raise ValueError("member must be a strategy of a single network, of cl_bnn.strategies")
    if side_by_side and rule_of(rule).boosts:
        raise ValueError(
            f"side_by_side: with the rule {rule!r} a member waits for the errors of the one before"
        )
    kronecker = settings.get("prior") == "kronecker"
    if side_by_side and kronecker:
        raise ValueError("side_by_side: a Kronecker prior is measured one network after the other")
    if side_by_side is None:
        convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in model.modules())
        apart = convolves or kronecker or rule_of(rule).boosts
        side_by_side = mode == "independent" and _elementwise(kind) and not apart
    made: Any = ensemble_of(cast(Any, kind), mode, side_by_side=side_by_side)
    ensemble: Ensemble = made(model=model, rule=rule, size=size, vote=vote, **settings, **template)
    return ensemble
