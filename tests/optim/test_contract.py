"""One table of all optimisers of binary weights, and one set of demands on each."""

import copy
import io
import math
import pickle
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from begun import step_and_begin
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from cl_bnn.optim import PMF, STE, XNOR, BayesBiNN, BiMU, Bop, Bop2ndOrder, MetaplasticAdam
from cl_bnn.optim.posterior import BernoulliPosterior
from cl_bnn.optim.ste import signs
from cl_bnn.optim.xnor import centre


def pickled(value: Any) -> Any:
    """Through a file, as Avalanche's checkpoints go."""
    return pickle.loads(pickle.dumps(value))


SAMPLES, INPUTS, STEPS = 256, 24, 200
Optimiser = BayesBiNN | BiMU | STE | Bop | Bop2ndOrder | PMF
Build = Callable[[Iterable[Any]], Optimiser]

bayes = partial(BayesBiNN, lr=0.03, train_set_size=SAMPLES, temperature=0.5, init_lambda=1.0)
bop = partial(Bop, threshold=1e-3, gamma=0.01)
bop2 = partial(Bop2ndOrder, threshold=0.05, gamma=0.1, sigma=0.01)
pmf = partial(PMF, lr=0.05, rho=1.2, beta_every=5)
OPTIMISERS: dict[str, Build] = {
    "bayesbinn": bayes,
    "bayesbinn_momentum": partial(bayes, momentum=0.9),
    "bayesbinn_cold": partial(bayes, temperature=0.01),
    "bayesbinn_unbounded": partial(bayes, scale_bound=float("inf")),
    "bayesbinn_deterministic": partial(bayes, mc_samples=0),
    "bayesbinn_straight": partial(bayes, lr=0.1, mode="straight"),
    "bayesbinn_reference": partial(bayes, mode="reference"),
    "bayesbinn_published": partial(
        bayes, lr=0.003, mode="reference", temperature=0.01, init_lambda=10.0
    ),
    "bayesbinn_bimu": partial(
        bayes,
        lr=1.0,
        train_set_size=1,
        temperature=1.0,
        kl_weight=1e-5,
        init_lambda=0.02,
        scale_bound=1e7,
    ),
    # With a long memory: forgetting does not wait for a learning rate.
    "bimu": partial(BiMU, lr=1.0, likelihood_weight=100.0, lr_max=0.05, memory=1e9, mc_samples=1),
    "ste": partial(STE, lr=0.02),
    "ste_hard_tanh": partial(STE, lr=0.02, backward="hard_tanh", grad_clip=0.5),
    "ste_unbounded": partial(STE, lr=0.02, clamp=None),
    "xnor": partial(XNOR, lr=0.02),
    "xnor_exact": partial(XNOR, lr=0.02, weight_decay=0.01, derivative="exact"),
    "metaplastic": partial(MetaplasticAdam, lr=0.02),
    "metaplastic_firm": partial(MetaplasticAdam, lr=0.02, meta=4.0, weight_decay=0.01),
    "bop": bop,
    "bop_published": partial(bop, start="real", ties="plus"),
    "bop2": bop2,
    "bop2_unbiased": partial(bop2, threshold=1.0, unbiased=True),
    "pmf": pmf,
    "pmf_mended": partial(
        pmf, jacobian="exact", decay_at_start=False, decoupled_weight_decay=True, weight_decay=0.01
    ),
}
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
    ),
]


@pytest.fixture(params=list(OPTIMISERS))
def build(request: pytest.FixtureRequest) -> Build:
    return OPTIMISERS[request.param]


def binary(optimiser: Optimiser, weights: Tensor) -> bool:
    """Whether the weights of one output are +-1, or up to one factor in XNOR."""
    sizes = weights.detach().abs()
    factor = sizes.max() if isinstance(optimiser, XNOR) else torch.ones(()).to(sizes)
    return bool((factor > 0) & (sizes == factor).all())


class Toy:
    """A teacher with weights +-1 labels Gaussian inputs; a student of the same form learns them."""

    def __init__(
        self, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu"
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(SAMPLES, INPUTS, generator=generator, dtype=dtype)
        teacher = torch.randint(2, (1, INPUTS), generator=generator).to(dtype) * 2 - 1
        self.x, self.teacher = x.to(device), teacher.to(device)
        self.sign = (self.x @ self.teacher.T).sign()
        torch.manual_seed(seed)
        self.model = nn.Linear(INPUTS, 1, bias=False, dtype=dtype, device=device)
        nn.init.uniform_(self.model.weight, -0.3, 0.3)

    def loss(self) -> Tensor:
        return F.softplus(-self.sign * self.model(self.x)).mean()

    def closure(self, optimiser: Optimiser) -> Callable[[], Tensor]:
        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = self.loss()
            loss.backward()
            return loss

        return closure

    def step(self, optimiser: Optimiser) -> float:
        optimiser.zero_grad()
        optimiser.draw()
        loss = self.loss()
        loss.backward()
        optimiser.step()
        return loss.item()


def centres(optimiser: Optimiser, parameters: Iterable[Tensor]) -> list[Tensor]:
    """What is learned: lambda of a posterior, the latents of PMF, the latent weights of STE, the
    weights themselves of Bop.
    """
    if isinstance(optimiser, BernoulliPosterior):
        return [value.clone() for value in optimiser.naturals()]
    if isinstance(optimiser, PMF):
        return [value.clone() for value in optimiser.latents()]
    if isinstance(optimiser, Bop | Bop2ndOrder):
        return [signs(parameter.data) for parameter in parameters]
    return [parameter.detach().clone() for parameter in parameters]


def has_rate(build: Build) -> bool:
    """Bop has no learning rate, and says so by having no `lr` in its groups."""
    return "lr" in build([nn.Parameter(torch.zeros(1, 2))]).defaults


def same(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_learns_what_the_teacher_knows(build: Build, device: str) -> None:
    toy = Toy(device=device)
    optimiser = build(toy.model.parameters())
    with optimiser.mode():
        before = toy.loss().item()
    for _ in range(STEPS):
        toy.step(optimiser)
    with optimiser.mode():
        assert toy.loss().item() < before / 3
        right = (toy.model.weight.sign() == toy.teacher).sum().item()
    assert right >= INPUTS - 3  # by chance: once in 7000 times


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("device", DEVICES)
def test_keeps_dtype_and_device(build: Build, dtype: torch.dtype, device: str) -> None:
    toy = Toy(dtype=dtype, device=device)
    optimiser = build(toy.model.parameters())
    for _ in range(3):
        toy.step(optimiser)
    with optimiser.mode():
        inside = toy.model.weight.data
    state = [v for v in optimiser.state[toy.model.weight].values() if isinstance(v, Tensor)]
    held = [toy.model.weight, inside, *centres(optimiser, [toy.model.weight])]
    for tensor in held + [v for v in state if v.ndim]:  # Adam's step is a scalar on the CPU
        assert (tensor.dtype, tensor.device.type) == (dtype, device)


def test_mode_is_binary_and_gives_back_what_was_there(build: Build) -> None:
    toy = Toy()
    optimiser = build(toy.model.parameters())
    toy.step(optimiser)
    for prepare in (lambda: None, optimiser.draw):  # between steps, and with weights drawn
        prepare()
        before = toy.model.weight.detach().clone()
        with optimiser.mode():
            assert binary(optimiser, toy.model.weight)
            inside = toy.model.weight.detach().clone()
        assert torch.equal(toy.model.weight, before)
        with pytest.raises(ZeroDivisionError), optimiser.mode():
            assert torch.equal(toy.model.weight, inside)
            raise ZeroDivisionError
        assert torch.equal(toy.model.weight, before)


def test_mode_before_the_first_step(build: Build) -> None:
    toy = Toy()
    optimiser = build(toy.model.parameters())
    with optimiser.mode():
        assert binary(optimiser, toy.model.weight)
    toy.step(optimiser)


def test_looking_at_the_mode_while_learning_changes_nothing(build: Build) -> None:
    found = []
    for looks in (False, True):
        toy = Toy(seed=3)
        optimiser = build(toy.model.parameters())
        for _ in range(5):
            toy.step(optimiser)
            optimiser.draw()
            if looks:
                with optimiser.mode():
                    toy.loss()
        found.append(centres(optimiser, [toy.model.weight]))
    assert same(*found)


@pytest.mark.parametrize("device", DEVICES)
def test_continues_from_a_file_bit_by_bit(build: Build, device: str) -> None:
    toy = Toy(seed=1, device=device)
    optimiser = build(toy.model.parameters())
    for _ in range(4):
        toy.step(optimiser)
    file = io.BytesIO()
    state = {"model": toy.model.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save(state, file)
    random = torch.get_rng_state(), torch.cuda.get_rng_state_all() if device == "cuda" else []
    losses = [toy.step(optimiser) for _ in range(6)]

    again = Toy(seed=2, device=device)  # another start, other draws
    continued = build(again.model.parameters())
    again.step(continued)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    again.model.load_state_dict(state["model"])
    continued.load_state_dict(state["optimiser"])
    torch.set_rng_state(random[0])
    torch.cuda.set_rng_state_all(random[1])
    assert [again.step(continued) for _ in range(6)] == losses
    assert torch.equal(again.model.weight, toy.model.weight)
    assert same(centres(continued, [again.model.weight]), centres(optimiser, [toy.model.weight]))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled], ids=["copy", "pickle"])
def test_a_copy_goes_on_as_the_original(build: Build, copied: Callable[[Any], Any]) -> None:
    toy = Toy(seed=1)
    optimiser = build(toy.model.parameters())
    for _ in range(3):
        toy.step(optimiser)
    if "lr" in optimiser.param_groups[0]:
        LambdaLR(optimiser, lambda epoch: 1.0)  # torch puts its hands on `step`
    again, continued = copied((toy, optimiser))
    random = torch.get_rng_state()
    losses = [toy.step(optimiser) for _ in range(4)]
    torch.set_rng_state(random)
    assert [again.step(continued) for _ in range(4)] == losses


def test_weights_are_drawn_before_gradients_are_taken(build: Build) -> None:
    toy = Toy()
    optimiser = build(toy.model.parameters())
    toy.loss().backward()
    before = toy.model.weight.detach().clone()
    with pytest.raises(RuntimeError, match=rf"{type(optimiser).__name__} has .*: call draw\(\) f"):
        optimiser.step()
    assert torch.equal(toy.model.weight, before)


def test_autocast_sees_the_weights_of_the_moment(build: Build) -> None:
    toy = Toy(seed=1)
    optimiser = build(toy.model.parameters())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for _ in range(2):
            toy.model.weight.data = -toy.model.weight.data
            with optimiser.mode():
                found = toy.model(toy.x).float()
                expected = toy.x.bfloat16() @ toy.model.weight.bfloat16().T
            torch.testing.assert_close(found, expected.float())
            optimiser.draw()
            drawn = toy.model(toy.x).float()
            expected = toy.x.bfloat16() @ toy.model.weight.bfloat16().T
            torch.testing.assert_close(drawn, expected.float())


def test_what_was_looked_at_in_inference_mode_can_be_trained(build: Build) -> None:
    toy = Toy()
    optimiser = build(toy.model.parameters())
    with torch.inference_mode(), optimiser.mode():
        toy.model(toy.x)
    toy.step(optimiser)


def test_named_parameters_are_taken(build: Build) -> None:
    toy = Toy()
    toy.step(build(toy.model.named_parameters()))


@pytest.mark.parametrize("name", [name for name, build in OPTIMISERS.items() if has_rate(build)])
def test_learning_rate_schedulers_work(name: str) -> None:
    toy, build = Toy(), OPTIMISERS[name]
    optimiser = build(toy.model.parameters())
    scheduler = LambdaLR(optimiser, lambda epoch: [1.0, 1.0, 0.0, 0.0, 1.0][epoch])
    moved = []
    for _ in range(5):
        (before,) = (held.clone() for held in centres(optimiser, [toy.model.weight]))
        toy.step(optimiser)
        (after,) = centres(optimiser, [toy.model.weight])
        if isinstance(optimiser, XNOR):  # whose draw centres what the last step has left
            before = centre(before)
        moved.append(bool(((after - before).abs() > 1e-6).any()))
        if len(moved) < 5:
            scheduler.step()
    assert moved == [True, True, False, False, True]


def test_parameter_without_gradient_is_left_alone(build: Build) -> None:
    toy = Toy()
    unused = nn.Parameter(torch.full((2, 3), 0.25))
    optimiser = build([toy.model.weight, unused])
    toy.step(optimiser)
    used_before, before = centres(optimiser, [toy.model.weight, unused])
    for _ in range(3):
        toy.step(optimiser)
    used, after = centres(optimiser, [toy.model.weight, unused])
    assert torch.equal(after, before)
    assert not torch.equal(used, used_before)


def test_groups_have_settings_of_their_own(build: Build) -> None:
    toy = Toy()
    frozen = nn.Parameter(torch.tensor([0.25, -0.25]).repeat(INPUTS // 2)[None])
    # Too small to change a number near 1; too large to be exceeded.
    still = {"lr": 1e-30} if has_rate(build) else {"threshold": math.inf}
    optimiser = build([{"params": [toy.model.weight]}, {"params": [frozen], **still}])
    weight = toy.model.weight
    learned_before, before = centres(optimiser, [weight, frozen])
    for _ in range(5):
        optimiser.zero_grad()
        optimiser.draw()
        (toy.loss() + F.softplus(-toy.x @ frozen.T).mean()).backward()
        optimiser.step()
    learned, after = centres(optimiser, [weight, frozen])
    assert torch.equal(after, before)
    moved = (learned - learned_before).abs() > 1e-3
    assert moved.all() if has_rate(build) else moved.any()


def test_closure_and_draw_then_step_agree(build: Build) -> None:
    by_hand, by_closure = Toy(seed=5), Toy(seed=5)
    first, second = build(by_hand.model.parameters()), build(by_closure.model.parameters())
    torch.manual_seed(6)
    losses = [by_hand.step(first) for _ in range(5)]
    torch.manual_seed(6)
    returned = [second.step(by_closure.closure(second)) for _ in range(5)]
    assert [loss.item() for loss in returned] == losses
    assert torch.equal(by_hand.model.weight, by_closure.model.weight)
    assert same(centres(first, [by_hand.model.weight]), centres(second, [by_closure.model.weight]))


def test_a_step_that_was_begun_can_be_left(build: Build) -> None:
    left, whole = Toy(seed=5), Toy(seed=5)
    first, second = build(left.model.parameters()), build(whole.model.parameters())
    for seed in (6, 7, 8):
        step_and_begin(left, first, whole, second, seed)
        with first.mode(), second.mode():
            torch.testing.assert_close(left.model.weight, whole.model.weight)
        if not isinstance(first, XNOR):  # which centres its latent weights when it draws
            assert same(centres(first, [left.model.weight]), centres(second, [whole.model.weight]))
        with pytest.raises(RuntimeError, match=r"call draw\(\) first"):
            first.step()


def test_a_closure_may_return_what_it_wants_and_break_down(build: Build) -> None:
    toy, other = Toy(seed=5), Toy(seed=5)
    first, second = build(toy.model.parameters()), build(other.model.parameters())

    def told() -> Any:
        return toy.closure(first)(), "and more"

    def breaks() -> Any:
        toy.closure(first)()
        raise KeyboardInterrupt

    torch.manual_seed(6)
    assert first.step(told)[1] == "and more"
    before = toy.model.weight.detach().clone()
    with pytest.raises(KeyboardInterrupt):
        first.step(breaks)
    if isinstance(first, STE) and not isinstance(first, XNOR):  # whose draw centres them
        assert torch.equal(toy.model.weight, before)
    with pytest.raises(RuntimeError, match=r"call draw\(\) first"):
        first.step()
    torch.manual_seed(7)
    first.step(toy.closure(first))
    torch.manual_seed(6)
    second.step(other.closure(second))
    torch.manual_seed(7)
    second.step(other.closure(second))
    mine, theirs = centres(first, [toy.model.weight]), centres(second, [other.model.weight])
    if isinstance(first, XNOR):  # centred once more, which rounds
        torch.testing.assert_close(mine, theirs)
    else:
        assert same(mine, theirs)


def test_what_was_loaded_is_left_as_it_was(build: Build) -> None:
    toy = Toy(seed=5)
    optimiser = build(toy.model.parameters())
    toy.step(optimiser)
    start = copy.deepcopy(optimiser.state_dict())
    held = copy.deepcopy(start)
    optimiser.load_state_dict(start)
    for _ in range(3):
        toy.step(optimiser)
    for mine, kept in zip(start["state"].values(), held["state"].values(), strict=True):
        tensors = [key for key, value in kept.items() if isinstance(value, Tensor)]
        assert all(torch.equal(mine[key], kept[key]) for key in tensors)


def test_a_frozen_weight_is_not_made_binary(build: Build) -> None:
    frozen = nn.Linear(3, 2, bias=False).requires_grad_(False)
    with pytest.raises(ValueError, match=r"a frozen parameter, of shape \(2, 3\), which would be"):
        build(frozen.parameters())


def test_state_may_be_wiped_before_the_first_step(build: Build) -> None:
    """As Avalanche does when training begins: what follows is what a new optimiser would do."""
    losses = []
    for wiped in (False, True):
        toy = Toy(seed=8)
        optimiser = build(toy.model.parameters())
        if wiped:
            optimiser.draw()
            with optimiser.mode():
                pass
            optimiser.state = defaultdict(dict)
        torch.manual_seed(9)
        losses.append([toy.step(optimiser) for _ in range(5)])
    assert losses[0] == losses[1]


WRONG = [
    (STE, "lr", 0.0, "> 0"),
    (STE, "lr", -1.0, "> 0"),
    (STE, "lr", float("nan"), "> 0"),
    (STE, "backward", "relu", "one of identity, hard_tanh"),
    (STE, "clamp", 0.0, "> 0 or None"),
    (STE, "grad_clip", -1.0, "> 0 or None"),
    (BayesBiNN, "lr", 0.0, "> 0"),
    (BayesBiNN, "lr", float("nan"), "> 0"),
    (BayesBiNN, "train_set_size", 0, ">= 1"),
    (BayesBiNN, "temperature", 0.0, "> 0"),
    (BayesBiNN, "temperature", -0.01, "> 0"),
    (BayesBiNN, "momentum", 1.0, "in [0, 1)"),
    (BayesBiNN, "momentum", -0.1, "in [0, 1)"),
    (BayesBiNN, "mc_samples", -1, ">= 0"),
    (BayesBiNN, "kl_weight", -1.0, ">= 0"),
    (BayesBiNN, "init_lambda", -10.0, ">= 0"),
    (BayesBiNN, "mode", "exact", "one of sound, reference, straight"),
    (BayesBiNN, "scale_bound", 0.0, "> 0"),
    (MetaplasticAdam, "lr", 0.0, "> 0"),
    (MetaplasticAdam, "meta", -1.0, ">= 0"),
    (MetaplasticAdam, "meta", float("nan"), ">= 0"),
    (MetaplasticAdam, "betas", (0.9, 1.0), "in [0, 1)"),
    (MetaplasticAdam, "eps", 0.0, "> 0"),
    (MetaplasticAdam, "weight_decay", -1e-7, ">= 0"),
    (BiMU, "lr", 0.0, "> 0"),
    (BiMU, "likelihood_weight", 0.0, "> 0"),
    (BiMU, "kl_weight", -1.0, ">= 0"),
    (BiMU, "lr_max", 0.0, "> 0"),
    (BiMU, "memory", 0.5, ">= 1"),
    (BiMU, "temperature", 0.0, "> 0"),
    (BiMU, "mc_samples", 0, ">= 1"),
    (BiMU, "init_lambda", -1.0, ">= 0"),
    (Bop, "threshold", -1e-8, ">= 0"),
    (Bop, "threshold", float("nan"), ">= 0"),
    (Bop, "gamma", 0.0, "in (0, 1]"),
    (Bop, "gamma", 1.1, "in (0, 1]"),
    (Bop, "start", "zeros", "one of signs, real"),
    (Bop, "ties", "flip", "one of keep, plus"),
    (Bop2ndOrder, "threshold", -1.0, ">= 0"),
    (Bop2ndOrder, "sigma", 0.0, "in (0, 1]"),
    (PMF, "lr", 0.0, "> 0"),
    (PMF, "betas", (0.9, 1.0), "in [0, 1)"),
    (PMF, "eps", 0.0, "> 0"),
    (PMF, "rho", 0.99, ">= 1"),
    (PMF, "beta_max", 0.5, ">= 1"),
    (PMF, "beta_every", 0, ">= 1"),
    (PMF, "lr_scale", 0.0, "in (0, 1]"),
    (PMF, "lr_interval", 0, ">= 1"),
    (PMF, "weight_decay", -1e-4, ">= 0"),
    (PMF, "jacobian", "diagonal", "one of second_softmax, exact"),
]


@pytest.mark.parametrize("kind, name, value, allowed", WRONG)
def test_wrong_value_is_named(kind: Any, name: str, value: object, allowed: str) -> None:
    settings = {"train_set_size": 1} if kind is BayesBiNN else {}
    with pytest.raises(ValueError) as error:
        kind([nn.Parameter(torch.zeros(1, 1))], **{**settings, name: value})
    assert str(error.value) == f"{name} must be {allowed}, got {value!r}"


def test_a_bias_or_gain_is_not_made_binary_unasked(build: Build) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    with pytest.raises(ValueError, match=r"a bias or a gain, of shape \(2,\), which would become"):
        build(model.parameters())
    optimiser = build([model[0].weight])
    if not isinstance(optimiser, XNOR):  # which has no inputs to centre them over
        allowed = build([{"params": model.parameters(), "binary_vectors": True}])
        assert len(allowed.param_groups[0]["params"]) == 4
    with pytest.raises(ValueError, match=r"leave it to the inner optimiser"):
        optimiser.add_param_group({"params": model[0].bias})


def test_no_binary_weights_are_refused(build: Build) -> None:
    with pytest.raises(ValueError, match="params must hold at least one binary weight, got none"):
        build([])


def test_an_inner_optimiser_is_not_lost_by_loading() -> None:
    def made(inner: bool) -> BayesBiNN:
        real = torch.optim.SGD([nn.Parameter(torch.zeros(2))], 0.1) if inner else None
        return BayesBiNN([nn.Parameter(torch.zeros(2, 2))], train_set_size=4, inner=real)

    for one, other in ((True, False), (False, True)):
        with pytest.raises(ValueError, match="one of state_dict and this optimiser has no inner"):
            made(one).load_state_dict(made(other).state_dict())
    made(True).load_state_dict(made(True).state_dict())


def test_every_optimiser_of_binary_weights_is_held_to_these_demands() -> None:
    from cl_bnn import optim

    kinds = {getattr(build, "func", build) for build in OPTIMISERS.values()}
    while any(isinstance(kind, partial) for kind in kinds):
        kinds = {getattr(kind, "func", kind) for kind in kinds}
    public = (getattr(optim, name) for name in optim.__all__)
    classes = [c for c in public if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)]
    others = optim.BinaryOptimizer, optim.MESU, optim.VCL  # a base, and full precision
    binary = {kind for kind in classes if kind not in others}
    assert kinds == binary


@pytest.mark.parametrize("build", [bayes, bop, pmf])
def test_an_inner_optimiser_and_real_groups_do_not_touch_binary_weights(build: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False))
    first, second = model.parameters()
    with pytest.raises(ValueError, match="inner optimiser holds a weight that is to be binary"):
        build([first], inner=torch.optim.Adam(model.parameters(), 1e-2))
    with pytest.raises(ValueError, match="a group with binary = False: .* has binary weights only"):
        build([{"params": [first]}, {"params": [second], "binary": False}])
