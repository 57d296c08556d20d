"""The number of ONNX edges for each torch function, so that depths agree with those read from ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_NONE = frozenset(
    {
        "clone",
        "contiguous",
        "detach",
        "dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "feature_dropout",
        "float",
        "requires_grad_",
        "to",
        "type_as",
    }
)
"""Functions that are the identity at inference: exporters drop them."""

_LONG = {
    "gelu": 5,  # Div, Erf, Add, Mul, Mul
    "mish": 3,  # Softplus, Tanh, Mul
    "silu": 2,  # Sigmoid, Mul
}
"""Functions without an ONNX operator (opset 17): the longest path through the nodes that replace them."""

_VIEWS = frozenset({"T", "mT", "H", "mH"})


def edges(func: Callable[..., Any], *, folded: bool) -> int:
    """Edges on the longest path through `func`. folded: a batch norm here would vanish into the convolution before it.

    A function without an entry is one node. Shape computations have no edges, because an export with fixed input sizes
    turns them into constants.
    """
    name = getattr(func, "__name__", "")
    if name == "__get__":
        return int(getattr(getattr(func, "__self__", None), "__name__", "") in _VIEWS)
    if name in _NONE or (folded and name == "batch_norm"):
        return 0
    return _LONG.get(name, 1)
