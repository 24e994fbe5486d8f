"""Training epochs to be timed: through our strategies, in a bare loop, in stock Avalanche."""

import copy
import io
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import torch
from avalanche.benchmarks import PermutedMNIST
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from avalanche.models import SimpleMLP
from avalanche.training import Naive
from avalanche.training.plugins import EvaluationPlugin
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from cl_bnn import data as datasets
from cl_bnn import recipes
from cl_bnn.benchmarks import Stream, permuted, single
from cl_bnn.data.idx import UNSIGNED_BYTE
from cl_bnn.events import Event
from cl_bnn.nn import binary_parameters, mlp
from cl_bnn.optim import BayesBiNN
from cl_bnn.optim.equations import (
    REFERENCE_EPS,
    bounded_gradient_scale,
    gradient_scale,
    natural_step,
    relaxed_argument,
)
from cl_bnn.progress import progress
from cl_bnn.recorder import Recorder
from cl_bnn.strategies import TaskAware
from cl_bnn.strategies.loading import task_view

#: Samples a training batch and images a test batch, as in our runs.
TRAIN_BATCH, EVAL_BATCH = 100, 1000
#: Learning rate of stock Avalanche's SGD; it does not change the time.
SGD_LR = 0.01


class EpochClock(SupervisedPlugin):  # type: ignore[misc]  # Avalanche has no types
    """CPU seconds of every training epoch of an Avalanche strategy.

    Args:
        at_end: called at the end of an epoch, with the strategy; its time counts.
    """

    def __init__(self, at_end: Callable[[Any], None] = lambda strategy: None) -> None:
        super().__init__()
        self.at_end, self.started = at_end, 0.0
        self.seconds: list[float] = []

    def before_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this before every epoch."""
        self.started = time.process_time()

    def after_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this after every epoch."""
        self.at_end(strategy)
        self.seconds.append(time.process_time() - self.started)


class Ours:
    """The strategy of a recipe on a permuted stream, measured and shown as `cl-bnn run` does it.

    Args:
        recipe: name of a strategy recipe; its learning rate is kept constant.
        n_tasks: tasks of the stream.
        given: keywords for the strategy, which go before those of the recipe.
    """

    def __init__(self, recipe: str, n_tasks: int = 1, **given: Any) -> None:
        spec = recipes.resolve(
            recipes.load_benchmark("permuted_mnist"),
            recipes.load_strategy(recipe),
            {"schedule": "constant"},
        )
        self.stream: Stream = permuted(n_experiences=n_tasks)
        self.recorder, self.clock = Recorder(), EpochClock(self._after_epoch)
        network = mlp(in_features=self.stream.in_features, out_features=self.stream.out_features)
        keywords = spec.settings | {
            "train_mb_size": TRAIN_BATCH, "train_epochs": 2, "eval_mb_size": EVAL_BATCH,
            "evaluator": self.recorder, "plugins": [self.clock],
        } | given  # fmt: skip
        self.strategy: Any = recipes.build(spec.build, model=TaskAware(network), **keywords)

    def epoch(self) -> float:
        """CPU seconds of the second of two epochs on the first task, which the first made ready."""
        self.learn(0)
        return self.clock.seconds[-1]

    def learn(self, task: int) -> None:
        """Train on a task, with progress bars on a terminal that nobody sees."""
        with progress(1, Console(file=io.StringIO(), force_terminal=True)) as self._emit:
            self.strategy.train(self.stream.train[task], eval_streams=[])

    @staticmethod
    def materialise(experience: Any) -> tuple[Tensor, Tensor]:
        """A task as the strategy prepares it: inputs (n, 1, 28, 28) and labels (n,)."""
        view = task_view(experience.dataset)
        assert view is not None, "the streams of this package consist of views"
        return view.materialise()

    def _after_epoch(self, strategy: Any) -> None:
        found = self.recorder.training()
        loss, accuracy = found["train_loss"], found["train_accuracy"]
        self._emit(
            Event("bench", "epoch", epoch=strategy.epoch, n_tasks=1, n_epochs=strategy.train_epochs,
                  loss=loss, accuracy=accuracy)
        )  # fmt: skip


class Members:
    """An ensemble of the recipe `benn` on `mnist_small`, trained for an epoch a member.

    Args:
        size: number of members.
        side_by_side: whether all are trained at once.
    """

    def __init__(self, size: int, *, side_by_side: bool) -> None:
        changes = {"size": size, "side_by_side": side_by_side, "epochs": 1}
        spec = recipes.resolve(
            recipes.load_benchmark("mnist_small"), recipes.load_strategy("benn"), changes
        )
        keys = ("validation", "data")
        self.stream: Stream = single(**{key: spec.stream[key] for key in keys})
        network = mlp(in_features=self.stream.in_features, out_features=self.stream.out_features)
        self.strategy: Any = recipes.build(
            spec.build, model=TaskAware(network), **spec.settings, train_mb_size=TRAIN_BATCH,
            train_epochs=1, eval_mb_size=EVAL_BATCH, evaluator=Recorder(),
        )  # fmt: skip

    def seconds(self) -> float:
        """Seconds of training all members."""
        start = time.perf_counter()
        self.strategy.train(self.stream.train[0], eval_streams=[])
        return time.perf_counter() - start


class BareLoop:
    """The mathematics of an epoch of `BayesBiNNStrategy` alone: neither Avalanche nor metrics.

    Args:
        network: a network whose parameters are all binary; it is copied.
        optimizer: whose lambda, mode and constants are taken over.
        x: inputs, ready for the network.
        y: labels (n,).
    """

    def __init__(self, network: nn.Module, optimizer: BayesBiNN, x: Tensor, y: Tensor) -> None:
        self.network = copy.deepcopy(network)
        self.weights = binary_parameters(self.network)
        self.naturals = [natural.clone() for natural in optimizer.naturals()]
        self.priors = [torch.zeros_like(natural) for natural in self.naturals]
        self.buffers = [torch.zeros_like(natural) for natural in self.naturals]
        self.means = [torch.tanh(natural) for natural in self.naturals]
        self.reference, self.group = optimizer.reference, optimizer.param_groups[0]
        self.x, self.y, self.steps = x, y, 0

    def epoch(self) -> None:
        """Every sample once, in an order drawn from torch's global generator."""
        self.network.train()
        for index in torch.split(torch.randperm(len(self.y)), TRAIN_BATCH):
            arguments = self._draw()
            x, y = self.x.index_select(0, index), self.y.index_select(0, index)
            torch.autograd.backward(F.cross_entropy(self.network(x), y))
            self._step(arguments)

    @torch.no_grad()
    def _draw(self) -> list[Tensor]:
        arguments = []
        for weight, natural in zip(self.weights, self.naturals, strict=True):
            arguments.append(
                relaxed_argument(natural, torch.rand_like(natural), self.group["temperature"])
            )
            weight.data = torch.tanh(arguments[-1])
        return arguments

    @torch.no_grad()
    def _step(self, arguments: list[Tensor]) -> None:
        group = self.group
        self.steps += 1
        for k, (weight, argument) in enumerate(zip(self.weights, arguments, strict=True)):
            assert weight.grad is not None, "every weight takes part in every prediction"
            gradient = (self._scale(k, weight, argument) * weight.grad).mul_(len(self.y))
            weight.grad = None
            if self.reference:
                self.means[k] = torch.tanh(self.naturals[k])
            self.naturals[k], self.buffers[k] = natural_step(
                self.naturals[k], self.priors[k], gradient, self.buffers[k], lr=group["lr"],
                momentum=group["momentum"], kl_weight=group["kl_weight"], step=self.steps,
            )  # fmt: skip

    def _scale(self, k: int, weight: Tensor, argument: Tensor) -> Tensor:
        temperature = self.group["temperature"]
        if self.reference:
            return gradient_scale(weight, self.means[k], temperature, REFERENCE_EPS)
        bound = self.group["scale_bound"]
        return bounded_gradient_scale(argument, self.naturals[k], temperature, bound)


class StockNaive:
    """Avalanche's `Naive` with SGD, its own benchmark and network, default metrics, no logger.

    Args:
        root: the folder in which torchvision finds MNIST.
    """

    def __init__(self, root: Path) -> None:
        self.clock = EpochClock()
        self.stream = PermutedMNIST(n_experiences=1, seed=0, dataset_root=root).train_stream
        model = SimpleMLP(hidden_size=100, hidden_layers=2, drop_rate=0.0)
        kinds = {"minibatch": False, "epoch": True, "experience": True, "stream": True}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No loggers specified")
            evaluator = EvaluationPlugin(accuracy_metrics(**kinds), loss_metrics(**kinds))
        self.strategy: Any = Naive(
            model=model, optimizer=torch.optim.SGD(model.parameters(), lr=SGD_LR),
            train_mb_size=TRAIN_BATCH, train_epochs=1, evaluator=evaluator, plugins=[self.clock],
        )  # fmt: skip

    def epoch(self) -> float:
        """CPU seconds of an epoch."""
        self.strategy.train(self.stream[0])
        return self.clock.seconds[-1]


def write_mnist(root: Path) -> None:
    """The package's MNIST as torchvision wants to find it: uncompressed IDX files in MNIST/raw."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    mnist = datasets.load("mnist")
    for prefix, split in (("train", mnist.train), ("t10k", mnist.test)):
        for kind, values in (("images-idx3", split.x.squeeze(1)), ("labels-idx1", split.y)):
            header = pack(f">4B{values.dim()}I", 0, 0, UNSIGNED_BYTE, values.dim(), *values.shape)
            content = values.to(torch.uint8).numpy().tobytes()
            (folder / f"{prefix}-{kind}-ubyte").write_bytes(header + content)
