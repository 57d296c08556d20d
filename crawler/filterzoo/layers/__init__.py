"""From the tensors of a file to layers in canonical form. Called, it gives the layers of a published data set."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Layers(ModuleType):
    """The package and the public function have one name: once a module of the package is imported, it has the name."""

    def __call__(self, *arguments: Any, **query: Any) -> Any:
        """See `filterzoo.dataset.measured.layers`."""
        from filterzoo.dataset.measured import layers  # noqa: PLC0415  # a reader of files needs no data set

        return layers(*arguments, **query)


sys.modules[__name__].__class__ = _Layers
