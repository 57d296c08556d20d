"""Scales of 8-bit weights: applied as by the writer; a weight with unexplained scales is left out by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from struct import pack, unpack

from filterzoo.computation import Step, Way
from filterzoo.dtypes import DTYPES, NumberClass
from filterzoo.errors import Reason, Refused
from filterzoo.layers.computations import computed
from filterzoo.records import Layout, LeftOut, Tensor

_NO_WEIGHT_SCALE = re.compile(r"input|output|act|query|key|k_|v_|q_", re.IGNORECASE)
_SCALE = re.compile(r"scale|^_?scb$", re.IGNORECASE)
_ZERO = re.compile(r"zero_?points?|zeros|shift", re.IGNORECASE)
_RANGE = re.compile(r"amax$", re.IGNORECASE)
_CODE_BOOK = re.compile(r"absmax|quant_map|codebook|code_book", re.IGNORECASE)
_INNER = re.compile(r"(?<=weight)[._](_?data|int_data|qdata)$")
"""Names of the integers of a tensor subclass in optimum-quanto and torchao."""
_BLOCKS = re.compile(r"(?P<weight>.+)(?P<dot>[._])blocks$")
_PACKED = re.compile(r"(^|[._])(weight_packed|qweight)$")
_BITSANDBYTES = 7.874015718698502e-3
"""1/127: SCB is the largest number of a row, not the step (bitsandbytes.functional, int8_vectorwise_dequant)."""
_MOST_BESIDE = 64
"""Most tensors of a single layer."""
_NEEDS_SCALE = {"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}


def without_blocks(section: Sequence[Tensor]) -> tuple[list[Tensor], list[LeftOut]]:
    """The tensors without 4-bit numbers in blocks that share a scale, because no tensor has that weight's shape."""
    names = {tensor.name for tensor in section}
    rest: list[Tensor] = []
    left_out: list[LeftOut] = []
    for tensor in section:
        blocks = _BLOCKS.match(tensor.name)
        is_mx = blocks is not None and f"{blocks['weight']}{blocks['dot']}scales" in names
        is_large = len(tensor.shape) >= 3 and DTYPES[tensor.dtype].number_class is NumberClass.INTEGER
        if is_large and (is_mx or _PACKED.search(tensor.name)):
            detail = "weights in blocks of 4-bit numbers (MX, NVFP4, packed integers)"
            left_out.append(LeftOut(tensor.name, str(Reason.UNSUPPORTED), detail))
        else:
            rest.append(tensor)
    return rest, left_out


def scaled(tensor: Tensor, owned: Mapping[str, list[Tensor]]) -> Iterator[tuple[Tensor, set[str]]]:
    """An 8-bit weight times its scale, after subtracting a zero point if there is one; nothing without a scale."""
    number_class = DTYPES[tensor.dtype].number_class
    if tensor.layout is Layout.OTHER:
        return  # bytes of a dtype that is not supported
    if tensor.quantisation is not None or not (number_class is NumberClass.INTEGER or tensor.dtype in _NEEDS_SCALE):
        return
    owner = tensor.name[: max(tensor.name.rfind("."), tensor.name.rfind("/")) + 1]
    inside = (f"{tensor.name}.", f"{tensor.name}/", f"{tensor.name}_quantizer.")
    near = [*owned.get(owner, ()), *(each for module in inside for each in owned.get(module, ()))]
    if len(near) > _MOST_BESIDE:
        return
    candidates = [other for other in near if other is not tensor and _is_beside(other.name, tensor.name)]
    words = {other.name: _last(other.name) for other in candidates}
    if any(_CODE_BOOK.search(word) for word in words.values()):
        raise Refused(Reason.UNSUPPORTED, "an 8-bit weight that is an index into a code book", ascii(tensor.name)[:200])
    ours = [other for other in candidates if not _NO_WEIGHT_SCALE.search(words[other.name])]
    scales = [other for other in ours if _SCALE.search(words[other.name])]
    zeros = [other for other in ours if _ZERO.search(words[other.name]) and other not in scales]
    if not scales and any(_RANGE.search(words[other.name]) for other in ours):
        detail = "an 8-bit weight with a range of numbers in place of a scale (amax)"
        raise Refused(Reason.UNSUPPORTED, detail, ascii(tensor.name)[:200])
    if not scales:
        return
    if len(scales) > 1 or len(zeros) > 1:
        raise Refused(Reason.UNSUPPORTED, "an 8-bit weight with more than one scale", ascii(tensor.name)[:200])
    if DTYPES[scales[0].dtype].number_class is not NumberClass.FLOAT:
        detail = f"an 8-bit weight whose scales are {scales[0].dtype}, no floating-point numbers"
        raise Refused(Reason.UNSUPPORTED, detail, ascii(tensor.name)[:200])
    yield _described_as(tensor, _product(tensor, scales[0], zeros)), {tensor.name, *(e.name for e in (*scales, *zeros))}


def _product(tensor: Tensor, scale: Tensor, zeros: Sequence[Tensor]) -> Tensor:
    name = _INNER.sub("", tensor.name)
    whole = tensor
    for zero in zeros:
        whole = computed(name, tensor.shape, Way.SCALE, Step.SUBTRACT, whole, _spread(tensor, zero))
    whole = computed(name, tensor.shape, Way.SCALE, Step.MULTIPLY, whole, _spread(tensor, scale))
    if _last(scale.name).lower().lstrip("_") == "scb":
        (bits,) = unpack("<I", pack("<f", _BITSANDBYTES))
        factor = computed("", (), Way.SCALE, Step.NUMBER, numbers=(bits,))
        whole = computed(name, tensor.shape, Way.SCALE, Step.MULTIPLY, whole, factor)
    return replace(whole, section=tensor.section)


def _spread(tensor: Tensor, scale: Tensor) -> Tensor:
    """A scale for all, per output channel, or per block of numbers, in a shape that broadcasts to the weight's."""
    shape, rank = tensor.shape, len(tensor.shape)
    if len(scale.shape) == rank and all(side in {1, whole} for side, whole in zip(scale.shape, shape, strict=True)):
        return scale
    if len(scale.shape) == rank:
        times = tuple(_block(whole, side) for side, whole in zip(scale.shape, shape, strict=True))
        if all(times):
            return computed(tensor.name, shape, Way.SCALE, Step.REPEAT, scale, numbers=times)
    axes = {0 if layout is not Layout.K_IO else rank - 1 for layout in _orders(tensor)}
    fitting = {axis for axis in axes if prod(scale.shape) == shape[axis]}
    if prod(scale.shape) == 1 or len(fitting) == 1:
        axis = fitting.pop() if fitting else 0
        sides = tuple(prod(scale.shape) if place == axis else 1 for place in range(rank))
        return computed(tensor.name, sides, Way.SCALE, Step.RESHAPE, scale, numbers=sides)
    detail = f"an 8-bit weight of shape {shape} with scales of shape {scale.shape}"
    raise Refused(Reason.UNSUPPORTED, detail[:200], ascii(tensor.name)[:200])


def _block(whole: int, side: int) -> int:
    """The number of elements that share a scale; 0 if it is ambiguous, because the last block may be shorter."""
    times, rest = divmod(whole, side) if side else (0, 1)
    return times if rest == 0 and (side == 1 or times.bit_count() == 1) else 0


def _orders(tensor: Tensor) -> tuple[Layout, ...]:
    """The possible orders of the weight's axes: outputs first or last."""
    return (Layout.OI_K, Layout.K_IO) if tensor.layout is Layout.OPEN else (tensor.layout,)


def _is_beside(name: str, weight: str) -> bool:
    """Whether it belongs to the same layer: the weight's name with a suffix, or with another last word."""
    if name.startswith((f"{weight}_", f"{weight}.", f"{weight}/")):
        return True
    owner = weight[: max(weight.rfind("."), weight.rfind("/")) + 1]
    return name.startswith(owner) and not re.search(r"[./]", name[len(owner) :])


def _last(name: str) -> str:
    return re.split(r"[./]", name)[-1]


def _described_as(part: Tensor, whole: Tensor) -> Tensor:
    """The computed weight with the layout and the operation of its main part."""
    return replace(whole, layout=part.layout, convolution=part.convolution)
