"""BayesBiNN's synthetic experiments (Meng et al. 2020, arXiv:2002.10778, section 4.1): one task of
few points, all of them in every batch, so that an epoch is a step.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cl_bnn.benchmarks.stream import Stream, build_benchmark
from cl_bnn.data import data_root as find_data_root
from cl_bnn.data import synthetic
from cl_bnn.data.dataset import Split
from cl_bnn.data.synthetic import Standard
from cl_bnn.data.task import TaskView
from cl_bnn.errors import require
from cl_bnn.objectives import BINARY, REGRESSION
from cl_bnn.probe import Probe

#: How far the grid of two moons reaches beyond the points, in the authors' code.
MARGIN = 0.3
#: Steps from one record and saved state to the next.
EVERY = 100
# Where there are no targets beyond the training data, nothing can be tested.
UNTESTED = replace(REGRESSION, measure=lambda outputs, targets: {}, score="fit_rmse")


def two_moons(
    *, n_train: int = 200, n_test: int = 50, noise: float = 0.1, random_state: int = 0,
    grid_step: float = 0.05, every: int = EVERY, seed: int = 0, data_root: Path | None = None,
) -> Stream:  # fmt: skip
    """Two moons: a class to either half circle, one logit, inputs standardised by the training
    points (Meng et al. 2020, arXiv:2002.10778).

    The authors draw the test points with the seed of the training points. The probe is a grid; its
    outer ring is away from the data.

    Args:
        n_train: training points.
        n_test: test points.
        noise: standard deviation of the noise on the points.
        random_state: seed of the points; those of all runs are the same.
        grid_step: distance of neighbours in the grid, in the units of the points.
        every: epochs from one record to the next.
        seed: not used: the data are the same for all runs.
        data_root: not used.

    Raises:
        ValueError: a setting out of range.
    """
    require(every >= 1, "every", every, ">= 1")
    require(grid_step > 0, "grid_step", grid_step, "> 0")
    train = synthetic.moons(n_train, noise, random_state)
    test = synthetic.moons(n_test, noise, random_state)
    standard = Standard.of(train.x)
    places, away = _grid(train.x, grid_step)
    views = [TaskView(split, standard) for split in (train, test)]
    return Stream(
        benchmark=build_benchmark(views[:1], views[1:], [0]),
        input_shape=(2,),
        out_features=1,
        n_heads=1,
        task_labels=False,
        objective=BINARY,
        every=every,
        probe=Probe(places, standard(places), away, train.x, (standard(train.x), train.y), BINARY),
    )


def snelson(
    *, holdout: float = 0.0, every: int = EVERY, seed: int = 0, data_root: Path | None = None
) -> Stream:
    """The regression of Snelson and Ghahramani (2005): inputs and targets standardised by the
    training data, mean squared error.

    The data have test inputs without targets: they are the probe, and away from the data where
    they lie outside the range of the training inputs. Without held-out data nothing is tested, and
    the result is how well the training data are fitted (`fit_rmse`).

    Args:
        holdout: share of the training data held out as test set, in [0, 1); 0 as published.
        every: epochs from one record to the next.
        seed: of the run; chooses which data are held out.
        data_root: where the folder `snelson` lies.

    Raises:
        ValueError: a setting out of range.
        UserError: a file is missing or damaged.
    """
    require(every >= 1, "every", every, ">= 1")
    require(0 <= holdout < 1, "holdout", holdout, "in [0, 1)")
    data = synthetic.snelson(find_data_root(data_root))
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(data.x)))
    count = round(holdout * len(order))
    held, kept = order[:count], order[count:].sort().values
    inputs, outputs = Standard.of(data.x[kept]), Standard.of(data.y[kept])
    x, y, grid = inputs(data.x), outputs(data.y), inputs(data.grid)

    def view(rows: Tensor) -> TaskView:
        return TaskView(Split(x[rows], y[rows]), lambda values: values)

    return Stream(
        benchmark=build_benchmark([view(kept)], [view(held if count else kept)], [0]),
        input_shape=(1,),
        out_features=1,
        n_heads=1,
        task_labels=False,
        objective=REGRESSION if count else UNTESTED,
        every=every,
        probe=Probe(grid, grid, _outside(grid, x[kept]), x[kept], (x[kept], y[kept]), REGRESSION),
    )


def _grid(x: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Places (n, 2) around points (m, 2), at multiples of `step`, and which are at the rim."""
    low = ((x.min(0).values - MARGIN) / step).floor()
    high = ((x.max(0).values + MARGIN) / step).ceil()
    first, second = (
        torch.arange(a, b + 1, dtype=torch.float64) for a, b in zip(low, high, strict=True)
    )
    indices = torch.cartesian_prod(first, second)
    return indices * step, ((indices == low) | (indices == high)).any(1)


def _outside(x: Tensor, training: Tensor) -> Tensor:
    """Which of x (n, 1) lie outside the range of training inputs (m, 1)."""
    return ((x < training.min()) | (x > training.max())).squeeze(1)
