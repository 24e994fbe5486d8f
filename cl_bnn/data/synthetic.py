"""The two small problems of BayesBiNN's synthetic experiments (Meng et al. 2020, arXiv:2002.10778,
section 4.1): two moons, and the regression of Snelson and Ghahramani (2005).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cl_bnn.data.dataset import Split
from cl_bnn.data.idx import damaged
from cl_bnn.errors import Absent, UserError, require

SNELSON_FOLDER = "snelson"
#: How many numbers each file holds, one a line.
SNELSON_FILES = {"train_inputs": 200, "train_outputs": 200, "test_inputs": 301}
LAYOUT = (
    "the data of Snelson and Ghahramani (2005) are three files of a number a line: "
    + ", ".join(f"{name} ({count})" for name, count in SNELSON_FILES.items())
)


@dataclass(frozen=True)
class Standard:
    """Columns of numbers brought to mean 0 and standard deviation 1.

    Attributes:
        mean: (columns,), float64.
        std: (columns,), float64, > 0; with n - 1, as torch's own `std`.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Standard":
        """The map that standardises `x` (n, columns)."""
        return cls(x.mean(0), x.std(0))

    def __call__(self, x: Tensor) -> Tensor:
        """Standardised float32 from float64 (n, columns)."""
        return ((x - self.mean) / self.std).float()


@dataclass(frozen=True)
class Snelson:
    """Inputs and outputs to learn from, (200, 1) each, and inputs (301, 1) to draw; float64."""

    x: Tensor
    y: Tensor
    grid: Tensor


def moons(n: int, noise: float, random_state: int) -> Split:
    """`n` points on two interleaved half circles: x float64 (n, 2), y int64 (n,) of 0 and 1.

    Args:
        n: number of points, half of them of either class.
        noise: standard deviation of the Gaussian noise on the points.
        random_state: seed of scikit-learn's `make_moons`.

    Raises:
        ValueError: fewer than two points, or a negative noise.
    """
    from sklearn.datasets import make_moons  # half a second

    require(n >= 2, "the number of points", n, ">= 2")
    require(noise >= 0, "noise", noise, ">= 0")
    x, y = make_moons(n, noise=noise, random_state=random_state)
    return Split(torch.from_numpy(x), torch.from_numpy(y))


def snelson(root: Path) -> Snelson:
    """The data of Snelson and Ghahramani (2005), from three text files in `root`/snelson.

    Raises:
        UserError: a file is missing, or does not hold the numbers that it should.
    """
    folder = root / SNELSON_FOLDER
    found = [_read(folder / name, count) for name, count in SNELSON_FILES.items()]
    return Snelson(*found)


def _read(path: Path, count: int) -> Tensor:
    """`count` numbers as a column, float64 (count, 1)."""
    mend = (
        f"put {', '.join(SNELSON_FILES)} of Snelson and Ghahramani (2005) into {path.parent}, or "
        f"give the folder that holds {SNELSON_FOLDER} as --data-root or in CL_BNN_DATA"
    )
    try:
        words = path.read_bytes().split()
    except FileNotFoundError as error:
        raise Absent(f"{path} is missing; {mend}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; {mend}") from error
    numbers = [_number(word, path, mend) for word in words]
    if len(numbers) != count:
        raise damaged(path, f"{len(numbers)} numbers, expected {count}", mend)
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


def _number(word: bytes, path: Path, mend: str) -> float:
    text = word.decode(errors="replace")
    try:
        number = float(text)
    except ValueError as error:
        raise damaged(path, f"{text[:40]!r} is not a number", mend) from error
    if not np.isfinite(number):
        raise damaged(path, f"{text!r} is not a finite number", mend)
    return number
