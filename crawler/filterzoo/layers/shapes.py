"""Shapes of convolution weights, from the index alone."""

from __future__ import annotations

from collections.abc import Sequence

from filterzoo.errors import Reason, Refused
from filterzoo.records import Layout, Tensor


def canonical_shape(tensor: Tensor) -> tuple[int, ...]:
    """The canonical shape, from the index alone."""
    shape, groups = tensor.shape, groups_or_one(tensor)
    match tensor.layout:
        case Layout.IO_K:
            return (groups * shape[1], shape[0] // groups, *shape[2:])
        case Layout.K_IO:
            return (shape[-1], shape[-2], *shape[:-2])
        case Layout.K_OI:
            return (shape[-2], shape[-1], *shape[:-2])
        case Layout.K_IM:
            return (shape[-2] * shape[-1], 1, *shape[:-2])
        case Layout.O_K_I:
            return (shape[0], shape[-1], *shape[1:-1])
        case Layout.ONE_K_O:
            return (shape[-1], 1, *shape[1:-1])
        case Layout.OI_K | Layout.OPEN | Layout.OTHER:
            return shape


def kernel_name(kernel: tuple[int, ...]) -> str:
    """(3, 3) -> `3x3`."""
    return "x".join(str(side) for side in kernel)


def groups_or_one(tensor: Tensor) -> int:
    """The number of groups, 1 if unknown; only the axes of transposed convolutions depend on it."""
    return (tensor.convolution.groups if tensor.convolution else None) or 1


def is_convolution_shape(shape: Sequence[int]) -> bool:
    """Whether it is the canonical shape of a 1-D, 2-D or 3-D convolution: rank 3 to 5, at least one element."""
    return 3 <= len(shape) <= 5 and all(side > 0 for side in shape)


def check_groups(shape: Sequence[int], groups: int | None) -> None:
    """Refused (malformed) if the groups do not divide the output channels of a canonical shape."""
    if groups is not None and (groups < 1 or shape[0] % groups):
        raise Refused(Reason.MALFORMED, f"{shape[0]} output channels do not split into {groups} groups")
