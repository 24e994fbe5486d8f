"""Continual learners: Avalanche strategies, usable in any Avalanche pipeline."""

from cl_bnn.strategies.bayesbinn import BayesBiNNStrategy, DrawWeights
from cl_bnn.strategies.benn import benn, ensemble_of
from cl_bnn.strategies.bimu import BiMUStrategy
from cl_bnn.strategies.binary import BinaryStrategy, DrawingStrategy, inner_adam
from cl_bnn.strategies.bop import Bop2ndOrderStrategy, BopStrategy
from cl_bnn.strategies.composed import Composed
from cl_bnn.strategies.der import DER
from cl_bnn.strategies.der_avalanche import AvalancheDER
from cl_bnn.strategies.ewc import EWC
from cl_bnn.strategies.joint import JointAdamStrategy, JointSTEStrategy, JointStrategy
from cl_bnn.strategies.laplace import KroneckerLaplace
from cl_bnn.strategies.lwf import LwF
from cl_bnn.strategies.mas import MAS
from cl_bnn.strategies.mesu import MESUStrategy
from cl_bnn.strategies.metaplastic import MetaplasticStrategy
from cl_bnn.strategies.pmf import PMFStrategy
from cl_bnn.strategies.priors import KroneckerPrior, PosteriorAsPrior
from cl_bnn.strategies.real import AdamStrategy, SGDStrategy
from cl_bnn.strategies.si import SI
from cl_bnn.strategies.ste import STEStrategy
from cl_bnn.strategies.task_aware import TaskAware
from cl_bnn.strategies.template import Template
from cl_bnn.strategies.vcl import VCLStrategy
from cl_bnn.strategies.xnor import XNORStrategy

__all__ = [
    "DER",
    "EWC",
    "MAS",
    "SI",
    "AdamStrategy",
    "AvalancheDER",
    "BayesBiNNStrategy",
    "BiMUStrategy",
    "BinaryStrategy",
    "Bop2ndOrderStrategy",
    "BopStrategy",
    "Composed",
    "DrawWeights",
    "DrawingStrategy",
    "JointAdamStrategy",
    "JointSTEStrategy",
    "JointStrategy",
    "KroneckerLaplace",
    "KroneckerPrior",
    "LwF",
    "MESUStrategy",
    "MetaplasticStrategy",
    "PMFStrategy",
    "PosteriorAsPrior",
    "SGDStrategy",
    "STEStrategy",
    "TaskAware",
    "Template",
    "VCLStrategy",
    "XNORStrategy",
    "benn",
    "ensemble_of",
    "inner_adam",
]
