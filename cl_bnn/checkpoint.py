"""Where a run stands, on disk: written in one step, checked when read, the one before kept."""

import hashlib
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cl_bnn.results import atomic_write

DIGEST_BYTES = hashlib.sha256().digest_size


def rng_state() -> dict[str, Any]:
    """The states of all random generators a run may use (of the GPUs, the current one), as plain
    data and tensors.
    """
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
        "numpy": (
            name,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            position,
            has_gauss,
            gauss,
        ),
        "python": random.getstate(),
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore what `rng_state` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"][0])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    random.setstate(state["python"])


def seed_all(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class Checkpoint:
    """The checkpoint of the run whose measurements go to `csv`, in a hidden file beside it.

    A file is the SHA-256 of what follows, and a torch archive. The state before the newest is kept,
    so that a damaged file costs one epoch and not the run.
    """

    def __init__(self, csv: Path) -> None:
        self.newest = csv.with_name(f".{csv.stem}.checkpoint")
        self.previous = csv.with_name(f".{csv.stem}.checkpoint.previous")

    def save(self, state: dict[str, Any]) -> None:
        """Write `state` (plain data and tensors); a kill at any moment leaves a whole file.

        Raises:
            UserError: the folder cannot be written.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        if self.newest.exists():
            self.newest.replace(self.previous)
        atomic_write(self.newest, hashlib.sha256(data).digest() + data)

    def load(self, spec: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any] | None:
        """The newest usable state of the run with this `spec`, or None.

        A file that is damaged or belongs to other settings is set aside, and `tell` gets a line on
        it.
        """
        for path in (self.newest, self.previous):
            if not path.exists():
                continue
            state = _read(path)
            if state is not None and state["spec"] == spec:
                return state
            aside = path.with_name(f"{path.name}.set-aside")
            path.replace(aside)
            why = "is damaged" if state is None else "belongs to other settings"
            tell(
                f"checkpoint {path} {why}: set aside as {aside.name}; an older one is used instead"
            )
        return None

    def remove(self) -> None:
        """The run is finished: its states are not needed any more."""
        self.newest.unlink(missing_ok=True)
        self.previous.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    content = path.read_bytes()
    digest, data = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state
