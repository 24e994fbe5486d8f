"""The one exception that a user's mistake raises, what is said of mistakes in a line, and checks of
arguments.
"""

import traceback
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake of the user in one line: what is wrong, where, and what would be right.

    The command line prints the message without a traceback and exits with code 2.
    """


class Absent(UserError):
    """Something is not on this machine, a data set, a device or room to write: what was asked for
    may be right.
    """


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raise `ValueError` naming argument and value unless the condition `holds`."""
    if not holds:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")


def one_of(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise `ValueError` naming argument and value unless that is one of the choices."""
    if value not in (known := tuple(choices)):
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def near(name: str, names: Iterable[str]) -> str:
    """The end of a message about the unknown `name`: the nearest of `names`, and all of them."""
    known = sorted(names)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"; did you mean {close[0]!r}?" if close else ";"
    apart = "; " if any("," in one for one in known) else ", "
    return f"{guess} known: {apart.join(known)}"


def reason(error: BaseException) -> str:
    """Why somebody's code broke down, in a line: the message of a mistake of the user, and of
    anything else its kind and its place as well.
    """
    if isinstance(error, UserError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {one_line(error)}{place}"


def out_of_memory(error: BaseException) -> bool:
    """Whether Python or torch, on a processor or a GPU, found no room for what was asked for."""
    told = "allocate memory", "out of memory", "not enough memory"
    refused = isinstance(error, RuntimeError) and any(words in str(error) for words in told)
    return isinstance(error, MemoryError) or refused


def one_line(error: BaseException) -> str:
    """The message of an exception without its line breaks."""
    return " ".join(str(error).split())
