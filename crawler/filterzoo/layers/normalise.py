"""Converts stored tensors to layers: the only code that reorders axes, casts or dequantises (docs/measures.md, 1)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from filterzoo.computation import Way
from filterzoo.dtypes import DTYPES, NumberClass
from filterzoo.errors import Reason, Refused
from filterzoo.layers.computed import apply
from filterzoo.layers.depth import depths
from filterzoo.layers.layer import Floats, Layer
from filterzoo.layers.packed import DECODINGS, decode
from filterzoo.layers.shapes import groups_or_one
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Context, Convolution, Evidence, Layout, Quantisation, Tensor

if TYPE_CHECKING:
    from hashlib import _Hash

Array = npt.NDArray[Any]


def layer_hasher(shape: Sequence[int]) -> _Hash:
    """A sha256 that gives the `layer_id` once it is updated with the layer's little-endian float32 bytes in C order."""
    return hashlib.sha256(f"float32 {'x'.join(map(str, shape))}\n".encode())


def layer_id(weights: Floats) -> str:
    """sha256, hex, over dtype, canonical shape and bytes: equal weights have equal ids."""
    hasher = layer_hasher(weights.shape)
    hasher.update(weights.reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()


def normalise(tensors: Sequence[Tensor], reader: TensorReader) -> Iterator[Layer]:
    """The layers of a checkpoint, in order, one at a time: memory is bounded by the largest."""
    reader.will_read(tensors)
    for index, (tensor, (depth, depth_norm, context)) in enumerate(zip(tensors, depths(tensors), strict=True)):
        convolution = tensor.convolution
        if convolution is None:
            raise Refused(Reason.MALFORMED, "the index lists a tensor that no convolution reads", tensor.name)
        # Keep no reference to the weights while the next layer is read.
        yield _layer(canonical(read(tensor, reader), tensor), index, tensor, convolution, (depth, depth_norm, context))


def _layer(
    weights: Floats, index: int, tensor: Tensor, convolution: Convolution, place: tuple[int, float, Context]
) -> Layer:
    return Layer(
        index=index,
        name=tensor.name,
        kind=convolution.kind,
        weights=weights,
        dtype=tensor.dtype,
        context=place[2],
        evidence=evidence_of(tensor),
        computed=None if tensor.computation is None else tensor.computation.way,
        layer_id=layer_id(weights),
        conv_depth=place[0],
        conv_depth_norm=place[1],
        groups=convolution.groups,
        stride=convolution.stride,
        dilation=convolution.dilation,
        padding=convolution.padding,
    )


def read(tensor: Tensor, reader: TensorReader) -> Array:
    """The tensor's elements in its dtype, read or decoded; a computed one in float32."""
    if tensor.computation is None:
        return reader.read(tensor)
    if tensor.computation.step in DECODINGS:
        parts = [read(each, reader) for each in tensor.computation.inputs]
        return decode(tensor.computation, parts, DTYPES[tensor.dtype], tensor.shape, tensor.name)
    takes_integers = tensor.computation.way in {Way.SCALE, Way.MASK}
    inputs = [_part(read(each, reader), each, takes_integers=takes_integers) for each in tensor.computation.inputs]
    return apply(tensor.computation, inputs, tensor.shape, tensor.name)


def evidence_of(tensor: Tensor) -> Evidence:
    """The evidence for a convolution weight."""
    if tensor.evidence is not None:
        return tensor.evidence
    context = Context.DECLARED if tensor.convolution is None else tensor.convolution.context
    return {Context.GRAPH: Evidence.GRAPH, Context.ARCHITECTURE: Evidence.ARCHITECTURE}.get(context, Evidence.FORMAT)


def canonical(stored: Array, tensor: Tensor) -> Floats:
    """float32, (out, in/groups, *kernel), C order; no copy if the bytes already have that form."""
    floats = _floats(stored, tensor)
    return np.require(_reorder(floats, tensor.layout, groups_or_one(tensor), tensor.name), np.float32, ["C", "A"])


def as_array(stored: Array, dtype: str) -> Array:
    """A copy in a type that NumPy supports; bfloat16 and 8-bit floats become float32, exactly."""
    if dtype == "BF16" or dtype in _FLOAT8:
        return _cast(stored, dtype)
    return stored if stored.flags.writeable and stored.flags.c_contiguous else np.array(stored, order="C")


def _floats(stored: Array, tensor: Tensor) -> Floats:
    number_class = DTYPES[tensor.dtype].number_class
    if number_class is NumberClass.INTEGER and tensor.quantisation is not None:
        return _dequantise(stored, tensor.quantisation)
    if number_class is not NumberClass.FLOAT:
        raise Refused(Reason.UNSUPPORTED, f"{tensor.dtype} without a scale is no weight", tensor.name)
    floats = _cast(stored, tensor.dtype)
    return floats if tensor.quantisation is None else _dequantise(floats, tensor.quantisation)


def _part(stored: Array, tensor: Tensor, *, takes_integers: bool) -> Floats:
    """The inputs of a computed weight; integers stay integers if a scale or a mask follows."""
    is_integer = DTYPES[tensor.dtype].number_class is NumberClass.INTEGER and tensor.quantisation is None
    return stored.astype(np.float32) if takes_integers and is_integer else _floats(stored, tensor)


def _cast(stored: Array, dtype: str) -> Floats:
    match dtype:
        case "BF16":
            wide = stored.astype(np.uint32)
            return np.left_shift(wide, 16, out=wide).view(np.float32)
        case _ if dtype in _FLOAT8:
            return _float8_table(dtype)[stored]
        case _:
            with np.errstate(over="ignore", invalid="ignore"):
                return stored.astype(np.float32, copy=False)


def _dequantise(stored: Array, quantisation: Quantisation) -> Floats:
    """(q - zero_point) * scale in float32, as ONNX DequantizeLinear and TFLite define it."""
    scales = np.asarray(quantisation.scales, np.float32)
    zero_points = np.asarray(quantisation.zero_points, np.int64)
    if quantisation.axis is not None:
        spread = [1] * stored.ndim
        spread[quantisation.axis] = -1
        scales, zero_points = scales.reshape(spread), zero_points.reshape(spread)
    if zero_points.any():
        # The difference of small integers fits int32; all others use the wider type.
        is_small = (
            stored.dtype.kind != "f" and stored.dtype.itemsize < 4 and bool((np.abs(zero_points) < 1 << 30).all())
        )
        stored = stored.astype(np.int32 if is_small else np.float64)
        stored -= zero_points.astype(np.int32)
    with np.errstate(over="ignore", invalid="ignore"):
        floats: Floats = stored.astype(np.float32)
        floats *= scales
    return floats


_FLOAT8 = {
    "F8_E4M3": (3, 7),
    "F8_E5M2": (2, 15),
    "F8_E4M3FNUZ": (3, 8),
    "F8_E5M2FNUZ": (2, 16),
    "F8_E8M0": (0, 127),
}
"""Bits of the mantissa, and the bias of the exponent."""


@cache
def _float8_table(dtype: str) -> Floats:
    """All 256 values of an 8-bit float.

    OCP 8-bit Floating Point Specification 1.0; for FNUZ (no negative zero, one NaN, no infinity) arXiv:2206.02915; for
    E8M0 (powers of two, no sign) OCP Microscaling Formats 1.0.
    """
    mantissa_bits, bias = _FLOAT8[dtype]
    codes = np.arange(256)
    if dtype == "F8_E8M0":
        return np.where(codes == 0xFF, np.nan, 2.0 ** (codes.astype(float) - bias)).astype(np.float32)
    exponent = (codes >> mantissa_bits) & ((1 << (7 - mantissa_bits)) - 1)
    mantissa = (codes & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    magnitude = np.where(
        exponent == 0, mantissa * 2.0 ** (1 - bias), (1 + mantissa) * 2.0 ** (exponent.astype(float) - bias)
    )
    signed = np.where(codes & 0x80, -magnitude, magnitude)
    match dtype:
        case "F8_E4M3":
            signed[(codes & 0x7F) == 0x7F] = np.nan
        case "F8_E5M2":
            signed[exponent == 31] = np.where(mantissa == 0, np.copysign(np.inf, signed), np.nan)[exponent == 31]
        case _:
            signed[0x80] = np.nan
    return signed.astype(np.float32)


def _reorder(array: Array, layout: Layout, groups: int, name: str) -> Array:
    kernel = range(array.ndim - 2)
    match layout:
        case Layout.OI_K:
            return array
        case Layout.IO_K:
            return _swap_grouped(array, groups, name)
        case Layout.K_IO:
            return array.transpose(array.ndim - 1, array.ndim - 2, *kernel)
        case Layout.K_OI:
            return array.transpose(array.ndim - 2, array.ndim - 1, *kernel)
        case Layout.K_IM:
            joined = (array.shape[-2] * array.shape[-1], 1, *array.shape[:-2])
            return array.transpose(array.ndim - 2, array.ndim - 1, *kernel).reshape(joined)
        case Layout.O_K_I:
            return np.moveaxis(array, -1, 1)
        case Layout.ONE_K_O:
            if array.shape[0] != 1:
                raise Refused(Reason.MALFORMED, f"a depthwise weight of shape {array.shape} must start with 1", name)
            return np.moveaxis(array, (0, -1), (1, 0))
        case Layout.OPEN | Layout.OTHER:
            raise Refused(
                Reason.MALFORMED, "the index calls a tensor a convolution weight and gives it no layout", name
            )


def _swap_grouped(array: Array, groups: int, name: str) -> Array:
    """(in, out/g, *kernel) -> (out, in/g, *kernel), group by group."""
    inputs, outputs, *kernel = array.shape
    if inputs % groups:
        raise Refused(Reason.MALFORMED, f"{inputs} input channels do not split into {groups} groups", name)
    split: Array = array.reshape(groups, inputs // groups, outputs, *kernel)
    return split.swapaxes(1, 2).reshape(groups * outputs, inputs // groups, *kernel)
