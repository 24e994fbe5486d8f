"""Plugins beside an optimiser of binary weights: what they see between its steps."""

from collections.abc import Callable
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import (
    AGEMPlugin,
    CurrentDataFeCAMUpdate,
    CurrentDataNCMUpdate,
    CWRStarPlugin,
    EarlyStoppingPlugin,
    EWCPlugin,
    FeatureDistillationPlugin,
    FeCAMOracle,
    FromScratchTrainingPlugin,
    GDumbPlugin,
    GEMPlugin,
    LFLPlugin,
    LwFPlugin,
    MASPlugin,
    MemoryFeCAMUpdate,
    MemoryNCMUpdate,
    NCMOracle,
    RWalkPlugin,
    SynapticIntelligencePlugin,
)
from torch import Tensor

from cl_bnn.errors import UserError, out_of_memory, reason
from cl_bnn.objectives import require_classes
from cl_bnn.strategies.anchored import Anchored
from cl_bnn.strategies.der_avalanche import AvalancheDER
from cl_bnn.strategies.ewc import EWC
from cl_bnn.strategies.laplace import KroneckerLaplace
from cl_bnn.strategies.loading import require_single_samples
from cl_bnn.strategies.mas import MAS
from cl_bnn.strategies.task_aware import grows

# Plugins that hold, copy or ask the weights that were learned, which not every optimiser leaves in
# the model.
OF_WEIGHTS = (
    Anchored, KroneckerLaplace, AvalancheDER, EWCPlugin, LFLPlugin, LwFPlugin, MASPlugin,
    RWalkPlugin, SynapticIntelligencePlugin, FeatureDistillationPlugin, CurrentDataNCMUpdate,
    MemoryNCMUpdate, NCMOracle, CurrentDataFeCAMUpdate, MemoryFeCAMUpdate, FeCAMOracle,
)  # fmt: skip
# Plugins that put other weights into the model, of which an optimiser that has a state of its own
# for what it learns knows nothing.
REWRITERS = (EarlyStoppingPlugin, FromScratchTrainingPlugin, GDumbPlugin, CWRStarPlugin)
# Plugins of weights whose penalty is on those that the loss reaches without it.
PENALTIES = (Anchored, KroneckerLaplace)
# Plugins that read the gradients of a step once it has been made.
LATE_READERS = (SynapticIntelligencePlugin,)
# Plugins that change the gradient of a step, and would see that of its last sample alone.
GRADIENT_WRITERS = (AGEMPlugin, GEMPlugin)
# Plugins that work on a step of one sample of the weights, and what they do to it.
OF_ONE_SAMPLE = {
    **dict.fromkeys(GRADIENT_WRITERS, "projects the gradient of a step"),
    AvalancheDER: "lets samples join a step",
}
# Plugins that look at samples one at a time.
SINGLE_SAMPLES = (EWC, MAS, KroneckerLaplace)
# Packages whose classes say what they remember, or remember nothing.
KNOWN = ("cl_bnn", "avalanche", "typing", "builtins", "abc")
# The hooks of training outside a step, where optimisers hold something else than the network. From
# `before_forward` to `before_update` the model holds the weights that were drawn for the step.
BETWEEN_STEPS = (
    "before_training", "before_training_exp", "before_training_epoch",
    "before_training_iteration", "after_update", "after_training_iteration", "after_training_epoch",
    "after_training_exp", "after_training",
)  # fmt: skip


class Composed(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]
    """Lets a plugin made for real weights work beside any strategy of this package.

    What a plugin regularises, remembers or copies is the network that is learned: between two steps
    the model holds its binary weights while the plugin looks at it, and not the latent ones (STE)
    or the last sample (BayesBiNN); within a step it holds the weights drawn for that step, and a
    penalty on them reaches the optimiser as their gradient.

    Args:
        plugin: one of Avalanche's, or of ours. If it has `state_dict` and `load_state_dict` (plain
            data and tensors), a run that was interrupted continues; else it begins anew.
    """

    def __init__(self, plugin: Any) -> None:
        super().__init__()
        self.plugin = plugin
        for name in dir(plugin):
            if isinstance(plugin, PENALTIES) and name == "before_backward":
                continue  # see `penalise`
            if name.startswith(("before_", "after_")) and not _idle(plugin, name):
                hook = getattr(plugin, name)
                if type(plugin).__module__.partition(".")[0] == "avalanche":
                    hook = _in_a_line(hook, type(plugin).__name__)
                setattr(self, name, _on_network(hook) if name in BETWEEN_STEPS else hook)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy has a plugin of its own."""
        return type(self), (self.plugin,)

    def accept(self, strategy: Any) -> None:
        """Refuse a strategy whose optimiser the plugin cannot work with.

        Raises:
            UserError: the plugin needs gradients that the optimiser does not keep or does not
                have in one, a norm that works with samples one at a time, or a network that does
                not grow.
        """
        name = type(self.plugin).__name__
        if isinstance(self.plugin, LATE_READERS) and not strategy.gradients_remain:
            raise UserError(
                f"{name} reads the gradients of a step after it was made, and "
                f"{type(strategy).__name__} keeps none: take ste, bop, pmf or full precision"
            )
        draws = getattr(strategy.optimizer, "mc_samples", 1)
        for kind, does in OF_ONE_SAMPLE.items():
            if isinstance(self.plugin, kind) and draws > 1:
                raise UserError(
                    f"{name} {does}, and {type(strategy).__name__} makes its own of {draws} "
                    "samples: set mc_samples = 1"
                )
        if isinstance(self.plugin, AvalancheDER) and grows(strategy.model):
            raise UserError(
                f"{name} remembers outputs, and a network that grows gets others: take DER, or "
                "give the network all outputs"
            )
        if isinstance(self.plugin, SINGLE_SAMPLES):
            require_single_samples(name, strategy)
            require_classes(name, strategy)

    def penalise(self, strategy: Any, **kwargs: Any) -> None:
        """Add a penalty to the loss, once all else has been added."""
        if isinstance(self.plugin, PENALTIES):
            self.plugin.before_backward(strategy, **kwargs)

    @property
    def can_be_saved(self) -> bool:
        """Whether the plugin has a state that can be restored; one that a class of the user's own
        inherits is not the whole of it.
        """
        kind = type(self.plugin)
        return hasattr(kind, "load_state_dict") and says_itself(kind, "state_dict")

    def state_dict(self) -> dict[str, Any]:
        """That of the plugin."""
        found: dict[str, Any] = self.plugin.state_dict() if self.can_be_saved else {}
        return found

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned, its tensors on a device."""
        self.plugin.load_state_dict(_moved(state, device))


def says_itself(kind: type, name: str) -> bool:
    """Whether a class of the user's has this attribute itself, and does not inherit it from a class
    of ours or of Avalanche's; these have it.
    """
    own = own_classes(kind)
    return not own or name in vars(own[0])


def keeps_nothing(kind: Any) -> bool:
    """Whether a class of the user's says that its network and optimiser are all that it remembers;
    ours are members of ensembles, whatever they remember.
    """
    return not own_classes(kind) or (kind.stateless and says_itself(kind, "stateless"))


def own_classes(kind: type) -> list[type]:
    """The classes of the user's that a class is or inherits from, itself first."""
    return [c for c in kind.__mro__ if c.__module__.partition(".")[0] not in KNOWN]


def composed(plugin: Any) -> Any:
    """A plugin of weights or of their gradients as it works beside an optimiser of binary ones; any
    other as it is.
    """
    return Composed(plugin) if asks_weights(plugin) else plugin


def bare(plugin: Any) -> Any:
    """A plugin itself, whether it is composed or not."""
    return plugin.plugin if isinstance(plugin, Composed) else plugin


def asks_weights(plugin: Any) -> bool:
    """Whether a plugin holds, copies or asks weights, or changes their gradients."""
    return isinstance(plugin, (*OF_WEIGHTS, *GRADIENT_WRITERS))


def _moved(value: Any, device: torch.device) -> Any:
    """Plain data, its tensors on a device."""
    if isinstance(value, dict):
        return {key: _moved(inner, device) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_moved(inner, device) for inner in value)
    return value.to(device) if isinstance(value, Tensor) else value


def _idle(plugin: Any, name: str) -> bool:
    """Whether a hook is the empty one that every plugin of Avalanche inherits."""
    return getattr(type(plugin), name, None) is getattr(SupervisedPlugin, name, plugin)


def _in_a_line(hook: Callable[..., Any], plugin: str) -> Callable[..., None]:
    """The hook of a plugin that takes any value for a setting and breaks down later."""

    def told(*args: Any, **kwargs: Any) -> None:
        try:
            hook(*args, **kwargs)
        except Exception as error:
            if out_of_memory(error):
                raise
            raise UserError(
                f"Avalanche's {plugin} broke down, which a setting that it cannot work with can "
                f"be the reason of: {reason(error)}"
            ) from error

    return told


def _on_network(hook: Callable[..., Any]) -> Callable[..., None]:
    """The hook, called while the model holds the weights of the network."""

    def between(strategy: Any, *args: Any, **kwargs: Any) -> None:
        with strategy.network_weights():
            hook(strategy, *args, **kwargs)

    return between
