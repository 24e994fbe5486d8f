"""Avalanche imports torchvision, which `cl_bnn` makes importable: it has to come first."""

import cl_bnn  # noqa: F401
