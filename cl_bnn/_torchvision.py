"""Make torchvision importable where its compiled operators cannot be loaded.

The Linux wheels of torchvision on the package index are linked against CUDA. Beside a CPU-only
torch the extension does not load, which torchvision tolerates in silence; but its
`_meta_registrations.py` then describes a few operators without asking whether they exist, and
`import torchvision` dies with "operator torchvision::nms does not exist". Avalanche imports
torchvision, so it dies as well.

Nothing here needs these operators (they belong to detection networks), so declaring them, without
code behind them, is enough. It must not be done up front: where the extension does load, it finds
the names taken and aborts the whole process. Hence the real import always comes first, and only
that very error leads to the declaration and one more try. Calling such an operator afterwards still
fails with torchvision's own explanation.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType

from cl_bnn._retry import RetryFinder

MISSING = re.compile(r"operator torchvision::\w+ does not exist")

UNCONDITIONAL = re.compile(r'^@torch\.library\.register_fake\("torchvision::(\w+)"\)', re.MULTILINE)
"""How torchvision describes an operator without asking for it: nms, and since 0.28 also qnms."""

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
"""Signature of nms and qnms; it would do for any other operator that is never called."""

_libraries: list[object] = []
"""The declarations of this process: torch withdraws them when their object is collected."""


def install() -> None:
    """Guard `import torchvision` from now on; imports nothing itself."""
    RetryFinder("torchvision", _mend).install()


def _mend(module: ModuleType, error: Exception) -> AbstractContextManager[object] | None:
    """Declare the missing operators if that is what `error` is about."""
    if not (isinstance(error, RuntimeError) and MISSING.fullmatch(str(error))):
        return None
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        del sys.modules[name]
    _declare(_unconditional(Path(str(module.__file__)).with_name("_meta_registrations.py")))
    return _no_image_warning()


def _unconditional(source: Path) -> list[str]:
    return list(dict.fromkeys(UNCONDITIONAL.findall(source.read_text(encoding="utf-8"))))


def _declare(operators: list[str]) -> None:
    from torch.library import Library

    library = Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in operators:
        library.define(operator + SCHEMA)  # type: ignore[no-untyped-call]
    _libraries.append(library)


@contextmanager
def _no_image_warning() -> Iterator[None]:
    """The image extension is missing for the same reason, and nothing here reads images with it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Failed to load .*image")
        yield
