"""VCL as an Avalanche strategy, with a random coreset of every task if asked."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from avalanche.models.utils import avalanche_forward
from torch import Tensor, nn

from cl_bnn.errors import UserError, require
from cl_bnn.optim import VCL
from cl_bnn.optim.gaussian import Held
from cl_bnn.optim.prediction import Average
from cl_bnn.strategies.following import trained
from cl_bnn.strategies.gaussian import GaussianStrategy
from cl_bnn.strategies.loading import Batches, StreamedBatches, samples_of
from cl_bnn.strategies.priors import PosteriorAsPrior
from cl_bnn.strategies.schedules import Schedule

CORESET = "coreset"  # and the number of its task: its name among the parts of the saved state


@dataclass
class Prediction:
    """What predicts once a posterior has seen the coresets: a posterior of its own, and the buffers
    of the network that belong to it (statistics of norms).
    """

    posterior: Held
    buffers: dict[str, Tensor]


class VCLStrategy(GaussianStrategy):
    r"""Continual learning of full-precision weights with VCL (Nguyen, Li, Bui and Turner 2018,
    arXiv:1710.10628, algorithm 1).

    Every parameter has a Gaussian posterior, and that of one task is the prior of the next. With a
    coreset, K random samples of every task are held out of its training. Before anything is
    predicted, a copy of the posterior q_t learns the coresets of all tasks so far, of which there
    are M samples, with q_t as its prior:

        E_q[loss] + KL(q || q_t) / M

    That copy, with its own statistics of norms, predicts until training goes on, and is then
    forgotten: what is handed on from task to task never sees the coresets. It learns the same
    however often it is made. All heads learn their coresets together, as the algorithm has it; the
    authors' code trains a copy for every head. The coresets are part of the saved state, as the
    network sees them.

    Predictions average the probabilities of `eval_samples` networks drawn from the posterior once
    per evaluation; the network of the means can be evaluated as well (`predictor = "mode"`).

    Args:
        model: the network.
        lr: Adam's learning rate, in the first epoch of every task, and for the coresets.
        prior_sigma: standard deviation of the first prior, whose mean is 0.
        init_log_variance: log sigma^2 at the start.
        mc_samples: S, samples a training step.
        eval_samples: C, sampled networks an evaluation; 0 predicts with the means.
        average: `"probabilities"` or `"logits"`.
        coreset: K >= 0, samples held out of every task.
        coreset_epochs: epochs >= 1 over the coresets.
        schedule: see `cl_bnn.strategies.schedules`.
        train_set_size: N; the number of samples of each experience that are trained on if None.
        eval_seed: seed of the networks drawn for evaluation.
        template: every keyword of Avalanche's `SupervisedTemplate`.

    Raises:
        ValueError: a value is outside its range.
        UserError: in `train`, a coreset as large as the task, or batches that are not made by this
            strategy from data of cl_bnn.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        lr: float = 1e-3,
        prior_sigma: float = 1.0,
        init_log_variance: float = -6.0,
        mc_samples: int = 10,
        eval_samples: int = 100,
        average: Average = "probabilities",
        coreset: int = 0,
        coreset_epochs: int = 100,
        schedule: Schedule = "constant",
        train_set_size: int | None = None,
        eval_seed: int = 0,
        **template: Any,
    ) -> None:
        known = 1 if train_set_size is None else train_set_size  # until a task says it
        require(coreset >= 0, "coreset", coreset, ">= 0")
        require(coreset_epochs >= 1, "coreset_epochs", coreset_epochs, ">= 1")
        optimizer = VCL(
            trained(model).values(), lr, train_set_size=known, prior_sigma=prior_sigma,
            init_log_variance=init_log_variance, mc_samples=mc_samples,
        )  # fmt: skip
        super().__init__(
            model=model, optimizer=optimizer, eval_samples=eval_samples, average=average,
            eval_seed=eval_seed, schedule=schedule, **template,
        )  # fmt: skip
        self.train_set_size = train_set_size
        self.coreset, self.coreset_epochs = coreset, coreset_epochs
        self.coreset_seed = int(torch.randint(2**31, ()))  # of all that is drawn for the coresets
        self.coresets: dict[str, list[Tensor]] = {}  # x, y and task labels by the task's name
        self._prediction: Prediction | None = None
        self.plugins.insert(0, PosteriorAsPrior())

    def learned(self) -> dict[str, float]:
        """At the end of an epoch, how far the posterior is from its prior, in nats."""
        return {**super().learned(), "kl": self.optimizer.kl()}

    # Training on what is not in the coreset ------------------------------------------------------

    def make_train_dataloader(
        self, shuffle: bool = True, drop_last: bool = False, **kwargs: Any
    ) -> None:
        """Batches of the samples that are not in the coreset."""
        super().make_train_dataloader(shuffle, drop_last, **kwargs)
        count = len(self.adapted_dataset)
        self._shown = torch.arange(count)
        if not self.coreset:
            return
        if self.coreset >= count:
            raise UserError(
                f"coreset = {self.coreset}: expected less than the {count} samples of a task"
            )
        with self._drawing(self.experience.current_experience):
            rows = torch.randperm(count)
            self._shown = rows[self.coreset :]
            self._remember(rows[: self.coreset])
        if isinstance(self.dataloader, Batches | StreamedBatches):
            self.dataloader.order = self._order

    def _order(self) -> Tensor:
        return self._shown[torch.randperm(len(self._shown))]

    def _remember(self, rows: Tensor) -> None:
        """Keep some samples of the task as its coreset, the same whenever it is called."""
        name = f"{CORESET}{self.experience.current_experience}"
        self.coresets[name] = samples_of(self.adapted_dataset, rows, self.device)

    @contextmanager
    def _drawing(self, place: int) -> Iterator[None]:
        """Inside, torch's global generators are those of a place; they are restored on leaving."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.coreset_seed + place)
            yield

    def _before_training_exp(self, **kwargs: Any) -> None:
        super()._before_training_exp(**kwargs)
        if self.coreset and getattr(self.dataloader, "order", None) != self._order:
            raise UserError(
                "a coreset is held out of batches of data of cl_bnn, which no plugin or ensemble "
                "may replace"
            )
        self._count(self.train_set_size or len(self._shown))

    def _count(self, n_samples: int) -> None:
        for group in self.optimizer.param_groups:
            group["train_set_size"] = n_samples

    def _before_training_iteration(self, **kwargs: Any) -> None:
        self._prediction = None
        super()._before_training_iteration(**kwargs)

    def make_optimizer(self, **kwargs: Any) -> None:
        """Follow the model; what has seen the coresets does not fit into one that has grown."""
        before = self._named
        super().make_optimizer(**kwargs)
        if any(p is not before.get(name) for name, p in self._named.items()):
            self._prediction = None

    # Predicting with what has seen the coresets --------------------------------------------------

    def predicting(self) -> AbstractContextManager[None]:
        """Inside, the posterior has seen the coresets."""
        if not self.coresets:
            return nullcontext()
        if self._prediction is None:
            buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
            found = Prediction(self.optimizer.held(), buffers)
            with self._exchanged(found):
                self._learn_coresets()
            self._prediction = found
        return self._exchanged(self._prediction)

    @contextmanager
    def _exchanged(self, other: Prediction) -> Iterator[None]:
        def exchange() -> None:
            for name, buffer in self.model.named_buffers():
                if name in other.buffers:
                    buffer.data, other.buffers[name] = other.buffers[name], buffer.data

        with self.optimizer.exchanged(other.posterior):
            exchange()
            try:
                yield
            finally:
                exchange()

    def _learn_coresets(self) -> None:
        """Train on the coresets of all tasks, from the posterior that there is, which is the prior,
        at the learning rate of a first epoch.
        """
        x, y, labels = (torch.cat(column) for column in zip(*self.coresets.values(), strict=True))
        groups, training = self.optimizer.param_groups, self.model.training
        before = [dict(group) for group in groups]
        for group, lr in zip(groups, self._initial_lr, strict=True):
            group.update(lr=lr, train_set_size=len(y))
        self.optimizer.posterior_to_prior()
        self.model.train()
        with self._drawing(-len(self.coresets)), torch.enable_grad():
            for _ in range(self.coreset_epochs):
                for rows in self._coreset_batches():
                    self._learn([x[rows], y[rows], labels[rows]])
        self.model.train(training)
        for group, known in zip(groups, before, strict=True):
            group.update(known)

    def _coreset_batches(self) -> list[Tensor]:
        """Rows of mini-batches for an epoch, each with as many samples of every task, one at least:
        a head or a norm of one task may see no others.
        """
        sizes = [len(y) for _, y, _ in self.coresets.values()]
        count = min(math.ceil(sum(sizes) / self.train_mb_size), *sizes)
        shares, start = [], 0
        for size in sizes:
            shares.append((start + torch.randperm(size)).tensor_split(count))
            start += size
        return [torch.cat(rows).to(self.device) for rows in zip(*shares, strict=True)]

    def _learn(self, batch: list[Tensor]) -> None:
        inside, self.mbatch = self.mbatch, batch

        def closure() -> Tensor:
            outputs = avalanche_forward(self.model, self.mb_x, self.mb_task_id)
            loss: Tensor = self._criterion(outputs, self.mb_y)
            self.differentiate(loss)
            return loss

        self._unpack_minibatch()
        self.optimizer.step(closure)
        self.mbatch = inside

    # Saving and continuing -----------------------------------------------------------------------

    def extra_state(self) -> dict[str, Any]:
        """The seed of what is drawn for the coresets, beside what else is needed."""
        return {**super().extra_state(), "coreset_seed": self.coreset_seed}

    def parts(self) -> dict[str, Any]:
        """The coresets of the tasks so far."""
        return {**super().parts(), **self.coresets}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `extra_state` and `parts` returned."""
        super().load_extra_state(state)
        self.coreset_seed = state["coreset_seed"]
        self.coresets = {
            name: [column.to(self.device) for column in columns]
            for name, columns in state["parts"].items()
            if name.startswith(CORESET)  # and not a member of an ensemble
        }
