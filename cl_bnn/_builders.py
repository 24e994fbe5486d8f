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

STARRED = (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)


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
    parameters = {name: p for name, p in keywords(builder).items() if name not in given}
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


def keywords(builder: Callable[..., Any]) -> dict[str, Parameter]:
    """What a function or class takes, by name. What a class of the user's own takes as `**kwargs`
    are the optional ones of its bases, down to the first of this package.
    """
    own = _signature(builder).parameters
    found = {name: p for name, p in own.items() if p.kind not in STARRED}
    if isinstance(builder, type) and _package(builder) != _package(keywords):
        for base in builder.__mro__[1:]:
            if all(p.kind is not Parameter.VAR_KEYWORD for p in own.values()):
                break
            if "__init__" in vars(base):
                own = _signature(base).parameters
                optional = {n: p for n, p in own.items() if p.default is not Parameter.empty}
                found = optional | found
                if _package(base) == _package(keywords):
                    break
    return found


def _package(thing: Any) -> str:
    return str(thing.__module__).partition(".")[0]


def _signature(builder: Callable[..., Any]) -> Signature:
    """The signature, its annotations evaluated where they can be.

    Raises:
        UserError: it has none, as some of Python's own.
    """
    try:
        return signature(builder, eval_str=True)
    except NameError:
        return signature(builder)
    except ValueError as error:
        raise UserError(
            f"build: {one_line(error)}; a function of yours around it has one"
        ) from error
