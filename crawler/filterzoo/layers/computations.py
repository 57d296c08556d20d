"""The structure of computed weights, without their elements. Imports no NumPy, because the jail uses it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from filterzoo.computation import Step, Way
from filterzoo.errors import Reason, Refused
from filterzoo.records import Computation, Evidence, Span, Tensor

MAX_STEPS = 64
"""Most intermediate tensors of one computed weight."""


def computed(
    name: str, shape: Sequence[int], way: Way, step: Step, *inputs: Tensor, numbers: Sequence[int] = ()
) -> Tensor:
    """A tensor of that name and shape, computed from others in one step."""
    return Tensor(
        name=name,
        dtype="F32",
        shape=tuple(shape),
        span=Span(0, 0),
        section=inputs[0].section if inputs else "",
        evidence=Evidence.FORMAT,
        computation=Computation(way, step, inputs, tuple(numbers)),
    )


def stored_tensors(tensor: Tensor) -> Iterator[Tensor]:
    """The stored tensors that a weight is computed from: itself, unless it is computed.

    Refused (limit) for too many.
    """
    return (each for each in all_tensors(tensor) if each.computation is None)


def all_tensors(tensor: Tensor) -> Iterator[Tensor]:
    """The tensor and everything it is computed from, directly or not. Refused (limit) for too many."""
    pending, steps = [tensor], 0
    while pending:
        each = pending.pop()
        yield each
        if each.computation is None:
            continue
        steps += 1
        if steps > MAX_STEPS or len(each.computation.inputs) > MAX_STEPS:
            raise Refused(Reason.LIMIT, f"a weight computed in more than {MAX_STEPS} steps", tensor.name[:200])
        pending += reversed(each.computation.inputs)


def numbers_of(tensor: Tensor) -> int:
    """The number of elements of a tensor and of all intermediate results together."""
    total, pending = 0, [tensor]
    while pending:
        each = pending.pop()
        total += prod(each.shape)
        if each.computation is not None:
            pending += each.computation.inputs
    return total
