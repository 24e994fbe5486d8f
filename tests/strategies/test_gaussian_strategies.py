"""MESU and VCL as strategies: summed losses, priors, new heads, coresets."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import tiny
import torch
import two_blobs
from avalanche.benchmarks import tensors_benchmark
from avalanche.core import SupervisedPlugin
from avalanche.models import SimpleMLP, as_multitask
from torch import Tensor, nn
from torch.nn import functional as F
from two_blobs import At, benchmark

from cl_bnn import Trainer, recipes
from cl_bnn.errors import UserError
from cl_bnn.nn import mlp
from cl_bnn.optim import MESU, VCL
from cl_bnn.optim.vcl import gaussian_kl
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import EWC, Composed, MESUStrategy, TaskAware, VCLStrategy, ensemble_of
from cl_bnn.strategies.loading import view_behind

FEW = {"mc_samples": 2, "eval_samples": 5}
STRATEGIES: dict[str, Callable[..., Any]] = {"mesu": MESUStrategy, "vcl": VCLStrategy}


@pytest.fixture(params=list(STRATEGIES))
def build(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return STRATEGIES[request.param]


def settings(**more: Any) -> dict[str, Any]:
    return two_blobs.settings(**FEW) | more


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Linear(30, 2))


def digits(
    n_experiences: int = 2, *, heads: bool = False, **more: Any
) -> tuple[VCLStrategy, tiny.Stream]:
    """VCL on a few digits, about 120 images a task, 20 of each in the coreset."""
    stream = tiny.stream(n_experiences=n_experiences, heads=heads)
    model = mlp(
        in_features=784, out_features=2, n_heads=stream.n_heads, width=16, n_tasks=n_experiences
    )
    given = dict(evaluator=Recorder(), train_mb_size=20, train_epochs=2, eval_mb_size=200)
    given |= FEW | dict(coreset=20, coreset_epochs=3) | more
    return VCLStrategy(model=TaskAware(model), **given), stream  # type: ignore[arg-type]


@pytest.mark.parametrize("predictor", ["posterior", "mode"])
def test_learns(build: Callable[..., Any], predictor: str) -> None:
    strategy = build(model=network(), **settings(train_epochs=10, lr=0.1))
    data = benchmark(1)
    strategy.train(data.train_stream, eval_streams=[])
    strategy.predictor = predictor
    found = strategy.eval(data.test_stream)
    assert found["Top1_Acc_Stream/eval_phase/test_stream/Task000"] >= 0.9
    assert strategy.naturals() is None


def test_the_kl_term_of_members_side_by_side_is_their_mean() -> None:
    found: list[tuple[float, float]] = []

    class Look(SupervisedPlugin):  # type: ignore[type-arg]
        def after_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
            own = strategy.optimizer
            kl = [
                sum(
                    gaussian_kl(
                        own._mean_of(p)[k], state["log_variance"][k], state["prior_mean"][k],
                        state["prior_log_variance"][k],
                    )
                    for _, p, state in own._posteriors()
                )
                for k in range(3)
            ]  # fmt: skip
            found.append((strategy.learned()["kl"], float(sum(kl)) / 3))

    model = TaskAware(mlp(in_features=784, out_features=2, width=8))
    given = settings(evaluator=Recorder(), plugins=[Look()], eval_mb_size=200)
    ensemble: Any = ensemble_of(VCLStrategy, side_by_side=True)(model=model, size=3, **given)
    ensemble.train(tiny.stream(n_experiences=1).train[0], eval_streams=[])
    assert len(found) == 2 and all(ours == pytest.approx(mean, rel=1e-5) for ours, mean in found)


def test_everything_has_a_posterior(build: Callable[..., Any]) -> None:
    strategy = build(model=network(), **settings())
    before = {name: p.detach().clone() for name, p in strategy.model.named_parameters()}
    strategy.train(benchmark(1).train_stream, eval_streams=[])
    assert len(strategy.optimizer.state) == 6, "weights, biases, gain and shift of the norm"
    assert all((p != before[name]).any() for name, p in strategy.model.named_parameters())


def test_mesu_sums_the_losses_of_a_batch() -> None:
    """A batch of four times the same sample: as one sample with four times the slope."""
    found = []
    for copies, factor in ((4, 1), (1, 4)):
        torch.manual_seed(0)
        x, y = torch.tensor([[1.0, -2.0, 0.5]]).repeat(copies, 1), torch.zeros(copies).long()
        data = tensors_benchmark(
            train_tensors=[(x, y)], test_tensors=[(x, y)], task_labels=[0]
        )  # fmt: skip
        strategy = MESUStrategy(
            model=nn.Linear(3, 2, bias=False), **settings(train_mb_size=copies, train_epochs=1)
        )
        strategy.optimizer.noise = lambda like: torch.full_like(like, 0.3)
        for group in strategy.optimizer.param_groups:
            assert group["batch_size"] == copies
            group["batch_size"] *= factor
        strategy.train(data.train_stream, eval_streams=[])
        found.append(strategy.optimizer.held().means[0])
    torch.testing.assert_close(*found)


def test_initial_means_of_mesu_are_twice_its_sigma() -> None:
    model = network()
    strategy = MESUStrategy(model=model, **settings())
    sigma = strategy.optimizer.held().state[model[0].weight]["sigma"]
    bound = 4 / 10**0.5
    torch.testing.assert_close(sigma, torch.full_like(sigma, bound / 2))
    assert 0.95 * bound < model[0].weight.abs().max() <= bound


@pytest.mark.parametrize(
    "layer", [nn.Linear(9, 4), nn.Conv2d(4, 8, 3), nn.ConvTranspose2d(4, 8, 3)]
)
def test_means_and_sigmas_of_a_layer_of_mesu_begin_by_its_inputs(layer: Any) -> None:
    """Those of its biases too, as the authors' layers do."""
    strategy = MESUStrategy(model=layer, **settings())
    bound = 4 / (9 if isinstance(layer, nn.Linear) else 4 * 9) ** 0.5
    held = strategy.optimizer.held().state
    for p in (layer.weight, layer.bias):
        torch.testing.assert_close(held[p]["sigma"], torch.full_like(p, bound / 2))
        assert 0.2 * bound < p.abs().max() <= bound


def test_priors_after_a_task() -> None:
    """VCL's is what it has learned; MESU's stays."""
    strategy = VCLStrategy(model=network(), **settings())
    data = benchmark(2)
    strategy.train(data.train_stream[0], eval_streams=[])
    held = strategy.optimizer.held()
    for mean, state in zip(held.means, held.state.values(), strict=True):
        assert torch.equal(state["prior_mean"], mean)
        assert torch.equal(state["prior_log_variance"], state["log_variance"])
        assert (state["log_variance"] != -6).any()
    strategy.train(data.train_stream[1], eval_streams=[])
    for mean, state in zip(held.means, strategy.optimizer.held().state.values(), strict=True):
        assert not torch.equal(state["prior_mean"], mean), "the posterior of the second task"
    other = MESUStrategy(model=network(), **settings())
    other.train(data.train_stream, eval_streams=[])
    assert all(set(state) == {"sigma"} for state in other.optimizer.state.values())


def test_the_divergence_counts_once_for_all_samples_of_a_task() -> None:
    seen: list[float] = []

    def look(strategy: Any) -> None:
        seen.append(strategy.optimizer.param_groups[0]["train_set_size"])

    for more in ({}, {"train_set_size": 7}):
        strategy = VCLStrategy(model=network(), plugins=[At(look)], **settings(**more))
        strategy.train(benchmark(1).train_stream, eval_streams=[])
        assert strategy.learned() == {"kl": 0.0}, "of the posterior that has become the prior"
    assert seen == [60, 60, 7, 7]


def test_how_far_the_posterior_is_from_its_prior_is_told() -> None:
    seen: list[float] = []
    strategy = VCLStrategy(
        model=network(),
        plugins=[At(lambda s: seen.append(s.learned()["kl"]), "after_training_epoch")],
        **settings(),
    )
    strategy.train(benchmark(1).train_stream, eval_streams=[])
    assert len(seen) == 2 and 0 < seen[1] < seen[0], "sigma grows towards that of the prior"


def test_heads_that_appear_are_learned(build: Callable[..., Any]) -> None:
    """And those that are not trained are left alone."""
    data = benchmark(2, labels=True)
    model = as_multitask(
        SimpleMLP(num_classes=2, input_size=10, hidden_size=30, drop_rate=0.0), "classifier"
    )
    strategy = build(
        model=model, **settings(train_epochs=10, lr=0.1 if build is MESUStrategy else 0.01)
    )
    strategy.train(data.train_stream[0], eval_streams=[])
    first = model.classifier.classifiers["0"].classifier
    before = first.weight.detach().clone(), first.bias.detach().clone()
    strategy.train(data.train_stream[1], eval_streams=[])
    held = {p for group in strategy.optimizer.param_groups for p in group["params"]}
    assert held == set(model.parameters()) and len(model.classifier.classifiers) == 2
    assert torch.equal(first.weight, before[0]) and torch.equal(first.bias, before[1])
    found = strategy.eval(data.test_stream)
    assert found["Top1_Acc_Stream/eval_phase/test_stream/Task001"] >= 0.8


def test_a_head_that_grows_keeps_its_posterior(build: Callable[..., Any]) -> None:
    model = nn.Sequential(nn.Linear(10, 2))
    strategy = build(model=model, **settings())
    strategy.train(benchmark(1).train_stream, eval_streams=[])
    old, larger = model[0], nn.Linear(10, 5)
    before = {k: v.clone() for k, v in strategy.optimizer.state[old.weight].items()}
    weight = old.weight.detach().clone()
    model[0] = larger
    strategy.make_optimizer()
    assert torch.equal(larger.weight[:2], weight)
    after = strategy.optimizer.state[larger.weight]
    key = "sigma" if build is MESUStrategy else "prior_log_variance"
    assert torch.equal(after[key][:2], before[key])
    strategy.train(benchmark(1).train_stream, eval_streams=[])
    assert not torch.equal(larger.weight[:2], weight)


def test_plain_networks_learn_with_the_trainer() -> None:
    x, y = two_blobs.blobs(0, 200)
    for optimiser in (
        lambda p: MESU(p, batch_size=20, clip=1.0, mc_samples=2),
        lambda p: VCL(p, 1e-2, train_set_size=200, mc_samples=2),
    ):
        model = network()
        trainer = Trainer(model, optimiser(model.parameters()), samples=5)
        trainer.fit(x, y, epochs=5, batch_size=20, verbose=False)
        found = trainer.evaluate(x, y)
        assert found["accuracy"] > 0.9 and found["accuracy_mode"] > 0.9


def test_a_plugin_beside_them_sees_the_means(build: Callable[..., Any]) -> None:
    ewc, model = EWC(online=True, samples=5), TaskAware(network())
    strategy = build(model=model, plugins=[Composed(ewc)], **settings())
    strategy.train(benchmark(2).train_stream, eval_streams=[])
    names = [name for name, _ in model.named_parameters()]
    for name, mean in zip(names, strategy.optimizer.held().means, strict=True):
        assert torch.equal(ewc.anchor[name], mean)


# Coresets ----------------------------------------------------------------------------------------


def test_a_coreset_is_held_out_of_training() -> None:
    seen: list[Tensor] = []
    strategy, stream = digits(plugins=[At(lambda s: seen.append(s.mb_x), "before_forward")])
    counts = []
    for name, experience in zip(("coreset0", "coreset1"), stream.train, strict=True):
        seen.clear()
        strategy.train(experience, eval_streams=[])
        view = view_behind(experience.dataset)
        assert view is not None
        whole, targets = view.materialise()
        x, y, labels = strategy.coresets[name]
        assert len(x) == len(y) == len(labels) == 20
        pixels = {
            tuple(row.tolist()): int(t) for row, t in zip(whole.flatten(1), targets, strict=True)
        }
        kept = [tuple(row.tolist()) for row in x.flatten(1)]
        assert [pixels[row] for row in kept] == y.tolist(), "images of the task, with their labels"
        shown = {tuple(row.tolist()) for row in torch.cat(seen).flatten(1)}
        assert not shown & set(kept)
        assert shown | set(kept) == set(pixels)
        counts.append((strategy.optimizer.param_groups[0]["train_set_size"], len(whole) - 20))
    assert all(n == expected for n, expected in counts)


def test_a_batch_of_coresets_has_a_sample_of_every_task_however_many() -> None:
    strategy, _ = digits(train_mb_size=10)
    tasks = {
        f"coreset{k}": [torch.zeros(n, 1), torch.zeros(n), torch.zeros(n)]
        for k, n in enumerate((5, 5, 6, *[5] * 20))
    }
    strategy.coresets = tasks
    batches = strategy._coreset_batches()
    assert len(batches) == 5
    assert sorted(torch.cat(batches).tolist()) == list(
        range(sum(len(x) for x, *_ in tasks.values()))
    )
    assert all(len(rows) >= len(tasks) for rows in batches)


def test_what_predicts_has_learned_the_coresets_and_is_not_handed_on() -> None:
    strategy, stream = digits()
    plain, _ = digits()
    plain.model.load_state_dict(strategy.model.state_dict())
    for experience in stream.train:
        torch.manual_seed(3)
        strategy.train(experience, eval_streams=[])
        before = strategy.optimizer.held()
        buffers = {name: b.clone() for name, b in strategy.model.named_buffers()}
        groups = [dict(group) for group in strategy.optimizer.param_groups]
        random = torch.get_rng_state()
        with strategy.predicting():
            predicting = strategy.optimizer.held()
            moved = {n for n, b in strategy.model.named_buffers() if not torch.equal(b, buffers[n])}
            own = {name for name in buffers if "running" in name}
            assert moved >= own, "its norms have statistics of their own"
        strategy.eval(stream.test)
        assert torch.equal(torch.get_rng_state(), random)
        assert [dict(group) for group in strategy.optimizer.param_groups] == groups
        after = strategy.optimizer.held()
        for a, b, c in zip(before.means, after.means, predicting.means, strict=True):
            assert torch.equal(a, b) and not torch.equal(a, c)
        for place, state in before.state.items():
            assert all(torch.equal(v, after.state[place][k]) for k, v in state.items())
            prior = predicting.state[place]["prior_mean"]
            assert any(torch.equal(prior, mean) for mean in before.means)
        assert all(torch.equal(b, buffers[n]) for n, b in strategy.model.named_buffers())
        torch.manual_seed(3)
        plain.coreset_seed = strategy.coreset_seed
        plain.train(experience, eval_streams=[])  # never evaluated
    means = strategy.optimizer.held().means, plain.optimizer.held().means
    different = [not torch.equal(a, b) for a, b in zip(*means, strict=True)]
    assert not any(different)


def test_an_evaluation_within_an_epoch_is_not_what_predicts_after_it() -> None:
    found = {}
    for within in (False, True):
        torch.manual_seed(0)
        looks = dict(eval_every=2, peval_mode="iteration") if within else {}
        strategy, stream = digits(**looks)
        strategy.train(stream.train[0], eval_streams=[stream.test] if within else [])
        strategy.train(stream.train[1], eval_streams=[stream.test] if within else [])
        found[within] = Recorder().measure(strategy, stream.test)
    assert found[True] == found[False]


def test_coresets_are_learned_once_until_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[int] = []
    original = VCLStrategy._learn_coresets

    def counted(self: VCLStrategy) -> None:
        learned.append(len(self.coresets))
        original(self)

    monkeypatch.setattr(VCLStrategy, "_learn_coresets", counted)
    strategy, stream = digits()
    strategy.eval(stream.test)
    assert learned == [], "nothing was learned yet"
    for expected in ([1], [1, 2]):
        strategy.train(stream.train[len(expected) - 1], eval_streams=[])
        Recorder().measure(strategy, stream.test)
        strategy.eval(stream.test)
        assert learned == expected


@pytest.mark.parametrize("heads", [False, True])
def test_what_predicts_has_a_better_bound_on_the_coresets(heads: bool) -> None:
    """E_q[loss] + KL(q || q_t) / M, which is the mean loss alone at q_t."""
    strategy, stream = digits(heads=heads, coreset_epochs=20, mc_samples=10)
    for experience in stream.train:
        strategy.train(experience, eval_streams=[])
    x, y, labels = (torch.cat(column) for column in zip(*strategy.coresets.values(), strict=True))
    assert labels.unique().tolist() == ([0, 1] if heads else [0])
    strategy.model.train()

    @torch.no_grad()
    def bound() -> float:
        generator = torch.Generator().manual_seed(0)
        with strategy.optimizer.posterior_samples(200, generator) as samples:
            losses = [F.cross_entropy(strategy.model(x, labels), y).item() for _ in samples]
        return sum(losses) / len(losses) + strategy.optimizer.kl() / len(y)

    before = bound()
    strategy.model.eval()
    with strategy.predicting():
        assert not strategy.model.training, "as it was"
        strategy.model.train()
        assert strategy.optimizer.kl() > 0
        assert bound() < 0.99 * before


def test_a_batch_has_samples_of_every_coreset() -> None:
    strategy, stream = digits(3, train_mb_size=25)
    for experience in stream.train:
        strategy.train(experience, eval_streams=[])
    batches = strategy._coreset_batches()
    assert sorted(torch.cat(batches).tolist()) == list(range(60))
    assert [len(rows) for rows in batches] == [21, 21, 18]
    for rows in batches:
        assert torch.bincount(rows // 20).min() >= 6


def test_coresets_continue_from_a_file() -> None:
    strategy, stream = digits()
    strategy.train(stream.train[0], eval_streams=[])
    file = io.BytesIO()
    torch.save({"extra": strategy.extra_state(), "parts": strategy.parts()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other, _ = digits()
    assert other.coreset_seed != strategy.coreset_seed
    other.load_extra_state({**state["extra"], "parts": state["parts"]})
    assert other.coreset_seed == strategy.coreset_seed and other.coresets.keys() == {"coreset0"}
    for a, b in zip(other.coresets["coreset0"], strategy.coresets["coreset0"], strict=True):
        assert torch.equal(a, b)


def test_coresets_that_cannot_be() -> None:
    for more, message in (
        ({"coreset": -1}, "coreset must be >= 0, got -1"),
        ({"coreset_epochs": 0}, "coreset_epochs must be >= 1, got 0"),
    ):
        with pytest.raises(ValueError) as caught:
            digits(**more)
        assert str(caught.value) == message
    strategy, stream = digits(coreset=500)
    with pytest.raises(UserError, match="coreset = 500: expected less than the 1.. samples of a t"):
        strategy.train(stream.train[0], eval_streams=[])
    foreign = VCLStrategy(model=network(), **settings(coreset=5))
    with pytest.raises(UserError, match="held out of batches of data of cl_bnn"):
        foreign.train(benchmark(1).train_stream, eval_streams=[])


def test_members_of_an_ensemble_have_no_coresets() -> None:
    stream = tiny.stream(n_experiences=1)
    model = TaskAware(mlp(in_features=784, out_features=2, width=8))
    given = dict(evaluator=Recorder(), train_mb_size=20, train_epochs=1, eval_mb_size=200)
    ensemble: Any = ensemble_of(VCLStrategy, "sequential")
    strategy = ensemble(model=model, size=2, coreset=5, **FEW, **given)
    with pytest.raises(UserError, match="which no plugin or ensemble may replace"):
        strategy.train(stream.train[0], eval_streams=[])


def test_recipes_hold_the_published_constants() -> None:
    """Those of the authors' code: nvcuong/variational-continual-learning."""
    shared = {
        "lr": 1e-3, "prior_sigma": 1.0, "init_log_variance": -6.0, "mc_samples": 10,
        "eval_samples": 100,
    }  # fmt: skip
    plain, coreset = (recipes.load_strategy(name) for name in ("vcl", "vcl_coreset"))
    assert plain.defaults.items() >= shared.items() and "coreset" not in plain.defaults
    assert coreset.defaults == plain.defaults | {"coreset": 200, "coreset_epochs": 100}
    assert coreset.on["split_mnist"] == {"coreset": 40, "coreset_epochs": 120}
