"""Continual learning with binary neural networks.

`import cl_bnn` is cheap: it loads neither torch nor Avalanche. It only sees to it that both
`torchvision` and `avalanche` can be imported afterwards on a machine where they otherwise could not
(`cl_bnn._torchvision`, `cl_bnn._home`), so it may stand before `import avalanche` in any script.
"""

from cl_bnn import _home, _torchvision

__version__ = "0.1.0"

_torchvision.install()
_home.install()
