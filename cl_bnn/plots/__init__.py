"""Data frame -> figures, from files alone."""

from cl_bnn.plots.streams import curves, draw, matrices, posterior

__all__ = ["curves", "draw", "matrices", "posterior"]
