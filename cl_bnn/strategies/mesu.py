"""MESU as an Avalanche strategy: it knows no tasks, and does nothing between them."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from cl_bnn.nn.init import fan_in, on_the_processor
from cl_bnn.optim import MESU
from cl_bnn.optim.prediction import Average
from cl_bnn.strategies.following import trained
from cl_bnn.strategies.gaussian import GaussianStrategy
from cl_bnn.strategies.schedules import Schedule

# Initial means lie within plus or minus this value over the root of the number of inputs, as in the
# authors' code; twice its initial sigma.
MEAN_BOUND = 4.0


class MESUStrategy(GaussianStrategy):
    """Full-precision weights that learn by their uncertainty and forget by a bounded memory (Bonnet
    et al. 2025, arXiv:2504.13569).

    Every parameter has a Gaussian posterior. Predictions average `eval_samples` networks drawn from
    it once per evaluation; the network of the means can be evaluated as well (`predictor =
    "mode"`).

    The authors sum the loss over the samples of a mini-batch: the gradient of our mean loss is
    multiplied by the batch size. A head whose task is not trained forgets nothing meanwhile.

    Args:
        model: the network; its linear and convolutional layers begin anew, see `initialise`.
        lr: alpha, in the first epoch of every task.
        sigma_factor: b, how much faster sigma learns.
        memory: N, the number of mini-batches remembered.
        prior_sigma: sigma_0, standard deviation of the prior, whose mean is 0.
        clip: limits gradients to plus or minus `clip / sigma`; 0 limits nothing, as with the
            authors where a batch is a single sample. Sums over larger batches may then diverge.
        init_sigma: sigma starts at this over the root of the number of inputs.
        mc_samples: S, samples a training step.
        eval_samples: C, sampled networks an evaluation; 0 predicts with the means.
        average: `"probabilities"`, or `"logits"`, which decides as the authors' mean of logarithms
            of probabilities does.
        schedule: see `cl_bnn.strategies.schedules`; forgetting follows it.
        eval_seed: seed of the networks drawn for evaluation.
        template: every keyword of Avalanche's `SupervisedTemplate`.

    Raises:
        ValueError: a value is outside its range.
    """

    elementwise = False  # initial means and sigmas depend on the shape

    def __init__(
        self,
        *,
        model: nn.Module,
        lr: float = 1.0,
        sigma_factor: float = 1.0,
        memory: float = 3e5,
        prior_sigma: float = 1.0,
        clip: float = 1.0,
        init_sigma: float = 2.0,
        mc_samples: int = 10,
        eval_samples: int = 10,
        average: Average = "logits",
        schedule: Schedule = "constant",
        eval_seed: int = 0,
        **template: Any,
    ) -> None:
        self.initialise(model)
        optimizer = MESU(
            trained(model).values(), lr, sigma_factor=sigma_factor, memory=memory,
            prior_sigma=prior_sigma, clip=clip, init_sigma=init_sigma, mc_samples=mc_samples,
            batch_size=template.get("train_mb_size", 1),
            inputs=_inputs(model),
        )  # fmt: skip
        super().__init__(
            model=model, optimizer=optimizer, eval_samples=eval_samples, average=average,
            eval_seed=eval_seed, schedule=schedule, **template,
        )  # fmt: skip

    def make_optimizer(self, **kwargs: Any) -> None:
        """As ever; what is new begins by the inputs of its layer too."""
        self.optimizer.inputs = _inputs(self.model)
        super().make_optimizer(**kwargs)

    @staticmethod
    @torch.no_grad()
    def initialise(model: nn.Module) -> None:
        """Initial means of linear and convolutional layers U(-a, a), a = 4 / sqrt(inputs), as in
        the authors' code.
        """
        with on_the_processor(model):
            for layer, inputs in _layers(model):
                bound = MEAN_BOUND / math.sqrt(inputs)
                layer.weight.uniform_(-bound, bound)
                if layer.bias is not None:
                    layer.bias.uniform_(-bound, bound)


def _layers(model: nn.Module) -> list[tuple[nn.Linear | _ConvNd, int]]:
    """The linear and convolutional layers that learn, and how many inputs an output of each has."""
    kinds = (nn.Linear, _ConvNd)
    layers = [m for m in model.modules() if isinstance(m, kinds) and m.weight.requires_grad]
    return [(layer, fan_in(layer)) for layer in layers]


def _inputs(model: nn.Module) -> dict[Tensor, int]:
    """How many inputs an output has, by the parameters of its layer."""
    return {p: n for layer, n in _layers(model) for p in layer.parameters(recurse=False)}
