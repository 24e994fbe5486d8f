"""Ensembles whose members are trained one after the other."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from avalanche.training.plugins import LRSchedulerPlugin
from torch import Tensor

from cl_bnn.data.folder import View
from cl_bnn.ensembles import resample, weighted_error
from cl_bnn.errors import UserError
from cl_bnn.optim.weights import restored
from cl_bnn.strategies.composed import bare
from cl_bnn.strategies.ensemble import Ensemble
from cl_bnn.strategies.loading import view_behind
from cl_bnn.strategies.priors import PosteriorAsPrior
from cl_bnn.strategies.template import Template

State = dict[str, Any]
# Of the histogram of sample weights: weights beyond 2 to plus or minus this power of their mean are
# counted there.
LAST_POWER = 8


@dataclass
class Member:
    """A member that has been trained.

    Attributes:
        task: the last one it has learned.
        alpha: how much it counts.
        weights: by name, the weights and statistics by which it predicts.
        state: model and optimiser as training left them, to continue with another task; None where
            the members are stages of one network.
        answers: its logits for the batches of a test set, by test set; not saved.
    """

    task: int
    alpha: float
    weights: State
    state: State | None
    answers: WeakKeyDictionary[View, dict[int, Tensor]] = field(default_factory=WeakKeyDictionary)

    def saved(self) -> State:
        """What a member needs to be there again."""
        return {key: value for key, value in vars(self).items() if key != "answers"}


class RoundEnsemble(Ensemble):
    """Members trained in rounds, each for all the epochs of a task.

    Every round begins with the schedules' first epoch. In the mode `"independent"` a member has
    initial weights and an optimiser of its own, and continues from where it was when another task
    comes; in `"sequential"` all members are stages of one network that is trained on and on. With
    a new task all samples count the same again, and each member replaces the one it was.

    The published code keeps BatchNorm and Adam's moments when it starts an independent member, and
    chooses the epoch by the accuracy on resampled training data; here a member starts anew, and
    the last epoch counts. A member's error is measured on the whole training set without
    augmentation.

    Args:
        ensemble: every keyword of `Ensemble` and of the class that trains a member.
    """

    def __init__(self, **ensemble: Any) -> None:
        super().__init__(**ensemble)
        self.independent = self.mode == "independent"
        self.members: list[Member] = []
        self.round, self._classes = 0, 0
        self._at_work = False  # while members are being trained
        self.sample_weights = torch.ones(0, dtype=torch.float64)
        self._told: dict[str, float] = {}
        self._test_set: View | None = None  # that Avalanche's loop goes through, if it is known
        # Of a member, not of the stream: it happens when a member's last round ends.
        self._keeps = [p for p in self.plugins if isinstance(p, PosteriorAsPrior)]
        self.plugins = [plugin for plugin in self.plugins if plugin not in self._keeps]

    # Training ------------------------------------------------------------------------------------

    @property
    def n_epochs(self) -> int:
        """The number of epochs of all members together."""
        return self.size * super().n_epochs

    @property
    def progress(self) -> int:
        """The number of epochs done in the current task, by all members."""
        return self.round * super().n_epochs + self.epoch

    def _refuse_plugins(self) -> None:
        super()._refuse_plugins()
        if any(isinstance(bare(p), LRSchedulerPlugin) for p in self.plugins):
            raise UserError(
                "LRSchedulerPlugin counts the epochs of a task, and members learn one after the "
                "other: take a schedule of the strategy"
            )

    def _before_training(self, **kwargs: Any) -> None:
        super()._before_training(**kwargs)
        for plugin in self._keeps:
            plugin.before_training(self, **kwargs)

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        epochs = super().n_epochs
        self._at_work = True
        self.round, self.epoch = divmod(self._first_epoch(), epochs)
        while self.round < self.size and not self._stop_training:
            if self.epoch == 0:
                self._begin_round()
            while self.epoch < epochs and not self._stop_training:
                self._train_epoch(**kwargs)
            self.round, self.epoch = self.round + 1, 0
        self._stop_training = self._at_work = False

    def _begin_round(self) -> None:
        if self.round == 0:
            count = self.batches.n_samples
            self.sample_weights = torch.full((count,), 1 / count, dtype=torch.float64)
        if not self.independent:
            return
        if self.round < len(self.members):
            state = self.members[self.round].state
            assert state is not None, "independent members keep their state"
            self.model.load_state_dict(state["model"])
            # What the strategy has just told the optimiser of this task outlives the state of the
            # last one: how many data there are.
            told: list[Any] = [group.get("train_set_size") for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
            for group, count in zip(self.optimizer.param_groups, told, strict=True):
                if count is not None:
                    group["train_set_size"] = count
        elif self.round > 0:
            with self.drawing("start", self.round):
                self.begin_anew()

    def _after_forward(self, **kwargs: Any) -> None:
        self._classes = int(self.mb_output.shape[1])
        super()._after_forward(**kwargs)

    def _after_training_epoch(self, **kwargs: Any) -> None:
        if self.epoch + 1 == super().n_epochs:
            self._end_round()
        super()._after_training_epoch(**kwargs)

    def _end_round(self) -> None:
        """Weigh the member that has been trained and keep it; what the next one learns from."""
        known = super().learned()  # before the posterior becomes the prior
        wrong = self.wrong().cpu()
        error = weighted_error(self.sample_weights, wrong)
        alpha = self.rule.weigh(error, self._classes)
        if self.independent or self.round + 1 == self.size:
            for plugin in self._keeps:
                plugin.after_training_exp(self)
        with self.member_weights():
            weights = {name: t.detach().clone() for name, t in _held(self.model).items()}
        task = int(self.experience.current_experience)
        member = Member(task, alpha, weights, self._state() if self.independent else None)
        self.members[self.round : self.round + 1] = [member]
        self._told = known | {"member_error": error, "member_weight": alpha}
        if self.rule.update is not None:
            self.sample_weights = self.rule.update(self.sample_weights, wrong, alpha, self._classes)
            self._told |= _spread(self.sample_weights)

    def _state(self) -> State:
        model = {name: t.clone() for name, t in self.model.state_dict().items()}
        return {"model": model, "optimizer": copy.deepcopy(self.optimizer.state_dict())}

    def learned(self) -> dict[str, float]:
        """At the end of a round: error and weight of the member; of the samples, the share whose
        weight is nearest 2^k times the mean (`sample_weight_2^k`), and the share of them that as
        many equal weights would stand for (`sample_share`).
        """
        found, self._told = self._told, {}
        return super().learned() | found

    def order(self) -> Tensor:
        """The samples that the next epoch of this member shows, as many as there are."""
        if not self.rule.boosts:
            return self.bagged(self.round)
        task = self.experience.current_experience
        return resample(self.sample_weights, self.generator("epoch", task, self.round, self.epoch))

    # Evaluation ----------------------------------------------------------------------------------

    def _asked(self) -> list[Member]:
        """The members; while one is being trained, it stands where it will be."""
        if self.round == self.size or self.members and not self._at_work:
            return self.members
        before = self.members[self.round : self.round + 1]
        alpha = before[0].alpha if before else 1.0
        if self.members and not before:
            alpha = sum(member.alpha for member in self.members) / len(self.members)
        now = Member(0, alpha, {name: t.data for name, t in _held(self.model).items()}, None)
        return [*self.members[: self.round], now, *self.members[self.round + 1 :]]

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Inside, the members can be asked."""
        with self.member_weights():
            self._present = self._asked()
            yield

    def make_eval_dataloader(self, shuffle: bool = False, **kwargs: Any) -> None:
        """As ever; remembers which test set it is, if its batches are always the same."""
        super().make_eval_dataloader(shuffle=shuffle, **kwargs)
        self._test_set = None if shuffle else view_behind(self.adapted_dataset)

    def _after_eval_exp(self, **kwargs: Any) -> None:
        super()._after_eval_exp(**kwargs)
        self._test_set = None

    def alphas(self) -> Tensor:
        """How much each member counts, (M,)."""
        return torch.tensor([member.alpha for member in self._present])

    def member_outputs(self) -> Tensor:
        """Logits of all members for the current mini-batch, (M, batch, classes).

        Members that are done are asked once only: where every epoch is measured, they would take
        most of the time.
        """
        return torch.stack([self._answer(member, len(self._gathered)) for member in self._present])

    def _answer(self, member: Member, batch: int) -> Tensor:
        """Logits of a member for the current mini-batch, the one after `batch` others."""
        known = {} if self._test_set is None else member.answers.setdefault(self._test_set, {})
        if batch not in known:
            with _loaded(self.model, member.weights):
                known[batch] = Template.forward(self)
        return known[batch]

    # Saving --------------------------------------------------------------------------------------

    def extra_state(self) -> dict[str, Any]:
        """The weights of the samples, and which parts the members are."""
        own = {"members": list(self.parts()), "sample_weights": self.sample_weights}
        return super().extra_state() | own

    def parts(self) -> dict[str, Any]:
        """The members that have been trained."""
        return {f"task{m.task}-member{k}": m.saved() for k, m in enumerate(self.members)}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `extra_state` and `parts` returned."""
        super().load_extra_state(state)
        self.members = [self._restored(state["parts"][name]) for name in state["members"]]
        self.sample_weights = state["sample_weights"]

    def _restored(self, saved: State) -> Member:
        """The member that `Member.saved` described, ready to be asked where the network is."""
        weights = {name: tensor.to(self.device) for name, tensor in saved["weights"].items()}
        return Member(**{**saved, "weights": weights})


def _spread(weights: Tensor) -> dict[str, float]:
    relative = weights / weights.mean()
    powers = relative.log2().round().clamp(-LAST_POWER, LAST_POWER).int()
    found, counts = torch.unique(powers, return_counts=True)
    shares = (counts.double() / len(weights)).tolist()
    histogram = {f"sample_weight_2^{k}": s for k, s in zip(found.tolist(), shares, strict=True)}
    return histogram | {"sample_share": (1 / relative.square().mean()).item()}


def _held(model: torch.nn.Module) -> State:
    """What a network predicts by, by name: weights and statistics, saved with it or not."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


@contextmanager
def _loaded(model: torch.nn.Module, weights: State) -> Iterator[None]:
    """Inside, the model holds these weights and statistics; only storage is swapped."""
    own = _held(model)
    with restored(own.values()):
        for name, tensor in own.items():
            tensor.data = weights[name]
        yield
