"""What all strategies share: Avalanche's supervised template, fed with tensors and resumable."""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from avalanche.benchmarks import CLExperience
from avalanche.training.plugins import EarlyStoppingPlugin, LRSchedulerPlugin
from avalanche.training.templates import SupervisedTemplate
from avalanche.training.templates.base_sgd import PeriodicEval
from torch import Tensor, nn

from cl_bnn import distributed
from cl_bnn.data.folder import View
from cl_bnn.errors import UserError, one_of
from cl_bnn.objectives import CLASSIFICATION, Objective
from cl_bnn.optim.gaussian import GaussianPosterior
from cl_bnn.optim.inner import WithInner
from cl_bnn.strategies.composed import (
    REWRITERS,
    Composed,
    bare,
    composed,
    keeps_nothing,
    says_itself,
)
from cl_bnn.strategies.following import FollowsModel, require_all_trained, trained
from cl_bnn.strategies.loading import Batches, StreamedBatches, batches_of, view_behind
from cl_bnn.strategies.precision import PRECISIONS, Precision, gpu_arithmetic
from cl_bnn.strategies.schedules import SCHEDULES, Schedule
from cl_bnn.strategies.task_aware import adapt, grows


class Template(FollowsModel, SupervisedTemplate):
    """A strategy whose schedule of the learning rate restarts with every task.

    Batches come ready from memory or from disk where the data are ours (`TaskView`, `FolderView`);
    all other data, and plugins that bring their own loader, take Avalanche's ordinary way. A
    parameter that appears while learning (a new head) is optimised from then on, and one that grows
    keeps what was learned. Several processes share every mini-batch, see `cl_bnn.distributed`.

    Args:
        model: a network; `TaskAware` if it needs the task label.
        optimizer: its learning rates are those of the first epoch of a task.
        schedule: a key of `cl_bnn.strategies.schedules.SCHEDULES`, such as `"cosine"`.
        objective: what the network is asked for; its loss is the criterion unless one is given.
        stop_after: end training after so many epochs of a task, without changing the schedules,
            which span all `train_epochs`.
        precision: `"float32"`; `"tf32"` where GPUs may round the factors of products and
            convolutions to 10 bits; or `"bf16"` for networks whose products and convolutions are
            computed in bfloat16 (torch's autocast). Weights, gradients and loss stay as they are.
        channels_last: whether images are handed to the network with the channels innermost in
            memory, which convolutions on some devices prefer.
        template: every keyword of Avalanche's `SupervisedTemplate`.

    Raises:
        ValueError: a value is out of range, or a parameter is neither optimised nor frozen.

    Attributes:
        predictors: the ways in which the strategy can predict, the preferred one first.
        predictor: the one in use.
        epoch: number of epochs done in the current task.
        eval_seed: seed of whatever is drawn for an evaluation.
        elementwise: whether the optimiser treats every weight alone, whatever the shape of its
            parameter.
        gradients_remain: whether parameters have their gradients still after a step.
        stateless: whether a class of the user's says that its network and optimiser are all that it
            remembers, so that it may be interrupted, and be a member of an ensemble.
        trains_all: whether every parameter that is not frozen has to be in the groups of
            `optimizer` or of its `inner`; False where a class steps others itself.
    """

    predictors: tuple[str, ...] = ("weights",)
    eval_seed = 0
    elementwise = True
    gradients_remain = True
    stateless = False
    trains_all = True
    # Avalanche's own declarations carry no types.
    experience: Any
    mbatch: Any
    mb_output: Any
    loss: Any
    plugins: Any
    is_training: bool

    def __init__(
        self, *, model: nn.Module, optimizer: torch.optim.Optimizer,
        schedule: Schedule = "constant", objective: Objective = CLASSIFICATION,
        stop_after: int | None = None, precision: Precision = "float32",
        channels_last: bool = False, **template: Any,
    ) -> None:  # fmt: skip
        one_of("schedule", schedule, SCHEDULES)
        if schedule == "cosine_early" and template.get("train_epochs", 1) < 2:
            reason = "learns nothing in the last epoch of a task: it needs at least 2 epochs"
            raise ValueError(f"schedule 'cosine_early' {reason}")
        one_of("precision", precision, PRECISIONS)
        # A loss of its own: Avalanche's MIR sets its reduction for a while.
        template.setdefault("criterion", copy.copy(objective.loss))
        if schedule != "constant" and not any("lr" in group for group in optimizer.param_groups):
            name = type(optimizer).__name__
            raise ValueError(f"schedule {schedule!r} has no learning rate to vary: {name} has none")
        if self.trains_all:
            require_all_trained(model, optimizer)
        super().__init__(model=model, optimizer=optimizer, **template)
        self.objective = objective
        self.stop_after, self.precision, self.channels_last = stop_after, precision, channels_last
        self._stop_training = False
        self._factor, self._varies = SCHEDULES[schedule], schedule != "constant"
        self._initial_lr = [group.get("lr") for group in optimizer.param_groups]  # Bop has none
        self._named = trained(model)
        self.predictor = self.predictors[0]
        self.epoch = 0
        self._resume: tuple[int, Callable[[], None]] | None = None

    # Training ------------------------------------------------------------------------------------

    @property
    def n_epochs(self) -> int:
        """The number of epochs that a task is trained."""
        epochs: int = self.train_epochs
        return epochs if self.stop_after is None else min(epochs, self.stop_after)

    @property
    def progress(self) -> int:
        """The number of epochs done in the current task, of `n_epochs`."""
        return self.epoch

    def phases(self, experiences: Any) -> list[list[Any]]:
        """What each call of `train` gets: one experience after the other."""
        return [[experience] for experience in experiences]

    def train(self, experiences: Any, eval_streams: Any = None, **kwargs: Any) -> Any:
        """Avalanche's `train`, in the arithmetic that `precision` names; plugins that hold or ask
        weights see those of the network, see `Composed`.

        Raises:
            UserError: a plugin cannot work with this strategy, or Avalanche's
                `reset_optimizer_state` is asked for.
        """
        if kwargs.get("reset_optimizer_state"):
            raise UserError(
                "reset_optimizer_state would wipe what was learned, which optimisers of binary "
                "weights hold: leave it out"
            )
        self._compose()
        self._refuse_plugins()
        for plugin in self._composed():
            plugin.accept(self)
        try:
            with gpu_arithmetic(self.precision == "tf32"):
                return super().train(experiences, eval_streams, **kwargs)
        finally:  # interrupted, a step may have been begun
            if hasattr(self.optimizer, "undraw"):
                self.optimizer.undraw()

    def _refuse_plugins(self) -> None:
        own_state = isinstance(self.optimizer, WithInner | GaussianPosterior)
        for given in self.plugins:
            plugin = bare(given)
            name = type(plugin).__name__
            if own_state and isinstance(plugin, REWRITERS):
                instead = ": use stop_after instead" * isinstance(plugin, EarlyStoppingPlugin)
                raise UserError(
                    f"{name} puts other weights into the model, and what {type(self).__name__} "
                    f"learns is in its optimiser{instead}"
                )
            if not isinstance(plugin, LRSchedulerPlugin):
                continue
            if self._varies:
                raise UserError(
                    f"{name} and a schedule of {type(self).__name__} would both set the learning "
                    "rate: take schedule='constant' beside it"
                )
            if plugin.reset_lr and plugin.scheduler.optimizer is not self.optimizer:
                raise UserError(
                    f"{name} would give the strategy's own optimiser the learning rate of another: "
                    "take a scheduler of `strategy.optimizer`, or reset_lr=False, with which the "
                    "rate goes on from task to task"
                )

    def resume(self, epoch: int, restore_rng: Callable[[], None]) -> None:
        """The next call of `train` begins at this epoch, after calling `restore_rng`."""
        self._resume = epoch, restore_rng

    def _before_training_exp(self, **kwargs: Any) -> None:
        """Avalanche's periodic evaluation ends with one of the finished network; it would count
        `train_epochs`, and not all need be trained.
        """
        super()._before_training_exp(**kwargs)
        for plugin in map(bare, self.plugins):
            if isinstance(plugin, PeriodicEval) and plugin.peval_mode == "epoch":
                last = self.n_epochs - 1
                plugin.do_final = plugin.eval_every == 0 or (
                    plugin.eval_every > 0 and last % plugin.eval_every != 0
                )

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        self.epoch = self._first_epoch()
        while self.epoch < self.n_epochs and not self._stop_training:
            self._train_epoch(**kwargs)
        self._stop_training = False

    def _first_epoch(self) -> int:
        """The number of epochs that are done before this call of `train`; 0 unless it resumes."""
        if self._resume is None:
            return 0
        epoch, restore_rng = self._resume
        restore_rng()
        self._resume = None
        return epoch

    def _train_epoch(self, **kwargs: Any) -> None:
        self._before_training_epoch(**kwargs)
        if self._stop_training:  # a plugin has just said so
            return
        self.training_epoch(**kwargs)
        self._after_training_epoch(**kwargs)
        self.epoch += 1

    def _before_training_epoch(self, **kwargs: Any) -> None:
        if self._varies:  # else the rate may be that of a plugin
            factor = self._factor(self.epoch, self.train_epochs)
            for group, lr in zip(self.optimizer.param_groups, self._initial_lr, strict=True):
                if lr is not None:
                    group["lr"] = lr * factor
        super()._before_training_epoch(**kwargs)

    def make_train_dataloader(
        self, shuffle: bool = True, drop_last: bool = False, **kwargs: Any
    ) -> None:
        """Batches from memory if the data allow it, else Avalanche's loader."""
        view = None if drop_last else view_behind(self.adapted_dataset)
        if view is None:
            if distributed.size() > 1:
                raise UserError("several processes train on data of cl_bnn only, not dropping any")
            super().make_train_dataloader(shuffle=shuffle, drop_last=drop_last, **kwargs)
        else:
            self.dataloader = self._batches(view, self.train_mb_size, shuffle)

    def make_eval_dataloader(self, shuffle: bool = False, **kwargs: Any) -> None:
        """Batches from memory if the data allow it, else Avalanche's loader."""
        view = view_behind(self.adapted_dataset)
        if view is None:
            super().make_eval_dataloader(shuffle=shuffle, **kwargs)
        else:
            self.dataloader = self._batches(view, self.eval_mb_size, shuffle, self.eval_seed)

    def _batches(
        self, view: View, batch_size: int, shuffle: bool, augment_seed: int | None = None
    ) -> Batches | StreamedBatches:
        label = int(self.experience.task_label)
        return batches_of(
            view, label, batch_size, shuffle=shuffle, device=self.device, augment_seed=augment_seed
        )

    def _unpack_minibatch(self) -> None:
        super()._unpack_minibatch()
        if self.channels_last and self.mbatch[0].dim() == 4:
            self.mbatch[0] = self.mbatch[0].contiguous(memory_format=torch.channels_last)

    def forward(self) -> Tensor:
        """Outputs for the current mini-batch, in the type of the parameters."""
        if self.precision != "bf16":
            outputs: Tensor = super().forward()
            return outputs
        with torch.autocast(self.device.type, torch.bfloat16):
            outputs = super().forward()
        return outputs.float()

    def _before_backward(self, **kwargs: Any) -> None:
        """Penalties come last: they hold what the loss reaches without them, whichever plugin's."""
        super()._before_backward(**kwargs)
        for plugin in self._composed():
            plugin.penalise(self, **kwargs)

    def backward(self) -> None:
        """Gradients of the loss of the mini-batch."""
        self.differentiate(self.loss)

    def differentiate(self, loss: Tensor) -> None:
        """Gradients of a mean loss of the mini-batch; of all of it, where processes share it."""
        distributed.differentiate(loss, self.model.parameters(), len(self.mb_y))

    def learned(self) -> dict[str, float]:
        """What this strategy has to tell at the end of an epoch besides loss and accuracy."""
        return {}

    @property
    def n_weights(self) -> int:
        """The number of weights of the network, in however many versions it is kept."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def can_be_saved(self) -> bool:
        """Whether all that a run needs to continue can be restored: no network that grows (it does
        not fit into the one that a run begins with), no plugin without a state, and no class of the
        user's own that does not say by `extra_state` what it remembers.
        """
        if grows(self.model) or not all(plugin.can_be_saved for plugin in self._composed()):
            return False
        return says_itself(type(self), "extra_state") or keeps_nothing(type(self))

    def _compose(self) -> None:
        self.plugins[:] = map(composed, self.plugins)

    def _composed(self) -> list[Composed]:
        return [plugin for plugin in self.plugins if isinstance(plugin, Composed)]

    def extra_state(self) -> dict[str, Any]:
        """What a run needs to continue besides model and optimiser: tensors and plain data."""
        beside = self._composed()
        return {"plugins": [plugin.state_dict() for plugin in beside]} if beside else {}

    def parts(self) -> dict[str, Any]:
        """What else it needs, by name, in pieces that never change once they are there."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `extra_state` returned, and under `"parts"` what `parts` did."""
        self._compose()
        for plugin, found in zip(self._composed(), state.get("plugins", []), strict=True):
            plugin.load_state_dict(found, self.device)

    # Evaluation ----------------------------------------------------------------------------------

    def network_weights(self) -> AbstractContextManager[None]:
        """Inside, between two steps, the model holds the network's weights: here those it has."""
        return nullcontext()

    def evaluation_weights(self) -> AbstractContextManager[None]:
        """Inside, the model holds the weights that predict; here they are those of training."""
        return nullcontext()

    def eval(self, experiences: Any, **kwargs: Any) -> Any:
        """Avalanche's `eval` under `evaluation_weights`; the training weights come back."""
        if not isinstance(experiences, CLExperience):
            experiences = list(experiences)
        adapt(self.model, experiences, self.device)  # now: within, it holds what predicts
        self.make_optimizer()
        with gpu_arithmetic(self.precision == "tf32"), self.evaluation_weights():
            return super().eval(experiences, **kwargs)

    def each_output(self) -> Iterator[Tensor]:
        """In an evaluation, the outputs for the current mini-batch of every network that predicts;
        here there is one.
        """
        yield self.forward()

    def measured(self, targets: Tensor) -> dict[str, float]:
        """What this strategy has to tell of the experience just evaluated, besides the metrics of
        its predictions; `targets` are those of all samples, in their order.
        """
        return {}

    def naturals(self) -> list[Tensor] | None:
        """The natural parameters of the posterior over binary weights, if there is one."""
        return None
