"""From "module:name" in a recipe to a function, and recipes held against its signature."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import Parameter, Signature, signature
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

from cl_bnn._annotations import describe, fits
from cl_bnn.errors import UserError, near, one_line, reason


@contextmanager
def _importable(folders: Sequence[str]) -> Iterator[None]:
    """Let modules in these folders and the current one be imported, for the time of the block."""
    saved = list(sys.path)
    sys.path += [*folders, str(Path.cwd())]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = saved


def import_target(target: str, folders: Sequence[str]) -> Callable[..., Any]:
    """The function or class that "module:name" stands for."""
    if not isinstance(target, str) or not re.fullmatch(r"[\w.]+:[\w.]+", target):
        raise UserError(f"build = {target!r}: expected 'module:function' or 'module:Class'")
    try:
        with _importable(folders):
            found = resolve_name(target)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UserError(f"build = {target!r}: cannot be imported: {one_line(error)}") from error
    except Exception as error:
        raise UserError(f"build = {target!r}: cannot be imported: {reason(error)}") from error
    if not callable(found):
        raise UserError(f"build = {target!r}: is not a function or class")
    return cast(Callable[..., Any], found)


def bind(
    builder: Callable[..., Any],
    settings: Mapping[str, object],
    given: frozenset[str],
    prefix: str,
    where: str,
) -> None:
    """Hold settings against a signature: unknown keys, wrong types, missing keys."""
    parameters = {
        name: parameter
        for name, parameter in _signature(builder).parameters.items()
        if name not in given
        and parameter.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
    }
    for key, value in settings.items():
        if key not in parameters:
            raise UserError(f"{prefix}{key}: no setting of {where}{near(key, parameters)}")
        annotation = parameters[key].annotation
        if not fits(value, annotation):
            expected = describe(annotation)
            raise UserError(f"{prefix}{key} = {value!r}: expected {expected} ({where})")
    for name, parameter in parameters.items():
        if parameter.default is Parameter.empty and name not in settings:
            raise UserError(f"{prefix}{name} is missing: {where} needs it")


def _signature(builder: Callable[..., Any]) -> Signature:
    """The signature, its annotations evaluated where they can be."""
    try:
        return signature(builder, eval_str=True)
    except NameError:
        return signature(builder)
