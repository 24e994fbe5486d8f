"""How a run is computed: in bfloat16, with the channels innermost; and how recipes say so."""

import pytest
import torch
from torch import nn

from cl_bnn import recipes, uncertainty
from cl_bnn.benchmarks.stream import build_benchmark
from cl_bnn.data.dataset import Split
from cl_bnn.data.task import TaskView
from cl_bnn.errors import UserError
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import BayesBiNNStrategy, SGDStrategy, TaskAware, Template, VCLStrategy


class Look(nn.Module):
    """A network that remembers what it was given and what it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 2))
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.inner(x)
        self.seen.append((x, outputs.detach()))
        return outputs


def train(build: type[Template], network: nn.Module, shape: tuple[int, ...] = (3, 4, 5), **given):
    """An epoch on 12 random images; the strategy, its training loss and its measurements."""
    x = torch.randn(12, *shape, generator=torch.Generator().manual_seed(0))
    view = TaskView(Split(x, torch.arange(12) % 2), torch.clone)
    stream = build_benchmark([view], [view], [0])
    torch.manual_seed(0)
    strategy = build(
        model=TaskAware(network), lr=0.1, train_mb_size=4, eval_mb_size=12,
        device=torch.device("cpu"), evaluator=Recorder(), **given,
    )  # fmt: skip
    strategy.train(stream.train_stream[0], eval_streams=[])
    loss = strategy.evaluator.training()["train_loss"]
    return strategy, loss, strategy.evaluator.measure(strategy, stream.test_stream)[0]


def test_products_are_those_of_bfloat16_and_all_else_is_float32() -> None:
    torch.manual_seed(1)
    network = Look()
    weights = [p.detach().clone() for p in network.parameters()]
    strategy, loss, _ = train(SGDStrategy, network, precision="bf16")
    x, outputs = network.seen[0]
    assert x.dtype == torch.float32 and outputs.dtype == torch.bfloat16
    expected = nn.functional.linear(x.flatten(1).bfloat16(), *(w.bfloat16() for w in weights))
    assert torch.equal(outputs, expected)
    assert network.seen[-1][1].dtype == torch.bfloat16  # in the evaluation, too
    for parameter in network.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32
    torch.manual_seed(1)
    plain = train(SGDStrategy, Look())
    assert loss != plain[1] and loss == pytest.approx(plain[1], rel=0.02)


def test_every_sample_of_the_posterior_is_computed_in_bfloat16() -> None:
    network = Look()
    train(BayesBiNNStrategy, network, precision="bf16", mc_samples=2, eval_samples=3)
    assert len(network.seen) == 3 * 2 + 3 + 1
    assert all(outputs.dtype == torch.bfloat16 for _, outputs in network.seen)


def test_images_come_with_the_channels_innermost_and_nothing_else_changes() -> None:
    found = []
    for innermost in (False, True):
        torch.manual_seed(1)
        network = Look()
        found.append(train(SGDStrategy, network, channels_last=innermost)[1:])
        for x, _ in network.seen:
            assert x.is_contiguous(memory_format=torch.channels_last) == innermost
            assert x.is_contiguous() != innermost
    assert found[0] == found[1]


def test_inputs_that_are_no_images_are_left_alone() -> None:
    network = nn.Linear(6, 2)
    train(SGDStrategy, network, shape=(6,), channels_last=True)


def test_an_unknown_precision() -> None:
    with pytest.raises(ValueError, match="precision must be one of float32, tf32, bf16, got 'fp8'"):
        SGDStrategy(model=nn.Linear(2, 2), precision="fp8")


def spec(**overrides: object) -> recipes.Spec:
    pair = recipes.load_benchmark("imagenette"), recipes.load_strategy("ste")
    return recipes.resolve(*pair, overrides)


def test_arithmetic_is_part_of_a_runs_name_only_if_it_is_not_the_usual_one() -> None:
    usual = spec(precision="float32", channels_last=False)
    assert usual.benchmark == "imagenette"
    assert usual.as_dict() == spec().as_dict()
    assert not {"precision", "channels_last"} & spec().as_dict().keys()
    other = spec(precision="bf16", channels_last=True)
    assert other.benchmark == "imagenette[channels_last=true,precision=bf16]"
    assert (other.as_dict()["precision"], other.as_dict()["channels_last"]) == ("bf16", True)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("precision", "fp8", "'float32', 'tf32', 'bf16'"), ("channels_last", 1, "true or false")],
)
def test_arithmetic_that_there_is_not(key: str, value: object, expected: str) -> None:
    with pytest.raises(UserError, match=f"{key} = {value!r}: expected .*{expected}"):
        recipes.check(spec(**{key: value}))


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_tf32_is_allowed_where_it_is_asked_for_and_nowhere_else(precision: str) -> None:
    def flags() -> tuple[bool, bool, bool]:
        cudnn = torch.backends.cudnn
        return torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic

    class Note(Look):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found.append(flags())
            return super().forward(x)

    found: list[tuple[bool, bool, bool]] = []
    before = flags()
    strategy, *_ = train(SGDStrategy, Note(), precision=precision)
    view = TaskView(Split(torch.zeros(2, 3, 4, 5), torch.arange(2)), torch.clone)
    with uncertainty.asked(strategy) as ask:
        ask(torch.zeros(2, 3, 4, 5), build_benchmark([view], [view], [0]).test_stream[0])
    allowed = precision == "tf32"
    assert found == [(allowed, allowed, True)] * (3 + 1 + 1)
    assert flags() == before
    found.clear()
    train(VCLStrategy, Note(), precision=precision, coreset=4, coreset_epochs=2, eval_samples=2)
    assert len(found) > 3 * 2 + 2 and set(found) == {(allowed, allowed, True)}
