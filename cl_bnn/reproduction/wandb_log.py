"""What a run measured, sent to Weights & Biases as the BayesBiNN reproduction sends it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from statistics import fmean
from typing import Any

from cl_bnn import results
from cl_bnn.errors import UserError, one_line
from cl_bnn.events import Event
from cl_bnn.results import Row
from cl_bnn.run import Run

PROJECT = "bayes-binn"
#: The keys of the reproduction, our metric behind each, and the factor: it counts in percent.
KEYS = {
    "Training Accuracy": ("train_accuracy", 100),
    "Loss": ("train_loss", 1),
    "Validation Accuracy": ("val_accuracy", 100),
    "Test Accuracy": ("accuracy", 100),
}


def find() -> Any:
    """The module `wandb`.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module("wandb")
    except ImportError as error:
        raise UserError(
            "--wandb: the package wandb is not installed: 'pip install wandb', or leave it out"
        ) from error


class Live:
    """A listener to the events of runs: every epoch is sent when all of it is measured.

    A run that is on file already is sent as a whole. One that continues sends what it measured
    before, to a run of its own.

    Args:
        wandb: the module.
        config: the configuration of the runs.
        runs: those that may tell something.
    """

    def __init__(self, wandb: Any, config: Mapping[str, Any], runs: Iterable[Run]) -> None:
        self.wandb, self.config = wandb, dict(config)
        self.runs = {run.name: run for run in runs}
        self._sinks: dict[str, Any] = {}
        self._held: dict[str, list[Row]] = {}

    def __call__(self, event: Event) -> None:
        """Take in what a run tells, and send what is complete."""
        name, kind = event.run, event.kind
        if kind == "note":
            return
        whole = name not in self._sinks and kind in ("skipped", "finished")  # nothing told before
        if name not in self._sinks:
            self._sinks[name] = self._begin(name)
        rows = _rows_on_file(self.runs[name]) if whole else event.rows
        held = self._held.pop(name, []) + [row for row in rows if row.epoch is not None]
        # The last epoch of a task is tested when the task ends.
        done = event.epoch + (kind == "epoch")
        if kind in ("epoch", "resumed") and event.n_epochs and done >= event.n_epochs:
            newest = max(((row.after, row.epoch) for row in held), default=None)
            self._held[name] = [row for row in held if (row.after, row.epoch) == newest]
            held = [row for row in held if (row.after, row.epoch) != newest]
        for values in epochs(held):
            self._sinks[name].log(values)
        if kind in ("finished", "skipped"):
            self._sinks.pop(name).finish()

    def _begin(self, name: str) -> Any:
        try:
            return self.wandb.init(
                project=PROJECT, name=name, config=self.config, reinit="create_new"
            )
        except Exception as error:  # wandb's own, which say what is amiss
            raise UserError(
                f"--wandb: {one_line(error)}: log in with `wandb login`, or leave --wandb out"
            ) from error


def _rows_on_file(run: Run) -> list[Row]:
    frame = results.read(run.path.parent, alike=False)
    mine = frame[frame["seed"] == run.seed].astype(object)
    return [Row(*values) for values in mine.where(mine.notna(), None).itertuples(index=False)]


def epochs(rows: Iterable[Row]) -> Iterator[dict[str, float]]:
    """What was measured in one epoch after the other, by the keys of the reproduction.

    Of several tasks the test accuracy is the mean over those seen. What was not measured is left
    out.
    """
    found: dict[tuple[int, int], dict[str, list[float]]] = {}
    for row in rows:
        if row.epoch is not None and row.on is not None:
            metrics = found.setdefault((row.after, row.epoch), {})
            metrics.setdefault(row.metric, []).append(row.value)
    for _, metrics in sorted(found.items()):
        yield {
            key: factor * fmean(metrics[metric])
            for key, (metric, factor) in KEYS.items()
            if metric in metrics
        }
