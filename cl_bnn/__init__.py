"""Binary neural networks, one task or many: optimisers, networks, strategies, benchmarks.

`import cl_bnn` is cheap: it loads neither torch nor Avalanche, and `cl_bnn.Trainer` is only loaded
when it is asked for. It sees to it that both `torchvision` and `avalanche` can be imported
afterwards on a machine where they otherwise could not (`cl_bnn._torchvision`, `cl_bnn._home`), so
it may stand before `import avalanche` in any script.
"""

from typing import TYPE_CHECKING, Any

from cl_bnn import _home, _torchvision

if TYPE_CHECKING:
    from cl_bnn.trainer import Trainer

__all__ = ["Trainer", "__version__"]
__version__ = "0.1.0"

_torchvision.install()
_home.install()


def __getattr__(name: str) -> Any:
    if name != "Trainer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cl_bnn.trainer import Trainer

    return Trainer


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
