"""The files of recipes: where they lie, which there are, and what is in one."""

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from cl_bnn.errors import UserError, near, one_line

Kind = Literal["strategies", "benchmarks"]

#: Types that a setting may have; anything else in TOML (dates, tables) is taken as text.
SETTING_TYPES = (bool, int, float, str, list)
TYPE_NAMES = {str: "text", int: "a whole number of at least 1", dict: "a table", list: "a list"}


def root() -> Path:
    """The folder that holds `strategies/` and `benchmarks/`: in the wheel, or in the checkout."""
    packaged = Path(__file__).parent / "_recipes"
    return packaged if packaged.is_dir() else Path(__file__).parents[1]


def names(kind: Kind) -> list[str]:
    """The names of the recipes that come with the package, sorted."""
    return sorted(path.stem for path in (root() / kind).glob("*.toml"))


def find(kind: Kind, name_or_path: str) -> Path:
    """The file that a name or a path stands for.

    Raises:
        UserError: an unknown name.
    """
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        return Path(name_or_path)
    known = names(kind)
    if name_or_path not in known:
        singular = {"strategies": "strategy", "benchmarks": "benchmark"}[kind]
        raise UserError(f"unknown {singular} {name_or_path!r}{near(name_or_path, known)}")
    return root() / kind / f"{name_or_path}.toml"


def require_own_name(kind: Kind, path: Path) -> None:
    """Refuse a file that has the name of another recipe that comes with the package, or one like
    a variant's: by the labels of runs, pages and published numbers would take it for that one.
    """
    if "[" in path.stem and path.is_file():
        raise UserError(
            f"{path}: a bracket in the name of a run begins what was changed: give the file a name "
            "without one"
        )
    shipped = root() / kind / path.name
    if path.is_file() and shipped.is_file() and path.read_bytes() != shipped.read_bytes():
        raise UserError(
            f"{path}: {path.stem!r} is the name of a recipe that comes with the package, and this "
            "one is another: give it a name of its own"
        )


def read(path: Path, keys: Mapping[str, type], required: set[str]) -> dict[str, Any]:
    """The table in a recipe file, its top-level keys judged.

    Raises:
        UserError: a file that cannot be read, is no TOML, or has an unknown, wrong or missing key.
    """
    table = _parse(path)
    for key, value in table.items():
        if key not in keys:
            raise UserError(f"{path}: unknown key {key!r}{near(key, keys)}")
        if not (is_count(value) if keys[key] is int else isinstance(value, keys[key])):
            raise UserError(f"{path}: {key} = {value!r}: expected {TYPE_NAMES[keys[key]]}")
        _require_plain(value, f"{path}: {key}")
    for key in sorted(required - set(table)):
        raise UserError(f"{path}: the key {key!r} is missing ({TYPE_NAMES[keys[key]]})")
    return table


def _parse(path: Path) -> dict[str, Any]:
    """The TOML in a file; every failure is one line that names the file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise UserError(f"{path}: cannot read the recipe: {error.strerror}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        lines = text.split("\n")
        end = f"at line {len(lines)}, column {len(lines[-1]) + 1}"
        message = one_line(error).replace("at end of document", end)
        raise UserError(f"{path}: broken TOML: {message}") from error


def _require_plain(value: object, where: str) -> None:
    """Refuse what the JSON of a run cannot hold: dates, times, infinity and NaN."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _require_plain(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _require_plain(inner, f"{where}[{index}]")
    elif not isinstance(value, str | int) and not (type(value) is float and math.isfinite(value)):
        raise UserError(f"{where} = {value}: expected a finite number, text, true or false")


def value_of(text: str) -> object:
    """A value that was given as text: read as TOML where it is TOML of a setting, else as text."""
    try:
        found = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return found if isinstance(found, SETTING_TYPES) else text


def is_count(value: object) -> bool:
    return type(value) is int and value >= 1
