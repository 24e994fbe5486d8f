"""A Gaussian posterior for every parameter: full-precision counterparts of a Bernoulli one."""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from cl_bnn.errors import require
from cl_bnn.optim.inner import Range, check
from cl_bnn.optim.weights import (
    WeightSamples,
    carry_over,
    group_of,
    refuse_frozen,
    replace_in_groups,
    require_drawn,
    restored,
    sampled_loss,
    whole,
)


@dataclass
class Held:
    """A posterior apart from the parameters it belongs to: the means of all of them in the order of
    the groups, and what the optimiser knows about them.
    """

    means: list[Tensor]
    state: defaultdict[Tensor, Any]


class GaussianPosterior(Optimizer):
    r"""What optimisers with a mean-field Gaussian posterior share, however they learn it.

    Every parameter, be it weight, bias or gain, has the posterior N(mu, sigma^2), element by
    element. A step draws S samples, and takes the gradients of the loss through them:

        w_s = mu + sigma eps_s,    eps_s ~ N(0, 1)
        dC/dmu = 1/S sum_s dloss/dw_s,    dC/dsigma = 1/S sum_s eps_s dloss/dw_s

    A parameter that the loss does not reach (the head of another task) is left as it is. Between
    steps the parameters hold mu, so that `model.state_dict()` and `state_dict()` together are
    everything a run needs to continue. What is kept besides is made when first needed, because
    Avalanche wipes the state when training begins.

    A subclass says what it keeps for a parameter (`_begin`), what sigma is (`_sigma`), how a
    parameter follows (`_update`), what its settings must satisfy (`ranges`), and what happens
    between tasks (`posterior_to_prior`).

    Args:
        params: the parameters (or groups, like every torch optimiser); their values are the
            initial means.
        defaults: the settings of a group.
        mc_samples: S >= 1, used by `step(closure)`.
        noise: the source of eps; gets a tensor and returns one like it. None: torch's global
            generator.

    Raises:
        ValueError: a setting is outside its range, or there are no parameters.
    """

    ranges: ClassVar[dict[str, Range]]

    def __init__(
        self, params: Iterable[Any], defaults: dict[str, Any], mc_samples: int,
        noise: Callable[[Tensor], Tensor] | None,
    ) -> None:  # fmt: skip
        require(mc_samples >= 1, "mc_samples", mc_samples, ">= 1")
        # None of the parameters becomes binary, as in the real-valued groups of `STE`.
        super().__init__(params, {**defaults, "binary": False})
        self.mc_samples, self.noise = mc_samples, noise or torch.randn_like
        self._means: dict[Tensor, Tensor] = {}  # while the parameters hold a sample
        self._eps: dict[Tensor, Tensor] = {}  # that of the last sample
        # Sums over samples of dloss/dw and of eps dloss/dw.
        self._gradient: dict[Tensor, tuple[Tensor, Tensor]] = {}
        self._drawn = False  # whether the parameters hold weights that no gradient was taken at
        self._n_samples = 0

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take in a group of parameters, its settings checked.

        Raises:
            ValueError: a setting is outside its range, or a parameter is frozen.
        """
        check(self.ranges, {**self.defaults, **param_group})
        refuse_frozen(param_group)
        super().add_param_group(param_group)

    # What a subclass says ------------------------------------------------------------------------

    def _begin(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """The state of a parameter that has none yet."""
        raise NotImplementedError

    def _sigma(self, state: dict[str, Any]) -> Tensor:
        """The standard deviations of a parameter; not to be written to."""
        raise NotImplementedError

    def _update(
        self, group: dict[str, Any], mean: Tensor, state: dict[str, Any], slope: Tensor,
        sigma_slope: Tensor,
    ) -> None:  # fmt: skip
        """Move the posterior of a parameter, `mean` in place, by dC/dmu and dC/dsigma, which are
        lost.
        """
        raise NotImplementedError

    def posterior_to_prior(self) -> None:
        """What happens to the prior when a task ends."""
        raise NotImplementedError

    # Learning ------------------------------------------------------------------------------------

    @torch.no_grad()
    def draw(self) -> None:
        """Load a sample of the posterior into the parameters."""
        for _, parameter, state in self._posteriors():
            mean = self._means.setdefault(parameter, parameter.data)
            eps = self._eps[parameter] = self.noise(mean)
            parameter.data = torch.addcmul(mean, self._sigma(state), eps)
        torch.clear_autocast_cache()
        self._drawn = True

    @torch.no_grad()
    def accumulate(self) -> None:
        """Take the gradients at the drawn weights into the Monte-Carlo estimate, and clear them.

        Raises:
            RuntimeError: no weights were drawn since the last step.
        """
        require_drawn(self)
        for parameter in self._parameters():
            g, parameter.grad = parameter.grad, None
            if g is None:
                continue
            through_sigma = g * self._eps[parameter]
            if parameter in self._gradient:
                slope, sigma_slope = self._gradient[parameter]
                slope.add_(g)
                sigma_slope.add_(through_sigma)
            else:
                self._gradient[parameter] = g, through_sigma
        self._drawn = False
        self._n_samples += 1

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of the posterior; with a closure, the mean of its losses over the S samples is
        returned.
        """
        loss = None
        if closure is not None:
            loss = sampled_loss(self, closure, self.mc_samples)
        elif self._drawn or not self._n_samples:
            self.accumulate()
        self._put_back()
        for group, parameter, state in self._posteriors():
            if parameter in self._gradient:
                slopes = (total.div_(self._n_samples) for total in self._gradient.pop(parameter))
                self._update(group, parameter.data, state, *slopes)
        self._n_samples = 0
        return loss

    def undraw(self) -> None:
        """Put the means back where a step was begun and not ended, and forget its gradients."""
        self._put_back()
        self._gradient.clear()
        self._drawn, self._n_samples = False, 0

    def _put_back(self) -> None:
        for parameter, mean in self._means.items():
            parameter.data = mean
        self._means.clear()

    # Predicting ----------------------------------------------------------------------------------

    @contextmanager
    def mode(self) -> Iterator[None]:
        """Inside, the parameters hold the means."""
        with restored(self._parameters()) as parameters:
            for parameter in parameters:
                parameter.data = self._mean_of(parameter).clone()
            yield

    @contextmanager
    def posterior_samples(
        self, count: int, generator: torch.Generator | None = None
    ) -> Iterator[WeightSamples]:
        """Inside, iterating over the result loads `count` independent samples of the parameters.

        They are drawn once, on entering (4 bytes a weight and sample in float32), so several
        batches or test sets can be predicted with the same networks.

        Args:
            count: C >= 1.
            generator: source of randomness on the parameters' device; the global one if None.

        Raises:
            ValueError: `count` is less than 1.
        """
        require(count >= 1, "count", count, ">= 1")
        entries = [(p, self._mean_of(p), self._sigma(s)) for _, p, s in self._posteriors()]
        with restored(p for p, _, _ in entries):
            values = [
                torch.randn(
                    (count, *mean.shape), generator=generator, dtype=mean.dtype, device=mean.device
                ).mul_(sigma).add_(mean)
                for _, mean, sigma in entries
            ]  # fmt: skip
            yield WeightSamples([p for p, _, _ in entries], values)

    def naturals(self) -> None:
        """There are none: the natural parameters of a Bernoulli posterior are not defined here."""

    # Copies of a posterior -----------------------------------------------------------------------

    def held(self) -> Held:
        """A copy of the posterior and of all else that is known of it, as it is between steps."""
        state: defaultdict[Tensor, Any] = defaultdict(dict)
        for _, parameter, known in self._posteriors():
            state[parameter] = {
                key: value.clone() if isinstance(value, Tensor) else value
                for key, value in known.items()
            }
        return Held([self._mean_of(p).clone() for p in self._parameters()], state)

    @contextmanager
    def exchanged(self, other: Held) -> Iterator[None]:
        """Inside, the parameters have the posterior `other`, which may learn; on leaving, `other`
        holds what it has become and the parameters have what was theirs.

        Raises:
            RuntimeError: weights are drawn, that is, a step is under way.
        """
        if self._means:
            raise RuntimeError("a posterior can be exchanged between steps only, not after draw()")
        self._exchange(other)
        try:
            yield
        finally:
            self._exchange(other)

    def _exchange(self, other: Held) -> None:
        for place, parameter in enumerate(self._parameters()):
            parameter.data, other.means[place] = other.means[place], parameter.data
        self.state, other.state = other.state, self.state

    # State ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def grow(self, old: Parameter, new: Parameter) -> None:
        """Replace `old` by the larger `new` (a head that grew): the overlap keeps its posterior and
        its prior.
        """
        replace_in_groups(self, old, new)
        new.data[tuple(map(slice, old.shape))] = self._mean_of(old)
        before = self.state.pop(old, None)
        if not before:
            return
        carry_over(before, self._posterior_of(group_of(self, new), new), old.shape)

    __getstate__ = whole

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; weights drawn but not yet used are forgotten."""
        super().load_state_dict(copy.deepcopy(state_dict))  # torch shares what it is given
        self._means.clear()
        self.undraw()

    def _parameters(self) -> Iterator[Parameter]:
        for group in self.param_groups:
            yield from group["params"]

    def _posteriors(self) -> Iterator[tuple[dict[str, Any], Parameter, dict[str, Any]]]:
        for group in self.param_groups:
            for parameter in group["params"]:
                yield group, parameter, self._posterior_of(group, parameter)

    def _posterior_of(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            with torch.inference_mode(False):  # it is to be trained
                state.update(self._begin(group, parameter))
        return state

    def _mean_of(self, parameter: Tensor) -> Tensor:
        return self._means.get(parameter, parameter.data)
