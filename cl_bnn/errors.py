"""The one exception that a user's mistake raises, and the help with misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake of the user in one line: what is wrong, where, and what would be right.

    The command line prints the message without a traceback and exits with code 2.
    """


def near(name: str, names: Iterable[str]) -> str:
    """The end of a message about the unknown `name`: the nearest of `names`, and all of them."""
    known = sorted(names)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{guess} known: {', '.join(known)}"
