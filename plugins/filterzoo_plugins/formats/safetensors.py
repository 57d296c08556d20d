"""Reads safetensors files and their sharded indexes: the header is validated against all rules of the format.

The rules: https://github.com/huggingface/safetensors#format. It is stricter than the reference reader in two points: it
refuses duplicate keys, which the format forbids, and headers over 25 MB, huggingface_hub's limit, instead of 100 MB.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

from filterzoo import DTYPES, FileFacts, Format, Layout, RandomAccessFile, Reason, Refused, Span, Tensor, hookimpl
from filterzoo_plugins.encodings.json import JSON_BYTES, is_natural, read_json
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.weight_map import is_index, is_keras_index, read_weight_map

FIRST_READ = 1 << 16
"""Bytes of the first read: most headers are shorter, so most files need one request."""
MAX_RANK = 64
_LICENCE_BYTES = 1000
_HEADER_DEPTH = 3
_SUB_BYTE_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_INFO_KEYS = {"dtype", "shape", "data_offsets"}
_FRAMEWORKS = {"pt": "torch", "tf": "tensorflow", "flax": "flax", "jax": "jax", "np": "numpy", "numpy": "numpy"}
_FRAMEWORKS |= {"mlx": "mlx", "paddle": "paddle", "pd": "paddle"}
_LAYOUTS = {"torch": Layout.OI_K, "paddle": Layout.OI_K, "mlx": Layout.O_K_I}
_LAYOUTS |= {"tensorflow": Layout.K_IO, "flax": Layout.K_IO, "jax": Layout.K_IO}
_OWN_KEYS = {"format"}
_LICENCE_KEYS = ("license", "licence", "modelspec.license")


class Safetensors(Format):
    """A `.safetensors` file, or the `.safetensors.index.json` that names its shards."""

    name = "safetensors"

    def __init__(self) -> None:
        self._seen: tuple[weakref.ref[RandomAccessFile], FileFacts] | None = None

    def accepts(self, head: bytes, name: str) -> bool:
        """By a possible header length followed by a bracket; by the name if the header is broken."""
        if is_index(head):
            is_named = name.endswith(".safetensors.index.json")
            return (b'"weight_map"' in head or is_named) and not is_keras_index(head, name)
        opens = head[8:9] == b"{"
        possible = len(head) > 8 and 2 <= int.from_bytes(head[:8], "little") <= 1 << 32
        return (opens and possible) or (name.endswith(".safetensors") and (opens or possible))

    def includes(self, name: str, other: str) -> bool:
        """Whether it is a shard of the index."""
        stem = re.escape(re.sub(r"\.safetensors\.index\.json$", "", name))
        return re.fullmatch(stem + r"-\d{5}-of-\d{5}\.safetensors", other) is not None

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """Every tensor in byte order, shard by shard in the order of the shards' names."""
        if is_index(file.read(0, min(file.size, 9))):
            return _shard_tensors(file)
        header, start, length = _read_header(file)
        self._seen = weakref.ref(file), _facts(header)
        return iter(_described(_tensors(header, start, length, None), header))

    def facts(self, file: RandomAccessFile) -> FileFacts:
        """Framework and licence from `__metadata__`; for a sharded index, that of the first shard."""
        if self._seen is not None and self._seen[0]() is file:
            return self._seen[1]
        if not is_index(file.read(0, min(file.size, 9))):
            return _facts(_read_header(file)[0])
        for name in sorted(set(_weight_map(file).values())):
            with file.beside(name) as shard:
                return _facts(_read_header(shard)[0])
        return FileFacts()


def _read_header(file: RandomAccessFile) -> tuple[dict[str, Any], int, int]:
    """(header, offset of the data, length of the data)."""
    first = file.read(0, min(file.size, FIRST_READ))
    length = int.from_bytes(first[:8], "little")
    if len(first) < 10 or length < 2:
        raise Refused(Reason.MALFORMED, "too short for a safetensors header", "byte 0")
    if length > JSON_BYTES:
        raise Refused(Reason.LIMIT, f"a header of {length} bytes; at most {JSON_BYTES} are read", "byte 0")
    if 8 + length > file.size:
        raise Refused(Reason.MALFORMED, f"a header of {length} bytes in a file of {file.size}", "byte 0")
    text = first[8 : 8 + length]
    if len(text) < length:
        text += file.read(len(first), 8 + length - len(first))
    if text[:1] != b"{":
        raise Refused(Reason.MALFORMED, "the header does not start with {", "byte 8")
    header = read_json(text, "header", depth=_HEADER_DEPTH)
    _check_metadata(header.get("__metadata__", {}))
    return header, 8 + length, file.size - 8 - length


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Refused(Reason.MALFORMED, "__metadata__ holds something other than strings", "__metadata__")


def _tensors(header: dict[str, Any], start: int, length: int, side: str | None) -> list[Tensor]:
    """The tensors of a header, in order; they must exactly fill the `length` bytes from `start`."""
    tensors = [_tensor(name, info, start, side) for name, info in header.items() if name != "__metadata__"]
    tensors.sort(key=lambda tensor: (tensor.span.offset, tensor.span.length))
    end = start
    for tensor in tensors:
        if tensor.span.offset != end:
            wrong = "overlaps the one before it" if tensor.span.offset < end else "leaves a hole before it"
            raise Refused(Reason.MALFORMED, f"the tensor {wrong}", show(tensor.name))
        end += tensor.span.length
    if end != start + length:
        raise Refused(Reason.MALFORMED, f"tensors of {end - start} bytes in data of {length} bytes", f"byte {start}")
    return [tensor if tensor.obstacle is None else replace(tensor, span=Span(0, 0)) for tensor in tensors]


def _tensor(name: str, info: object, start: int, side: str | None) -> Tensor:
    if not isinstance(info, dict) or info.keys() != _INFO_KEYS:
        raise Refused(Reason.MALFORMED, "a tensor needs dtype, shape and data_offsets, and nothing else", show(name))
    dtype, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str) or (dtype not in DTYPES and dtype not in _SUB_BYTE_BITS):
        raise Refused(Reason.MALFORMED, f"dtype {ascii(dtype)[:40]} is not read", show(name))
    if not isinstance(shape, list) or not all(map(is_natural, shape)):
        raise Refused(Reason.MALFORMED, "a shape is a list of integers from 0", show(name))
    if len(shape) > MAX_RANK:
        raise Refused(Reason.LIMIT, f"{len(shape)} axes; at most {MAX_RANK} are read", show(name))
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(is_natural, offsets)):
        raise Refused(Reason.MALFORMED, "data_offsets are two integers from 0", show(name))
    begin, end = offsets
    if dtype in _SUB_BYTE_BITS:
        return _packed(name, dtype, tuple(shape), Span(start + begin, end - begin, side))
    if end - begin != prod(shape) * DTYPES[dtype].size:
        raise Refused(Reason.MALFORMED, f"{end - begin} bytes do not hold {dtype} of shape {shape}"[:160], show(name))
    return Tensor(name=name, dtype=dtype, shape=tuple(shape), span=Span(start + begin, end - begin, side))


def _packed(name: str, dtype: str, shape: tuple[int, ...], span: Span) -> Tensor:
    """A tensor of a type smaller than a byte, which is not read."""
    if span.length * 8 != prod(shape) * _SUB_BYTE_BITS[dtype]:
        raise Refused(Reason.MALFORMED, f"{span.length} bytes do not hold {dtype} of shape {shape}"[:160], show(name))
    obstacle = f"numbers of {_SUB_BYTE_BITS[dtype]} bits ({dtype})"
    return Tensor(name=name, dtype="F32", shape=shape, span=span, obstacle=obstacle)


def _described(tensors: list[Tensor], header: dict[str, Any]) -> list[Tensor]:
    """The tensors with the layouts of the framework that the header names; without one, shapes decide.

    Tied tensors are stored once: the header maps the others' names to the stored one.
    """
    metadata: dict[str, str] = header.get("__metadata__", {})
    framework = _FRAMEWORKS.get(metadata.get("format", ""))
    layout = _LAYOUTS.get(framework or "", Layout.OPEN)
    by_name = {tensor.name: tensor for tensor in tensors}
    tied = (
        replace(by_name[other], name=name)
        for name, other in metadata.items()
        if other in by_name and name not in by_name and name not in _OWN_KEYS and len(by_name[other].shape) > 2
    )
    return [_with_layout(tensor, layout) for tensor in (*tensors, *tied)]


def _with_layout(tensor: Tensor, layout: Layout) -> Tensor:
    """Keras's depthwise kernels are (*kernel, in, multiplier); Flax has (*kernel, 1, out)."""
    if not 3 <= len(tensor.shape) <= 5:
        return tensor
    last = re.split(r"[./]", tensor.name)[-1].partition(":")[0]
    if layout is Layout.K_IO and last == "depthwise_kernel":
        return replace(tensor, layout=Layout.K_IM)
    return replace(tensor, layout=layout)


def _weight_map(file: RandomAccessFile) -> dict[str, str]:
    """Tensor name -> shard name."""
    shard_of: dict[str, str] = {}
    for tensor, (shard, *others) in read_weight_map(file).items():
        if others:
            detail = f"the index names {1 + len(others)} shards for one tensor"
            raise Refused(Reason.MALFORMED, detail, show(tensor))
        if not shard.endswith(".safetensors"):
            raise Refused(Reason.UNSUPPORTED, "a shard that is no safetensors file", show(shard))
        shard_of[tensor] = shard
    return shard_of


def _shard_tensors(file: RandomAccessFile) -> Iterator[Tensor]:
    """The tensors the index names; a shard's tensors that it does not name are not the model's."""
    wanted_of: dict[str, set[str]] = {}
    for tensor_name, shard_name in _weight_map(file).items():
        wanted_of.setdefault(shard_name, set()).add(tensor_name)
    for shard_name, wanted in sorted(wanted_of.items()):
        with file.beside(shard_name) as shard:
            header, start, length = _read_header(shard)
            tensors = _described(_tensors(header, start, length, shard_name), header)
        if missing := wanted.difference(tensor.name for tensor in tensors):
            raise Refused(Reason.MALFORMED, f"{len(missing)} tensors are not in their shard", show(min(missing)))
        yield from (tensor for tensor in tensors if tensor.name in wanted)


def _facts(header: dict[str, Any]) -> FileFacts:
    metadata: dict[str, str] = header.get("__metadata__", {})
    licences = (metadata.get(key, "").strip() for key in _LICENCE_KEYS)
    return FileFacts(
        framework=_FRAMEWORKS.get(metadata.get("format", "")),
        licence=next((licence for licence in licences if 0 < len(licence) <= _LICENCE_BYTES), None),
    )


@hookimpl
def filterzoo_formats() -> list[Format]:
    """See `filterzoo.hooks`."""
    return [Safetensors()]
