"""Continual learners: Avalanche strategies, usable in any Avalanche pipeline."""

from cl_bnn.strategies.bayesbinn import BayesBiNNStrategy, DrawWeights, PosteriorAsPrior
from cl_bnn.strategies.joint import JointStrategy
from cl_bnn.strategies.ste import AdamStrategy, STEStrategy
from cl_bnn.strategies.template import TaskAware, Template

__all__ = [
    "AdamStrategy",
    "BayesBiNNStrategy",
    "DrawWeights",
    "JointStrategy",
    "PosteriorAsPrior",
    "STEStrategy",
    "TaskAware",
    "Template",
]
