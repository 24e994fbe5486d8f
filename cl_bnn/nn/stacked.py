"""Several networks of one architecture as one: their parameters stacked, computed side by side."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from cl_bnn.nn.labels import asks_labels
from cl_bnn.nn.layers import binary_parameters


class Stacked(nn.Module):
    """M networks side by side: every parameter and buffer has a first dimension of length M.

    Linear layers become batched matrix products, convolutions grouped ones (torch's `vmap`). An
    optimiser that works element by element trains every network as if it were alone, once the
    gradient of each network's mean loss is what it gets: the sum of these losses is to be
    differentiated.

    In training the first M-th of a batch is for the first network, and so on; in evaluation every
    network sees the whole batch.

    Args:
        networks: at least one; their values are copied, and need to have the same names and shapes.

    Raises:
        ValueError: there are none.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if not networks:
            raise ValueError("networks must hold at least one network, got none")
        first, self.count = networks[0], len(networks)
        own = {id(parameter) for parameter in binary_parameters(first)}
        self._binary = [_flat(n) for n, p in first.named_parameters() if id(p) in own]
        held, saved = (*first.named_parameters(), *first.named_buffers()), first.state_dict()
        self._names = {_flat(name): name for name, _ in held}
        parameters, buffers = stack_module_state(list(networks))
        for name, value in parameters.items():
            learned = first.get_parameter(name).requires_grad
            self.register_parameter(_flat(name), nn.Parameter(value.detach(), learned))
        for name, value in buffers.items():
            self.register_buffer(_flat(name), value, persistent=name in saved)
        self._told = asks_labels(first.forward)
        # In a list, lest its parameters count as ours.
        self._form = [copy.deepcopy(first).to("meta")]

    def binary(self) -> list[Tensor]:
        """The binary parameters, as layers declare them."""
        return [self.get_parameter(name) for name in self._binary]

    def forward(self, x: Tensor, task: Tensor | None = None) -> Tensor:
        """Outputs of all networks.

        Args:
            x: (M * batch, ...) in training, (batch, ...) in evaluation.
            task: task labels, all the same, for networks that ask for them.

        Returns:
            (M * batch, outputs) in training, (M, batch, outputs) in evaluation.
        """
        (form,) = self._form
        form.train(self.training)
        own = (*self.named_parameters(recurse=False), *self.named_buffers(recurse=False))
        tensors: dict[str, Tensor] = dict(own)
        if self.training:
            x = x.view(self.count, -1, *x.shape[1:])
        rest = (task[: x.shape[1]] if self.training and task is not None else task,)

        def one(state: dict[str, Tensor], inputs: Tensor) -> Tensor:
            named = {self._names[name]: value for name, value in state.items()}
            found: Tensor = functional_call(form, named, (inputs, *rest) if self._told else inputs)
            return found

        run = torch.vmap(one, (0, 0 if self.training else None), randomness="different")
        outputs: Tensor = run(tensors, x)
        return outputs.flatten(0, 1) if self.training else outputs

    def member(self, index: int) -> dict[str, Tensor]:
        """The state of one network by the names it had alone; views of what is stacked here."""
        state = self.state_dict()
        return {self._names[name]: value[index] for name, value in state.items()}


def vectors(model: nn.Module) -> list[Tensor]:
    """Biases, gains and shifts: the parameters of one dimension at most, of each network where
    several are stacked.
    """
    return [
        parameter
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        if parameter.dim() <= 1 + isinstance(module, Stacked)
    ]


def _flat(name: str) -> str:
    """A name without dots, which torch keeps for the names of modules."""
    return name.replace(".", "__")
