import os

# Before torch and matplotlib are imported: small tests are fastest on one thread, and draw no
# window.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

import cl_bnn  # noqa: E402, F401  (makes Avalanche importable for every test)
from cl_bnn import execution, planning  # noqa: E402


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test begins with the same random numbers, whichever ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short it is, and however slow the disk."""
    monkeypatch.setattr(execution, "SAVING_SHARE", float("inf"))


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed does not depend on the terminal that the tests are started from."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan in print without the steps that tell how long it will take."""
    monkeypatch.setattr(planning, "expected", lambda *given: 60.0)
