"""The structure of computed weights: what they are made of, without their numbers; loads no NumPy, for the jail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from filterzoo.computation import Step, Way
from filterzoo.errors import Reason, Refused
from filterzoo.records import Computation, Evidence, Span, Tensor

MAX_STEPS = 64
"""Most computed tensors that one weight is made of."""


def computed(
    name: str, shape: Sequence[int], way: Way, step: Step, *inputs: Tensor, numbers: Sequence[int] = ()
) -> Tensor:
    """A tensor of that name and shape, made of others by one step."""
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
    """The tensors whose bytes a weight is made of: itself, unless it is computed. LIMIT where they are too many."""
    return (each for each in all_tensors(tensor) if each.computation is None)


def all_tensors(tensor: Tensor) -> Iterator[Tensor]:
    """The tensor and all that it is computed from, computed themselves or stored. LIMIT where they are too many."""
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
    """How many numbers a tensor and everything that is computed for it have together."""
    total, pending = 0, [tensor]
    while pending:
        each = pending.pop()
        total += prod(each.shape)
        if each.computation is not None:
            pending += each.computation.inputs
    return total
