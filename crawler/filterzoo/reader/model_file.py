"""An open model file: names, dtypes and shapes are known; elements are read and checked on access."""

from __future__ import annotations

import contextlib
import difflib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from filterzoo.dtypes import DTYPES
from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile
from filterzoo.layers.computations import stored_tensors
from filterzoo.layers.depth import depths
from filterzoo.layers.layer import Floats
from filterzoo.layers.normalise import as_array, canonical, layer_id, read
from filterzoo.layers.shapes import canonical_shape
from filterzoo.layers.stored import TensorReader, byte_ranges
from filterzoo.records import Context, Convolution, Index, Kind, Tensor
from filterzoo.reporting.counts import counted

Array = npt.NDArray[Any]


class NoSuchTensor(KeyError):
    """Raised for an unknown name. Its message lists the nearest names, which are searched when it is formatted."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(name)
        self._known = known

    def __str__(self) -> str:
        near = difflib.get_close_matches(str(self.args[0]), list(self._known), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(map(ascii, near))}?" if near else "`tensors` has all names"
        return f"{self.args[0]!a}: no such tensor; {hint}"


class ModelFile(Mapping[str, Array]):
    """A model file as a read-only mapping from tensor names to NumPy arrays. Created by `filterzoo.open`.

    `file[name]` reads one tensor and checks its checksum, if the format has one (Refused, damaged, on a mismatch).
    bfloat16 and 8-bit floats are converted to float32, exactly; integers with a scale stay as stored. A name that
    several state dicts of the file share is spelled `section.name`. One file serves many threads.
    """

    def __init__(self, name: str, file: RandomAccessFile, index: Index, stack: contextlib.ExitStack) -> None:
        self.name = name
        """The file's name."""
        self.format = index.format
        """The format, as in the `format` column: torch, safetensors, onnx, ..."""
        self.framework = index.facts.framework
        """The framework that wrote it, if the file states it."""
        self.member = index.member
        """Name of the model, if the file is an archive."""
        self.tensors: Mapping[str, Tensor] = MappingProxyType(_by_key(index.tensors))
        """Every array by name, without its elements: dtype, shape, layout, byte span, scales."""
        self._index = index
        self._stack = stack
        self._file = file
        self._reader = stack.enter_context(TensorReader(file))
        self._lock = threading.Lock()
        self._is_checked = not index.containers
        self._is_closed = False

    def __getitem__(self, name: str) -> Array:
        if name not in self.tensors:
            raise NoSuchTensor(name, self.tensors)
        tensor = self.tensors[name]
        return as_array(self._stored(tensor), tensor.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {self.format}, {counted(len(self), 'tensor')}>"

    @cached_property
    def layers(self) -> Sequence[ModelLayer]:
        """The convolutions in canonical form, as in the data set; the weights of each are read on access.

        Refused (unsupported) if the convolutions cannot be listed although the arrays can.
        """
        if self._index.obstacle is not None:
            raise Refused(Reason.UNSUPPORTED, self._index.obstacle)
        convolutions = self._index.convolutions
        return tuple(
            _layer(self, number, tensor, place)
            for number, (tensor, place) in enumerate(zip(convolutions, depths(convolutions), strict=True))
        )

    def prefetch(self, names: Iterable[str]) -> None:
        """Announce that these tensors will be read in this order, so that a remote file needs few requests."""
        with self._lock:
            stored = (each for name in names for each in stored_tensors(self.tensors[name]))
            self._file.will_read([part for each in stored for part in byte_ranges(each)])

    def close(self) -> None:
        """Close the file; no tensor can be read afterwards."""
        with self._lock:
            self._is_closed = True
            self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _stored(self, tensor: Tensor) -> Array:
        """The stored bits; the innermost checksum that covers them is checked once."""
        with self._lock:
            if self._is_closed:
                raise ValueError(f"the file {self.name!r} is closed")
            if not self._is_checked and not all(map(_has_checksum, stored_tensors(tensor))):
                self._reader.check(self._index.containers)
                self._is_checked = True
            if not prod(tensor.shape):
                return np.empty(tensor.shape, np.dtype(DTYPES[tensor.dtype].numpy))
            return read(tensor, self._reader)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLayer:
    """A convolution of an open file. shape: canonical, (out, in/groups, *kernel); dtype: as stored.

    conv_depth, conv_depth_norm, context: as in the data set (docs/columns.md).
    """

    index: int
    name: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    groups: int | None
    stride: tuple[int, ...] | None
    dilation: tuple[int, ...] | None
    padding: tuple[int, ...] | None
    conv_depth: int
    conv_depth_norm: float
    context: Context
    _tensor: Tensor = field(repr=False)
    _file: ModelFile = field(repr=False, compare=False)

    @property
    def weights(self) -> Floats:
        """Read the weights now: float32 of `shape`, C order."""
        return canonical(self._file._stored(self._tensor), self._tensor)  # noqa: SLF001  # made by the file

    @property
    def layer_id(self) -> str:
        """The `layer_id` of these weights in the data set; reads them."""
        return layer_id(self.weights)


def _layer(file: ModelFile, number: int, tensor: Tensor, place: tuple[int, float, Context]) -> ModelLayer:
    depth, depth_norm, context = place
    convolution = tensor.convolution or Convolution(kind=Kind.CONV, context=context)
    return ModelLayer(
        index=number,
        name=tensor.name,
        kind=convolution.kind,
        shape=canonical_shape(tensor),
        dtype=tensor.dtype,
        groups=convolution.groups,
        stride=convolution.stride,
        dilation=convolution.dilation,
        padding=convolution.padding,
        conv_depth=depth,
        conv_depth_norm=depth_norm,
        context=context,
        _tensor=tensor,
        _file=file,
    )


def _by_key(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Keys for tensors: the name; with its section if several sections share it; numbered if still not unique."""
    counts: dict[str, int] = {}
    for tensor in tensors:
        counts[tensor.name] = counts.get(tensor.name, 0) + 1
    named: dict[str, Tensor] = {}
    for tensor in tensors:
        is_shared = counts[tensor.name] > 1 and tensor.section
        wanted = name = f"{tensor.section}.{tensor.name}" if is_shared else tensor.name
        number = 1
        while name in named:
            number += 1
            name = f"{wanted}#{number}"
        named[name] = tensor
    return named


def _has_checksum(tensor: Tensor) -> bool:
    return bool(tensor.stored_in) and all(record.crc32 is not None for record in tensor.stored_in)
