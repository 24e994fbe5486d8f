"""How much the outputs of old tasks mind a change of a layer's weights: Kronecker factors of the
Fisher information.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cl_bnn.optim.weights import evaluating

__all__ = [
    "FactorMeter", "Factors", "factors_of", "grown", "kronecker_factors", "layers_of", "mean_pull",
    "owners", "remembered", "weights_of",
]  # fmt: skip

# Samples that go through one sampled network together.
BATCH = 100

Networks = Callable[[int], AbstractContextManager[Iterable[Any]]]


class Factors(NamedTuple):
    """The Fisher information of a weight matrix W (outputs, inputs) is nearly A (x) G: a change D
    costs `tr(G D A D^T) / 2` nats a sample (Martens and Grosse 2015, arXiv:1503.05671, section 3).

    Attributes:
        inputs: A = E[a a^T] of the inputs a of the layer, (inputs, inputs).
        outputs: G = E[g g^T] of the gradients g of log p(y | x) with respect to what the layer
            puts out, before anything else is done to it, (outputs, outputs).
    """

    inputs: Tensor
    outputs: Tensor


def grown(factor: Tensor, size: int) -> Tensor:
    """A square factor of a layer that grew to `size`: old tasks do not mind what is new."""
    missing = size - len(factor)
    return F.pad(factor, (0, missing, 0, missing))


def remembered(
    before: Factors | None, found: Factors, n_tasks: int, *, power: float = 1.0, count: float = 1.0
) -> Factors:
    """The factors of all tasks, now that another one has been learned.

        A <- rho A + N A_task,    G <- the mean of G_task over tasks

    Args:
        before: A and G of the `n_tasks` before it, of a layer that may have been smaller; None if
            there were none.
        found: A_task and G_task.
        n_tasks: how many tasks there were before it.
        power: rho.
        count: N.
    """
    if before is None:
        return Factors(count * found.inputs, found.outputs)
    a, g = (grown(old, len(new)) for old, new in zip(before, found, strict=True))
    inputs = power * a + count * found.inputs
    return Factors(inputs, torch.lerp(g, found.outputs, 1 / (n_tasks + 1)))


def mean_pull(mean: Tensor, anchor: Tensor, factors: Factors) -> Tensor:
    """Gradient with respect to mu of `E[tr(G (W - M) A (W - M)^T)] / 2` over +-1 weights W of mean
    mu.

    The weights are independent and their squares are 1, so that what is on the diagonal of A (x) G
    acts on mu along a straight line, and

        pull  =  G (mu - M) A  -  mu * diag(G) diag(A)^T

    At mu = M that is -M * diag(G) diag(A)^T: towards the sign of M, with every task anew.

    Args:
        mean: mu of a layer's weights, (outputs, ...), as many inputs as there are in all.
        anchor: M, same shape.
        factors: A and G.

    Returns:
        A new tensor of that shape.
    """
    a, g = factors
    away = (mean - anchor).flatten(1)
    pull = (g @ away @ a).view_as(mean)
    return pull.sub_(mean * torch.outer(g.diagonal(), a.diagonal()).view_as(mean))


def owners(model: nn.Module) -> dict[Tensor, nn.Module]:
    """The layer of every weight whose factors are known: that of one linear layer alone, or of one
    ungrouped convolution in two dimensions that pads with zeros; neither does anything else to it.
    """
    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    times = Counter(layer.weight for layer in layers)
    return {layer.weight: layer for layer in layers if times[layer.weight] == 1 and _plain(layer)}


def _plain(layer: nn.Linear | nn.Conv2d) -> bool:
    if isinstance(layer, nn.Linear):
        return type(layer).forward is nn.Linear.forward
    same = type(layer).forward is nn.Conv2d.forward
    return same and layer.groups == 1 and layer.padding_mode == "zeros"


def layers_of(model: nn.Module, parameters: Iterable[Tensor]) -> dict[Tensor, nn.Module]:
    """The linear or convolutional layer that each of the weights belongs to.

    Raises:
        ValueError: a weight of which `owners` does not know the layer.
    """
    found: dict[Tensor, nn.Module] = {}
    known = owners(model)
    for parameter in parameters:
        if parameter not in known:
            raise ValueError(
                f"a weight of shape {tuple(parameter.shape)} has no Kronecker factors: they are "
                "known of linear layers and of ungrouped convolutions in two dimensions that pad "
                "with zeros, each with weights of its own"
            )
        found[parameter] = known[parameter]
    return found


class FactorMeter:
    """Adds up the factors of some layers, from samples that go through them and back.

        meter = FactorMeter(layers_of(model, weights))
        with meter.listening():
            -log_p(model(x)).sum().backward()     # once for all samples of x, as often as wanted
        factors = meter.factors(len(x))

    A convolution sees every place of an image as an input: A is their mean, G the sum over places
    (Grosse and Martens 2016, arXiv:1602.01407, theorem 1); so it is with a layer that a pass uses
    more than once. In evaluation a sample must not depend
    on the others, as it does with the norm `"batch"`.

    Args:
        layers: by weight, see `layers_of`.
    """

    def __init__(self, layers: dict[Tensor, nn.Module]) -> None:
        self.layers = layers
        self._inputs: dict[Tensor, Tensor] = {}
        self._outputs: dict[Tensor, Tensor] = {}
        self._uses: Counter[Tensor] = Counter()  # of a layer in the pass under way
        self._answered: set[Tensor] = set()  # whose pass is on its way back

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, forward and backward passes of the model are taken into account."""
        hooks = [self._listen(weight, layer) for weight, layer in self.layers.items()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _listen(self, weight: Tensor, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def forward(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            if not output.requires_grad:  # frozen, and nothing before it learns
                return
            if weight in self._answered:  # another pass
                self._answered.remove(weight)
                del self._uses[weight]
            self._uses[weight] += 1
            patches = _patches(layer, given[0].detach()).to(weight.dtype)  # also under autocast

            def backward(gradient: Tensor) -> None:
                self._answered.add(weight)
                places = _rows(layer, gradient).to(weight.dtype)
                # A mean over places and uses, a sum over samples.
                share = len(gradient) / len(patches) / self._uses[weight]
                with torch.autocast(weight.device.type, enabled=False):
                    self._add(self._inputs, weight, patches.t() @ patches * share)
                    self._add(self._outputs, weight, places.t() @ places)

            output.register_hook(backward)  # type: ignore[no-untyped-call]

        return layer.register_forward_hook(forward)

    def _add(self, sums: dict[Tensor, Tensor], weight: Tensor, found: Tensor) -> None:
        sums[weight] = sums[weight] + found if weight in sums else found

    def factors(self, count: int) -> dict[Tensor, Factors]:
        """The factors of the weights on which something depended, from so many samples."""
        return {
            weight: Factors(self._inputs[weight] / count, self._outputs[weight] / count)
            for weight in self._inputs
        }


def kronecker_factors(model: nn.Module, optimizer: Any, x: Tensor) -> dict[Tensor, Factors]:
    """The factors of all weights of an optimiser with a posterior, for `posterior_to_prior`.

        optimizer.posterior_to_prior(kronecker_factors(model, optimizer, x))

    Args:
        model: predicts classes; a sample must not depend on the others.
        optimizer: such as `cl_bnn.optim.BayesBiNN` with `mode="straight"`, of weights of the model.
        x: samples of the task that has been learned, drawn at random, (n, ...); 2000 are enough.

    Raises:
        ValueError: a layer of which the factors are not known.
    """
    passes = [partial(model, part) for part in torch.split(x, BATCH)]
    return factors_of(model, weights_of(optimizer), passes, optimizer.posterior_samples)


def weights_of(optimizer: Any) -> list[Tensor]:
    """All parameters that an optimiser with a posterior learns."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def factors_of(
    model: nn.Module, weights: Iterable[Tensor], passes: Sequence[Callable[[], Tensor]],
    networks: Networks | None = None,
) -> dict[Tensor, Factors]:  # fmt: skip
    """The factors of some weights, with labels drawn from what the network says of samples.

    Args:
        model: the network.
        weights: of its layers; those on which no output depends are left out.
        passes: each puts samples through the network, at most `BATCH`: logits (n, classes).
        networks: called with a number; inside, iterating over the result loads as many networks,
            one for each of the passes. None: the one that the model holds.

    Raises:
        ValueError: a layer of which the factors are not known.
    """
    meter, count = FactorMeter(layers_of(model, weights)), 0
    loaded = nullcontext(range(len(passes))) if networks is None else networks(len(passes))
    with evaluating(model), loaded as held, meter.listening():
        for outputs, _ in zip(passes, held, strict=True):
            log_p = outputs().log_softmax(1)
            labels = torch.multinomial(log_p.detach().exp(), 1)
            (-log_p.gather(1, labels).sum()).backward()  # type: ignore[no-untyped-call]
            count += len(log_p)
    model.zero_grad()
    return meter.factors(count)


def _patches(layer: nn.Module, x: Tensor) -> Tensor:
    """What meets the weights of an output, a row for every sample and place: (rows, inputs)."""
    if isinstance(layer, nn.Conv2d):
        x = F.pad(x, layer._reversed_padding_repeated_twice)
        x = F.unfold(x, layer.kernel_size, layer.dilation, 0, layer.stride)
        return x.transpose(1, 2).flatten(0, 1)
    return x.flatten(0, -2)


def _rows(layer: nn.Module, gradient: Tensor) -> Tensor:
    """Gradients (n, outputs, ...) of convolutions or (n, ..., outputs), a row for every place."""
    if isinstance(layer, nn.Conv2d):
        return gradient.flatten(2).transpose(1, 2).flatten(0, 1)
    return gradient.flatten(0, -2)
