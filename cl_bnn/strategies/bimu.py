"""BiMU as an Avalanche strategy: it knows no tasks, and does nothing between them."""

from typing import Any

from torch import nn

from cl_bnn.nn import binary_group
from cl_bnn.optim import BiMU
from cl_bnn.optim.prediction import Average
from cl_bnn.strategies.bayesbinn import PosteriorStrategy
from cl_bnn.strategies.binary import inner_adam
from cl_bnn.strategies.schedules import Schedule


class BiMUStrategy(PosteriorStrategy):
    """Binary weights that forget by a bounded memory (Cottart et al. 2026, arXiv:2605.30198), where
    tasks follow each other for ever.

    Weights of linear and convolutional layers are binary; other parameters are real, under Adam.
    Predictions average `eval_samples` networks drawn from the posterior once per evaluation; the
    mode can be evaluated as well (`predictor = "mode"`).

    The authors sum the loss over the samples of a mini-batch: the gradient of our mean loss is
    multiplied by the batch size, also where a plugin adds samples to a batch. Their settings are
    those of batches of one sample.

    Args:
        model: the network.
        lr: weight of the gradient, in the first epoch of every task.
        likelihood_weight: L, how much a gradient resists itself.
        kl_weight: K, weight of the pull towards lambda = 0 and of what resists it.
        lr_max: the largest step size.
        memory: N, the number of steps remembered: data, where a batch is one sample.
        temperature: tau of the relaxed weights.
        mc_samples: S, samples a training step.
        eval_samples: C, sampled networks an evaluation; 0 predicts with the mode.
        average: `"probabilities"`, or `"logits"`, which decides as the authors' mean of logarithms
            of probabilities does.
        init_lambda: lambda starts at plus or minus this value.
        schedule: see `cl_bnn.strategies.schedules`; forgetting does not follow it.
        real_lr: learning rate of Adam for the real parameters.
        eval_seed: seed of the networks drawn for evaluation.
        template: every keyword of Avalanche's `SupervisedTemplate`.

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        lr: float = 4.9,
        likelihood_weight: float = 161.3,
        kl_weight: float = 3.76,
        lr_max: float = 2.3e-3,
        memory: float = 700,
        temperature: float = 1.0,
        mc_samples: int = 5,
        eval_samples: int = 5,
        average: Average = "logits",
        init_lambda: float = 0.02,
        schedule: Schedule = "constant",
        real_lr: float = 1e-3,
        eval_seed: int = 0,
        **template: Any,
    ) -> None:
        optimizer = BiMU(
            [binary_group(model)], lr, likelihood_weight=likelihood_weight, kl_weight=kl_weight,
            lr_max=lr_max, memory=memory, temperature=temperature, mc_samples=mc_samples,
            init_lambda=init_lambda, inner=inner_adam(model, real_lr),
        )  # fmt: skip
        super().__init__(
            model=model, optimizer=optimizer, eval_samples=eval_samples, average=average,
            eval_seed=eval_seed, schedule=schedule, **template,
        )  # fmt: skip
        self.real_lr = real_lr
        for group in optimizer.param_groups:  # of a full batch, also where the last is shorter
            group["likelihood_weight"] *= self.train_mb_size
