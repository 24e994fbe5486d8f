"""XNOR weights against numbers worked out by hand and finite differences."""

import pytest
import torch
from torch import Tensor, nn

from cl_bnn.optim import XNOR
from cl_bnn.optim.xnor import centre, filter_scale, latent_gradient

SHAPES = [(3, 5), (4, 3, 2, 2)]


def test_centring_is_over_inputs_and_clips() -> None:
    latent = torch.tensor([[[[1.0, 3.0]], [[3.0, -5.0]]]])  # one filter, two inputs, kernel 1 x 2
    assert centre(latent).tolist() == [[[[-1, 1]], [[1, -1]]]]
    assert centre(torch.tensor([[0.1, 0.2, 0.6]]))[0].tolist() == pytest.approx([-0.2, -0.1, 0.3])


def test_a_filter_has_one_scale() -> None:
    latent = torch.tensor([[1.0, -0.5, 0.0], [0.2, 0.2, -0.2]])
    assert filter_scale(latent).flatten().tolist() == pytest.approx([0.5, 0.2])
    assert filter_scale(torch.ones(4, 3, 2, 2)).shape == (4, 1, 1, 1)


def test_gradient_by_hand() -> None:
    """v = (.5, -.3, -.2): alpha 1/3, n = inputs = 3; g = (1, 2, 4): sum sign(v) g = -5."""
    latent, gradient = torch.tensor([[0.5, -0.3, -0.2]]), torch.tensor([[1.0, 2.0, 4.0]])
    h = [1 / 3 - 5 / 3, 2 / 3 + 5 / 3, 4 / 3 + 5 / 3]
    found = latent_gradient(gradient, latent, "published")
    assert found[0].tolist() == pytest.approx([x * (1 - 1 / 3) * 3 for x in h])
    found = latent_gradient(gradient, latent, "exact")
    assert found[0].tolist() == pytest.approx([x - sum(h) / 3 for x in h])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_is_that_of_the_relaxed_weights(shape: tuple[int, ...]) -> None:
    """The sign is relaxed to s + clip(v) - v0, whose value is the sign and whose slope is 1; scale
    and centring have derivatives of their own. Central differences, in float64.
    """
    raw = torch.randn(shape, dtype=torch.float64) * 0.3
    gradient = torch.randn(shape, dtype=torch.float64)
    settled = centre(raw)
    sign = torch.where(settled >= 0, 1.0, -1.0)

    def relaxed(latent: Tensor) -> float:
        v = latent - latent.mean(1, keepdim=True)
        w = filter_scale(v) * (sign + v.clamp(-1, 1) - settled)
        return float((w * gradient).sum())

    expected = torch.zeros_like(raw)
    for index in range(raw.numel()):
        step = torch.zeros(raw.numel(), dtype=torch.float64)
        step[index] = 1e-6
        step = step.view(shape)
        expected.view(-1)[index] = (relaxed(raw + step) - relaxed(raw - step)) / 2e-6
    found = latent_gradient(gradient, settled, "exact")
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def by_hand(latent: Tensor, gradients: list[Tensor]) -> list[Tensor]:
    """The published loop: centre, clip, binarise, gradient at that, torch's own Adam."""
    weights, found = nn.Parameter(latent.clone()), []
    adam = torch.optim.Adam([weights], 0.05, weight_decay=0.1)
    for gradient in gradients:
        weights.data = centre(weights.data)
        found.append(filter_scale(weights.data) * torch.where(weights.data >= 0, 1.0, -1.0))
        weights.grad = latent_gradient(gradient, weights.data, "published")
        adam.step()
    return [*found, weights.data]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_steps_are_those_of_torchs_adam(shape: tuple[int, ...]) -> None:
    latent, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(5)]
    parameter = nn.Parameter(latent.clone())
    xnor = XNOR([parameter], 0.05, weight_decay=0.1)
    found = []
    for gradient in gradients:
        xnor.draw()
        found.append(parameter.data.clone())
        parameter.grad = gradient.clone()
        xnor.step()
    for ours, theirs in zip([*found, parameter.data], by_hand(latent, gradients), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_what_predicts_is_what_would_be_drawn_next() -> None:
    parameter = nn.Parameter(torch.randn(3, 4))
    xnor = XNOR([parameter])
    before = parameter.detach().clone()
    with xnor.mode():
        predicting = parameter.detach().clone()
    assert torch.equal(parameter, before)
    xnor.draw()
    assert torch.equal(parameter, predicting)
    sizes = predicting.abs()
    assert torch.allclose(sizes, sizes[:, :1].expand_as(sizes)) and not torch.equal(
        sizes[0], sizes[1]
    )


@pytest.mark.parametrize("shape", [(3,), (3, 1), (32, 1, 5, 5)])
def test_weights_of_one_input_are_refused_also_where_others_take_them(
    shape: tuple[int, ...],
) -> None:
    group = {"params": [nn.Parameter(torch.zeros(shape))], "binary_vectors": True}
    with pytest.raises(ValueError, match="XNOR centres weights over their inputs, and those of"):
        XNOR([group])


@pytest.mark.parametrize(
    ("name", "value"), [("lr", 0.0), ("weight_decay", -1.0), ("derivative", "none")]
)
def test_wrong_values_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, got {value!r}"):
        XNOR([nn.Parameter(torch.zeros(2, 2))], **{name: value})  # type: ignore[arg-type]
