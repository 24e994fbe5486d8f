"""Streams of tasks: Avalanche benchmarks built from tensors."""

from cl_bnn.benchmarks.folder import folder
from cl_bnn.benchmarks.permuted import permuted
from cl_bnn.benchmarks.segmentation import segmentation
from cl_bnn.benchmarks.single import single
from cl_bnn.benchmarks.split import split
from cl_bnn.benchmarks.stream import Stream
from cl_bnn.benchmarks.synthetic import snelson, two_moons

__all__ = [
    "Stream",
    "folder",
    "permuted",
    "segmentation",
    "single",
    "snelson",
    "split",
    "two_moons",
]
