"""What strategies share whose optimiser has a Gaussian posterior over every parameter."""

from torch import nn

from cl_bnn.strategies.bayesbinn import PosteriorStrategy


class GaussianStrategy(PosteriorStrategy):
    """Trains a `GaussianPosterior`: weights, biases and gains are all real, and all uncertain.

    Args:
        template: every keyword of `PosteriorStrategy`.
    """

    def add_parameter(self, parameter: nn.Parameter, *, binary: bool) -> None:
        """A new parameter gets a posterior like all others."""
        self.optimizer.param_groups[0]["params"].append(parameter)
