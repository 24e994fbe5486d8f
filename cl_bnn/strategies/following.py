"""An optimiser that follows its model: new parameters, grown ones, thawed ones."""

from typing import Any

import torch
from torch import nn

from cl_bnn.nn import binary_parameters, reinitialise
from cl_bnn.optim.inner import all_groups
from cl_bnn.optim.weights import replace_in_groups


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are not frozen, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def require_all_trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Refuse a parameter that is neither frozen nor in the optimiser or its inner one.

    Raises:
        ValueError: there is one.
    """
    held = _held(optimizer)
    for name, parameter in trained(model).items():
        if id(parameter) not in held:
            raise ValueError(
                f"optimizer leaves {name} untrained, in its groups and in those of its inner "
                "optimiser: give cl_bnn.nn.real_parameters(model) to one of them, or freeze it "
                "(requires_grad = False)"
            )


def _held(optimizer: torch.optim.Optimizer) -> set[int]:
    """The identities of what an optimiser and its inner one step."""
    return {id(p) for group in all_groups(optimizer) for p in group["params"]}


class FollowsModel:
    """What a strategy does with its optimiser when its model changes; to be put before Avalanche's
    template.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    optimized_param_id: dict[str, nn.Parameter]  # as Avalanche calls it
    _named: dict[str, nn.Parameter]  # what is optimised, by name

    @staticmethod
    def initialise(model: nn.Module) -> None:
        """Initial weights as this strategy wants them; here as the network makes them."""

    def begin_anew(self) -> None:
        """Draw new initial weights, and forget what the optimiser knows."""
        reinitialise(self.model)
        self.initialise(self.model)
        self.optimizer.state.clear()
        inner = getattr(self.optimizer, "inner", None)
        if inner is not None:
            inner.state.clear()

    def make_optimizer(self, **kwargs: Any) -> None:
        """Follow the model: optimise its new parameters, carry grown ones over, wipe nothing.

        Avalanche would wipe the optimiser's state before the first task, and put every parameter
        into its first group.
        """
        binary = {id(p) for p in binary_parameters(self.model)}
        held = _held(self.optimizer)
        named = trained(self.model)
        for name, parameter in named.items():
            before = self._named.get(name)
            if before is None and id(parameter) not in held:  # new, or frozen until now
                self.add_parameter(parameter, binary=id(parameter) in binary)
            elif before is not None and before is not parameter:
                self.replace_parameter(before, parameter)
        self._named = self.optimized_param_id = self._named | named  # frozen ones are known still

    def add_parameter(self, parameter: nn.Parameter, *, binary: bool) -> None:
        """Optimise a parameter that the model did not have before, in the first group."""
        self.optimizer.param_groups[0]["params"].append(parameter)

    def replace_parameter(self, old: nn.Parameter, new: nn.Parameter) -> None:
        """Optimise `new` in the place of `old`, which it replaces in the model."""
        self.optimizer.state.pop(old, None)
        replace_in_groups(self.optimizer, old, new)
