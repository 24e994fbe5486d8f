"""Fit, evaluate, predict: the loop of the strategies for users of plain PyTorch, as in Keras."""

import math
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral
from typing import Any

import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from cl_bnn._arrays import experience, floating, outputs_of, targets_for
from cl_bnn.errors import UserError, require
from cl_bnn.nn import binary_parameters
from cl_bnn.objectives import CLASSIFICATION, Objective
from cl_bnn.recorder import Recorder
from cl_bnn.strategies.bayesbinn import PosteriorStrategy
from cl_bnn.strategies.binary import BinaryStrategy
from cl_bnn.strategies.following import require_all_trained
from cl_bnn.strategies.schedules import Schedule
from cl_bnn.strategies.template import Template

Data = ArrayLike | Tensor
Loss = Callable[[Tensor, Tensor], Tensor] | Objective

# Samples a batch of a measurement, as in our runs.
EVAL_BATCH = 1000


class Trainer:
    """Trains any network with any optimiser, binary or not, and predicts.

        model = cl_bnn.nn.mlp(in_features=784, out_features=10)
        optimizer = BayesBiNN(binary_parameters(model), lr=1e-3, train_set_size=len(x))
        trainer = Trainer(model, optimizer)
        history = trainer.fit(x, y, epochs=5, validation_data=(x_val, y_val))
        probabilities = trainer.predict(x_test, samples=100)

    Behind it are the strategies, the loop and the recorder of our runs, so that the numbers are the
    same. An optimiser of `cl_bnn.optim` draws its weights before every forward pass and predicts
    with its binary weights, or with networks drawn from its posterior where it has one; an
    optimiser of torch trains and predicts with the weights as they are. After `fit` the parameters
    hold whatever the optimiser leaves in them, so predict by `predict`.

    Data are brought to the device and the type of the model's parameters. What is random in
    training comes from torch's global generator: call `torch.manual_seed` before the model is made.

    Args:
        model: maps inputs (batch, ...) to outputs (batch, outputs, ...).
        optimizer: made from the parameters of `model`.
        loss: the mean loss of outputs and targets. A function is taken as the loss of a
            classification by logits. For all else an `Objective` of `cl_bnn.objectives`: `BINARY`,
            `REGRESSION`, `SEGMENTATION`, or one made of them with `dataclasses.replace`.
        samples: networks drawn from the posterior for an evaluation, where there is one; 0 predicts
            with its mode.
        seed: of the networks drawn for an evaluation, the same at every evaluation.

    Raises:
        ValueError: an unknown loss, an optimiser of another network, a bias or gain that would
            become binary unasked, or `samples` out of range.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, loss: Loss = F.cross_entropy, *,
        samples: int = 100, seed: int = 0,
    ) -> None:  # fmt: skip
        _check_parameters(model, optimizer)
        samples = _whole("samples", samples, 0)
        self.model, self.optimizer, self.objective = model, optimizer, _objective(loss)
        self.samples, self.seed = samples, seed
        self._rows: list[dict[str, float]] = []

    def fit(
        self, x: Data, y: Data, *, epochs: int = 1, batch_size: int = 100,
        validation_data: tuple[Data, Data] | None = None, schedule: Schedule = "constant",
        verbose: bool = False,
    ) -> pd.DataFrame:  # fmt: skip
        """Train, or train on: a second call goes on from the first.

        Args:
            x: inputs (n, ...), a tensor or array of numbers.
            y: labels (n,) as whole numbers; numbers (n, outputs) for a regression; labels
                (n, height, width) for a segmentation.
            epochs: times that all samples are seen, >= 1.
            batch_size: samples a step, >= 1; they are shuffled anew for every epoch.
            validation_data: inputs and targets that are measured after every epoch.
            schedule: of the learning rates along the epochs of this call, at whose end they are
                what they were before: a key of `cl_bnn.strategies.schedules.SCHEDULES`, such as
                `"cosine"`.
            verbose: print a line an epoch.

        Returns:
            A row an epoch: `epoch`, counted from 0 and on from earlier calls; `train_loss`, and
            `train_accuracy` where there is one, of the training batches as they were drawn; then,
            with `val_` before the name, what `evaluate` measures on the validation data.

        Raises:
            ValueError: data that do not fit each other or the network, or a setting out of range.
            UserError: the loss is not finite any more.
        """
        epochs, batch_size = _whole("epochs", epochs, 1), _whole("batch_size", batch_size, 1)
        if batch_size == 1 and any(isinstance(m, _BatchNorm) for m in self.model.modules()):
            raise ValueError("batch_size must be >= 2 for a BatchNorm to learn from, got 1")
        training, held_out = self._experience(x, y), None
        if validation_data is not None:
            pair = isinstance(validation_data, (tuple, list)) and len(validation_data) == 2
            require(pair, "validation_data", type(validation_data), "a pair (x, y)")
            held_out = self._experience(*validation_data, of="validation ")
        log = _Log(self.objective, held_out, len(self._rows), verbose)
        strategy = self._strategy(
            log, None, EVAL_BATCH, train_mb_size=batch_size, train_epochs=epochs, schedule=schedule
        )
        rates = [group.get("lr") for group in self.optimizer.param_groups]  # Bop has none
        try:
            strategy.train(training, eval_streams=[])
        finally:
            self._rows += log.rows
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                if rate is not None:
                    group["lr"] = rate
        return pd.DataFrame(log.rows)

    @property
    def history(self) -> pd.DataFrame:
        """The rows of all calls of `fit`, an epoch each."""
        return pd.DataFrame(self._rows)

    def evaluate(
        self, x: Data, y: Data, *, samples: int | None = None, batch_size: int = EVAL_BATCH
    ) -> dict[str, float]:
        """Measures of the predictions by name: `accuracy` (a fraction), `nll` (nats), `ece` and
        `brier`, from 100 classes on `accuracy_top5`.

        Args:
            x: inputs (n, ...).
            y: targets, as for `fit`.
            samples: networks drawn from the posterior; None: as many as the constructor said. The
                mode is measured beside them (`accuracy_mode`), and alone if 0.
            batch_size: samples that go through the network at a time.

        Raises:
            ValueError: data that do not fit each other or the network, or a setting out of range.
        """
        recorder = Recorder(self.objective)
        strategy = self._strategy(recorder, samples, batch_size)
        return recorder.measure(strategy, self._experience(x, y))[0]

    def predict(
        self, x: Data, *, samples: int | None = None, batch_size: int = EVAL_BATCH
    ) -> Tensor:
        """Probabilities (n, classes, ...), or for a regression numbers (n, outputs), on the CPU.

        Args:
            x: inputs (n, ...).
            samples: networks drawn from the posterior, whose predictions are averaged; None: as
                many as the constructor said; 0: the mode.
            batch_size: samples that go through the network at a time.

        Raises:
            ValueError: data that do not fit the network, or a setting out of range.
        """
        collector = _Collector(self.objective)
        strategy = self._strategy(collector, samples, batch_size, criterion=_no_loss)
        inputs, _ = self._inputs(x, "x")
        strategy.eval(experience(inputs, torch.zeros(len(inputs), dtype=torch.int64)))
        outputs = collector.outputs
        if strategy.predictor != "posterior":  # whose predictions are averaged already
            outputs = self.objective.average([outputs], "probabilities")
        return (outputs if self.objective.hits is None else outputs.exp()).cpu()

    # Behind the verbs ----------------------------------------------------------------------------

    def _strategy(
        self, evaluator: Recorder, samples: int | None, batch_size: int, **settings: Any
    ) -> Template:
        """What drives an optimiser that has a posterior, draws weights, or does neither."""
        batch_size = _whole("batch_size", batch_size, 1)
        n_samples = self._n_samples(samples)
        settings |= dict(
            model=self.model, optimizer=self.optimizer, objective=self.objective,
            device=self._like.device, evaluator=evaluator, eval_mb_size=batch_size,
        )  # fmt: skip
        if hasattr(self.optimizer, "posterior_samples"):
            return PosteriorStrategy(eval_samples=n_samples, eval_seed=self.seed, **settings)
        return BinaryStrategy(**settings) if _draws(self.optimizer) else Template(**settings)

    def _n_samples(self, samples: int | None) -> int:
        posterior = hasattr(self.optimizer, "posterior_samples")
        if samples is None:
            return self.samples if posterior else 0
        samples = _whole("samples", samples, 0)
        name = type(self.optimizer).__name__
        require(posterior or not samples, "samples", samples, f"0, as {name} has no posterior")
        return samples

    @property
    def _like(self) -> Tensor:
        """A parameter: everything is computed on its device and in its type."""
        return next(p for p in self.model.parameters() if p.is_floating_point())

    def _inputs(self, x: Data, name: str) -> tuple[Tensor, Tensor]:
        """Inputs, and the outputs of the first ones."""
        inputs = floating(x, self._like, name)
        return inputs, outputs_of(self.model, inputs, self._like.device, name)

    def _experience(self, x: Data, y: Data, of: str = "") -> Any:
        inputs, outputs = self._inputs(x, f"{of}x")
        targets = targets_for(y, len(inputs), outputs, self.objective, f"{of}y")
        return experience(inputs, targets)


class _Log(Recorder):
    """A recorder that measures held-out data after every epoch, and keeps a row of all it found."""

    def __init__(self, objective: Objective, held_out: Any, first: int, verbose: bool) -> None:
        super().__init__(objective)
        self.held_out, self.first, self.verbose = held_out, first, verbose
        self.rows: list[dict[str, float]] = []

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Avalanche calls this after every epoch."""
        epoch, found = self.first + len(self.rows), self.training()
        if not math.isfinite(found["train_loss"]):
            raise UserError(
                f"the training loss is {found['train_loss']} in epoch {epoch}: the learning rate "
                "is too large, or the loss is not finite for these data"
            )
        if self.held_out is not None:
            measured = self.measure(strategy, self.held_out)[0]
            found |= {f"val_{metric}": value for metric, value in measured.items()}
        self.rows.append({"epoch": epoch, **found})
        if self.verbose:
            told = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
            print(f"epoch {epoch}: {told}", flush=True)


class _Collector(Recorder):
    """Keeps the predictions of an evaluation, which nobody measures."""

    def after_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.outputs = torch.cat(self._outputs)


def _no_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Stands for the loss where there are no targets."""
    return outputs.new_zeros(())


def _draws(optimizer: Optimizer) -> bool:
    return hasattr(optimizer, "draw")


def _objective(loss: Any) -> Objective:
    if isinstance(loss, Objective):
        return loss
    if isinstance(loss, type) or not callable(loss):
        raise ValueError(
            "loss must be a function of outputs and targets, or one of CLASSIFICATION, BINARY, "
            f"REGRESSION, SEGMENTATION of cl_bnn.objectives, got {loss!r}"
        )
    return replace(CLASSIFICATION, loss=loss)


def _check_parameters(model: nn.Module, optimizer: Any) -> None:
    """Whether the optimiser is one of this model, and makes binary only what should be."""
    names = {id(p): name for name, p in model.named_parameters()}
    groups = optimizer.param_groups
    if not any(id(p) in names for group in groups for p in group["params"]):
        raise ValueError("optimizer must be made from parameters of the model, got none of them")
    require_all_trained(model, optimizer)
    if not _draws(optimizer):
        return
    binary = {id(p) for p in binary_parameters(model)}
    for group in groups:
        for parameter in group["params"] if group.get("binary", True) else []:
            if id(parameter) not in binary:
                raise ValueError(
                    f"optimizer would make {names.get(id(parameter), 'a parameter')} binary: give "
                    "it cl_bnn.nn.binary_parameters(model), and cl_bnn.nn.real_parameters(model) "
                    "to its inner optimiser (STE: to a group with binary=False)"
                )


def _whole(name: str, value: Any, least: int) -> int:
    whole = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
    require(whole, name, value, f"a whole number >= {least}")
    return int(value)  # torch takes few of the types of NumPy
