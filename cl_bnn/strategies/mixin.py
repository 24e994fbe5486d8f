"""The base of classes that are put before a strategy's own, to change how it learns.

Avalanche holds the keywords of a strategy class against those of its bases, so that such a class
must not be a strategy itself; for a type checker it is one.
"""

from typing import TYPE_CHECKING

from cl_bnn.strategies.template import Template

if TYPE_CHECKING:
    Mixin = Template
else:
    Mixin = object
