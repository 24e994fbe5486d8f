"""Made-up but plausible results for the tests of reports and plots: no training, no files."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from cl_bnn._labels import name_of
from cl_bnn.results import COLUMNS, Row

#: Strategies of the made-up results that have a posterior.
POSTERIOR = ("bayesbinn", "bayesbinn_fixed_prior", "bayesbinn_reference")
#: Share of its accuracy that a task loses with every later task.
LOSS = {"bayesbinn": 0.05, "bayesbinn_reference": 0.06, "ste": 0.3, "adam": 0.35}


def frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    """The frame that `results.read` makes of files with these rows."""
    return pd.DataFrame(list(rows), columns=list(Row._fields)).astype(COLUMNS)


def matrix_rows(
    matrix: Iterable[Iterable[float]], strategy: str = "ste", seed: int = 0
) -> list[Row]:
    """Rows of an accuracy matrix R[after][on] given as fractions."""
    return [
        Row("toy", strategy, seed, after, on, None, "accuracy", value)
        for after, line in enumerate(matrix)
        for on, value in enumerate(line)
    ]


def run_rows(
    benchmark: str, strategy: str, seed: int, tasks: int = 3, epochs: int = 0
) -> Iterator[Row]:
    """All rows of one run of `tasks` tasks; with `epochs` > 0 those within training as well."""
    noise = np.random.default_rng([seed, tasks, len(strategy)])
    row = (benchmark, strategy, seed)
    for after in range(tasks) if name_of(strategy) != "joint" else [tasks - 1]:
        for on in range(tasks):
            accuracy = _accuracy(strategy, after, on) + noise.normal(0, 0.01)
            yield Row(*row, after, on, None, "accuracy", accuracy)
            yield Row(*row, after, on, None, "nll", 2.3 * (1 - accuracy))
            yield Row(*row, after, on, None, "ece", 0.5 * (1 - accuracy))
            if name_of(strategy) in POSTERIOR:
                yield Row(*row, after, on, None, "accuracy_mode", accuracy - 0.01)
                yield Row(*row, after, on, None, "nll_mode", 2.6 * (1 - accuracy))
                yield Row(*row, after, on, None, "ece_mode", 0.7 * (1 - accuracy))
        if name_of(strategy) in POSTERIOR:
            yield Row(*row, after, None, None, "entropy", 0.8 - 0.1 * after)
            yield Row(*row, after, None, None, "saturated", 0.2 + 0.05 * after)
            if after:
                yield Row(*row, after, None, None, "flipped", 0.1 / after)
        for epoch in range(epochs):
            yield Row(*row, after, after, epoch, "train_loss", 1 / (epoch + 1))
            yield Row(*row, after, after, epoch, "train_accuracy", 1 - 0.2 / (epoch + 1))
            done = (epoch + 1) / epochs
            for on in range(after + 1):
                start = _accuracy(strategy, after - 1, on)
                end = _accuracy(strategy, after, on)
                value = start + (end - start) * done**0.5 + noise.normal(0, 0.01)
                yield Row(*row, after, on, epoch, "accuracy", value)


def plausible(
    benchmark: str = "permuted_mnist[n_experiences=3]",
    strategies: Iterable[str] = ("bayesbinn", "bayesbinn_fixed_prior", "ste", "adam", "joint"),
    seeds: Iterable[int] = range(3),
    tasks: int = 3,
    epochs: int = 0,
) -> pd.DataFrame:
    """Runs of several strategies with several seeds on one benchmark, as `results.read` gives."""
    return frame_of(
        row
        for strategy in strategies
        for seed in seeds
        for row in run_rows(benchmark, strategy, seed, tasks, epochs)
    )


def _accuracy(strategy: str, after: int, on: int) -> float:
    """Chance before a task is learned, 0.95 just after it, less with every later task."""
    if strategy == "joint":
        return 0.95
    loss = LOSS.get(name_of(strategy), 0.8)
    return 0.1 if on > after else 0.1 + 0.85 * (1 - loss) ** (after - on)
