"""Warnings of Avalanche that nobody who uses this package can do anything about."""

import warnings
from typing import Any


def quieten() -> None:
    """Do not show that there are no solvers for GEM when Avalanche is imported, nor which of its
    own functions it means to remove.
    """
    warnings.filterwarnings("ignore", "no QP solver found", UserWarning)
    show: Any = warnings.showwarning

    def shown(message: Any, category: Any, filename: str, *more: Any) -> None:
        if not (category is DeprecationWarning and "/avalanche/" in filename):
            show(message, category, filename, *more)

    # Avalanche puts its own filter first at every such call, so that no filter of ours is asked.
    vars(warnings)["showwarning"] = shown
