"""A network as Avalanche knows it."""

from inspect import Parameter, signature
from typing import Any

import torch
from avalanche.benchmarks import CLExperience
from avalanche.models import DynamicModule, MultiTaskModule
from avalanche.models.utils import avalanche_model_adaptation
from torch import Tensor, nn

#: What an argument is called that stands for task labels, also where it may be left out.
LABELS = ("task", "tasks", "task_label", "task_labels")


class TaskAware(MultiTaskModule):
    """A network as Avalanche knows it: gets the task labels, and is told them if it asks.

    Args:
        network: called with inputs and task labels if the second argument of its `forward` has no
            default or is called by one of `LABELS`, else with inputs alone.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        second = [*signature(network.forward).parameters.values()][1:2]
        self._told = any(p.default is Parameter.empty or p.name in LABELS for p in second)

    def forward(self, x: Tensor, task_labels: Tensor | None) -> Any:
        """Outputs (batch, ...) for inputs (batch, ...) with task labels (batch,); without labels
        those of every task known so far, by task.
        """
        if task_labels is None:
            return self.forward_all_tasks(x)
        outputs: Tensor = self.network(x, task_labels) if self._told else self.network(x)
        return outputs

    def forward_single_task(self, x: Tensor, task_label: int) -> Tensor:
        """Outputs (batch, ...) for inputs (batch, ...) that all belong to one task."""
        outputs: Tensor = self(x, torch.full((len(x),), task_label, device=x.device))
        return outputs


def grows(model: nn.Module) -> bool:
    """Whether Avalanche adds to the network when it meets other classes or tasks."""
    modules = (module for module in model.modules() if not isinstance(module, TaskAware))
    return any(isinstance(module, DynamicModule) for module in modules)


def adapt(model: nn.Module, experiences: Any, device: torch.device) -> None:
    """Let Avalanche's modules that grow know the experiences, one or several, that are evaluated.

    Whether a module is in training or evaluation mode stays as it is.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    for experience in [experiences] if isinstance(experiences, CLExperience) else experiences:
        avalanche_model_adaptation(model, experience)
    model.to(device)
    for module, training in modes.items():
        module.training = training
