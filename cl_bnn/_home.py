"""Make Avalanche importable where the user's home cannot be written.

When Avalanche is imported it reads `~/.avalanche/config.json`, and writes it first if it is not
there. In a container or on a cluster node the home may be missing or read-only, and the import ends
in an OSError. The file only holds the folder of Avalanche's own downloads, which cl_bnn does not
use; so in that case, and for that one module, the home is a temporary folder, which is removed as
soon as the file has been read.

Matplotlib finds another folder itself, but says so in two long lines whenever it is loaded; so it
is told beforehand of a temporary folder, which is removed when the process ends.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from tempfile import TemporaryDirectory
from types import ModuleType

from cl_bnn._retry import RetryFinder

HOME_VARIABLES = ("HOME", "USERPROFILE")
"""Where `os.path.expanduser` looks for the home, on Unix and on Windows."""


def install() -> None:
    """Guard the import of Avalanche's configuration from now on; imports nothing itself."""
    RetryFinder("avalanche.benchmarks.datasets.dataset_utils", _mend).install()
    home = os.path.expanduser("~")
    if not (os.path.isdir(home) and os.access(home, os.W_OK)) and "MPLCONFIGDIR" not in os.environ:
        os.environ["MPLCONFIGDIR"] = _matplotlib_folder().name


@cache
def _matplotlib_folder() -> TemporaryDirectory[str]:
    """Kept here, because the folder is removed together with this object."""
    return TemporaryDirectory(prefix="cl_bnn-matplotlib-")


def _mend(module: ModuleType, error: Exception) -> AbstractContextManager[object] | None:
    return _temporary_home() if isinstance(error, OSError) else None


@contextmanager
def _temporary_home() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in HOME_VARIABLES}
    with TemporaryDirectory(prefix="cl_bnn-home-") as home:
        os.environ.update(dict.fromkeys(HOME_VARIABLES, home))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
