"""Trajectories recorded from the authors' own optimisers must be reproduced."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cl_bnn.optim import STE, BayesBiNN
from cl_bnn.optim.bayesbinn import gradient_scale, natural_step, relaxed_weights

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-4  # relative
# A lambda near zero is a small difference of large numbers: float32 keeps it to a millionth of the largest.
FLOAT32_FLOOR = 1e-6
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


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    floor = FLOAT32_FLOOR * np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=floor)


@pytest.mark.parametrize("name", BAYES)
def test_pure_functions_follow_the_reference(name: str) -> None:
    data = load(name)
    model, n_samples, n = network(), int(data["mc_samples"]), int(data["train_set_size"])
    weights = [model[0].weight, model[3].weight]
    natural, prior = split(data["lambda0"]), split(data["prior"])
    mean, buffer = [torch.tanh(v) for v in natural], [torch.zeros_like(v) for v in natural]
    for t in range(25):
        x, y = torch.from_numpy(data["x"][t]), torch.from_numpy(data["y"][t])
        total, losses = [torch.zeros_like(v) for v in natural], []
        for s in range(max(n_samples, 1)):
            if n_samples:
                uniform = split(data["uniform"][t, s])
                draws = [
                    relaxed_weights(v, u, float(data["temperature"]))
                    for v, u in zip(natural, uniform, strict=True)
                ]
            else:
                draws = [torch.tanh(v) for v in natural]
            for weight, draw in zip(weights, draws, strict=True):
                weight.data = draw
            loss = F.cross_entropy(model(x), y)
            losses.append(loss.item())
            for i, g in enumerate(torch.autograd.grad(loss, weights)):
                scale: Tensor | float = 1.0
                if n_samples:
                    scale = gradient_scale(draws[i], mean[i], float(data["temperature"]), 1e-10)
                total[i] += n / max(n_samples, 1) * scale * g
        mean = [torch.tanh(v) for v in natural]
        for i in range(2):
            natural[i], buffer[i] = natural_step(
                natural[i], prior[i], total[i], buffer[i],
                lr=float(data["lr"]), momentum=float(data["momentum"]),
                kl_weight=float(data["kl_weight"]), step=t + 1,
            )  # fmt: skip
        close(flat(draws), data["last_weights"][t])
        close(np.array(np.mean(losses)), data["loss"][t])
        close(flat(natural), data["lambdas"][t])


@pytest.mark.parametrize("name", BAYES)
def test_optimiser_follows_the_reference(name: str) -> None:
    data = load(name)
    model = network()
    draws = iter(u for step in data["uniform"] for sample in step for u in split(sample))
    optimiser = BayesBiNN(
        model.parameters(), float(data["lr"]), train_set_size=int(data["train_set_size"]),
        temperature=float(data["temperature"]), momentum=float(data["momentum"]),
        mc_samples=int(data["mc_samples"]), kl_weight=float(data["kl_weight"]),
        mode="reference", uniform=lambda _: next(draws),
    )  # fmt: skip
    optimiser.naturals()  # makes the state, which is then set to the recorded start
    starts = zip(model.parameters(), split(data["lambda0"]), split(data["prior"]), strict=True)
    for parameter, natural, prior in starts:
        mean = torch.tanh(natural)
        optimiser.state[parameter].update(natural=natural, prior=prior, mean=mean)
    for t in range(25):
        x, y = torch.from_numpy(data["x"][t]), torch.from_numpy(data["y"][t])

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimiser.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        loss = optimiser.step(closure)
        close(flat(list(model.parameters())), data["last_weights"][t])
        close(loss.numpy(), data["loss"][t])
        close(flat(optimiser.naturals()), data["lambdas"][t])
    for norm, key in [(model[1], "bn1"), (model[4], "bn2")]:
        close(norm.running_mean.numpy(), data[f"{key}_mean"])
        close(norm.running_var.numpy(), data[f"{key}_var"])


def test_ste_follows_the_reference() -> None:
    data = load("ste_a")
    model = network()
    for parameter, latent in zip(model.parameters(), split(data["latent0"]), strict=True):
        parameter.data = latent
    optimiser = STE(model.parameters(), float(data["lr"]))
    for t in range(25):
        optimiser.zero_grad()
        optimiser.draw()
        loss = F.cross_entropy(model(torch.from_numpy(data["x"][t])), torch.from_numpy(data["y"][t]))
        loss.backward()
        optimiser.step()
        close(loss.detach().numpy(), data["loss"][t])
        close(flat(list(model.parameters())), data["latents"][t])
