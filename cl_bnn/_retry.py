"""Import a module as usual; only if that fails in a way that can be mended, mend it and try again.

Two third-party packages cannot be imported everywhere: see `cl_bnn._torchvision` and
`cl_bnn._home`. Both are mended lazily, when and if somebody imports them, so that `import cl_bnn`
itself loads neither torch nor Avalanche.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Mend = Callable[[ModuleType, Exception], AbstractContextManager[object] | None]


class RetryFinder(MetaPathFinder):
    """Finds the one module `name` with the finders behind it, and guards its loader with `mend`.

    `mend(module, error)` is called when the import has failed. It answers None if the error is not
    its own, which then passes through unchanged; otherwise a context in which the module is
    executed once more.
    """

    def __init__(self, name: str, mend: Mend) -> None:
        self.name = name
        self._mend = mend

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of `name` with its loader guarded; None for any other module."""
        if fullname != self.name:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _RetryLoader(spec.loader, self._mend)
                return spec
        return None

    def install(self) -> None:
        """Put the finder first, unless one for the same module is there (a reload)."""
        if self.name not in [f.name for f in sys.meta_path if isinstance(f, RetryFinder)]:
            sys.meta_path.insert(0, self)


class _RetryLoader(Loader):
    """The loader it is given, but for `exec_module`."""

    def __init__(self, loader: Loader, mend: Mend) -> None:
        self._loader = loader
        self._mend = mend

    def __getattr__(self, attribute: str) -> object:
        # Resources and source code (inspect, importlib.resources) are asked of the loader under
        # other names.
        return getattr(self._loader, attribute)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        before = dict(vars(module))
        try:
            self._loader.exec_module(module)
            return
        except Exception as error:
            mended = self._mend(module, error)
            if mended is None:
                raise
        # Submodules of the failed attempt must not be found as attributes of the package.
        vars(module).clear()
        vars(module).update(before)
        with mended:
            self._loader.exec_module(module)
