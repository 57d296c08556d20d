"""Replaces metadata inferred from names and shapes with the architecture's, if names and shapes match."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from filterzoo.records import Context, Evidence, Kind, Layout, Operation, Tensor

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
"""Prefixes that wrappers add to every name of a state dict."""

_LAYOUTS = {Layout.OI_K, Layout.IO_K}
"""Layouts of torch files; other frameworks have other names as well."""


def is_known(tensors: Sequence[Tensor]) -> bool:
    """Whether the file needs no architecture: it has no convolutions, or its own graph describes them."""
    contexts = {tensor.convolution.context for tensor in tensors if tensor.convolution is not None}
    return contexts <= {Context.GRAPH}


@dataclass(frozen=True, slots=True)
class DescribedFile:
    """Convolutions of a file, and other facts from the architecture that fits them; None if unknown."""

    tensors: tuple[Tensor, ...]
    activation: str | None = None
    pooling: str | None = None


def with_architecture(tensors: Sequence[Tensor], architectures: Iterable[Mapping[str, Operation]]) -> DescribedFile:
    """The convolutions, described by the first architecture that fits; unchanged if none fits.

    They are replaced only if, without the prefixes that all names share, weights and operations match one to one, by
    name and stored shape.
    """
    for operations in architectures:
        for names in _without_prefixes([tensor.name for tensor in tensors]):
            if _fits(names, tensors, operations):
                described = tuple(
                    _described(tensor, operations[name]) for name, tensor in zip(names, tensors, strict=True)
                )
                # A plugin may return a plain mapping.
                return DescribedFile(
                    described, getattr(operations, "activation", None), getattr(operations, "pooling", None)
                )
    return DescribedFile(tuple(tensors))


def _without_prefixes(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """The names, then the names without the first shared prefix, then without the next."""
    while names:
        yield names
        shared = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in names)), None)
        if shared is None:
            return
        names = [name.removeprefix(shared) for name in names]


def _fits(names: Sequence[str], tensors: Sequence[Tensor], operations: Mapping[str, Operation]) -> bool:
    if len(names) != len(operations) or set(names) != operations.keys():
        return False
    return all(
        tensor.layout in _LAYOUTS and tensor.shape == operations[name].shape
        for name, tensor in zip(names, tensors, strict=True)
    )


def _described(tensor: Tensor, operation: Operation) -> Tensor:
    layout = Layout.IO_K if operation.convolution.kind is Kind.TRANSPOSED else Layout.OI_K
    return replace(tensor, convolution=operation.convolution, layout=layout, evidence=Evidence.ARCHITECTURE)
