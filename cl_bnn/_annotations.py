"""Does a value from a TOML file fit an annotation? And what would, in words?"""

import math
from collections.abc import Hashable, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

SCALARS: dict[Any, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a finite number", (int, float)),
    str: ("text", (str,)),
    NoneType: ("nothing", (NoneType,)),
}


def fits(value: object, annotation: Any) -> bool:
    """Whether `value` may be passed where `annotation` stands.

    A whole number passes as a float, but true and false are no numbers, nor are infinity and
    NaN. Annotations that no TOML
    value can be judged by (text that could not be evaluated, classes) let everything pass: their
    function has the last word.
    """
    if annotation is None:
        annotation = NoneType
    if isinstance(annotation, Hashable) and annotation in SCALARS:
        return type(value) in SCALARS[annotation][1] and not _endless(value)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin in (Union, UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is tuple and arguments and ... not in arguments:
        if not isinstance(value, list) or len(value) != len(arguments):
            return False
        return all(fits(*pair) for pair in zip(value, arguments, strict=True))
    if dict in (annotation, origin):
        return isinstance(value, dict)
    if origin in (list, tuple, Sequence):
        inner = arguments[0] if arguments else Any
        return isinstance(value, list) and all(fits(item, inner) for item in value)
    return True


def describe(annotation: Any) -> str:
    """What would fit, in words: "a number", "one of 'task', 'class'"."""
    if isinstance(annotation, Hashable) and annotation in SCALARS:
        return SCALARS[annotation][0]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        choices = ", ".join(repr(choice) for choice in arguments)
        return f"one of {choices}" if len(arguments) > 1 else choices
    if origin in (Union, UnionType):
        return " or ".join(describe(a) for a in arguments if a is not NoneType)
    if origin in (list, tuple, Sequence):
        inner = ", ".join(describe(a) for a in arguments if a is not ...)
        return f"a list of: {inner}" if inner else "a list"
    if dict in (annotation, origin):
        return "a table, as in a recipe file"
    return str(annotation)


def _endless(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
