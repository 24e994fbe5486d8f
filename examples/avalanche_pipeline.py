"""BayesBiNN in a pipeline of Avalanche's own parts: benchmark, evaluator, loggers, Replay."""

import cl_bnn  # isort: skip  (first: lets Avalanche import torchvision on a CPU-only torch)
import torch
from avalanche.benchmarks import tensors_benchmark
from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics, loss_metrics
from avalanche.logging import InteractiveLogger
from avalanche.models import SimpleMLP
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin

from cl_bnn.data import load
from cl_bnn.strategies import BayesBiNNStrategy


def digits(x: torch.Tensor, y: torch.Tensor, task: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first 2000 images of the digits 2 * task and 2 * task + 1, normalised."""
    rows = (y // 2 == task).nonzero().flatten()[:2000]
    return mnist.normalise(x[rows]), y[rows]


mnist = load("mnist")
benchmark = tensors_benchmark(
    train_tensors=[digits(mnist.train.x, mnist.train.y, task) for task in range(5)],
    test_tensors=[digits(mnist.test.x, mnist.test.y, task) for task in range(5)],
    task_labels=[0] * 5,
)
strategy = BayesBiNNStrategy(
    model=SimpleMLP(num_classes=10, hidden_size=100), eval_samples=10, init_lambda=1.0,
    train_mb_size=50, train_epochs=1, eval_mb_size=500, plugins=[ReplayPlugin(mem_size=500)],
    evaluator=EvaluationPlugin(
        accuracy_metrics(epoch=True, experience=True, stream=True), loss_metrics(stream=True),
        forgetting_metrics(experience=True, stream=True), loggers=[InteractiveLogger()],
    ),
)  # fmt: skip
for experience in benchmark.train_stream:
    strategy.train(experience, eval_streams=[])
    strategy.eval(benchmark.test_stream)
print(f"cl_bnn {cl_bnn.__version__}: learned {len(benchmark.train_stream)} experiences")
