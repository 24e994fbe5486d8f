"""What a run tells while it is under way; plain data, sent between processes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cl_bnn.errors import Absent, UserError, out_of_memory, reason
from cl_bnn.results import Row

Kind = Literal["skipped", "started", "resumed", "epoch", "task", "finished", "failed", "note"]


@dataclass(frozen=True)
class Event:
    """One piece of news of one run.

    `run` is the run's name. Kinds: "skipped" (already on file), "started", "resumed" (from a
    checkpoint; `task` and `epoch` are the next to be trained), "epoch" (one training epoch is
    done), "task" (the evaluation at a task's end is done), "finished" (the files are written),
    "failed" (the run broke down, `text` says why; others go on; `wanting` if it was a file, a
    device or memory that may be there another time), "note" (something the user should read, in
    `text`).

    `task` and `epoch` count from 0, `epoch` within its task. `loss` is the mean training loss of
    the epoch in nats, `accuracy` the share of the training data that was predicted rightly, if that
    can be told. After a task `value` is the mean of the metric `score` over the test sets of the
    tasks seen (the held-out data where there are no test sets). `rows` is what was measured since
    the last event of the run; with "resumed", all that was measured before.
    """

    run: str
    kind: Kind
    task: int = 0
    n_tasks: int = 0
    epoch: int = 0
    n_epochs: int = 0
    loss: float | None = None
    accuracy: float | None = None
    score: str = ""
    value: float | None = None
    text: str = ""
    rows: tuple[Row, ...] = ()
    wanting: bool = False


def failed(run: str, error: Exception) -> Event:
    """The news that a run broke down with an exception."""
    wanting = isinstance(error, OSError | Absent) or out_of_memory(error)
    return Event(run, "failed", text=reason(error), wanting=wanting)


class Failures:
    """A listener that keeps what became of runs that broke down while others went on, and lets
    others hear all.
    """

    def __init__(self, *others: Callable[[Event], None]) -> None:
        self.others, self.found = others, list[Event]()

    def __call__(self, event: Event) -> None:
        """Take in what a run tells."""
        for other in self.others:
            other(event)
        if event.kind == "failed":
            self.found.append(event)

    def tell(self, n_runs: int) -> None:
        """Say in a line which of so many runs broke down, and why.

        Raises:
            UserError: any of them did.
        """
        if self.found:
            said = "; ".join(dict.fromkeys(event.text for event in self.found))
            first = self.found[0].run
            raise UserError(f"{len(self.found)} of {n_runs} runs failed, {first} first: {said}")
