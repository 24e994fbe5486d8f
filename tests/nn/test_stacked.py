"""Networks side by side compute and learn what each would alone."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cl_bnn.nn import BinaryLinear, Stacked, binary_parameters, mlp, nin, real_parameters
from cl_bnn.optim import STE, Bop

COUNT, BATCH = 3, 12


def networks(kind: str) -> tuple[list[nn.Module], tuple[int, ...]]:
    torch.manual_seed(0)
    if kind == "mlp":
        made = [mlp(in_features=6, out_features=4, width=8) for _ in range(COUNT)]
        return [*made], (6,)
    if kind == "heads":
        made = [mlp(in_features=6, out_features=4, width=8, n_heads=3) for _ in range(COUNT)]
        return [*made], (6,)
    form = nin(input_shape=(3, 8, 8), out_features=4, form="semi", width=0.05, dropout=0.0)
    found = [copy.deepcopy(form) for _ in range(COUNT)]
    for network in found:
        for parameter in network.parameters():
            parameter.data = torch.randn_like(parameter) * 0.3
    return [*found], (3, 8, 8)


def test_convolutions_have_the_outputs_and_gradients_of_each_network() -> None:
    """At real weights: with binary ones, poolings have ties that the last bit decides."""
    alone, shape = networks("nin")
    alone = [network.double() for network in alone]
    stacked = Stacked(alone)
    x = torch.randn(COUNT, BATCH, *shape, dtype=torch.float64)
    direction = torch.randn(COUNT, BATCH, 4, dtype=torch.float64)
    outputs = stacked(x.flatten(0, 1)).view(COUNT, BATCH, 4)
    torch.autograd.backward((outputs * direction).sum())
    for k, network in enumerate(alone):
        expected = network(x[k])
        torch.testing.assert_close(outputs[k], expected)
        torch.autograd.backward((expected * direction[k]).sum())
        for name, parameter in network.named_parameters():
            found = stacked.get_parameter(name.replace(".", "__")).grad
            assert found is not None and parameter.grad is not None
            torch.testing.assert_close(found[k], parameter.grad)
        for name, value in network.state_dict().items():
            torch.testing.assert_close(stacked.member(k)[name], value)


@pytest.mark.parametrize("kind", ["mlp", "heads"])
@pytest.mark.parametrize("optimiser", ["ste", "bop"])
def test_each_learns_as_if_it_were_alone(kind: str, optimiser: str) -> None:
    alone, shape = networks(kind)
    alone = [network.double() for network in alone]  # a sign must not depend on the last bit
    stacked = Stacked(alone)
    labels = torch.full((BATCH,), 2) if kind == "heads" else None
    made = []
    for model in (stacked, *alone):
        binary = binary_parameters(model)
        real = real_parameters(model)
        inner = torch.optim.Adam(real, 1e-2) if real else None
        if optimiser == "ste":
            groups = [{"params": binary}, {"params": real, "binary": False}]
            made.append(STE(groups, 1e-2))
        else:
            made.append(Bop(binary, threshold=1e-4, gamma=0.1, inner=inner))  # type: ignore[arg-type]
    for _ in range(4):
        x = torch.randn(COUNT, BATCH, *shape, dtype=torch.float64)
        y = torch.randint(4, (COUNT, BATCH))
        for optimizer in made:
            optimizer.zero_grad()
            optimizer.draw()
        more = () if labels is None else (labels.repeat(COUNT),)
        loss = F.cross_entropy(stacked(x.flatten(0, 1), *more), y.flatten()) * COUNT
        torch.autograd.backward(loss)
        for k, network in enumerate(alone):
            more = () if labels is None else (labels,)
            torch.autograd.backward(F.cross_entropy(network(x[k], *more), y[k]))
        for optimizer in made:
            optimizer.step()
    for k, network in enumerate(alone):
        for name, value in network.state_dict().items():
            torch.testing.assert_close(stacked.member(k)[name], value)
    stacked.eval()
    x = torch.randn(5, *shape, dtype=torch.float64)
    more = () if labels is None else (torch.full((5,), 2),)
    expected = torch.stack([network.eval()(x, *more) for network in alone])
    torch.testing.assert_close(stacked(x, *more), expected)


def test_what_is_binary_is_what_the_layers_declare() -> None:
    form = nn.Sequential(nn.Linear(2, 3), BinaryLinear(3, 4, bias=True, binary_bias=True))
    stacked = Stacked([form, copy.deepcopy(form)])
    assert [tuple(p.shape) for p in binary_parameters(stacked)] == [(2, 4, 3), (2, 4)]
    assert [tuple(p.shape) for p in real_parameters(stacked)] == [(2, 3, 2), (2, 3)]


def test_dropout_differs_between_members() -> None:
    form = nn.Sequential(nn.Dropout(0.5))
    stacked = Stacked([form, copy.deepcopy(form)])
    first, second = stacked(torch.ones(200, 3)).chunk(2)
    assert not torch.equal(first, second)


class Counting(nn.Module):
    """With a buffer that no file keeps."""

    scale: torch.Tensor

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.linear = BinaryLinear(6, 4)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.linear(x) * self.scale
        return found


def test_buffers_that_are_not_saved_are_used() -> None:
    alone = [Counting(1.0), Counting(2.0)]
    stacked = Stacked(alone).eval()
    x = torch.randn(5, 6)
    for k, network in enumerate(alone):
        torch.testing.assert_close(stacked(x)[k], network(x))
        assert stacked.member(k).keys() == network.state_dict().keys()


def test_none_is_refused() -> None:
    with pytest.raises(ValueError, match="networks must hold at least one network, got none"):
        Stacked([])
