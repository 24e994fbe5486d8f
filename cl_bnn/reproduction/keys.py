"""The JSON configurations of the BayesBiNN reproduction: their keys and values, judged one by one.

The reproduction (prateekstark/training-binary-neural-network, entry to the ML Reproducibility
Challenge 2020) has three scripts that read such a file: train_bayesbinn.py, train_ste.py and, for
continual learning, test_cl.py. What a file means here is told in `cl_bnn.reproduction.meaning`.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cl_bnn.errors import UserError, near

Method = Literal["bayesbinn", "ste"]
SCRIPTS: dict[Method, str] = {"bayesbinn": "train_bayesbinn.py", "ste": "train_ste.py"}


class Key(NamedTuple):
    """A key of the files: what its value must be, in words and as a test."""

    expected: str
    fits: Callable[[Any], bool]


def _number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _count(least: int) -> Key:
    words = f"a whole number of at least {least}"
    return Key(words, lambda value: type(value) is int and value >= least)


def _one_of(*choices: str) -> Key:
    return Key(f"one of {', '.join(choices)}", lambda value: value in choices)


FLAG = Key("true or false", lambda value: type(value) is bool)
POSITIVE = Key("a number > 0", lambda value: _number(value) and value > 0)
SHARE = Key("a number in [0, 1)", lambda value: _number(value) and 0 <= value < 1)

# Every key of the published files.
KEYS: dict[str, Key] = {
    "dataset": _one_of("mnist", "cifar10", "cifar100"),
    "input_shape": _count(1),
    "output_shape": _count(1),
    "data_augmentation": FLAG,
    "epochs": _count(1),
    "criterion": _one_of("crossentropy"),
    "validation_split": SHARE,
    "lr_scheduler": _one_of("cosine"),
    "batch_size": _count(1),
    "lr_init": POSITIVE,
    "lr_final": Key("a number >= 0", lambda value: _number(value) and value >= 0),
    "drop_prob": SHARE,
    "batch_affine": FLAG,
    "model_architecture": _one_of("BinaryConnect", "VGGBinaryConnect", "LRNetSmall", "LRNetBig"),
    "momentum": Key("a number in (0, 1]", lambda value: _number(value) and 0 < value <= 1),
    "mc_steps": _count(0),
    "temperature": POSITIVE,
    "evaluate_steps": _count(0),
    "grad_clip_value": POSITIVE,
    "weight_clip_value": POSITIVE,
    "eps": POSITIVE,
}
# What no run can do without; the other keys have published values to fall back on.
REQUIRED = ("dataset", "epochs", "batch_size", "lr_init")
# Keys that a single script reads.
ONLY: dict[Method, tuple[str, ...]] = {
    "bayesbinn": ("mc_steps", "temperature", "evaluate_steps", "eps"),
    "ste": ("grad_clip_value", "weight_clip_value"),
}


@dataclass(frozen=True)
class Config:
    """A file, its keys and values judged one by one.

    Attributes:
        path: where it is.
        values: its keys and values.
        method: the script it is for.
        inferred: whether the method was told by the keys.
    """

    path: Path
    values: dict[str, Any]
    method: Method
    inferred: bool

    @property
    def continual(self) -> bool:
        """Whether the file is for test_cl.py, the only script that reads `eps`."""
        return self.method == "bayesbinn" and "eps" in self.values

    @property
    def script(self) -> str:
        """The script of the reproduction that the file is for."""
        return "test_cl.py" if self.continual else SCRIPTS[self.method]

    def refuse(self, key: str, expected: str) -> UserError:
        """The error that says what the value of a key should be."""
        return UserError(f"{self.path}: {key} = {self.values[key]!r}: expected {expected}")


def read(path: Path, method: Method | None) -> Config:
    """The configuration in a file.

    Args:
        path: of the JSON file.
        method: `"bayesbinn"` or `"ste"`; None: told by keys that only one of the two scripts reads.

    Raises:
        UserError: an unreadable file, broken JSON, unknown or missing keys, a value of the wrong
            type or out of range, or a method that the keys do not tell.
    """
    values = _parse(path)
    for key, value in values.items():
        if key not in KEYS:
            raise UserError(f"{path}: unknown key {key!r}{near(key, KEYS)}")
        if not KEYS[key].fits(value):
            raise UserError(f"{path}: {key} = {value!r}: expected {KEYS[key].expected}")
    for key in REQUIRED:
        if key not in values:
            raise UserError(f"{path}: the key {key!r} is missing ({KEYS[key].expected})")
    return Config(path, values, method or _told_by_keys(path, values), inferred=method is None)


def _parse(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise UserError(f"{path}: cannot read the configuration: {error.strerror}") from error
    except json.JSONDecodeError as error:
        where = f"at line {error.lineno}, column {error.colno}"
        raise UserError(f"{path}: broken JSON: {error.msg} ({where})") from error
    if not isinstance(values, dict):
        raise UserError(f'{path}: expected an object, as in {{"dataset": "mnist", ...}}')
    return values


def _told_by_keys(path: Path, values: Mapping[str, Any]) -> Method:
    told: list[Method] = [method for method, keys in ONLY.items() if set(keys) & set(values)]
    if len(told) != 1:
        scripts = " and ".join(SCRIPTS.values())
        raise UserError(
            f"{path}: could be for {scripts}: give --strategy bayesbinn or --strategy ste"
        )
    return told[0]
