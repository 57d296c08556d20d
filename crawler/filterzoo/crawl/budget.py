"""Limits of one checkpoint outside the jail: CPU time, memory and space in the store, from the manifest.

Reading is bounded by the network's deadlines, indexing by the jail's limits. Everything after that happens in the
worker itself, and a file of a few kilobytes must not occupy it for hours or fill its disk.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from math import ceil, prod
from types import FrameType

from filterzoo.dtypes import DTYPES
from filterzoo.errors import Reason, Refused
from filterzoo.jail.expansion import bytes_of
from filterzoo.layers.computations import numbers_of
from filterzoo.layers.shapes import canonical_shape, kernel_name
from filterzoo.records import Index, Tensor

SECONDS = 60
"""CPU time for normalising, measuring and storing any checkpoint ..."""
SECONDS_PER_GB = 240
"""... and in addition for each GB of weights in float32: at least ten times what a slow core takes."""
LAYER_BYTES = 2_000_000_000
"""The largest convolution known has 1.2 GB in float32."""
LAYERS = 20_000
"""The deepest networks known have about 2,000 convolutions."""
MOST_LAYERS = 1 << 15
"""The most that a manifest may allow: a checkpoint is one row group of `layers`, whose size readers bound."""
STORED_BYTES = 8_000_000_000
_AGAIN_SECONDS = 2.0
"""The timer fires again after this much CPU time, in case a handler swallowed the first exception."""
_FLOAT = 4
_COMPUTED = 4
"""Largest memory of a layer with its inputs, as a multiple of its size (weight normalisation: three)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The limits of a checkpoint. `seconds` None: by size, `SECONDS` and `SECONDS_PER_GB` of float32 weights."""

    seconds: int | None = None
    layer_bytes: int = LAYER_BYTES
    layers: int = LAYERS
    stored_bytes: int = STORED_BYTES

    @property
    def key(self) -> list[int | None]:
        """A key that changes when checkpoints must be read again; empty for the defaults."""
        return [] if self == Budget() else list(astuple(self))

    def check(self, index: Index, kernels: frozenset[str]) -> None:
        """Refused (limit) if, by the index, a layer or the filters to store are too large.

        kernels: sizes whose filters are stored.
        """
        if len(index.convolutions) > self.layers:
            raise Refused(Reason.LIMIT, f"{len(index.convolutions)} layers, {self.layers} are allowed")
        distinct: dict[object, int] = {}
        for tensor in index.convolutions:
            needed = _layer_bytes(tensor)
            if needed > self.layer_bytes:
                detail = f"a layer of {needed} bytes, {self.layer_bytes} are allowed"
                raise Refused(Reason.LIMIT, detail, tensor.name[:200])
            if kernel_name(canonical_shape(tensor)[2:]) in kernels:
                distinct[bytes_of(tensor)] = _FLOAT * prod(tensor.shape)
        stored = sum(distinct.values())
        if stored > self.stored_bytes:
            raise Refused(Reason.LIMIT, f"{stored} bytes of filters, {self.stored_bytes} may be stored")

    def seconds_for(self, index: Index) -> int:
        """CPU time for all stages after indexing."""
        if self.seconds is not None:
            return self.seconds
        size = sum(_FLOAT * numbers_of(tensor) for tensor in index.convolutions)
        return SECONDS + ceil(SECONDS_PER_GB * size / 1e9)


def largest_layer(index: Index) -> int:
    """Memory of the largest layer, with its inputs, in bytes; 0 without layers."""
    return max(map(_layer_bytes, index.convolutions), default=0)


def _layer_bytes(tensor: Tensor) -> int:
    # A computed weight and its inputs are in memory together.
    numbers = prod(tensor.shape)
    return max(_FLOAT * numbers, DTYPES[tensor.dtype].size * numbers, _FLOAT * numbers_of(tensor) // _COMPUTED)


@contextmanager
def cpu_clock(seconds: float) -> Iterator[None]:
    """Raises Refused (limit) in the block, at the next Python line, once this process has used that much CPU time.

    Neither a slow network nor a busy machine makes a checkpoint fail. No single call into NumPy or torch works on more
    than one layer. Only the main thread can be interrupted; other threads have no timer.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "ITIMER_PROF"):
        yield
        return
    refusal = Refused(Reason.LIMIT, f"normalising, measuring and storing take more than {seconds:.0f} s of CPU time")
    has_struck = False

    def raise_limit(_number: int, _frame: FrameType | None) -> None:
        nonlocal has_struck
        has_struck = True
        raise refusal

    previous = signal.signal(signal.SIGPROF, raise_limit)
    signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN_SECONDS)
    try:
        yield
    except Exception as error:
        if has_struck and error is not refusal:
            raise refusal from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
