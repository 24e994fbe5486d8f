"""The machine and the versions that runs are carried out on."""

import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_bnn.errors import Absent

if TYPE_CHECKING:
    import torch

# Whose versions stand in the JSON of a run.
PACKAGES = ("torch", "avalanche-lib", "numpy")


def find_device(name: str) -> "torch.device":
    """The torch device called `auto`, `cpu` or `cuda`.

    Raises:
        Absent: CUDA is asked for and not there.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise Absent("--device cuda: torch finds no CUDA device here; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def circumstances(device: "torch.device") -> dict[str, Any]:
    """What stands beside results without determining them: commit, machine, versions."""
    from importlib.metadata import version

    from cl_bnn import __version__

    return {
        "commit": _commit(),
        "device": str(device),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {"cl-bnn": __version__} | {name: version(name) for name in PACKAGES},
    }


@cache
def _commit() -> str | None:
    """The commit of the checkout of this project, if the package is used from one, as it was when
    this process first asked: what is committed later it does not run.
    """
    package = Path(__file__).resolve().parent
    command = ["git", "-C", str(package), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    root, _, commit = found.stdout.strip().partition("\n")
    return commit if commit and Path(root).resolve() == package.parent else None
