"""PMF as an Avalanche strategy, annealed anew for every task."""

from contextlib import AbstractContextManager
from typing import Any

from torch import nn

from cl_bnn.nn import binary_group
from cl_bnn.optim import PMF
from cl_bnn.optim.pmf import Jacobian
from cl_bnn.strategies.binary import BinaryStrategy, inner_adam


class PMFStrategy(BinaryStrategy):
    """Binary weights by proximal mean-field (Ajanthan et al. 2019, arXiv:1812.04353), task after
    task, nothing done against forgetting.

    Weights of linear and convolutional layers are binary; other parameters are real, under Adam.
    Predicts with the signs of the weights (`"mode"`) and with the weights between -1 and 1 that
    were trained (`"fractional"`).

    The paper knows a single task. At the end of one, beta is large and the weights hardly move, so
    that by default beta and the learning rate begin anew with every task, as the learning rates of
    all our strategies do; the latents stay.

    Args:
        model: the network.
        lr: learning rate of Adam on the latents.
        rho: growth of the inverse temperature beta.
        beta_max: the largest beta.
        beta_every: iterations from one growth of beta to the next.
        lr_scale: factor of a decay of the learning rate.
        lr_interval: iterations from one decay to the next.
        weight_decay: of the latents.
        jacobian: `"second_softmax"` as published, or `"exact"`.
        decay_at_start: whether the learning rate is first decayed after iteration 0, as published.
        decoupled_weight_decay: False, as published, sends it through Adam.
        restart: False goes on with the beta and the learning rate of the last task.
        real_lr: learning rate of Adam for the real parameters.
        template: every keyword of Avalanche's `SupervisedTemplate`.

    Raises:
        ValueError: a value is outside its range.
    """

    predictors = ("mode", "fractional")
    elementwise = False  # initial latents depend on the shape

    def __init__(
        self,
        *,
        model: nn.Module,
        lr: float = 1e-3,
        rho: float = 1.2,
        beta_max: float = 1e4,
        beta_every: int = 100,
        lr_scale: float = 0.2,
        lr_interval: int = 7000,
        weight_decay: float = 0.0,
        jacobian: Jacobian = "second_softmax",
        decay_at_start: bool = True,
        decoupled_weight_decay: bool = False,
        restart: bool = True,
        real_lr: float = 1e-3,
        **template: Any,
    ) -> None:
        optimizer = PMF(
            [binary_group(model)], lr, rho=rho, beta_max=beta_max, beta_every=beta_every,
            lr_scale=lr_scale, lr_interval=lr_interval, weight_decay=weight_decay,
            jacobian=jacobian, decay_at_start=decay_at_start,
            decoupled_weight_decay=decoupled_weight_decay, inner=inner_adam(model, real_lr),
        )  # fmt: skip
        super().__init__(model=model, optimizer=optimizer, **template)
        self.restart, self.real_lr = restart, real_lr

    def evaluation_weights(self) -> AbstractContextManager[None]:
        """Inside, the binary weights, or those between -1 and 1."""
        optimizer: PMF = self.optimizer
        return optimizer.fractional() if self.predictor == "fractional" else optimizer.mode()
