"""Events of runs -> progress bars on a terminal, one quiet line per task elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from cl_bnn.events import Event
from cl_bnn.quiet import drop_output

#: Seconds of history behind the remaining time; an epoch may last hours.
SPEED_PERIOD = 86400.0
#: Columns of a bar, and those of what stands right of it (task, epoch, loss, accuracy, ETA).
BAR_WIDTH, STATE_WIDTH = 10, 60


class Terminal(Console):
    """Goes on in silence once the reader (`| head`) has seen enough: training is not over then."""

    def on_broken_pipe(self) -> None:
        """Rich calls this in place of the exception."""
        self.quiet = True
        drop_output()


@contextmanager
def progress(n_runs: int, console: Console | None = None) -> Iterator[Callable[[Event], None]]:
    """A function that shows each `Event` it is given, for as long as the block lasts."""
    console = console or Terminal()
    if not console.is_terminal:
        yield lambda event: _say(console, line(event))
        return
    bars = _Bars(n_runs, console)
    with bars.display:
        yield bars


def line(event: Event) -> str:
    """An event as one line of text; "" for the end of an epoch, which only bars show."""
    where = f"task {event.task + 1}/{event.n_tasks}"
    at = f"{where}, {_epoch(event)}"
    texts = {
        "skipped": "on file already, skipped",
        "started": f"started: {_counted(event.n_tasks, 'task')}, "
        f"{_counted(event.n_epochs, 'epoch')} each",
        "resumed": f"continues at {at}",
        "epoch": "",
        "task": f"{where} learned{_scored(event)}",
        "finished": "finished",
        "failed": f"failed: {event.text}",
        "note": event.text,
    }
    text = texts[event.kind]
    return f"{event.run}: {text}" if text else ""


def _epoch(event: Event) -> str:
    """The epoch in words; a run can be resumed after the last one, before its evaluation."""
    if event.epoch >= event.n_epochs:
        return "evaluation"
    return f"epoch {event.epoch + 1}/{event.n_epochs}"


def _measured(event: Event) -> str:
    """Loss and accuracy of an event, each with its comma in front."""
    loss = "" if event.loss is None else f", loss {event.loss:.3f}"
    accuracy = "" if event.accuracy is None else f", accuracy {100 * event.accuracy:.1f} %"
    return loss + accuracy


def _scored(event: Event) -> str:
    """The result of a task with its comma in front; accuracies in percent."""
    if event.value is None:
        return ""
    percent = event.score.endswith("accuracy")
    value = f"{100 * event.value:.1f} %" if percent else f"{event.value:.4g}"
    return f", {event.score} {value}" + (" on the tasks so far" if event.n_tasks > 1 else "")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _say(console: Console, text: str) -> None:
    if text:
        # Run names hold brackets, which rich would take for markup.
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _short(name: str, width: int) -> str:
    """The end of a run's name, which tells runs apart, as far as a line has room for it."""
    room = max(width - BAR_WIDTH - STATE_WIDTH, 12)
    return name if len(name) <= room else f"…{name[1 - room :]}"


class _Bars:
    """One bar for every run under way and, where there are several runs, one for all of them."""

    def __init__(self, n_runs: int, console: Console) -> None:
        self.display = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=BAR_WIDTH),
            TextColumn("{task.fields[state]}", markup=False),
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
            console=console,
            speed_estimate_period=SPEED_PERIOD,
        )
        self.bars: dict[str, TaskID] = {}
        self.shares: dict[str, float] = {}  # done of the runs under way
        self.given = 0.0  # runs, or shares of them, that were there before: they tell no speed
        self.n_runs, self.n_done, self.n_failed = n_runs, 0, 0
        self.all_runs = (
            self.display.add_task("all runs", total=n_runs, state=f"0/{n_runs}")
            if n_runs > 1
            else None
        )

    def __call__(self, event: Event) -> None:
        _say(self.display.console, line(event))
        if event.kind in ("started", "resumed", "epoch"):
            self._move(event)
        elif event.kind in ("finished", "skipped", "failed"):
            self._end(event)

    def _move(self, event: Event) -> None:
        """Put a run's bar where the event says, and make the bar when it is new."""
        done = event.task * event.n_epochs + event.epoch + (event.kind == "epoch")
        state = f"task {event.task + 1}/{event.n_tasks} {_epoch(event)}{_measured(event)}"
        total = event.n_tasks * event.n_epochs
        if event.run not in self.bars:
            self.given += done / total
            name = _short(event.run, self.display.console.width)
            bar = self.display.add_task(name, total=total, completed=done, state=state)
            self.bars[event.run] = bar
        self.display.update(self.bars[event.run], total=total, completed=done, state=state)
        self.shares[event.run] = done / total
        self._tell()

    def _end(self, event: Event) -> None:
        """Take a run's bar away and count the run."""
        if event.run in self.bars:
            self.display.remove_task(self.bars.pop(event.run))
        self.shares.pop(event.run, None)
        self.n_done += 1
        self.n_failed += event.kind == "failed"
        self.given += event.kind == "skipped"
        self._tell()

    def _tell(self) -> None:
        """Put the bar of all runs where they are, by what this process has done of them."""
        if self.all_runs is None:
            return
        failed = f", {self.n_failed} failed" if self.n_failed else ""
        state = f"{self.n_done}/{self.n_runs}{failed}, {len(self.bars)} under way"
        done = self.n_done + sum(self.shares.values()) - self.given
        total = self.n_runs - self.given
        self.display.update(self.all_runs, total=total, completed=done, state=state)
