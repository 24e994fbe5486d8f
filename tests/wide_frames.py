"""Made-up results of many strategies and tasks, with every measure of predictions and posterior."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from frames import frame_of

from cl_bnn.report.order import family
from cl_bnn.results import Row

#: Twenty strategies in the one order.
TWENTY = (
    "bayesbinn", "bayesbinn_reference", "bayesbinn_fixed_prior", "bimu", "ste", "bop", "bop2",
    "pmf", "metaplastic", "benn", "benn[rule=samme]", "bayesbinn+er", "ste+ewc", "ste+er",
    "ste+der++", "adam", "ewc", "si", "er", "joint",
)  # fmt: skip
#: Where confidences lie in the bins that are not empty.
BINS = {5: 0.3, 10: 0.65, 14: 0.9, 15: 0.98}


def wide(
    strategies: Iterable[str] = TWENTY,
    tasks: int = 5,
    seeds: int = 3,
    benchmark: str = "split_mnist",
    layers: int = 3,
) -> pd.DataFrame:
    """Runs of all strategies with everything that can be measured."""
    return frame_of(
        row
        for place, strategy in enumerate(strategies)
        for seed in range(seeds)
        for row in _run((benchmark, strategy, seed), place, tasks, layers)
    )


def _run(key: tuple[str, str, int], place: int, tasks: int, layers: int) -> Iterator[Row]:
    noise = np.random.default_rng([key[2], place, tasks])
    bayesian, joint = family(key[1]) == "bayesian", key[1] == "joint"
    for after in [tasks - 1] if joint else range(tasks):
        for on in range(tasks):
            age = 0 if joint else after - on
            accuracy = 0.5 if age < 0 else 0.55 + 0.43 * 0.995 ** (age * (1 + 2 * place))
            yield Row(*key, after, on, None, "accuracy", accuracy + noise.normal(0, 0.005))
            if after == tasks - 1:
                yield from _predictions(key, after, on, accuracy, noise)
        bits = 1 if key[1] == "benn" else 32 if bayesian or family(key[1]) == "binary" else 64
        yield Row(*key, after, None, None, "state_bits", bits)
        if bayesian:
            yield from _posterior(key, after, layers, 1 - 0.8 * after / tasks, noise)


def _predictions(
    key: tuple[str, str, int], after: int, on: int, accuracy: float, noise: np.random.Generator
) -> Iterator[Row]:
    where = (*key, after, on, None)
    for metric in ("nll", "ece", "brier", "aleatoric", "epistemic"):
        yield Row(*where, metric, (1 - accuracy) * (1 + noise.normal(0, 0.05)))
    for name in ("rotated", "inverted", "fashion_mnist"):
        yield Row(*where, f"auroc_{name}", 0.5 + 0.5 * accuracy * noise.uniform(0.8, 1))
    for number, confidence in BINS.items():
        yield Row(*where, f"bin_share_{number}", 1 / len(BINS))
        yield Row(*where, f"bin_confidence_{number}", confidence)
        yield Row(*where, f"bin_accuracy_{number}", confidence * accuracy)


def _posterior(
    key: tuple[str, str, int], after: int, layers: int, left: float, noise: np.random.Generator
) -> Iterator[Row]:
    where = (*key, after, None, None)
    for number in range(layers + 1):
        end = f"_layer{number}" if number else ""
        share = left * (1 - 0.1 * number) + noise.normal(0, 0.01)
        yield Row(*where, f"entropy{end}", share)
        yield Row(*where, f"saturated{end}", 1 - share)
        if after:
            yield Row(*where, f"flipped{end}", 0.1 * share)
