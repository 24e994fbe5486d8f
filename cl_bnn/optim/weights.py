"""What the optimisers here share: swapping weights in for a while, checking parameters."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from cl_bnn.errors import require


def some(params: Iterable[Any]) -> list[Any]:
    """Parameters or groups for an optimiser of binary weights, as a list.

    Raises:
        ValueError: there are none.
    """
    found = list(params)
    if not found:
        raise ValueError(
            "params must hold at least one binary weight, got none: the network has no linear or "
            "convolutional layer, or its layers declare none; full precision is for torch.optim"
        )
    return found


#: Types in which a small step of lambda, or of a latent weight, is not lost.
PRECISE = (torch.float32, torch.float64)


def refuse_frozen(group: dict[str, Any]) -> list[Tensor]:
    """The parameters of a group, which is left with a list of them, as torch makes one.

    Raises:
        ValueError: one of them is frozen, and would be overwritten by what is drawn.
    """
    params = group["params"]
    # A generator would be empty when torch comes to it.
    group["params"] = [params] if isinstance(params, Tensor) else list(params)
    # (name, parameter) is allowed.
    found = [given[1] if isinstance(given, tuple) else given for given in group["params"]]
    for parameter in found:
        if not parameter.requires_grad:
            raise ValueError(
                f"params holds a frozen parameter, of shape {tuple(parameter.shape)}, which would "
                "be overwritten: leave it out (cl_bnn.nn.binary_parameters does)"
            )
    return found


def refuse_vectors(group: dict[str, Any]) -> None:
    """Raise `ValueError` if a group of binary weights holds a bias or a gain unasked, weights of 16
    bits, or frozen ones, which would be overwritten.

    These are parameters with fewer than two dimensions, and a network seldom survives them as +-1.
    A group whose key `"binary_vectors"` is true may hold them.
    """
    for parameter in refuse_frozen(group):
        require(parameter.dtype in PRECISE, "params", parameter.dtype, "float32 or float64")
        if parameter.dim() < 2 and not group.get("binary_vectors", False):
            raise ValueError(
                f"params holds a bias or a gain, of shape {tuple(parameter.shape)}, which would "
                "become binary: leave it to the inner optimiser (cl_bnn.nn.real_parameters), or "
                'put it into a group with "binary_vectors": True'
            )


def whole(optimizer: Optimizer) -> dict[str, Any]:
    """All that an optimiser holds, its `__getstate__` for copies and pickles: torch's own are the
    settings and the state alone. A scheduler's hold on `step` stays with the original.
    """
    return {name: value for name, value in vars(optimizer).items() if name != "step"}


def replace_in_groups(optimizer: Optimizer, old: Parameter, new: Parameter) -> None:
    """Let `optimizer` optimise `new` where it optimised `old`; its state is left as it is."""
    for group in optimizer.param_groups:
        group["params"] = [new if p is old else p for p in group["params"]]


def group_of(optimizer: Optimizer, parameter: Tensor) -> dict[str, Any]:
    """The group of `optimizer` that holds `parameter`."""
    return next(g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))


def carry_over(before: dict[str, Any], state: dict[str, Any], shape: torch.Size) -> None:
    """Bring what was known of a smaller parameter into the state of a larger one: the beginning of
    every tensor, and every number.

    Args:
        before: the state of the smaller one, with at least the keys of `state`.
        state: that of the larger one.
        shape: of the smaller one; tensors may have more dimensions in front.
    """
    overlap: tuple[Any, ...] = (..., *(slice(0, length) for length in shape))
    for key, value in state.items():
        if isinstance(value, Tensor) and value.dim():
            value[overlap] = before[key]
        else:
            state[key] = before[key]


def require_drawn(optimizer: Any) -> None:
    """Raise `RuntimeError` unless `optimizer` drew weights since it last took their gradients."""
    if not optimizer._drawn:
        name = type(optimizer).__name__
        raise RuntimeError(f"{name} has gradients at weights it did not draw: call draw() first")


def asked(optimizer: Any, closure: Callable[[], Any]) -> Any:
    """What a closure returns; if it breaks down, the step that was begun is left."""
    try:
        with torch.enable_grad():
            return closure()
    except BaseException:
        optimizer.undraw()
        raise


def sampled_loss(optimizer: Any, closure: Callable[[], Any], count: int) -> Any:
    """The mean of the losses of a closure at weights drawn for it `count` times, whose gradients
    `optimizer` accumulates; of a closure that returns no number, what it returned last.
    """
    found = []
    for _ in range(count):
        optimizer.draw()
        loss = asked(optimizer, closure)
        optimizer.accumulate()
        found.append(loss.detach() if isinstance(loss, Tensor) else loss)
    numbers = all(isinstance(loss, Tensor | float | int) for loss in found)
    return sum(found) / count if numbers else found[-1]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, a network predicts instead of learning; on leaving, each of its modules does what it
    did.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def restored(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Hand out `parameters` as a list; on leaving, each has the values that it had on entering.

    Only the storage is swapped (`parameter.data`), so nothing is copied. Code inside must therefore
    *assign* `parameter.data`, not write into it. Autocast, which remembers the rounded weights of a
    parameter as long as a block lasts, forgets them.
    """
    held = list(parameters)
    before = [parameter.data for parameter in held]
    torch.clear_autocast_cache()
    try:
        yield held
    finally:
        for parameter, data in zip(held, before, strict=True):
            parameter.data = data
        torch.clear_autocast_cache()


def draw_signs(natural: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` independent samples of +-1 weights with `P(+1) = sigmoid(2 lambda)`.

    Args:
        natural: lambda, any shape.
        count: number of samples.
        generator: source of randomness on the device of `natural`; the global one if None.

    Returns:
        int8 of shape `(count, *natural.shape)`.
    """
    probability = torch.sigmoid(2 * natural)
    signs = torch.empty((count, *natural.shape), dtype=torch.int8, device=natural.device)
    for sample in signs:
        noise = torch.rand(
            natural.shape, generator=generator, dtype=natural.dtype, device=natural.device
        )
        sample.copy_(noise < probability).mul_(2).sub_(1)
    return signs


class WeightSamples:
    """Weights drawn once and loaded as often as wanted: iterating loads sample after sample.

    Attributes:
        values: per parameter a tensor of shape `(n_samples, *parameter.shape)`; binary weights as
            int8.
    """

    def __init__(self, parameters: list[Parameter], values: list[Tensor]) -> None:
        self.parameters, self.values = parameters, values

    def __len__(self) -> int:
        return len(self.values[0]) if self.values else 0

    def __iter__(self) -> Iterator[int]:
        for sample in range(len(self)):
            for parameter, values in zip(self.parameters, self.values, strict=True):
                parameter.data = values[sample].to(parameter.dtype)
            torch.clear_autocast_cache()
            yield sample
