"""Trajectories recorded from the authors' own optimisers must be reproduced."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cl_bnn.optim import STE, BayesBiNN, MetaplasticAdam
from cl_bnn.optim.bayesbinn import gradient_scale, natural_step, relaxed_weights

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-4  # relative
BAYES = ["bayesbinn_a", "bayesbinn_b", "bayesbinn_c_mean"]


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return dict(archive)


def network() -> nn.Sequential:
    """The network of the recordings: 12-16-4 with BatchNorm, P = 256 weights."""

    def norm(width: int) -> nn.BatchNorm1d:
        return nn.BatchNorm1d(width, eps=1e-4, momentum=0.15, affine=False)

    return nn.Sequential(
        nn.Linear(12, 16, bias=False), norm(16), nn.ReLU(), nn.Linear(16, 4, bias=False), norm(4)
    )


def split(flat: np.ndarray) -> list[Tensor]:
    """A flat vector of 256 values as the two weight matrices."""
    first, second = torch.from_numpy(np.array(flat, dtype=np.float32)).split([192, 64])
    return [first.view(16, 12), second.view(4, 16)]


def flat(tensors: list[Tensor]) -> np.ndarray:
    return torch.cat([t.detach().flatten() for t in tensors]).numpy()


def close(ours: np.ndarray, theirs: np.ndarray, size: np.ndarray | None = None) -> None:
    """Equal to a relative `TOLERANCE`, of `size` if given, else of the recorded value."""
    scale = np.abs(theirs) if size is None else np.maximum(np.abs(theirs), np.abs(size))
    np.testing.assert_array_less(np.abs(ours - theirs), TOLERANCE * scale + 1e-6 * TOLERANCE)


def recorded_states(data: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Lambda before each of the 25 steps, and the lagging mean: tanh(lambda) one step earlier."""
    before = np.concatenate([data["lambda0"][None], data["lambdas"][:-1]])
    earlier = np.concatenate([before[:1], before[:-1]])
    return before, torch.tanh(torch.from_numpy(earlier)).numpy()


def loss_and_gradients(model: nn.Sequential, weights: list[Tensor], x: np.ndarray, y: np.ndarray):
    for layer, weight in zip((model[0], model[3]), weights, strict=True):
        layer.weight.data = weight
    loss = F.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))
    return loss.item(), torch.autograd.grad(loss, [model[0].weight, model[3].weight])


@pytest.mark.parametrize("name", BAYES)
def test_pure_functions_follow_the_reference(name: str) -> None:
    """Every step from the recorded state (its momentum buffer is our own): one step, no drift."""
    data = load(name)
    n_samples, n, tau = (
        int(data["mc_samples"]),
        int(data["train_set_size"]),
        float(data["temperature"]),
    )
    before, lagging = recorded_states(data)
    buffer = [torch.zeros_like(v) for v in split(data["lambda0"])]
    model = network()
    for t in range(25):
        natural, mean, prior = split(before[t]), split(lagging[t]), split(data["prior"])
        total, losses = [torch.zeros_like(v) for v in natural], []
        for uniform in data["uniform"][t] if n_samples else [None]:
            weights, scale = [torch.tanh(v) for v in natural], [1.0, 1.0]
            if n_samples:
                pairs = zip(natural, split(uniform), strict=True)
                weights = [relaxed_weights(v, u, tau) for v, u in pairs]
                scale = [
                    gradient_scale(w, m, tau, 1e-10) for w, m in zip(weights, mean, strict=True)
                ]
            loss, gradients = loss_and_gradients(model, weights, data["x"][t], data["y"][t])
            losses.append(loss)
            for i in range(2):
                total[i] += n / max(n_samples, 1) * scale[i] * gradients[i]
        for i in range(2):
            natural[i], buffer[i] = natural_step(
                natural[i], prior[i], total[i], buffer[i],
                lr=float(data["lr"]), momentum=float(data["momentum"]),
                kl_weight=float(data["kl_weight"]), step=t + 1,
            )  # fmt: skip
        close(flat(weights), data["last_weights"][t])
        close(np.array(np.mean(losses)), data["loss"][t])
        # A lambda that an update throws across zero is a small difference of large numbers.
        close(flat(natural), data["lambdas"][t], size=data["lambdas"][t] - before[t])


def driven_by_the_recording(data: dict[str, np.ndarray], model: nn.Module) -> BayesBiNN:
    """The optimiser with the recorded settings, start and uniform draws."""
    draws = iter(u for step in data["uniform"] for sample in step for u in split(sample))
    optimiser = BayesBiNN(
        model.parameters(), float(data["lr"]), train_set_size=int(data["train_set_size"]),
        temperature=float(data["temperature"]), momentum=float(data["momentum"]),
        mc_samples=int(data["mc_samples"]), kl_weight=float(data["kl_weight"]),
        mode="reference", uniform=lambda _: next(draws),
    )  # fmt: skip
    optimiser.naturals()  # makes the state, which is then set to the recorded start
    for parameter, prior in zip(model.parameters(), split(data["prior"]), strict=True):
        optimiser.state[parameter]["prior"] = prior
    return optimiser


def put(optimiser: BayesBiNN, model: nn.Module, natural: np.ndarray, mean: np.ndarray) -> None:
    values = zip(model.parameters(), split(natural), split(mean), strict=True)
    for parameter, value, centre in values:
        optimiser.state[parameter].update(natural=value, mean=centre)


def step(optimiser: BayesBiNN, model: nn.Module, x: np.ndarray, y: np.ndarray) -> float:
    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))
        loss.backward()
        return loss

    return float(optimiser.step(closure))


@pytest.mark.parametrize("name", BAYES)
def test_optimiser_takes_every_step_of_the_reference(name: str) -> None:
    data = load(name)
    model = network()
    optimiser = driven_by_the_recording(data, model)
    before, lagging = recorded_states(data)
    for t in range(25):
        put(optimiser, model, before[t], lagging[t])
        loss = step(optimiser, model, data["x"][t], data["y"][t])
        close(flat(list(model.parameters())), data["last_weights"][t])
        close(np.array(loss), data["loss"][t])
        close(flat(optimiser.naturals()), data["lambdas"][t], size=data["lambdas"][t] - before[t])
        means = [optimiser.state[p]["mean"] for p in model.parameters()]
        close(flat(means), np.tanh(before[t]))
    for norm, key in [(model[1], "bn1"), (model[4], "bn2")]:
        close(norm.running_mean.numpy(), data[f"{key}_mean"])
        close(norm.running_var.numpy(), data[f"{key}_var"])


@pytest.mark.parametrize("name", ["bayesbinn_b", "bayesbinn_c_mean"])
def test_optimiser_runs_the_whole_trajectory(name: str) -> None:
    data = load(name)
    model = network()
    optimiser = driven_by_the_recording(data, model)
    _, lagging = recorded_states(data)
    put(optimiser, model, data["lambda0"], lagging[0])
    for t in range(25):
        loss = step(optimiser, model, data["x"][t], data["y"][t])
        close(np.array(loss), data["loss"][t])
        close(flat(optimiser.naturals()), data["lambdas"][t], size=np.float32(0.1))


def test_optimiser_runs_the_published_setting_end_to_end() -> None:
    """At temperature 0.01 the scale reaches 1e12, so rounding of the matrix products is amplified
    to percents of single lambdas: the losses and the signs of all weights must still be the
    recorded ones."""
    data = load("bayesbinn_a")
    model = network()
    optimiser = driven_by_the_recording(data, model)
    _, lagging = recorded_states(data)
    put(optimiser, model, data["lambda0"], lagging[0])
    for t in range(25):
        loss = step(optimiser, model, data["x"][t], data["y"][t])
        close(np.array(loss), data["loss"][t])
        signs = np.sign(flat(list(model.parameters())))
        np.testing.assert_array_equal(signs, np.sign(data["last_weights"][t]))


def test_ste_follows_the_reference() -> None:
    data = load("ste_a")
    model = network()
    for parameter, latent in zip(model.parameters(), split(data["latent0"]), strict=True):
        parameter.data = latent
    optimiser = STE(model.parameters(), float(data["lr"]))
    for t in range(25):
        optimiser.zero_grad()
        optimiser.draw()
        loss = F.cross_entropy(
            model(torch.from_numpy(data["x"][t])), torch.from_numpy(data["y"][t])
        )
        loss.backward()
        optimiser.step()
        close(loss.detach().numpy(), data["loss"][t])
        close(flat(list(model.parameters())), data["latents"][t], size=data["lr"])


def test_metaplastic_adam_follows_the_reference() -> None:
    data = load("metaplastic_a")
    weights = [nn.Parameter(latent) for latent in split(data["latent0"])]
    optimiser = MetaplasticAdam(
        weights, float(data["lr"]), meta=float(data["meta"]),
        weight_decay=float(data["weight_decay"]),
    )  # fmt: skip
    turned = np.zeros(256, dtype=bool)
    for gradients, latents in zip(data["gradients"], data["latents"], strict=True):
        optimiser.draw()
        for weight, gradient in zip(weights, split(gradients), strict=True):
            weight.grad = gradient
        optimiser.step()
        # Near zero a latent weight is a small difference of steps of the size of lr.
        close(flat(weights), latents, size=data["lr"])
        turned |= np.sign(latents) != np.sign(data["latent0"])
    assert 0 < turned.sum() < 256, "the recording has weights that turn and weights that do not"
