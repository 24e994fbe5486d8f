"""Where a run stands, on disk: written in one step, checked when read, the one before kept."""

import glob
import hashlib
import io
import pickle
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_bnn.atomic import atomic_write
from cl_bnn.errors import UserError

#: What is neither a tensor nor holds other things.
PLAIN = (
    type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size
)  # fmt: skip
DIGEST_BYTES = hashlib.sha256().digest_size


def rng_state() -> dict[str, Any]:
    """The states of all random generators a run may use (of the GPUs, the current one), as plain
    data and tensors.
    """
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    words = torch.from_numpy(np.asarray(keys).astype(np.int64))
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
        "numpy": (name, words, position, has_gauss, gauss),
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


def require_plain(value: Any, where: str) -> None:
    """Refuse what a checkpoint cannot give back: anything but tensors and plain data.

    Raises:
        UserError: where it stands, and what it is.
    """
    if type(value) in (dict, OrderedDict):
        for key, inner in value.items():
            require_plain(key, f"a key of {where}")
            require_plain(inner, f"{where}[{key!r}]")
    elif type(value) in (list, tuple, set):
        for place, inner in enumerate(value):
            require_plain(inner, f"{where}[{place}]")
    elif not isinstance(value, Tensor) and type(value) not in PLAIN:
        raise UserError(
            f"{where} is a {type(value).__name__}, and tensors and plain data are all that a "
            "checkpoint gives back"
        )


class Checkpoint:
    """The checkpoint of the run whose measurements go to `csv`, in hidden files beside it.

    A file is the SHA-256 of what follows, and a torch archive. The state before the newest is kept,
    so that a damaged file costs the time since then and not the run. Parts of a state that do not
    change any more (a member of an ensemble that has been trained) are files of their own, written
    once.
    """

    def __init__(self, csv: Path) -> None:
        self.newest = csv.with_name(f".{csv.stem}.checkpoint")
        self.previous = csv.with_name(f".{csv.stem}.checkpoint.previous")
        self._written: dict[str, str] = {}  # parts by name, with the digests of their files
        self._before: dict[str, str] = {}  # those of the state before

    def save(self, state: dict[str, Any], parts: Mapping[str, Any] | None = None) -> None:
        """Write `state` (plain data and tensors); a kill at any moment leaves a whole file.

        Args:
            state: what changes from call to call.
            parts: what does not, by name; a name stands for the same content for ever.

        Raises:
            UserError: the folder cannot be written.
        """
        parts = parts or {}
        for name in parts.keys() - self._written.keys():
            self._written[name] = _write(self._part(name), parts[name])
        own = {name: self._written[name] for name in parts}
        if self.newest.exists():
            self.newest.replace(self.previous)
        _write(self.newest, {**state, "parts": own})
        for name in self._written.keys() - own.keys() - self._before.keys():
            self._part(name).unlink(missing_ok=True)
            del self._written[name]
        self._before = own

    def load(self, spec: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any] | None:
        """The newest usable state of the run with this `spec`, or None; its parts by name under
        `"parts"`.

        A file that is damaged or belongs to other settings is set aside, and `tell` gets a line on
        it.
        """
        for path in (self.newest, self.previous):
            if not path.exists():
                continue
            state = _read(path)
            if state is not None and state["spec"] == spec:
                digests = state.get("parts", {})
                found = {name: _read(self._part(name), digest) for name, digest in digests.items()}
                if None not in found.values():
                    self._written, self._before = dict(digests), dict(digests)
                    return {**state, "parts": found}
                state = None
            aside = path.with_name(f"{path.name}.set-aside")
            path.replace(aside)
            why = "is damaged" if state is None else "belongs to other settings"
            older = path == self.newest and self.previous.exists()
            then = "the one before it is tried" if older else "the run begins anew"
            tell(f"checkpoint {path} {why}: set aside as {aside.name}; {then}")
        return None

    def remove(self) -> None:
        """The run is finished: its states are not needed any more."""
        self.newest.unlink(missing_ok=True)
        self.previous.unlink(missing_ok=True)
        name = glob.escape(self.newest.name)
        for pattern in (f"{name}.part-*", f".{name}*.tmp"):  # what a kill left half written, too
            for path in self.newest.parent.glob(pattern):
                path.unlink()

    def _part(self, name: str) -> Path:
        return self.newest.with_name(f"{self.newest.name}.part-{name}")


def _write(path: Path, content: Any) -> str:
    """Write a file; its digest."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data = buffer.getvalue()
    digest = hashlib.sha256(data)
    atomic_write(path, digest.digest() + data)
    return digest.hexdigest()


def _read(path: Path, expected: str | None = None) -> dict[str, Any] | None:
    """What a file holds; None if it is missing, damaged, or another than expected."""
    if not path.exists():
        return None
    content = path.read_bytes()
    digest, data = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest or expected not in (None, digest.hex()):
        return None
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # a value of the user's own that is neither plain nor a tensor
        return None
    return state
