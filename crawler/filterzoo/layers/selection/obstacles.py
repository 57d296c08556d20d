"""Convolution weights whose numbers cannot be read: each costs itself, not the file."""

from __future__ import annotations

from filterzoo.records import Span, Tensor


def blocked(tensor: Tensor, obstacle: str, name: str | None = None) -> Tensor:
    """The weight without bytes, and why; of its layer's channels and kind everything stays known."""
    return Tensor(
        name=tensor.name if name is None else name,
        dtype="F32",
        shape=tensor.shape,
        span=Span(0, 0),
        layout=tensor.layout,
        convolution=tensor.convolution,
        section=tensor.section,
        obstacle=obstacle,
    )
