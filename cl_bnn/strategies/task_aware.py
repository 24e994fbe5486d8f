"""A network as Avalanche knows it."""

from typing import Any

import torch
from avalanche.benchmarks import CLExperience
from avalanche.models import DynamicModule, MultiTaskModule
from avalanche.models.utils import avalanche_model_adaptation
from torch import Tensor, nn

from cl_bnn.nn.labels import asks_labels
from cl_bnn.optim.weights import evaluating


class TaskAware(MultiTaskModule):
    """A network as Avalanche knows it: gets the task labels, and is told them if it asks.

    Args:
        network: called with inputs, and with task labels too if its `forward` asks for them, see
            `cl_bnn.nn.labels.asks_labels`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._told = asks_labels(network.forward)

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
    with evaluating(model):
        for experience in [experiences] if isinstance(experiences, CLExperience) else experiences:
            avalanche_model_adaptation(model, experience)
    model.to(device)
