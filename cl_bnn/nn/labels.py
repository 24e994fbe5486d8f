"""Whether a network is to be told the task labels of its inputs."""

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

#: What an argument is called that stands for task labels, also where it may be left out.
LABELS = ("task", "tasks", "task_label", "task_labels")


def asks_labels(forward: Callable[..., Any]) -> bool:
    """Whether the second positional argument of a network's `forward` stands for task labels: it
    has no default, or is called by one of `LABELS`.
    """
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    second = [p for p in signature(forward).parameters.values() if p.kind in kinds][1:2]
    return any(p.default is Parameter.empty or p.name in LABELS for p in second)
