"""One run: a strategy on a benchmark with a seed, from its first task to its measurements."""

import copy
import gc
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from avalanche.core import BasePlugin, SupervisedPlugin
from torch import Tensor, nn

from cl_bnn import cost, distributed, metrics, probe, recipes, uncertainty
from cl_bnn.benchmarks import Stream
from cl_bnn.checkpoint import Checkpoint, require_plain, rng_state, seed_all, set_rng_state
from cl_bnn.errors import UserError, one_line, out_of_memory, reason
from cl_bnn.events import Event
from cl_bnn.nn.labels import asks_labels
from cl_bnn.objectives import BINARY, CLASSIFICATION, SEGMENTATION
from cl_bnn.recorder import Recorder
from cl_bnn.results import BEFORE, UNTRAINED, Row
from cl_bnn.run import Run
from cl_bnn.strategies import Composed, TaskAware, Template
from cl_bnn.strategies.loading import view_behind
from cl_bnn.strategies.task_aware import grows

# Images a test batch, as published; it matters only to norms that use the test batch.
EVAL_BATCH = 1000
# Of the time of a task at most this share goes into saving the state after its epochs, but for the
# last: where epochs are short and networks large, not every epoch is saved.
SAVING_SHARE = 0.1
# What the names of metrics on held-out training data begin with.
HELD_OUT = "val_"


class Execution(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]
    """A run under way. It is its own Avalanche plugin: it measures and saves after every epoch.

    Args:
        run: what is to be run.
        device: a torch device.
        data_root: where the data sets lie.
        emit: called with every event.
    """

    def __init__(
        self, run: Run, device: torch.device, data_root: Path | None, emit: Callable[[Event], None]
    ) -> None:
        super().__init__()
        self.run, self.device, self.data_root, self.emit = run, device, data_root, emit
        self.checkpoint = Checkpoint(run.path)
        self.own_files = run.own_files(data_root)
        # What a checkpoint must belong to.
        self._of = run.as_dict() | ({"own_files": self.own_files} if self.own_files else {})
        self.rows: list[Row] = []
        self._told = 0  # how many of them the events have told
        self.modes: list[Tensor] | None = None  # where the mode was +1 when the last task ended
        self.phase = 0
        self._saved_at = time.perf_counter()
        self._saving = 0.0  # the seconds that the last saving took
        self._noted = False  # whether it was told that this run cannot be continued

    def __call__(self) -> list[Row]:
        """Run to the end, from the last checkpoint if there is one; the rows of all measurements.

        Raises:
            UserError: a recipe that does not fit, or training that breaks down.
        """
        self._build()
        if not self._restored():
            self._tell("started")
            self._measure_untrained()
        while self.phase < len(self.phases):
            self._train()
            self._end_of_task()
        return self.rows

    def _train(self) -> None:
        """Train the current phase; what torch refuses in a trial is a failure of its settings.

        Raises:
            UserError: of a trial.
        """
        try:
            self.strategy.train(self.phases[self.phase], eval_streams=[])
        except (RuntimeError, ArithmeticError) as error:
            if self.run.tasks_seen is None or out_of_memory(error):
                raise
            raise UserError(f"{self.run.name}: {one_line(error)}") from error

    # Building ----------------------------------------------------------------------------------

    def _build(self) -> None:
        spec, seed = copy.deepcopy(self.run.spec), self.run.seed  # builders get lists of it
        seed_all(seed + 1)  # as the BayesBiNN authors do
        self.stream: Stream = recipes.made(
            spec, spec.stream, Stream, seed=seed, data_root=self.data_root
        )
        if spec.model.get("norm") == "per_task" and not self.stream.task_labels:
            raise UserError(
                "model.norm = 'per_task' picks the statistics of the test image's task, and "
                f"{spec.benchmark} does not give the task label at test: use 'shared', 'batch' or "
                "'layer', or have it given by --scenario task or --set stream.task_labels=true, "
                "whichever the benchmark knows"
            )
        facts = self._facts()  # of the whole stream
        if self.run.tasks_seen is not None:
            self.stream = self.stream.beginning(self.run.tasks_seen)
        self._start = rng_state(), facts
        self._make_learner(facts)

    def _make_learner(self, facts: dict[str, Any]) -> None:
        """The network and the strategy, from what the network's builder wants to know; what they
        cost is counted from here on.
        """
        spec = copy.deepcopy(self.run.spec)
        network = recipes.made(spec, spec.model, nn.Module, **facts)
        self._check(network)
        distributed.share_statistics(network)
        self.recorder = Recorder(self.stream.objective)
        plugins = [
            Composed(recipes.made(spec, table, BasePlugin)) for table in spec.plugins.values()
        ]
        self.strategy: Any = recipes.build(
            spec.build, spec.folders, Template, **spec.settings,
            model=TaskAware(network).to(self.device), train_epochs=spec.epochs,
            train_mb_size=spec.batch_size, eval_mb_size=EVAL_BATCH, device=self.device,
            evaluator=self.recorder, plugins=[*plugins, self],
            objective=self.stream.objective, stop_after=spec.stop_after,
            precision=spec.precision, channels_last=spec.channels_last,
        )  # fmt: skip
        self.strategy.eval_seed = self.run.seed
        self.phases = self.strategy.phases(self.stream.train)
        self.meter = cost.Meter(self.device)

    @torch.no_grad()
    def _check(self, network: nn.Module) -> None:
        """Refuse a network that does not fit the stream; what grows with the tasks is not judged,
        nor outputs of which only an objective of the user's own knows the shape.

        Raises:
            UserError: it breaks down on an input, its outputs are no tensor or have another shape,
                or it has not got a head per task where there should be one.
        """
        shape, build = self.stream.input_shape, self.run.spec.model["build"]
        told = asks_labels(network.forward)
        makes_heads = told or self._facts().keys() & {"n_heads", "n_tasks"}
        if self.stream.n_heads > 1 and not makes_heads:
            raise UserError(
                f"{self.run.spec.benchmark} has a head per task, and {build} takes neither n_heads "
                "nor n_tasks to make them: use a scenario without task labels, or another network"
            )
        if grows(network):
            return
        device = next((p.device for p in network.parameters()), None)
        inputs = torch.zeros(2, *shape, device=device)  # some norms need two
        try:
            with torch.random.fork_rng(devices=[]):
                outputs = TaskAware(network).eval()(inputs, torch.zeros(2, dtype=torch.int64))
        except Exception as error:
            if out_of_memory(error):
                raise
            raise UserError(
                f"{build} cannot take an input of the shape {shape}: {reason(error)}"
            ) from error
        network.train()
        if not isinstance(outputs, Tensor):
            raise UserError(
                f"{build} returns a {type(outputs).__name__}, expected a tensor (batch, "
                f"{self.stream.out_features})"
            )
        objective, found = self.stream.objective, tuple(outputs.shape[1:])
        expected: tuple[int, ...] = (self.stream.out_features,)
        if objective is SEGMENTATION:
            view = view_behind(self.stream.train[0].dataset)
            expected += found[1:] if view is None else tuple(view.targets.shape[1:])
        elif objective not in (CLASSIFICATION, BINARY):
            return
        either = objective is BINARY and found == (2,)  # one logit or two
        if found != expected and not either:
            raise UserError(
                f"{build} turns an input of the shape {shape} into {found}, and "
                f"{self.run.spec.benchmark} expects {expected}"
            )

    def _facts(self) -> dict[str, Any]:
        """What the network's builder wants to know of the stream."""
        build, folders = self.run.spec.model["build"], self.run.spec.folders
        wanted = recipes.takes(build, folders, recipes.FROM_RUNNER["model"])
        return {name: getattr(self.stream, name) for name in wanted}

    # Measuring ---------------------------------------------------------------------------------

    @property
    def last_task(self) -> int:
        """The last task of the current phase."""
        return int(self.phases[self.phase][-1].current_experience)

    @property
    def _asks_untrained(self) -> bool:
        """Where all is learned in one phase, nothing is transferred."""
        return len(self.phases) > 1 and bool(self.stream.test)

    def _measure_untrained(self) -> None:
        """The accuracy on every task before the first one, which forward transfer subtracts.

        The network that is asked is thrown away and made again, so that what learns is the same as
        if nothing had been asked. (The first signs of a posterior over bits are drawn when they are
        needed, so that its network is not that which learns but another of the same kind. Of an
        ensemble that learns in rounds the first member is asked.)
        """
        if not self._asks_untrained:
            return
        where = (self.run.spec.benchmark, self.run.spec.strategy, self.run.seed, BEFORE)
        self.rows = [
            Row(*where, task, None, UNTRAINED, values["accuracy"])
            for task, values in sorted(self._untrained().items())
            if "accuracy" in values
        ]
        del self.strategy, self.recorder, self.phases
        gc.collect()  # a strategy and its plugins hold each other
        state, facts = self._start
        set_rng_state(state)
        self._make_learner(facts)

    def _untrained(self) -> dict[int, dict[str, float]]:
        """What is measured before the first task; nothing, and a note, where a class of the user's
        cannot predict yet.
        """
        try:
            return self._measure(self.stream.n_tasks)
        except Exception as error:
            several = distributed.size() > 1  # which would wait for this one
            if several or isinstance(error, UserError) or out_of_memory(error):
                raise
            self._note(f"no forward transfer: untrained, it cannot predict: {reason(error)}")
            return {}

    def after_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this after every epoch: measure what is wanted, save, tell.

        Raises:
            UserError: the training loss is not finite.
        """
        epoch = strategy.progress
        if (epoch + 1) % self.stream.every and epoch + 1 < strategy.n_epochs:
            return
        found = self.recorder.training() | strategy.learned()
        if not math.isfinite(found["train_loss"]):
            raise UserError(
                f"{self.run.name}: the training loss is {found['train_loss']} in epoch {epoch} "
                f"of task {self.last_task}: the data hold NaN or infinity, or the learning rate "
                "is too large"
            )
        self._record(self.last_task, epoch, found)
        if self._every_epoch and epoch + 1 < strategy.n_epochs:
            with self.meter.evaluating():
                measured = self._measure(self.last_task + 1)
            self._record_all(measured, epoch)
        if self._saving <= SAVING_SHARE * (time.perf_counter() - self._saved_at):
            self._save(epoch + 1)
        loss, accuracy = found["train_loss"], found.get("train_accuracy")
        self._tell("epoch", epoch=epoch, loss=loss, accuracy=accuracy)

    def _end_of_task(self) -> None:
        """Every task is measured, also those to come; then the next task begins."""
        with self.meter.evaluating():
            measured = self._measure(self.stream.n_tasks)
            doubts = self._unsure()
        seen = {task: values for task, values in measured.items() if task <= self.last_task}
        if self._every_epoch:
            self._record_all(seen, self.strategy.n_epochs - 1)
        for task, values in doubts.items():
            measured[task] |= values
        self._record_all(measured, None)
        self._record(None, None, {"state_bits": cost.state_bits(self.strategy)})
        naturals = self.strategy.naturals()
        self.modes = None if naturals is None else [n > 0 for n in naturals]
        score = ("" if self.stream.test else HELD_OUT) + self.stream.objective.score
        mean = sum(values[score] for values in seen.values()) / len(seen)
        self._tell("task", score=score, value=mean)
        self.phase += 1
        self._save(0)

    @property
    def _every_epoch(self) -> bool:
        """A held-out set is there to choose the epoch, so that every epoch is measured; unless it
        is there to choose settings.
        """
        chosen = bool(self.stream.validation) and self.run.tasks_seen is None
        return self.run.eval_every == "epoch" or chosen

    def _measure(self, n_tasks: int) -> dict[int, dict[str, float]]:
        """Metrics of the first tasks by name, those on held-out training data with `val_` before
        it; no others where there are no test data.
        """
        held_out: dict[int, dict[str, float]] = {}
        if self.stream.validation:
            held_out = self.recorder.measure(self.strategy, self.stream.validation[:n_tasks])
        found: dict[int, dict[str, float]] = {task: {} for task in range(n_tasks)}
        if self.stream.test:
            distinct = self._distinct(n_tasks)
            found = self.recorder.measure(self.strategy, self.stream.test[:distinct])
            found |= {task: dict(found[0]) for task in range(distinct, n_tasks)}
        for task, values in held_out.items():
            found[task] |= {f"{HELD_OUT}{metric}": value for metric, value in values.items()}
        if self.stream.probe is not None:
            found[0] |= probe.measure(self.strategy, self.stream.probe)
        return found

    def _unsure(self) -> dict[int, dict[str, float]]:
        """How sure of itself the learner is on what it has learned, and on the next task; at the
        end how rightly so.
        """
        n_tasks = min(self.last_task + 2, self.stream.n_tasks)
        tests = list(self.stream.test[: self._distinct(n_tasks)])
        if not tests:
            return {}
        found = uncertainty.measure(self.strategy, tests, self.data_root)
        if self.phase + 1 == len(self.phases):
            for task, values in enumerate(found):
                values |= self.recorder.reliability.get(task, {})
        return {task: found[min(task, len(found) - 1)] for task in range(n_tasks)}

    def _distinct(self, n_tasks: int) -> int:
        """How many test sets the first tasks have."""
        return 1 if self.stream.same_test else n_tasks

    def predictions(self) -> bytes | None:
        """The file of what the network predicts at the places of the stream's probe, if it has one.

        To be called when the run has come to its end.
        """
        return None if self.stream.probe is None else probe.table(self.strategy, self.stream.probe)

    def _record_all(self, measured: dict[int, dict[str, float]], epoch: int | None) -> None:
        for task, values in sorted(measured.items()):
            self._record(task, epoch, values)
        if (naturals := self.strategy.naturals()) is not None:
            self._record(None, epoch, metrics.posterior(naturals, self.modes))

    def _record(self, on: int | None, epoch: int | None, values: dict[str, float]) -> None:
        spec = self.run.spec
        where = (spec.benchmark, spec.strategy, self.run.seed, self.last_task, on, epoch)
        self.rows += [Row(*where, metric, value) for metric, value in values.items()]

    def _tell(self, kind: Any, **values: Any) -> None:
        while self.stream.notes:
            self._note(self.stream.notes.pop(0))
        news, self._told = tuple(self.rows[self._told :]), len(self.rows)
        self.emit(
            Event(
                self.run.name, kind, task=self.phase, n_tasks=len(self.phases),
                n_epochs=self.strategy.n_epochs, rows=news, **values,
            )
        )  # fmt: skip

    def _note(self, text: str) -> None:
        self.emit(Event(self.run.name, "note", text=text))

    # Saving and continuing ---------------------------------------------------------------------

    def _save(self, epoch: int) -> None:
        """The state from which `epoch` of the current phase can begin."""
        self.meter.read()
        if distributed.rank() or not self.strategy.can_be_saved:
            return
        begun = time.perf_counter()
        optimizer, extra = self.strategy.optimizer.state_dict(), self.strategy.extra_state()
        if not self._can_be_restored(optimizer, extra):
            return
        self.checkpoint.save(
            {
                "spec": self._of,
                "phase": self.phase,
                "epoch": epoch,
                "rows": [tuple(row) for row in self.rows],
                "modes": self.modes,
                "cost": self.meter.state_dict(),
                "model": self.strategy.model.state_dict(),
                "optimizer": optimizer,
                "extra": extra,
                "rng": rng_state(),
                "clock": vars(self.strategy.clock) | {"train_exp_epochs": epoch},
                "known": sorted(getattr(self.strategy.model, "known_train_tasks_labels", ())),
            },
            self.strategy.parts(),
        )
        self._saved_at = time.perf_counter()
        self._saving = self._saved_at - begun

    def _can_be_restored(self, optimizer: dict[str, Any], extra: dict[str, Any]) -> bool:
        """Whether what the user's own classes say is there can be read back; if not, a note."""
        learner, beside = type(self.strategy).__name__, self.strategy._composed()
        plugins = extra.get("plugins", [])
        try:
            require_plain(optimizer, "state_dict() of the optimiser")
            require_plain(extra | {"plugins": None}, f"extra_state() of {learner}")
            if len(plugins) != len(beside):
                raise UserError(f"extra_state() of {learner} leaves out that of the class above")
            for composed, state in zip(beside, plugins, strict=True):
                require_plain(state, f"state_dict() of {type(composed.plugin).__name__}")
        except UserError as error:
            if not self._noted:
                self._note(f"this run cannot be continued from here on: {error}")
            self._noted = True
            return False
        return True

    def _restored(self) -> bool:
        """Go on from what `_save` kept, if there is such a file."""
        state = distributed.from_first(lambda: self.checkpoint.load(self._of, self._note))
        if state is None:
            return False
        self.phase = state["phase"]
        self.meter.load_state_dict(state.get("cost", self.meter.state_dict()))
        modes = state["modes"]
        self.modes = None if modes is None else [mode.to(self.device) for mode in modes]
        self.rows = [Row(*row) for row in state["rows"]]
        try:
            self.strategy.model.load_state_dict(state["model"])
            self.strategy.optimizer.load_state_dict(state["optimizer"])
            self.strategy.load_extra_state(state.get("extra", {}) | {"parts": state["parts"]})
        except (RuntimeError, KeyError, ValueError) as error:
            if out_of_memory(error):
                raise
            raise UserError(
                f"{self.checkpoint.newest} was saved with other code ({one_line(error)}): delete "
                f"{self.checkpoint.newest.name}*, and the run begins anew"
            ) from error
        self._go_on(state)
        if self.phase < len(self.phases):
            self._tell("resumed", epoch=state["epoch"])
        return True

    def _go_on(self, state: dict[str, Any]) -> None:
        """The next call of `train` begins where `state` was saved, also for a plugin that asks what
        Avalanche counts, or which tasks the network has met.
        """
        counts, counted = vars(self.strategy.clock), state.get("clock", {})
        counts.update(counted)
        self.strategy.model.known_train_tasks_labels = set(state.get("known", ()))

        def restore() -> None:
            set_rng_state(state["rng"])
            if state["epoch"]:  # within a task, for which Avalanche has just begun to count
                counts.update(counted)

        self.strategy.resume(state["epoch"], restore)
