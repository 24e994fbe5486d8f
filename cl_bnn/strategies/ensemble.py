"""BENN: ensembles of binary networks as Avalanche strategies (Zhu, Dong, Su 2019,
arXiv:1806.07550), one ensemble carried through the stream.
"""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cl_bnn import distributed, metrics
from cl_bnn.ensembles import VOTES, Vote, bootstrap, disagreement, rule_of, vote
from cl_bnn.errors import UserError, one_of, require
from cl_bnn.strategies.composed import asks_weights, bare
from cl_bnn.strategies.der import DER
from cl_bnn.strategies.loading import Batches, StreamedBatches, view_behind
from cl_bnn.strategies.mixin import Mixin
from cl_bnn.strategies.task_aware import grows
from cl_bnn.strategies.template import Template

Mode = Literal["independent", "sequential", "posterior"]


class Ensemble(Mixin):
    """What all ensembles share: members vote, and are measured alone and together.

    To be put before the class that trains a member, as `cl_bnn.strategies.ensemble_of` does.

    Args:
        model: the network of a member.
        rule: a name or an alias of `cl_bnn.ensembles`.
        size: M, the number of members, >= 1.
        vote: see `cl_bnn.ensembles.vote`; the others are measured as well.
        member: every keyword of the class that trains a member.

    Raises:
        ValueError: a value is outside its range.
        UserError: an unknown rule, several processes, independent members that begin at real
            weights, and unless all are samples of one network: a network that grows; when training
            begins, a plugin that holds, copies or asks one; when a task begins, a plugin that
            brings a loader of its own.
    """

    mode: Mode = "independent"

    def __init__(
        self, *, model: nn.Module, rule: str = "bagging", size: int = 8, vote: Vote = "soft",
        **member: Any,
    ) -> None:  # fmt: skip
        require(size >= 1, "size", size, ">= 1")
        one_of("vote", vote, VOTES)
        if distributed.size() > 1:
            raise UserError("an ensemble is trained by a single process")
        if self.mode == "independent" and member.get("start") == "real":
            raise UserError(
                "independent members begin at signs: take start = 'signs' (--set "
                "member.start=signs), or mode = 'sequential'"
            )
        if self.mode != "posterior" and grows(model):
            raise UserError("the members of an ensemble cannot grow: give the network all outputs")
        self.rule, self.size, self.vote = rule_of(rule), size, vote
        self.seed = int(torch.randint(2**31, ()))  # of all that members draw for themselves
        super().__init__(model=self.arranged(model), **member)
        if not self.objective.of_classes or self.objective.score != "accuracy":
            raise ValueError("members vote for classes: this benchmark has none")
        self._alone = self.predictors  # the ways in which a member can predict
        self.predictors, self.predictor = ("ensemble",), "ensemble"
        self._gathered: list[Tensor] = []

    def generator(self, *where: object) -> torch.Generator:
        """The source of what is drawn in one place (a member, an epoch), the same whenever it is
        asked for.
        """
        digest = hashlib.sha256(repr((self.seed, *where)).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))

    @contextmanager
    def drawing(self, *where: object) -> Iterator[None]:
        """Inside, torch's global generators are those of one place, and afterwards as before."""
        begun = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        gpus = [torch.cuda.current_device()] if begun else []
        with torch.random.fork_rng(gpus):
            torch.manual_seed(self.generator(*where).initial_seed())
            yield

    def arranged(self, model: nn.Module) -> nn.Module:
        """The network that is trained, from that of a member."""
        return model

    def train(self, experiences: Any, eval_streams: Any = None, **kwargs: Any) -> Any:
        """As `Template.train`; no plugin is told of which member it sees the weights."""
        for plugin in self.plugins:
            inner = bare(plugin)
            of_one = asks_weights(inner) or isinstance(inner, DER)
            if of_one and self.mode != "posterior":
                raise UserError(
                    f"{type(inner).__name__} is for one network, and the members of an ensemble "
                    "are several: leave it out, or take mode = 'posterior'"
                )
        return super().train(experiences, eval_streams, **kwargs)

    # Members -------------------------------------------------------------------------------------

    def member_outputs(self) -> Tensor:
        """Logits of all members for the current mini-batch, (M, batch, classes)."""
        raise NotImplementedError

    def alphas(self) -> Tensor:
        """How much each member counts, (M,)."""
        return torch.ones(self.size)

    @property
    def member_predictor(self) -> str:
        """The way in which a member predicts, of those that the class that trains it has."""
        return "mode" if "mode" in self._alone else self._alone[0]

    @contextmanager
    def member_weights(self) -> Iterator[None]:
        """Inside, the model holds the weights by which a member predicts."""
        before, self.predictor = self.predictor, self.member_predictor
        try:
            with super().evaluation_weights():
                yield
        finally:
            self.predictor = before

    # Evaluation ----------------------------------------------------------------------------------

    def evaluation_weights(self) -> AbstractContextManager[None]:
        """Inside, the members can be asked."""
        return self.member_weights()

    def _before_eval_exp(self, **kwargs: Any) -> None:
        self._gathered = []
        super()._before_eval_exp(**kwargs)

    def forward(self) -> Tensor:
        """Logits; in evaluation, the log-probabilities that the members vote for."""
        if self.is_training:
            return super().forward()
        outputs = self.member_outputs()
        self._gathered.append(outputs)
        return vote(outputs, self.alphas(), self.vote)

    def each_output(self) -> Iterator[Tensor]:
        """In an evaluation, the outputs of every member."""
        yield from self.member_outputs()

    def measured(self, targets: Tensor) -> dict[str, float]:
        """The accuracy of the first member and of the mean one, and how often two members disagree;
        once the task is learned, the accuracy of the first 1, 2, ... members together, by every
        vote.
        """
        outputs, alphas = torch.cat(self._gathered, 1), self.alphas()
        alone = [metrics.accuracy(member, targets) for member in outputs]
        found = {"accuracy_member": alone[0], "accuracy_member_mean": sum(alone) / len(alone)}
        if len(outputs) > 1:
            found["disagreement"] = disagreement(outputs)
        for how in VOTES if self.progress >= self.n_epochs else ():
            for count in range(1, len(outputs) + 1):
                together = vote(outputs[:count], alphas[:count], how)
                found[f"accuracy_{how}_of_{count}"] = metrics.accuracy(together, targets)
        return found

    # Data ----------------------------------------------------------------------------------------

    def make_train_dataloader(
        self, shuffle: bool = True, drop_last: bool = False, **kwargs: Any
    ) -> None:
        """Batches of the samples that the rule draws."""
        super().make_train_dataloader(shuffle, drop_last, **kwargs)
        if not isinstance(self.dataloader, Batches | StreamedBatches):
            raise UserError("an ensemble draws its samples itself: from data of cl_bnn only")
        self.dataloader.order, self.batches = self.order, self.dataloader
        view = view_behind(self.adapted_dataset)
        assert view is not None, "the batches come from a view"
        self._still = view.still()

    def _before_training_exp(self, **kwargs: Any) -> None:
        super()._before_training_exp(**kwargs)
        if self.dataloader is not self.batches and self.mode != "posterior":
            raise UserError(
                "an ensemble draws the samples of its members itself: leave out the plugin that "
                "brings its own loader, or take mode = 'posterior'"
            )

    @torch.no_grad()
    def wrong(self) -> Tensor:
        """Which of the training samples, not augmented, the weights of the moment predict wrongly:
        bool, the dimensions of the model's outputs but for the classes.

        Raises:
            UserError: some of the samples cannot be read.
        """
        inside, self.is_training = (self.mbatch, self.is_training), False
        self.model.eval()
        found = []
        batches = self._batches(self._still, self.eval_mb_size, False, self.eval_seed)
        with self.member_weights():
            for self.mbatch in batches:
                self._unpack_minibatch()
                found.append(Template.forward(self).argmax(-1) != self.mb_y)
        self.mbatch, self.is_training = inside
        self.model.train()
        wrong = torch.cat(found, -1)
        if wrong.shape[-1] != self.batches.n_samples:
            raise UserError("an ensemble needs every training image: mend those that were left out")
        return wrong

    def order(self) -> Tensor:
        """The samples that the next epoch shows."""
        raise NotImplementedError

    def bagged(self, member: int) -> Tensor:
        """The bootstrap of a member for the current task, in the order of the current epoch."""
        task, count = self.experience.current_experience, self.batches.n_samples
        rows = bootstrap(count, self.generator("bootstrap", task, member))
        epoch = self.generator("epoch", task, member, self.epoch)
        return rows[torch.randperm(count, generator=epoch)]

    def extra_state(self) -> dict[str, Any]:
        """The seed of what members draw, beside what they need to continue."""
        return {**super().extra_state(), "seed": self.seed}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `extra_state` returned."""
        super().load_extra_state(state)
        self.seed = state["seed"]


class PosteriorEnsemble(Ensemble):
    """One network with a posterior, whose members are samples of its binary weights, drawn once an
    evaluation; it is trained as ever, on all samples.
    """

    def __init__(self, **ensemble: Any) -> None:
        super().__init__(**ensemble)
        if not hasattr(self, "eval_samples"):
            raise ValueError("mode 'posterior' needs a member that has one, as bayesbinn")
        self.eval_samples = self.size

    @property
    def member_predictor(self) -> str:
        """By its samples, which can be loaded one after the other."""
        return "posterior"

    def member_outputs(self) -> Tensor:
        """Logits of all samples for the current mini-batch, (M, batch, classes)."""
        samples: Any = self._samples
        return torch.stack([Template.forward(self) for _ in samples])

    def order(self) -> Tensor:
        """All samples, shuffled."""
        return torch.randperm(self.batches.n_samples)
