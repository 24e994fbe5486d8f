"""What a run measured, sent to Weights & Biases as the BayesBiNN reproduction sends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cl_bnn.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

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


def send(wandb: Any, name: str, config: Mapping[str, Any], frame: pd.DataFrame) -> None:
    """Send a run that has ended, a step an epoch.

    Args:
        wandb: the module.
        name: of the run.
        config: its configuration.
        frame: its measurements, as `results.read` returns them.
    """
    wandb.init(project=PROJECT, name=name, config=dict(config))
    for values in epochs(frame):
        wandb.log(values)
    wandb.finish()


def epochs(frame: pd.DataFrame) -> Iterator[dict[str, float]]:
    """What a run measured in one epoch after the other, by the keys of the reproduction.

    Of several tasks the test accuracy is the mean over those seen. What was not measured is left
    out.
    """
    along = frame[frame["epoch"].notna() & frame["on"].notna()]
    for _, rows in along.groupby(["after", "epoch"]):
        means = rows.groupby("metric")["value"].mean()
        yield {
            key: float(factor * means[metric])
            for key, (metric, factor) in KEYS.items()
            if metric in means.index
        }
