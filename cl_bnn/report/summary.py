"""Numbers that sum up runs: accuracy matrix, ACC, BWT, forgetting, and intervals over seeds.

Notation, with tasks counted from 1 to T as in the literature: R[t, i] is the test accuracy on task
i once the tasks 1 to t are learned. All functions are pure functions of the frame that
`results.read` returns, in which tasks are counted from 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from cl_bnn.results import BEFORE, RUN, UNTRAINED

#: Level of every interval of the reports and figures.
CONFIDENCE = 0.95


def slug(benchmark: str) -> str:
    """A benchmark's name as the beginning of a file name: `split_mnist_scenario=class`."""
    return re.sub(r"[^\w.=-]+", "_", benchmark).strip("_.")


class Interval(NamedTuple):
    """A mean with the half width of its 95 % t interval (NaN for fewer than two values)."""

    mean: float
    half: float
    n: int


def interval(values: Iterable[float]) -> Interval:
    """The mean of independent `values` (seeds) and its 95 % Student t interval; NaNs are left out.

    The half width is t(0.975, n - 1) s / sqrt(n) with s the standard deviation with n - 1.
    """
    finite = np.array([value for value in values if not math.isnan(value)])
    n = len(finite)
    if n < 2:
        return Interval(float(finite[0]) if n else math.nan, math.nan, n)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    return Interval(float(finite.mean()), quantile * float(finite.std(ddof=1)) / math.sqrt(n), n)


def at_task_ends(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of `metric` measured at the end of a task, those during training left out."""
    return frame[frame["epoch"].isna() & (frame["metric"] == metric)]


def at_end(frame: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """The rows measured at the end of the last task of their run; of one metric if it is named."""
    rows = frame[frame["epoch"].isna()]
    rows = rows[rows["after"] == rows.groupby(RUN)["after"].transform("max")]
    return rows if metric is None else rows[rows["metric"] == metric]


def is_single(frame: pd.DataFrame) -> bool:
    """Whether the runs of one benchmark in `frame` learned a single task."""
    return bool(frame["after"].max() == 0)


def accuracy_matrix(
    frame: pd.DataFrame, metric: str = "accuracy", seed: int | None = None
) -> pd.DataFrame:
    """R[after, on] of the one benchmark and strategy in `frame`: of one `seed`, or their mean.

    Tasks count from 0, values are those of the CSV (fractions for the accuracy). Always square;
    NaN where nothing was measured: `joint` has only its last row. Raises `ValueError` if the frame
    holds several strategies or benchmarks, whose mean would mean nothing.
    """
    if len(frame[["benchmark", "strategy"]].drop_duplicates()) > 1:
        raise ValueError("an accuracy matrix belongs to one strategy on one benchmark")
    rows = at_task_ends(frame, metric)
    if seed is not None:
        rows = rows[rows["seed"] == seed]
    tasks = range(int(rows["on"].max()) + 1) if len(rows) else range(0)
    table = rows.pivot_table(index="after", columns="on", values="value", aggfunc="mean")
    return table.reindex(index=tasks, columns=tasks).astype(float)


def average_accuracy(matrix: NDArray[np.float64]) -> float:
    """ACC = mean over i <= T of R[T, i]: the mean over all tasks once the last is learned."""
    return float(matrix[-1].mean())


def anytime_accuracy(matrix: NDArray[np.float64]) -> float:
    """AAA = mean over t <= T of the mean over i <= t of R[t, i]: how well the tasks learned so far
    are known, at the end of every task.

    Between the ends of tasks, where the literature on single passes measures as well
    (Soutif-Cormerais et al. 2023, arXiv:2308.10328), nothing is counted.
    """
    return float(np.mean([matrix[t, : t + 1].mean() for t in range(len(matrix))]))


def learning_accuracy(matrix: NDArray[np.float64]) -> float:
    """LA = mean over i <= T of R[i, i]: how well each task is known just after it was learned."""
    return float(np.diag(matrix).mean())


def backward_transfer(matrix: NDArray[np.float64]) -> float:
    """BWT = mean over i < T of R[T, i] - R[i, i]; negative where tasks are forgotten.

    Lopez-Paz and Ranzato (2017), equation 3. NaN for a single task and where R[i, i] is missing.
    """
    return -forgetting_first_last(matrix)


def forgetting_first_last(matrix: NDArray[np.float64]) -> float:
    """First minus last: mean over i < T of R[i, i] - R[T, i] (the forgetting of Avalanche)."""
    return _mean(np.diag(matrix)[:-1] - matrix[-1, :-1])


def forgetting_max_last(matrix: NDArray[np.float64]) -> float:
    """Maximum minus last: mean over i < T of max over i <= t < T of R[t, i], minus R[T, i].

    Chaudhry et al. (2018), with the maximum over the times at which task i had been learned.
    """
    best = np.array([matrix[i:-1, i].max() for i in range(len(matrix) - 1)])
    return _mean(best - matrix[-1, :-1])


def zero_shot_accuracy(matrix: NDArray[np.float64]) -> float:
    """Zero-shot accuracy = mean over 1 < i <= T of R[i - 1, i]: on each task just before it is
    learned.

    NaN for a single task and where R[i - 1, i] is missing.
    """
    return _mean(np.diag(matrix, 1))


def forward_transfer(matrix: NDArray[np.float64], untrained: NDArray[np.float64]) -> float:
    """FWT = mean over 1 < i <= T of R[i - 1, i] - b[i], with b[i] the accuracy on task i of the
    network that has learned nothing: what earlier tasks teach about the next.

    Lopez-Paz and Ranzato (2017), equation 4. NaN for a single task, and where R[i - 1, i] or b[i]
    is missing.
    """
    return zero_shot_accuracy(matrix - untrained)


_OF_MATRIX = {
    "ACC": average_accuracy,
    "AAA": anytime_accuracy,
    "BWT": backward_transfer,
    "forgetting_first_last": forgetting_first_last,
    "forgetting_max_last": forgetting_max_last,
    "LA": learning_accuracy,
    "zero_shot": zero_shot_accuracy,
}
#: The measures made from accuracies, by their names in tables and in `reference.csv`.
MEASURES = (*_OF_MATRIX, "FWT")
#: Metrics of which the mean over all tasks after the last one is reported as well.
FINAL_MEANS = (
    "nll", "ece", "accuracy_mode", "nll_mode", "ece_mode", "brier", "aleatoric", "epistemic",
    "auroc_rotated", "auroc_inverted", "auroc_mnist", "auroc_fashion_mnist",
)  # fmt: skip


def measures(run: pd.DataFrame, tasks: int | None = None) -> dict[str, float]:
    """The `MEASURES` of the one run in a frame, as if the stream had ended after its first `tasks`
    tasks if a number is given; NaN where one does not exist, or the run is shorter.
    """
    matrix = accuracy_matrix(run).to_numpy()
    n = len(matrix) if tasks is None else tasks
    if not 0 < n <= len(matrix):
        return dict.fromkeys(MEASURES, math.nan)
    rows = run[(run["after"] == BEFORE) & (run["metric"] == UNTRAINED)]
    untrained = rows.set_index("on")["value"].reindex(range(n)).to_numpy(float)
    matrix = matrix[:n, :n]
    found = {name: measure(matrix) for name, measure in _OF_MATRIX.items()}
    return found | {"FWT": forward_transfer(matrix, untrained)}


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a run: `benchmark, strategy, seed`, then the `MEASURES` and the `FINAL_MEANS`.

    NaN where a measure does not exist: all but ACC for `joint`, which knows no order of tasks; BWT,
    forgetting, zero-shot accuracy and FWT for one task; FWT where the untrained network was not
    measured; the mode of a strategy without a posterior.
    """
    rows = []
    for key, run in frame.groupby(RUN):
        row = dict(zip(RUN, key, strict=True)) | measures(run)
        means = at_end(run).groupby("metric")["value"].mean()
        rows.append(row | {metric: means.get(metric, math.nan) for metric in FINAL_MEANS})
    return pd.DataFrame(rows, columns=[*RUN, *MEASURES, *FINAL_MEANS])


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan
