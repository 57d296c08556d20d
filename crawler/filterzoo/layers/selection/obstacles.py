"""Convolution weights whose elements cannot be read: each is left out, and the file is still read."""

from __future__ import annotations

from filterzoo.records import Span, Tensor


def blocked(tensor: Tensor, obstacle: str, name: str | None = None) -> Tensor:
    """The weight without bytes, with the obstacle; the channels and kind of its layer stay known."""
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
