"""What the name of a kernel says of its axes, where a file of Keras or TensorFlow weights holds no configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence

from filterzoo import Context, Convolution, Kind, Layout

_CONVOLUTION = re.compile(r"conv", re.IGNORECASE)
_TRANSPOSED = re.compile(r"transpose|deconv", re.IGNORECASE)
_DEPTHWISE = re.compile(r"depth_?wise", re.IGNORECASE)

KernelMeaning = tuple[Layout, Convolution | None]
NO_CONVOLUTION: KernelMeaning = (Layout.OTHER, None)


def meaning_by_name(name: str, shape: Sequence[int]) -> KernelMeaning:
    """Layout and convolution of the tensor called `name`, a path with slashes.

    `kernel` has rank 4 or 5 in convolutions only; of rank 3 there are attention and recurrent kernels too, so there the
    layer has to be called a convolution. `weight` is torch's word and is left to the selection by name and shape.
    """
    owner, _, last = name.rpartition("/")
    last = last.partition(":")[0].rpartition(".")[2]
    if not 3 <= len(shape) <= 5:
        return NO_CONVOLUTION
    if last == "weight":
        return Layout.OI_K, None
    if last == "depthwise_kernel":
        return depthwise(shape)
    if last == "pointwise_kernel":
        return plain(shape)
    if last != "kernel" or (len(shape) == 3 and not _CONVOLUTION.search(owner)):
        return NO_CONVOLUTION
    if _TRANSPOSED.search(owner):
        return transposed()
    return depthwise(shape) if _DEPTHWISE.search(owner) else plain(shape)


def plain(shape: Sequence[int]) -> KernelMeaning:
    """(*kernel, in/groups, out). The number of groups is in no name."""
    del shape
    return Layout.K_IO, Convolution(kind=Kind.CONV, context=Context.DECLARED)


def depthwise(shape: Sequence[int]) -> KernelMeaning:
    """(*kernel, in, multiplier)."""
    return Layout.K_IM, Convolution(kind=Kind.DEPTHWISE, context=Context.DECLARED, groups=shape[-2])


def transposed() -> KernelMeaning:
    """(*kernel, out, in)."""
    return Layout.K_OI, Convolution(kind=Kind.TRANSPOSED, context=Context.DECLARED)
