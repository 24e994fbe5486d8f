"""Optimisers of binary weights: plain `torch.optim.Optimizer`s, usable without Avalanche.

They share four verbs: `draw()` loads weights for the next forward pass, `step()` updates from
gradients, `mode()` swaps in the binary weights for evaluation, and `posterior_to_prior()`, where
there is a posterior, makes it the prior of the next task. `MESU` and `VCL` have them too, for
Gaussian posteriors over weights of full precision: the yardstick of the binary ones. An optimiser
of one's own with a state for every binary weight is a `BinaryOptimizer`.
"""

from cl_bnn.optim.bayesbinn import BayesBiNN
from cl_bnn.optim.bimu import BiMU
from cl_bnn.optim.binary import BinaryOptimizer
from cl_bnn.optim.bop import Bop, Bop2ndOrder
from cl_bnn.optim.kronecker import kronecker_factors
from cl_bnn.optim.mesu import MESU
from cl_bnn.optim.metaplastic import MetaplasticAdam
from cl_bnn.optim.pmf import PMF
from cl_bnn.optim.prediction import averaged_prediction
from cl_bnn.optim.ste import STE
from cl_bnn.optim.vcl import VCL
from cl_bnn.optim.xnor import XNOR

__all__ = [
    "MESU",
    "PMF",
    "STE",
    "VCL",
    "XNOR",
    "BayesBiNN",
    "BiMU",
    "BinaryOptimizer",
    "Bop",
    "Bop2ndOrder",
    "MetaplasticAdam",
    "averaged_prediction",
    "kronecker_factors",
]
