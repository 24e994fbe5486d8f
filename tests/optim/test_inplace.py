"""What is computed in place is, bit for bit, what the equations say."""

import pytest
import torch
from bayes import vectors
from torch import Tensor

from cl_bnn.optim import BayesBiNN, equations, inplace
from cl_bnn.optim.bayesbinn import Mode

SHAPES = [(1,), (7, 5), (130, 257)]
DTYPES = [torch.float32, torch.float64]
CASES = pytest.mark.parametrize("shape", SHAPES, ids=str)
TYPES = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def same(found: Tensor, expected: Tensor) -> None:
    """Equal to the last bit; NaN, as 0 times an infinite scale, where it is expected."""
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def numbers(shape: tuple[int, ...], dtype: torch.dtype, count: int, size: float) -> list[Tensor]:
    """Normal numbers of very different sizes, 0 and saturated values among them."""
    source = torch.Generator().manual_seed(3)
    found = []
    for _ in range(count):
        values = torch.randn(shape, generator=source, dtype=dtype) * size
        far = torch.rand(shape, generator=source)
        found.append(torch.where(far < 0.2, values * 100, torch.where(far < 0.3, 0.0, values)))
    return found


@CASES
@TYPES
@pytest.mark.parametrize("temperature", [1e-10, 1e-2, 1.0])
@pytest.mark.parametrize("own", [False, True])
def test_relaxed_weights(
    shape: tuple[int, ...], dtype: torch.dtype, temperature: float, own: bool
) -> None:
    (natural,) = numbers(shape, dtype, 1, 3)
    uniform = torch.rand(shape, dtype=dtype)
    expected = (
        equations.relaxed_argument(natural, uniform, temperature),
        equations.relaxed_weights(natural, uniform, temperature),
    )
    weights, argument = torch.empty_like(natural), uniform if own else torch.empty_like(natural)
    inplace.load_relaxed(weights, argument, natural, uniform, temperature)
    same(argument, expected[0])
    same(weights, expected[1])


@CASES
@TYPES
@pytest.mark.parametrize("temperature", [1e-10, 1e-2, 1.0])
def test_gradient_scales(shape: tuple[int, ...], dtype: torch.dtype, temperature: float) -> None:
    natural, argument, gradient = numbers(shape, dtype, 3, 3)
    work = inplace.Workspace().like(natural)
    weights, mean = torch.tanh(argument), torch.tanh(natural)
    published = equations.gradient_scale(weights, mean, temperature, equations.REFERENCE_EPS)
    found = gradient.clone()
    inplace.scale_gradient(found, weights, mean, temperature, work)
    same(found, gradient * published)
    for bound in (1.0, 2.5, float("inf")):
        sound = equations.bounded_gradient_scale(argument, natural, temperature, bound)
        found = gradient.clone()
        inplace.scale_gradient_bounded(
            found, argument.clone(), weights, natural, temperature, bound, work
        )
        same(found, gradient * sound)


@CASES
@TYPES
@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.99])
def test_natural_step(shape: tuple[int, ...], dtype: torch.dtype, momentum: float) -> None:
    natural, prior, gradient, buffer = numbers(shape, dtype, 4, 2)
    settings = {"lr": 3e-3, "momentum": momentum, "kl_weight": 0.7, "step": 4}
    expected, expected_buffer = equations.natural_step(natural, prior, gradient, buffer, **settings)
    before = buffer.clone()
    work = inplace.Workspace().like(natural)
    inplace.move_natural(natural, prior, gradient.clone(), buffer, work=work, **settings)
    same(natural, expected)
    same(buffer, expected_buffer if momentum else before)


def test_workspace_is_shared_by_tensors_of_one_shape() -> None:
    workspace = inplace.Workspace()
    first, second = workspace.like(torch.zeros(2, 3))
    assert first.shape == second.shape == (2, 3)
    assert first.data_ptr() != second.data_ptr()
    assert workspace.like(torch.ones(2, 3))[0] is first
    assert workspace.like(torch.zeros(2, 3, dtype=torch.float64))[0].dtype == torch.float64


LARGE = inplace.BLOCK + 37  # two blocks, the second of an odd size


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("mode", ["reference", "sound"])
def test_large_tensors_are_cut_into_blocks_and_nothing_changes(
    monkeypatch: pytest.MonkeyPatch, mode: Mode, momentum: float
) -> None:
    gradient, uniform = torch.randn(LARGE) * 1e-3, torch.rand(LARGE)
    start = numbers((LARGE,), torch.float32, 1, 3)[0]
    assert [len(part) for (part,) in inplace.blocks(start)] == [inplace.BLOCK, 37]
    found = []
    for block in (inplace.BLOCK, LARGE):
        monkeypatch.setattr(inplace, "BLOCK", block)
        weights = torch.nn.Parameter(torch.zeros(LARGE))
        optimiser = BayesBiNN(vectors(weights), 0.1, train_set_size=9, mode=mode, momentum=momentum,
            uniform=lambda _: uniform.clone(),
        )  # fmt: skip
        (natural,) = optimiser.naturals()
        natural.copy_(start)
        for _ in range(2):
            optimiser.draw()
            weights.grad = gradient.clone()
            optimiser.step()
        found.append((natural, weights.data))
    assert not torch.equal(found[0][0], start)
    same(found[0][0], found[1][0])
    same(found[0][1], found[1][1])


def test_tensors_with_gaps_are_left_whole() -> None:
    whole = torch.zeros(LARGE, 2)[:, 0]
    ((first, second),) = inplace.blocks(whole, torch.zeros(LARGE))
    assert first is whole and second.shape == whole.shape


def test_uniform_numbers_of_a_block() -> None:
    count = inplace.DRAWN
    uniform = torch.empty(count)
    torch.manual_seed(0)
    inplace.draw_uniform(uniform, inplace.Workspace().like(uniform))
    cells = uniform.double() * 2**inplace.UNIFORM_BITS
    same(cells, cells.round())
    assert 0 <= uniform.min() < 1e-4
    assert 1 - 1e-4 < uniform.max() < 1
    # Kolmogorov-Smirnov: exceeds 2.2 / sqrt(n) once in 8000 times.
    gap = (uniform.sort().values.double() - torch.arange(count) / count).abs().max().item()
    assert gap < 2.2 / count**0.5
    # The two numbers from one integer have nothing to do with each other.
    first, second = uniform.view(-1, 2).double().T - 0.5
    assert abs((first * second).mean().item() * 12) < 4 / (count / 2) ** 0.5


def test_uniform_numbers_lie_in_any_order_in_memory() -> None:
    uniform = torch.full((2, inplace.DRAWN // 2, 3), -1.0).transpose(1, 2)
    inplace.draw_uniform(uniform, inplace.Workspace().like(uniform))
    assert uniform.min() >= 0 and uniform.max() < 1 and uniform.std() > 0.28


def test_uniform_numbers_are_the_same_whatever_the_blocks() -> None:
    found = []
    for cuts in ([3 * inplace.DRAWN + 5], [inplace.DRAWN] * 3 + [5]):
        torch.manual_seed(0)
        whole = torch.empty(sum(cuts))
        for piece in torch.split(whole, cuts):
            inplace.draw_uniform(piece, inplace.Workspace().like(piece))
        found.append(whole)
    same(*found)
    assert found[0].unique().numel() > 0.97 * found[0].numel(), "no piece is that of another"


def test_saturated_weights_draw_only_what_the_noise_can_turn() -> None:
    natural = torch.tensor([-1e8, -8.5, 8.5, 12.0, 0.3, -0.3]).repeat(20_000, 1)
    weights, argument = torch.empty_like(natural), torch.empty_like(natural)
    torch.manual_seed(0)
    inplace.load_saturated(weights, argument, natural, 1e-10, inplace.Workspace().like(natural))
    assert (weights[:, :2] == -1).all() and (weights[:, 2:4] == 1).all()
    assert (weights.abs() == 1).all()
    same(torch.tanh(argument), weights)
    share = (weights[:, 4:] > 0).double().mean(0)
    expected = torch.sigmoid(2 * torch.tensor([0.3, -0.3]))
    assert (share - expected).abs().max() < 4 * 0.5 / 20_000**0.5
    state = torch.get_rng_state()
    broken = torch.tensor([torch.nan, 9.0])
    loaded = torch.empty_like(broken)
    inplace.load_saturated(loaded, loaded, broken, 1e-10, inplace.Workspace().like(broken))
    assert loaded.isnan().tolist() == [True, False], "a network that broke down looks healthy"
    inplace.load_saturated(
        weights[:, :4].contiguous(), argument[:, :4].contiguous(), natural[:, :4].contiguous(),
        1e-10, inplace.Workspace().like(natural[:, :4]),
    )  # fmt: skip
    same(torch.get_rng_state(), state)
