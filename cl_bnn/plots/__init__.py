"""Data frame -> figures, from files alone."""

from cl_bnn.plots.bits import state
from cl_bnn.plots.calibration import reliability
from cl_bnn.plots.capacity import layers, posterior
from cl_bnn.plots.drawing import draw
from cl_bnn.plots.forgetting import average, multiples
from cl_bnn.plots.heat import acc_map, matrices
from cl_bnn.plots.streams import curves

__all__ = [
    "average",
    "curves",
    "draw",
    "layers",
    "matrices",
    "multiples",
    "posterior",
    "reliability",
    "acc_map",
    "state",
]
