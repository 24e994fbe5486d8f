import math
from pathlib import Path

import pytest
import torch

from cl_bnn import bench, data
from cl_bnn.bench import Case
from cl_bnn.data import Dataset, Split

MIB = 1024**2


@pytest.fixture
def small_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    """600 + 300 images of MNIST in place of all."""
    mnist = data.load("mnist")
    small = Dataset(
        "mnist", Split(mnist.train.x[:600], mnist.train.y[:600]),
        Split(mnist.test.x[:300], mnist.test.y[:300]), mnist.mean, mnist.std, mnist.n_classes,
    )  # fmt: skip
    monkeypatch.setattr(data, "load", lambda name, root=None: small)


def test_ratio_and_verdict() -> None:
    pairs = [(2.0, 1.0), (9.0, 3.0), (5.0, 2.0)]
    assert Case("", "s", pairs, 2.5).ratios == [2.0, 3.0, 2.5]
    assert Case("", "s", pairs, 2.5).met
    assert not Case("", "s", pairs, 2.4).met
    assert Case("", "s", pairs, 2.4, upper=False).met
    assert not Case("", "s", pairs, 2.6, upper=False).met


def test_table_shows_medians_and_range() -> None:
    cases = [
        Case("x", "s", [(2.0, 1.0), (9.0, 3.0), (5.0, 2.0)], 1.25),
        Case("y", "MiB", [(300.0, 200.0)], 3.0, upper=False),
    ]
    assert bench.table(cases).rows == [
        ["x", "5.000 s", "2.000 s", "2.50", "2.00 – 3.00", "≤ 1.25", "no"],
        ["y", "300 MiB", "200 MiB", "1.50", "–", "≥ 3", "no"],
    ]


def test_calls_alternate_and_the_warm_up_is_left_out() -> None:
    order = []

    def call(name: str) -> float:
        order.append(name)
        return len(order)

    assert bench.interleave(2, lambda: call("a"), lambda: call("b")) == [(3, 4), (5, 6)]
    assert order == list("ababab")


def test_memory_note_gives_the_growth_per_task() -> None:
    case = Case("", "MiB", [(136.0, 100.0)], 1.05)
    assert bench.memory_note(case, 2, 20).startswith("(d) 2.00 MiB for each further task; ")


def test_peak_of_a_fresh_process_counts_its_own_memory_only() -> None:
    ballast = bytearray(b"x") * (300 * MIB)
    small = bench.in_fresh_process(bench.peak_mib)
    assert bench.peak_mib() > len(ballast) / MIB > small > 1


def grown() -> float:
    """By how many MiB the peak grows with as many as it was, and how many these are: a ratio."""
    before = math.ceil(bench.peak_mib())
    ballast = bytearray(b"x") * (before * MIB)
    return bench.peak_mib() * MIB / len(ballast)


def test_peak_grows_with_what_the_process_held() -> None:
    assert bench.in_fresh_process(grown) > 1


@pytest.mark.parametrize("recipe", ["bayesbinn", "bayesbinn_reference"])
def test_bare_loop_does_the_mathematics_of_the_strategy(small_mnist: None, recipe: str) -> None:
    from cl_bnn.bench.loops import BareLoop, Ours

    ours = Ours(recipe, train_epochs=1, posterior_as_prior=False)
    network, optimizer = ours.strategy.model.network, ours.strategy.optimizer
    bare = BareLoop(network, optimizer, *ours.materialise(ours.stream.train[0]))
    before = [natural.clone() for natural in bare.naturals]
    for epoch in range(2):
        torch.manual_seed(epoch)
        ours.epoch()
        torch.manual_seed(epoch)
        bare.epoch()
    for first, ours_now, bare_now in zip(before, optimizer.naturals(), bare.naturals, strict=True):
        assert not torch.equal(first, bare_now)
        torch.testing.assert_close(ours_now, bare_now, rtol=1e-5, atol=1e-6)
    for ours_state, bare_state in zip(network.buffers(), bare.network.buffers(), strict=True):
        torch.testing.assert_close(ours_state, bare_state)


def test_draws_counts_random_numbers_whatever_draws_them() -> None:
    from cl_bnn.bench.cases import Draws

    x = torch.zeros(3, 4)
    with Draws() as draws:
        torch.rand(5)
        torch.rand_like(x)
        x.bernoulli_(0.5)
        torch.randperm(7)
        torch.empty(100).fill_(1.0).tanh()
    assert draws.count == 5 + 12 + 12 + 7


def test_torchvision_reads_the_files_written_for_stock_avalanche(
    small_mnist: None, tmp_path: Path
) -> None:
    from torchvision.datasets import MNIST

    from cl_bnn.bench.loops import write_mnist

    write_mnist(tmp_path)
    for train, split in ((True, data.load("mnist").train), (False, data.load("mnist").test)):
        found = MNIST(tmp_path, train=train)
        assert torch.equal(found.data, split.x.squeeze(1))
        assert torch.equal(found.targets, split.y)


def test_main_measures_everything_and_prints_the_table(
    small_mnist: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process of its own would load the whole of MNIST.
    monkeypatch.setattr(
        bench, "in_fresh_process", lambda function, *arguments: function(*arguments)
    )
    threads = torch.get_num_threads()
    cases = bench.main(2, memory_tasks=(1, 2), eval_samples=3, width=16)
    assert torch.get_num_threads() == threads
    letters = [case.name[1] for case in cases]
    assert letters == ["a", "a", "b", "c", "d", "e", "e", "f"]
    assert [len(case.pairs) for case in cases] == [2, 2, 2, 2, 1, 2, 2, 2]
    assert [letter for letter, case in zip(letters, cases, strict=True) if not case.upper] == [
        "b", "f"
    ]  # fmt: skip
    assert all(ratio > 0 for case in cases for ratio in case.ratios)
    out = capsys.readouterr().out
    assert all(case.name in out for case in cases)
    assert "draws 1.00 random numbers for each of the 89400 weights of 3 networks" in out
    assert f"1 thread, torch {torch.__version__}" in out.splitlines()[-1]
