"""What nobody wants to read: warnings of Avalanche's, and what comes after a reader has left."""

import os
import sys
import warnings
from typing import TextIO


def quieten() -> None:
    """Do not show that there are no solvers for GEM when Avalanche is imported, nor which of its
    own functions it means to remove.
    """
    warnings.filterwarnings("ignore", "no QP solver found", UserWarning)
    show = warnings.showwarning

    def shown(
        message: Warning | str, category: type[Warning], filename: str, lineno: int,
        file: TextIO | None = None, line: str | None = None,
    ) -> None:  # fmt: skip
        if not (category is DeprecationWarning and "/avalanche/" in filename):
            show(message, category, filename, lineno, file, line)

    # Avalanche puts its own filter first at every such call, so that no filter of ours is asked.
    warnings.showwarning = shown


def drop_output() -> None:
    """Write what is printed from now on nowhere: its reader (`| head`) has seen enough, and Python
    would complain while it exits.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
