"""Layouts from the names of kernels, for files of Keras or TensorFlow weights without a configuration."""

from __future__ import annotations

from collections.abc import Sequence

from filterzoo import Context, Convolution, Kind, Layout

KernelMeaning = tuple[Layout, Convolution | None]
NO_CONVOLUTION: KernelMeaning = (Layout.OTHER, None)


def meaning_by_name(name: str, shape: Sequence[int]) -> KernelMeaning:
    """Layout and convolution of the tensor called `name`, a path with slashes.

    Only Keras's and TF-Slim's names for the two kernels of a separable convolution tell more than shapes.
    """
    last = name.rpartition("/")[2].partition(":")[0].rpartition(".")[2]
    if not 3 <= len(shape) <= 5:
        return NO_CONVOLUTION
    if last in {"depthwise_kernel", "depthwise_weights"}:
        return depthwise(shape)
    return plain(shape) if last in {"pointwise_kernel", "pointwise_weights"} else (Layout.OPEN, None)


def plain(shape: Sequence[int]) -> KernelMeaning:
    """(*kernel, in/groups, out). No name states the number of groups."""
    del shape
    return Layout.K_IO, Convolution(kind=Kind.CONV, context=Context.DECLARED)


def depthwise(shape: Sequence[int]) -> KernelMeaning:
    """(*kernel, in, multiplier)."""
    return Layout.K_IM, Convolution(kind=Kind.DEPTHWISE, context=Context.DECLARED, groups=shape[-2])


def transposed() -> KernelMeaning:
    """(*kernel, out, in)."""
    return Layout.K_OI, Convolution(kind=Kind.TRANSPOSED, context=Context.DECLARED)
