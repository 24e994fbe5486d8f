"""From "module:name" in a recipe to a function, and recipes held against its signature."""

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import Parameter, Signature, signature
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any, cast

from cl_bnn._annotations import describe, fits
from cl_bnn.errors import UserError, near, one_line, reason

STARRED = (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)


@contextmanager
def importable(folders: Sequence[str]) -> Iterator[None]:
    """Let modules in these folders and the current one be imported, for the time of the block."""
    saved = list(sys.path)
    sys.path += [*folders, str(Path.cwd())]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = saved


def import_target(target: str, folders: Sequence[str]) -> Callable[..., Any]:
    """The function or class that "module:name" stands for.

    Raises:
        UserError: there is none that can be imported.
    """
    if not isinstance(target, str) or not re.fullmatch(r"[\w.]+:[\w.]+", target):
        raise UserError(f"build = {target!r}: expected 'module:function' or 'module:Class'")
    try:
        with importable(folders):
            module = importlib.import_module(target.partition(":")[0])
            _require_own(target, module, folders)
            found = resolve_name(target)
    except UserError:
        raise
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UserError(f"build = {target!r}: cannot be imported: {one_line(error)}") from error
    except (Exception, SystemExit) as error:  # a script ends itself
        raise UserError(f"build = {target!r}: cannot be imported: {reason(error)}") from error
    if not callable(found):
        raise UserError(f"build = {target!r}: is not a function or class")
    return cast(Callable[..., Any], found)


def own_file(target: str, folders: Sequence[str]) -> Path | None:
    """The file of the user's own, in one of these folders or the current one, that the module of
    "module:name" stands for; None for a module of this package's or of a library.
    """
    module = target.partition(":")[0].split(".")
    if module[0] == _package(own_file):
        return None
    for folder in (*folders, str(Path.cwd())):
        stem = Path(folder, *module)
        for path in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
            if path.is_file():
                return path.resolve()
    return None


def _require_own(target: str, module: ModuleType, folders: Sequence[str]) -> None:
    """Refuse a module of another place that hides the user's own, as one imported before does."""
    own, found = own_file(target, folders), getattr(module, "__file__", None)
    if own is None or found is not None and Path(found).read_bytes() == own.read_bytes():
        return
    raise UserError(
        f"build = {target!r}: the module {module.__name__} is {found or 'a part of Python'}, not "
        f"{own}: give yours another name"
    )


def bind(
    builder: Callable[..., Any],
    settings: Mapping[str, object],
    given: frozenset[str],
    prefix: str,
    where: str,
    beside: Iterable[str] = (),
) -> None:
    """Hold settings against a signature: unknown keys, wrong types, missing keys; those `beside`
    are known as well, elsewhere.

    Raises:
        UserError: one of these.
    """
    parameters = {name: p for name, p in keywords(builder).items() if name not in given}
    for key, value in settings.items():
        if key not in parameters:
            known = near(key, [*parameters, *beside])
            raise UserError(f"{prefix}{key}: no setting of {where}{known}")
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
    except (NameError, AttributeError, TypeError):
        return signature(builder)
    except ValueError as error:
        raise UserError(
            f"build: {one_line(error)}; a function of yours around it has one"
        ) from error
