"""Bop and its second-order variant as Avalanche strategies, task after task."""

from typing import Any

from torch import nn

from cl_bnn.errors import require
from cl_bnn.nn import binary_group
from cl_bnn.nn.init import on_the_processor
from cl_bnn.optim import Bop, Bop2ndOrder
from cl_bnn.optim.bop import Flipping, Start, Ties
from cl_bnn.strategies.binary import BinaryStrategy, inner_adam
from cl_bnn.strategies.schedules import Course, Setting


class FlippingStrategy(BinaryStrategy):
    """Follows the courses of `threshold`, `gamma`, ... and of the inner learning rate.

    Args:
        model: the network.
        optimizer: `Bop` or `Bop2ndOrder`.
        settings: its settings; each follows its course, and begins anew with every task.
        real_lr: the learning rate of the inner optimiser, likewise.
        template: every keyword of `Template`.

    Raises:
        ValueError: a course leads out of the range of its setting.
    """

    def __init__(
        self, *, model: nn.Module, optimizer: Flipping, settings: list[Setting], real_lr: Setting,
        **template: Any,
    ) -> None:  # fmt: skip
        super().__init__(model=model, optimizer=optimizer, **template)
        ranges = {**optimizer.ranges, "real_lr": (lambda v: v > 0, "> 0")}
        for setting in [*settings, real_lr]:
            holds, allowed = ranges[setting.name]
            if setting.end is not None:
                require(holds(setting.end), f"{setting.name}_end", setting.end, allowed)
        self._settings, self._real_lr = settings, real_lr

    def _before_training_iteration(self, **kwargs: Any) -> None:
        done = self.clock.train_epoch_iterations
        if done == 0 or self._linear:
            self._set(self.epoch + done / len(self.dataloader))
        super()._before_training_iteration(**kwargs)

    @property
    def _linear(self) -> bool:
        """Whether something changes with every iteration."""
        return any(setting.course == "linear" for setting in [*self._settings, self._real_lr])

    def _set(self, time: float) -> None:
        """Give all settings their values after `time` epochs."""
        for group in self.optimizer.param_groups:
            for setting in self._settings:
                group[setting.name] = setting.at(time, self.train_epochs)
        if self.optimizer.inner is not None:
            for group in self.optimizer.inner.param_groups:
                group["lr"] = self._real_lr.at(time, self.train_epochs)


def _binary_group(model: nn.Module, start: Start) -> list[dict[str, Any]]:
    """The binary weights as one group; real at first, they are drawn as the Bop authors do."""
    group = binary_group(model)
    if start == "real":
        with on_the_processor(model):
            for parameter in (p for p in group["params"] if p.dim() > 1):
                nn.init.xavier_uniform_(parameter)
    return [group]


class BopStrategy(FlippingStrategy):
    """Binary weights that flip when the average of their gradients says so (Helwegen et al. 2019,
    arXiv:1906.02107), task after task, nothing done against forgetting.

    Weights of linear and convolutional layers are binary; other parameters are real, under Adam.
    Every setting but `start` and `ties` may change in the course of a task, as
    `<name>_schedule` and `<name>_end` say; see `cl_bnn.strategies.schedules.Setting`.

    Args:
        model: the network.
        threshold: tau, how strong the average must be.
        gamma: weight of the newest gradient in the average.
        real_lr: learning rate of Adam for the real parameters.
        real_weight_decay: weight decay of the real weight matrices and kernels, see `inner_adam`.
        threshold_schedule, gamma_schedule, real_lr_schedule: `"constant"`, `"linear"`,
            `"exponential"` or `"steps"`.
        threshold_end, gamma_end, real_lr_end: where a linear or exponential course leads.
        steps_every: epochs after which `"steps"` multiplies by 0.1.
        start: `"signs"`; or `"real"`, Glorot-uniform weights that the first step makes binary, as
            in the authors' code.
        ties: `"keep"` or `"plus"`, see `cl_bnn.optim.Bop`.
        template: every keyword of Avalanche's `SupervisedTemplate`.

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        threshold: float = 1e-8,
        threshold_schedule: Course = "constant",
        threshold_end: float | None = None,
        gamma: float = 1e-4,
        gamma_schedule: Course = "constant",
        gamma_end: float | None = None,
        real_lr: float = 1e-2,
        real_lr_schedule: Course = "constant",
        real_lr_end: float | None = None,
        real_weight_decay: float = 0.0,
        steps_every: int = 100,
        start: Start = "signs",
        ties: Ties = "keep",
        **template: Any,
    ) -> None:
        settings = [
            Setting("threshold", threshold, threshold_schedule, threshold_end, steps_every),
            Setting("gamma", gamma, gamma_schedule, gamma_end, steps_every),
        ]
        real = Setting("real_lr", real_lr, real_lr_schedule, real_lr_end, steps_every)
        optimizer = Bop(
            _binary_group(model, start), threshold=threshold, gamma=gamma, start=start, ties=ties,
            inner=inner_adam(model, real_lr, real_weight_decay),
        )  # fmt: skip
        super().__init__(
            model=model, optimizer=optimizer, settings=settings, real_lr=real, **template
        )


class Bop2ndOrderStrategy(FlippingStrategy):
    """Bop whose average is measured against the size of the gradients (Suarez-Ramirez et al. 2021,
    arXiv:2104.05124), task after task, nothing done against forgetting.

    As `BopStrategy`, with one more setting, `sigma`.

    Args:
        model: the network.
        threshold: tau, how strong the ratio must be.
        gamma: weight of the newest gradient in the average.
        sigma: weight of the newest squared gradient in its average.
        unbiased: the second of the two published rules, see `cl_bnn.optim.Bop2ndOrder`.
        real_lr: learning rate of Adam for the real parameters.
        real_weight_decay: weight decay of the real weight matrices and kernels, see `inner_adam`.
        threshold_schedule, gamma_schedule, sigma_schedule, real_lr_schedule: `"constant"`,
            `"linear"`, `"exponential"` or `"steps"`.
        threshold_end, gamma_end, sigma_end, real_lr_end: where a linear or exponential course
            leads.
        steps_every: epochs after which `"steps"` multiplies by 0.1.
        start: `"signs"` or `"real"`, see `BopStrategy`.
        ties: `"keep"` or `"plus"`, see `cl_bnn.optim.Bop`.
        template: every keyword of Avalanche's `SupervisedTemplate`.

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        threshold: float = 1e-6,
        threshold_schedule: Course = "constant",
        threshold_end: float | None = None,
        gamma: float = 1e-7,
        gamma_schedule: Course = "constant",
        gamma_end: float | None = None,
        sigma: float = 1e-3,
        sigma_schedule: Course = "constant",
        sigma_end: float | None = None,
        unbiased: bool = False,
        real_lr: float = 1e-2,
        real_lr_schedule: Course = "constant",
        real_lr_end: float | None = None,
        real_weight_decay: float = 0.0,
        steps_every: int = 100,
        start: Start = "signs",
        ties: Ties = "keep",
        **template: Any,
    ) -> None:
        settings = [
            Setting("threshold", threshold, threshold_schedule, threshold_end, steps_every),
            Setting("gamma", gamma, gamma_schedule, gamma_end, steps_every),
            Setting("sigma", sigma, sigma_schedule, sigma_end, steps_every),
        ]
        real = Setting("real_lr", real_lr, real_lr_schedule, real_lr_end, steps_every)
        optimizer = Bop2ndOrder(
            _binary_group(model, start), threshold=threshold, gamma=gamma, sigma=sigma,
            unbiased=unbiased, start=start, ties=ties,
            inner=inner_adam(model, real_lr, real_weight_decay),
        )  # fmt: skip
        super().__init__(
            model=model, optimizer=optimizer, settings=settings, real_lr=real, **template
        )
