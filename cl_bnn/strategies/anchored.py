"""What the penalties on single weights share: every weight is held at an anchor, as it mattered."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models.utils import avalanche_forward
from torch import Tensor, nn

from cl_bnn.objectives import require_classes
from cl_bnn.optim.weights import evaluating
from cl_bnn.strategies.following import trained
from cl_bnn.strategies.loading import samples_of

# Samples that go through a network of linear layers together.
BATCH = 100

State = dict[str, Tensor]


class Anchored(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]
    """A plugin that adds to the loss

        factor sum_i A_i (w_i - c_i)^2

    Args:
        factor: of the penalty, >= 0.

    Attributes:
        importance: A by the name of the parameter; a parameter that is missing is free, and so is
            what a parameter has grown by since. One that a task does not reach keeps A and c.
        anchor: c.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.importance: State = {}
        self.anchor: State = {}

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the penalty to the loss."""
        for name, w in reached(strategy):
            if name in self.importance:
                cost = (self.importance[name] * self.away(name, w).square()).sum()
                strategy.loss = strategy.loss + self.factor * cost

    def away(self, name: str, w: Tensor) -> Tensor:
        """How far the weights that are held are from c."""
        return w[self.held(name)] - self.anchor[name]

    def held(self, name: str) -> tuple[slice, ...]:
        """Where in a parameter the weights are that it had when it was anchored."""
        return within(self.anchor[name])

    def state_dict(self) -> dict[str, Any]:
        """A and c, for `load_state_dict`."""
        return {"importance": self.importance, "anchor": self.anchor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.importance, self.anchor = state["importance"], state["anchor"]


def reached(strategy: Any) -> list[tuple[str, Tensor]]:
    """The parameters that the loss of the mini-batch depends on, by name.

    The head of another task is none of them. It needs no penalty, being at its anchor, and must get
    none: a penalty of 0 has a gradient of 0, with which Adam takes the steps that its momentum is
    still good for.
    """
    found: set[Tensor] = set()
    waiting, seen = [strategy.loss.grad_fn], {None}
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += [parent for parent, _ in node.next_functions]
            if hasattr(node, "variable"):  # where gradients are accumulated
                found.add(node.variable)
    return [(name, w) for name, w in strategy.model.named_parameters() if w in found]


def within(anchor: Tensor) -> tuple[slice, ...]:
    """Where in a parameter the weights are that it had at its anchor; it may have grown since."""
    return tuple(map(slice, anchor.shape))


#: Of the outputs for some samples (n, n_outputs) and their labels: weights (n,) and scalars (n,).
Terms = Callable[[Tensor, Tensor], Iterable[tuple[Tensor, Tensor]]]
#: A layer, what it was given (n, inputs) and what it put out (n, outputs).
Seen = list[tuple[nn.Linear, Tensor, Tensor]]


def mean_over_samples(
    plugin: str, strategy: Any, n_samples: int, terms: Terms, size: Callable[[Tensor], Tensor]
) -> State:
    """How large the gradients of functions of the outputs are, each sample's own:

        mean over samples n of sum_k weight_kn size(d scalar_kn / dw)

    in evaluation mode. The gradient of a linear layer's weights is `g a^T` with its input a and
    the gradient g of its output, so that `size(g a^T) = size(g) size(a)^T`, and the sum over
    samples is a product of matrices. Where a parameter belongs to anything else, or a layer is used
    twice, samples go through one at a time.

    Args:
        plugin: the name of what needs it.
        strategy: whose model and experience are meant.
        n_samples: drawn from torch's global generator; all of them if there are fewer.
        terms: the weights and the scalars.
        size: element by element, with `size(u v) = size(u) size(v)`: the square, the absolute
            value.

    Returns:
        The means by the name of the parameter; parameters that no scalar depends on are left out.

    Raises:
        UserError: the network does not predict classes.
    """
    require_classes(plugin, strategy)
    model, data = strategy.model, strategy.experience.dataset
    named = trained(model)
    total: dict[Tensor, Tensor] = {}
    rows = torch.randperm(len(data))[:n_samples]
    parameters = list(named.values())
    with evaluating(model):
        together = _layer_by_layer(strategy, rows[:1], parameters, size)
        for batch in torch.split(rows, BATCH if together else 1):
            outputs, labels, seen = _forward(strategy, batch)
            for weights, scalars in terms(outputs, labels):
                share = weights.detach() / len(rows)
                found = (
                    _of_layers(seen, scalars, share, size)
                    if together
                    else _of_one(parameters, scalars, share, size)
                )
                for parameter, value in found:
                    total[parameter] = total[parameter] + value if parameter in total else value
    return {name: total[p] for name, p in named.items() if p in total}


def _forward(strategy: Any, rows: Tensor) -> tuple[Tensor, Tensor, Seen]:
    """The outputs for some samples of the experience, their labels, and what linear layers did."""
    seen: Seen = []

    def watch(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        if not output.requires_grad:  # nothing before it learns
            return
        seen.append((layer, given[0].detach(), output))

    x, y, task = samples_of(strategy.experience.dataset, rows, strategy.device)
    hooks = [layer.register_forward_hook(watch) for layer in _linear(strategy.model)]
    try:
        return avalanche_forward(strategy.model, x, task), y, seen
    finally:
        for hook in hooks:
            hook.remove()


def _linear(model: nn.Module) -> list[nn.Linear]:
    """The layers that do what `nn.Linear` does, and nothing to their weights."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return [layer for layer in layers if type(layer).forward is nn.Linear.forward]


def _layer_by_layer(
    strategy: Any, row: Tensor, parameters: Sequence[Tensor], size: Callable[[Tensor], Tensor]
) -> bool:
    """Whether all parameters are of linear layers that see a vector a sample, once each; both ways
    are compared on a sample, since a model can do more with a layer than to call it.
    """
    owned = {p for layer in _linear(strategy.model) for p in layer.parameters(recurse=False)}
    outputs, _, seen = _forward(strategy, row)
    twice = len({layer for layer, *_ in seen}) < len(seen)
    if twice or not owned.issuperset(parameters) or any(a.dim() != 2 for _, a, _ in seen):
        return False
    one = torch.ones_like(outputs[:, 0])
    each = dict(_of_one(parameters, outputs[:, 0], one, size))
    layers = dict(_of_layers(seen, outputs[:, 0], one, size))
    return each.keys() <= layers.keys() and all(
        torch.allclose(layers[p], value, rtol=1e-3, atol=1e-6 * float(value.max()))
        for p, value in each.items()
    )


def _of_layers(
    seen: Seen, scalars: Tensor, weights: Tensor, size: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The weighted sum over a batch, of every parameter of the layers."""
    outputs = [output for *_, output in seen]
    gradients = torch.autograd.grad(scalars.sum(), outputs, retain_graph=True, allow_unused=True)
    for (layer, given, _), gradient in zip(seen, gradients, strict=True):
        if gradient is not None:
            sizes = weights.unsqueeze(1) * size(gradient)
            yield layer.weight, sizes.t() @ size(given)
            if layer.bias is not None:
                yield layer.bias, sizes.sum(0)


def _of_one(
    parameters: Sequence[Tensor], scalars: Tensor, weights: Tensor, size: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same of a single sample, of any parameters."""
    gradients = torch.autograd.grad(scalars.sum(), parameters, retain_graph=True, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            yield parameter, weights * size(gradient)
