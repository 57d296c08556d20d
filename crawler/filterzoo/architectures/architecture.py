"""Convolutions of a trusted architecture, from one run without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from filterzoo.architectures.edges import edges
from filterzoo.architectures.functions import FunctionCount
from filterzoo.records import Context, Convolution, Kind, Operation

_RANKS = {"conv1d": 1, "conv2d": 2, "conv3d": 3, "conv_transpose1d": 1, "conv_transpose2d": 2, "conv_transpose3d": 3}
_PARAMETERS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED_PARAMETERS = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_FAILURES = (RuntimeError, NotImplementedError, ValueError, TypeError, AssertionError, IndexError, AttributeError)
"""Exceptions of models that cannot be built or run without data."""


class Architecture(dict[str, Operation]):
    """The convolutions of an architecture, by the name of the weight in a state dict.

    activation, pooling: as the columns of `models` (`functions.FunctionCount`); None if there is none.
    """

    activation: str | None = None
    pooling: str | None = None


def operations(
    build: Callable[[], torch.nn.Module], *input_shapes: Sequence[int], training: bool = False
) -> Architecture:
    """The convolutions of an architecture, by the name of the weight in a state dict.

    build: creates the model; its weights are put on the meta device, where they have shapes but no data. training: run
    the model in training mode, to include heads that only training uses.

    A module registered under several names yields an operation for each; a weight that is read more than once yields
    its first use. Empty if the architecture cannot run without data (proposals of a detector,
    data-dependent shapes).
    """
    try:
        model = _built(build).train(training)
        with torch.device("meta"):
            run = trace(model, *(torch.empty(*shape) for shape in input_shapes))
    except _FAILURES:
        return Architecture()
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    named = Architecture()
    for reading in run.readings:
        for name in names.get(id(reading.weight), ()):
            named.setdefault(name, reading.operation)
    named.activation, named.pooling = run.functions.activation, run.functions.pooling
    return named


def _built(build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """The model on the meta device, even if its constructor computes with real data, such as widths."""
    try:
        with torch.device("meta"):
            return build()
    except _FAILURES:
        with _Weightless():
            return build().to("meta")


class _Weightless(TorchFunctionMode):
    """Puts the weights of layers on the meta device; other tensors of a constructor keep their data."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch instead of each of its functions."""
        del types
        changed = {"device": "meta"} if func is torch.empty else {}
        return func(*args, **{**(kwargs or {}), **changed})


@dataclass(frozen=True, slots=True)
class Reading:
    """A convolution that was executed.

    weight: the parameter or buffer that it reads, directly or through other operations.
    """

    weight: torch.Tensor
    operation: Operation


@dataclass(frozen=True, slots=True)
class Trace:
    """readings: every convolution of stored numbers, in the order of the run. functions: the others."""

    readings: list[Reading]
    functions: FunctionCount


def trace(model: torch.nn.Module, *inputs: torch.Tensor) -> Trace:
    """Run `model` once and record its convolutions.

    The depth of each is the number of edges of the longest path from an input to it in the graph that an export to
    ONNX gives (docs/measures.md, 2; `filterzoo.architectures.edges`). Exceptions of the model propagate.
    """
    tracer = _Tracer(model, inputs)
    with torch.no_grad(), tracer:
        model(*inputs)
    return Trace(tracer.readings, tracer.functions)


@dataclass(frozen=True, slots=True)
class _Value:
    """What is known about a tensor during the run. It keeps a reference, so that the tensor's id is not reused.

    depth: of the operation that computed it, 0 for an input; None if it does not depend on an input. stored: the
    parameter or buffer that its elements come from, all of them, reordered or scaled. folds: an export folds a batch
    norm that follows it.
    """

    tensor: torch.Tensor
    depth: int | None = None
    stored: torch.Tensor | None = None
    folds: bool = False


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of one of torch's functions."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def name(self) -> str:
        return getattr(self.func, "__name__", "")

    @property
    def is_transposed(self) -> bool:
        return "transpose" in self.name

    def given(self) -> dict[str, Any]:
        """The arguments of a convolution by name."""
        names = _TRANSPOSED_PARAMETERS if self.is_transposed else _PARAMETERS
        return dict(zip(names, self.args, strict=False)) | dict(self.kwargs)


class _Tracer(TorchFunctionMode):
    """Propagates depth through tensors that depend on the inputs, and the stored origin through the others."""

    def __init__(self, model: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.readings: list[Reading] = []
        self.functions = FunctionCount()
        self._values: dict[int, _Value] = {}
        for tensor in (*model.parameters(), *model.buffers()):
            self._know(_Value(tensor, stored=tensor))
        for tensor in inputs:
            self._know(_Value(tensor, depth=0))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch instead of each of its functions."""
        del types
        call = _Call(func, args, kwargs or {})
        read = [self._values[id(leaf)] for leaf in tree_leaves((args, kwargs)) if id(leaf) in self._values]
        result = func(*args, **call.kwargs)
        if read:
            self._follow(call, read, result)
        return result

    def _follow(self, call: _Call, read: list[_Value], result: Any) -> None:
        depth = max((value.depth for value in read if value.depth is not None), default=None)
        if depth is not None:
            depth += edges(call.func, folded=read[0].folds)
        if call.name in _RANKS:
            # An operation on constants only (a projection of position embeddings) has the depth of an input's first
            # operation.
            self._read_weight(call, edges(call.func, folded=False) if depth is None else depth)
        if depth is not None:
            self.functions.note(call.name, self._convolution_arguments(call), (call.args, call.kwargs), result)
        # An assignment to a slice changes the whole tensor and returns nothing.
        changed = call.args[:1] if call.name == "__setitem__" else tree_leaves(result)
        for tensor in changed:
            if isinstance(tensor, torch.Tensor):
                stored = _origin(tensor, read) if depth is None else None
                folds = call.name in _RANKS and not call.is_transposed
                self._know(_Value(tensor, depth, stored, folds=folds))

    def _convolution_arguments(self, call: _Call) -> dict[str, Any] | None:
        """The arguments of a convolution, and whether its weight is `fixed`: a buffer, or a constant in the code."""
        if call.name not in _RANKS:
            return None
        given = call.given()
        value = self._values.get(id(given["weight"]))
        is_buffer = value is not None and value.stored is not None and not isinstance(value.stored, torch.nn.Parameter)
        return given | {"fixed": value is None or is_buffer}

    def _read_weight(self, call: _Call, depth: int) -> None:
        """Record a convolution, unless its weight depends on an input."""
        given = call.given()
        value = self._values.get(id(given["weight"]))
        if value is None or value.stored is None:
            return
        convolution = _convolution(call, given, tuple(given["weight"].shape), depth)
        self.readings.append(Reading(value.stored, Operation(tuple(value.stored.shape), convolution)))

    def _know(self, value: _Value) -> None:
        self._values[id(value.tensor)] = value


def _origin(tensor: torch.Tensor, read: Sequence[_Value]) -> torch.Tensor | None:
    """The stored tensor with the same number of elements: a standardised weight still belongs to its parameter."""
    for value in read:
        if value.stored is not None and value.stored.numel() == tensor.numel():
            return value.stored
    return None


def _convolution(call: _Call, given: Mapping[str, Any], shape: tuple[int, ...], depth: int) -> Convolution:
    rank, groups = _RANKS[call.name], int(given.get("groups", 1))
    dilation = _per_axis(given.get("dilation", 1), rank)
    kind = Kind.DEPTHWISE if groups > 1 and shape[1] == 1 else Kind.GROUPED if groups > 1 else Kind.CONV
    return Convolution(
        kind=Kind.TRANSPOSED if call.is_transposed else kind,
        context=Context.ARCHITECTURE,
        groups=groups,
        stride=_per_axis(given.get("stride", 1), rank),
        dilation=dilation,
        padding=_padding(given.get("padding", 0), shape[-rank:], dilation),
        depth=depth,
    )


def _padding(stated: Any, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """(begin of each axis, end of each axis), as ONNX has it; `same` puts the extra element at the end."""
    if stated == "same":
        totals = [step * (side - 1) for side, step in zip(kernel, dilation, strict=True)]
        return (*(total // 2 for total in totals), *(total - total // 2 for total in totals))
    sides = _per_axis(0 if stated == "valid" else stated, len(kernel))
    return sides * 2


def _per_axis(stated: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """One number per axis; torch also accepts a single number for all axes."""
    numbers = (stated,) if isinstance(stated, int) else tuple(int(number) for number in stated)
    return numbers * rank if len(numbers) == 1 else numbers
