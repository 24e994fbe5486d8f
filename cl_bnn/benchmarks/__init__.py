"""Streams of tasks: Avalanche benchmarks built from tensors."""

from cl_bnn.benchmarks.folder import folder
from cl_bnn.benchmarks.permuted import permuted
from cl_bnn.benchmarks.rotated import rotated
from cl_bnn.benchmarks.segmentation import segmentation
from cl_bnn.benchmarks.sequence import sequence
from cl_bnn.benchmarks.single import single
from cl_bnn.benchmarks.split import split
from cl_bnn.benchmarks.stream import Stream, build_benchmark
from cl_bnn.benchmarks.subsets import subsets
from cl_bnn.benchmarks.synthetic import snelson, two_moons

__all__ = [
    "Stream",
    "build_benchmark",
    "folder",
    "permuted",
    "rotated",
    "segmentation",
    "sequence",
    "single",
    "snelson",
    "split",
    "subsets",
    "two_moons",
]
