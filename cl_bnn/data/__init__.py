"""Data sets as tensors in memory: bytes, their labels and the normalisation that goes with them."""

from cl_bnn.data.command import fetch, list_lines, verify
from cl_bnn.data.dataset import Dataset, Split
from cl_bnn.data.sources import NAMES, data_root, load, own_digests, present

__all__ = [
    "NAMES",
    "Dataset",
    "Split",
    "data_root",
    "fetch",
    "list_lines",
    "load",
    "own_digests",
    "present",
    "verify",
]
