"""BayesBiNN as an Avalanche strategy: the posterior of task t becomes the prior of task t + 1."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from cl_bnn.errors import UserError, one_of, require
from cl_bnn.nn import binary_group
from cl_bnn.objectives import CLASSIFICATION
from cl_bnn.optim import BayesBiNN
from cl_bnn.optim.bayesbinn import Mode
from cl_bnn.optim.gaussian import GaussianPosterior
from cl_bnn.optim.prediction import AVERAGES, Average
from cl_bnn.optim.weights import WeightSamples, refuse_vectors
from cl_bnn.strategies.binary import GrowsBesideInner, inner_adam
from cl_bnn.strategies.composed import asks_weights
from cl_bnn.strategies.priors import KroneckerPrior, PosteriorAsPrior, require_verbs
from cl_bnn.strategies.schedules import Schedule
from cl_bnn.strategies.task_aware import grows
from cl_bnn.strategies.template import Template

Likelihood = Literal["task", "batch"]
Prior = Literal["independent", "kronecker"]


# Losses of outputs that are no logits of one class among several.
NO_CLASSES = (
    nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss,
)  # fmt: skip


class DrawWeights(SupervisedPlugin):
    """Lets any stock Avalanche strategy train an optimiser of binary weights.

    Weights are drawn before every forward pass of training, once a step, and evaluation sees the
    mode. Real-valued parameters belong into the inner optimiser: Avalanche gives all parameters
    that it does not find to the outer one, where these are taken out again.

    Raises:
        TypeError: when training begins, an optimiser without `draw` and `mode`.
        UserError: when training begins, a plugin that holds weights or writes gradients beside it,
            or a network that grows.
        ValueError: when a task begins, a bias or gain that no optimiser was given, or an optimiser
            that makes its gradient of several samples.
    """

    def __init__(self) -> None:
        super().__init__()
        self._mode: Any = None

    def before_training(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this when training begins."""
        self._leave_mode()
        require_verbs(self, strategy, "draw", "mode")
        if getattr(strategy.optimizer, "mc_samples", 1) > 1:
            raise ValueError("a stock strategy draws once a step: take mc_samples = 1")
        if grows(strategy.model):  # in an evaluation, from what predicts and not from what learns
            raise UserError(
                "DrawWeights cannot keep what a network that grows has learned: take the strategy "
                "of the optimiser, such as STEStrategy or BayesBiNNStrategy"
            )
        for plugin in strategy.plugins:
            if asks_weights(plugin):
                raise UserError(
                    f"{type(plugin).__name__} beside DrawWeights would see latent weights, or the "
                    "last sample, between two steps: take the strategy of the optimiser, such as "
                    "STEStrategy or BayesBiNNStrategy"
                )
        if strategy.optimized_param_id is None:  # else Avalanche would wipe what is learned already
            strategy.optimized_param_id = {}

    def before_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this when it has made the optimiser ready for a task."""
        optimizer = strategy.optimizer
        inner = getattr(optimizer, "inner", None)
        real = {id(p) for group in (inner.param_groups if inner else ()) for p in group["params"]}
        for group in optimizer.param_groups:
            kept = not group.get("binary", True) and not isinstance(optimizer, GaussianPosterior)
            group["params"] = [
                p for p in group["params"]
                if id(p) not in real and (kept or p.requires_grad or optimizer.state.get(p))
            ]  # fmt: skip
            if group.get("binary", True):  # what was frozen after it had learned stays binary
                learning = [p for p in group["params"] if p.requires_grad]
                refuse_vectors({**group, "params": learning})
        held = {p for group in optimizer.param_groups for p in group["params"]}
        for parameter in optimizer.state.keys() - held:  # Avalanche noted what it gave
            del optimizer.state[parameter]

    def before_forward(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this before a forward pass of training."""
        strategy.optimizer.draw()

    def before_eval(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this before an evaluation."""
        self._leave_mode()
        self._mode = strategy.optimizer.mode()
        self._mode.__enter__()

    def after_eval(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Avalanche calls this after an evaluation."""
        self._leave_mode()

    def _leave_mode(self) -> None:
        """Also that of an evaluation which broke down."""
        mode, self._mode = self._mode, None
        if mode is not None:
            mode.__exit__(None, None, None)


class PosteriorStrategy(GrowsBesideInner, Template):
    """Trains an optimiser that has a posterior over its weights, and predicts from it.

    Predictions average `eval_samples` networks drawn from the posterior once per evaluation; the
    mode can be evaluated as well (`predictor = "mode"`).

    Args:
        model: the network.
        optimizer: `BayesBiNN`, or an optimiser with its verbs.
        eval_samples: C, sampled networks an evaluation; 0 predicts with the mode.
        average: `"probabilities"`, or `"logits"` as the BayesBiNN authors' code does.
        eval_seed: seed of the networks drawn for evaluation, the same at every evaluation, so that
            evaluating more often changes nothing.
        template: every keyword of `Template`.

    Raises:
        ValueError: a value is outside its range.
    """

    gradients_remain = False

    def __init__(
        self, *, model: nn.Module, optimizer: Any, eval_samples: int = 100,
        average: Average = "probabilities", eval_seed: int = 0, **template: Any,
    ) -> None:  # fmt: skip
        require(eval_samples >= 0, "eval_samples", eval_samples, ">= 0")
        one_of("average", average, AVERAGES)
        loss, objective = template.get("criterion"), template.get("objective", CLASSIFICATION)
        if eval_samples and objective is CLASSIFICATION and isinstance(loss, NO_CLASSES):
            other = (
                "BINARY" if isinstance(loss, nn.BCELoss | nn.BCEWithLogitsLoss) else "REGRESSION"
            )
            raise ValueError(
                f"criterion {type(loss).__name__} is none of classes, whose probabilities are "
                f"averaged: give objective={other} (cl_bnn.objectives), or eval_samples=0"
            )
        self.predictors = ("posterior", "mode") if eval_samples else ("mode",)
        super().__init__(model=model, optimizer=optimizer, **template)
        self.eval_samples, self.average, self.eval_seed = eval_samples, average, eval_seed
        self._samples: WeightSamples | None = None

    # Training: S samples in Avalanche's loop, all its hooks firing in their order -----------------

    def _before_forward(self, **kwargs: Any) -> None:
        self.optimizer.draw()
        super()._before_forward(**kwargs)

    def backward(self) -> None:
        """Gradients at the sample that Avalanche's loop has seen, then at S - 1 more; whatever
        plugins add to the loss, they add at every sample.
        """
        super().backward()
        seen: Any = (self.mb_output, self.loss)
        for _ in range(self.optimizer.mc_samples - 1):
            self.optimizer.accumulate()
            self.optimizer.draw()
            self.mb_output = self.forward()
            self.loss = self._make_empty_loss() + self.criterion()
            self._before_backward()
            super().backward()
        self.mb_output, self.loss = seen

    # Evaluation ----------------------------------------------------------------------------------

    def network_weights(self) -> AbstractContextManager[None]:
        """Inside, between two steps, the model holds the mode of the posterior."""
        found: AbstractContextManager[None] = self.optimizer.mode()
        return found

    def predicting(self) -> AbstractContextManager[None]:
        """Inside, the optimiser has the posterior that predicts: here that which learns."""
        return nullcontext()

    @contextmanager
    def sampled_networks(self) -> Iterator[WeightSamples]:
        """Inside, iterating over the result loads one network drawn from the posterior after the
        other.
        """
        generator = torch.Generator(self.device).manual_seed(self.eval_seed)
        with (
            self.predicting(),
            self.optimizer.posterior_samples(self.eval_samples, generator) as samples,
        ):
            yield samples

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Inside, the networks that predict: those drawn from the posterior, or the mode."""
        if self.predictor == "mode":
            with self.predicting(), self.optimizer.mode():
                yield
            return
        with self.sampled_networks() as self._samples:
            try:
                yield
            finally:
                self._samples = None

    def forward(self) -> Tensor:
        """Logits; in evaluation, the logarithm of the averaged prediction (eq. 26)."""
        if self.is_training or self._samples is None:
            return super().forward()
        return self.objective.average(self.each_output(), self.average)

    def each_output(self) -> Iterator[Tensor]:
        """In an evaluation, the outputs of every sampled network, or of the mode."""
        for _ in self._samples or (None,):
            yield super().forward()

    def naturals(self) -> list[Tensor] | None:
        """The natural parameters lambda of all binary parameters; None if there are none."""
        naturals: list[Tensor] | None = self.optimizer.naturals()
        return naturals


class BayesBiNNStrategy(PosteriorStrategy):
    """Continual learning of binary weights with BayesBiNN (Meng et al. 2020, arXiv:2002.10778,
    section 4.3).

    Weights of linear and convolutional layers are binary; other parameters (biases, gains of norms)
    are real and trained by Adam. Predictions average the probabilities of `eval_samples` networks
    drawn from the posterior once per evaluation; the mode can be evaluated as well (`predictor =
    "mode"`).

    Args:
        model: the network.
        lr: learning rate alpha of the first epoch of every task.
        temperature: tau of the relaxed weights.
        momentum: beta.
        mc_samples: S, samples a training step; 0 is the deterministic variant.
        eval_samples: C, sampled networks an evaluation; 0 predicts with the mode.
        average: `"probabilities"`, or `"logits"` as the authors' code does.
        init_lambda: lambda starts at plus or minus this value; the authors' 10 belongs to the
            reference mode.
        kl_weight: weight of the Kullback-Leibler term.
        mode: `"sound"`, `"reference"` or `"straight"`, see `cl_bnn.optim.BayesBiNN`.
        scale_bound: bound on the scale of the gradient in the sound mode.
        schedule: see `cl_bnn.strategies.schedules`.
        posterior_as_prior: False keeps the prior at lambda = 0 for all tasks (the paper's control).
        prior: what of the posterior becomes the prior: `"independent"`, that of every weight, as
            published; `"kronecker"`, also which changes of the weights of a layer together the
            outputs of old tasks would notice, made for `mode = "straight"`, see
            `cl_bnn.optim.BayesBiNN`.
        prior_power: rho, the prior is the posterior to this power; below 1 old tasks are forgotten.
        prior_strength: gamma, the weight of the Kronecker factors.
        prior_samples: samples of a task through which they are measured.
        real_lr: learning rate of Adam for the real parameters.
        train_set_size: N; the number of samples of each experience if None.
        trainset_scale: N is multiplied by it; the authors take 10 where images are augmented.
        likelihood: what the mean loss of a mini-batch stands for, unless `train_set_size` says so:
            `"task"`, all samples of the experience; `"batch"`, those of the mini-batch alone, whose
            losses are summed (N is the batch size), as in the BiMU study (arXiv:2605.30198).
        eval_seed: seed of the networks drawn for evaluation, the same at every evaluation, so that
            evaluating more often changes nothing.
        template: every keyword of Avalanche's `SupervisedTemplate`.

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        lr: float = 1e-3,
        temperature: float = 1e-2,
        momentum: float = 0.0,
        mc_samples: int = 1,
        eval_samples: int = 100,
        average: Average = "probabilities",
        init_lambda: float = 1.0,
        kl_weight: float = 1.0,
        mode: Mode = "sound",
        scale_bound: float = 1.0,
        schedule: Schedule = "cosine",
        posterior_as_prior: bool = True,
        prior: Prior = "independent",
        prior_power: float = 1.0,
        prior_strength: float = 1.0,
        prior_samples: int = 2000,
        real_lr: float = 1e-3,
        train_set_size: int | None = None,
        trainset_scale: float = 1.0,
        likelihood: Likelihood = "task",
        eval_seed: int = 0,
        **template: Any,
    ) -> None:
        require(trainset_scale > 0, "trainset_scale", trainset_scale, "> 0")
        known = 1 if train_set_size is None else train_set_size  # until a task says it
        one_of("likelihood", likelihood, get_args(Likelihood))
        one_of("prior", prior, get_args(Prior))
        optimizer = BayesBiNN(
            [binary_group(model)], lr, train_set_size=known,
            temperature=temperature, momentum=momentum, mc_samples=mc_samples, kl_weight=kl_weight,
            init_lambda=init_lambda, mode=mode, scale_bound=scale_bound,
            prior_power=prior_power, prior_strength=prior_strength,
            inner=inner_adam(model, real_lr),
        )  # fmt: skip
        super().__init__(
            model=model, optimizer=optimizer, eval_samples=eval_samples, average=average,
            eval_seed=eval_seed, schedule=schedule, **template,
        )  # fmt: skip
        self.train_set_size, self.trainset_scale = train_set_size, trainset_scale
        self.likelihood, self.real_lr = likelihood, real_lr
        if posterior_as_prior:
            kronecker = prior == "kronecker"
            keeps = KroneckerPrior(prior_samples) if kronecker else PosteriorAsPrior()
            self.plugins.insert(0, keeps)

    def _before_training_exp(self, **kwargs: Any) -> None:
        super()._before_training_exp(**kwargs)
        n_samples = self.train_set_size
        if n_samples is None and self.likelihood == "batch":
            n_samples = self.train_mb_size
        elif n_samples is None:
            n_samples = getattr(self.dataloader, "n_samples", len(self.adapted_dataset))
        for group in self.optimizer.param_groups:
            group["train_set_size"] = n_samples * self.trainset_scale
