"""Weights that training code keeps in parts: put together as the framework does it, or refused by name.

torch.nn.utils.weight_norm, spectral_norm, prune and their successors in torch.nn.utils.parametrizations; scales beside
8-bit weights. A part that nothing explains is a refusal: one layer of two would be silent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil, prod

from filterzoo.dtypes import DTYPES, NumberClass
from filterzoo.errors import Reason, Refused
from filterzoo.layers.computations import computed
from filterzoo.records import Step, Tensor, Way

_PARAMETRISED = re.compile(r"(?P<owner>.*?)(?P<list>\.?parametrizations\.(?P<name>[^.]+))\.original(?P<number>\d*)$")
_PART = re.compile(r"(?P<weight>.+)_(?P<part>orig|bar|v|g)$")
_LOW_RANK = re.compile(r"(?P<owner>.*[._])?lora_(?P<half>A|B|up|down)(?=[._]|$)")
_NO_WEIGHT_SCALE = re.compile(r"input|output|act|query|key|k_|v_|q_", re.IGNORECASE)
_SCALE = re.compile(r"scale|scb|absmax", re.IGNORECASE)
_ZERO = re.compile(r"zero_?points?|zeros|shift", re.IGNORECASE)
_MOST_BESIDE = 64
"""More tensors than that belong to no single layer."""
_NEEDS_SCALE = {"F8_E4M3", "F8_E5M2"}


def assembled(section: Sequence[Tensor]) -> list[Tensor]:
    """The tensors of a state dict with each reparametrised convolution weight in one piece, where its parts stood."""
    _refuse_low_rank(section)
    by_name = {tensor.name: tensor for tensor in section}
    owned: dict[str, list[Tensor]] = {}
    for tensor in section:
        owned.setdefault(tensor.name[: max(tensor.name.rfind("."), tensor.name.rfind("/")) + 1], []).append(tensor)
    made: dict[str, Tensor] = {}
    spent: set[str] = set()
    for tensor in section:
        for weight, used in _wholes(tensor, by_name, owned):
            made[tensor.name] = weight
            spent.update(used)
    return [made.get(tensor.name, tensor) for tensor in section if tensor.name in made or tensor.name not in spent]


def _wholes(
    tensor: Tensor, by_name: Mapping[str, Tensor], owned: Mapping[str, list[Tensor]]
) -> Iterator[tuple[Tensor, set[str]]]:
    """The weight that a tensor is the main part of, and the names of all parts."""
    if not 3 <= len(tensor.shape) <= 5 or tensor.computation is not None:
        return
    listed = _PARAMETRISED.match(tensor.name)
    if listed is not None:
        yield from _parametrised(tensor, listed, by_name)
        return
    part = _PART.match(tensor.name)
    if part is not None:
        yield from _old_style(tensor, part["weight"], part["part"], by_name)
        return
    number_class = DTYPES[tensor.dtype].number_class
    is_bare = tensor.quantisation is None and (number_class is NumberClass.INTEGER or tensor.dtype in _NEEDS_SCALE)
    if is_bare:
        yield from _scaled(tensor, owned)


def _parametrised(
    tensor: Tensor, listed: re.Match[str], by_name: Mapping[str, Tensor]
) -> Iterator[tuple[Tensor, set[str]]]:
    """torch.nn.utils.parametrizations: `original0`, `original1` are length and direction, `original` is one tensor."""
    folder = listed["owner"] + listed["list"]
    name = f"{listed['owner']}.{listed['name']}".lstrip(".")
    others = {key for key in by_name if key.startswith(f"{folder}.")}
    length = by_name.get(f"{folder}.original0")
    if listed["number"] == "1" and length is not None and others == {tensor.name, length.name}:
        yield _weight_norm(name, length, tensor), others
        return
    if listed["number"] == "0":
        return
    left, right = by_name.get(f"{folder}.0._u"), by_name.get(f"{folder}.0._v")
    if left is None or right is None or others != {tensor.name, left.name, right.name}:
        raise _unknown(tensor)
    yield _spectral_norm(name, tensor, left, right), others


def _old_style(
    tensor: Tensor, weight: str, part: str, by_name: Mapping[str, Tensor]
) -> Iterator[tuple[Tensor, set[str]]]:
    """The hooks of torch.nn.utils: `weight_g` and `weight_v`; `weight_orig` with `weight_u`, `weight_v` or a mask."""
    length, left, right = (by_name.get(f"{weight}_{other}") for other in "guv")
    mask = by_name.get(f"{weight}_mask")
    if part == "v":
        if length is not None and len(length.shape) in {0, 1, len(tensor.shape)}:
            yield _weight_norm(weight, length, tensor), {tensor.name, length.name}
    elif part in {"orig", "bar"}:
        if left is not None and right is not None and mask is None:
            yield _spectral_norm(weight, tensor, left, right), {tensor.name, left.name, right.name}
        elif mask is not None and mask.shape == tensor.shape and left is None:
            product = computed(weight, tensor.shape, Way.MASK, Step.MULTIPLY, tensor, mask)
            yield product, {tensor.name, mask.name}
        else:
            raise _unknown(tensor)


def _unknown(tensor: Tensor) -> Refused:
    detail = "a weight in parts that no known reparametrisation (weight norm, spectral norm, pruning) explains"
    return Refused(Reason.UNSUPPORTED, detail, ascii(tensor.name)[:200])


def _weight_norm(name: str, length: Tensor, direction: Tensor) -> Tensor:
    """v * (g / |v|), the norm over all axes but the one that g has (torch._weight_norm)."""
    shape = direction.shape
    rank = len(shape)
    kept = tuple(axis for axis in range(rank) if len(length.shape) == rank and length.shape[axis] != 1)
    if (
        len(kept) > 1
        or any(length.shape[axis] != shape[axis] for axis in kept)
        or (not kept and prod(length.shape) != 1)
    ):
        raise _unknown(direction)
    if not kept and len(length.shape) == rank and shape[0] == 1:
        kept = (0,)
    norm_shape = tuple(side if axis in kept else 1 for axis, side in enumerate(shape))
    summed = tuple(axis for axis in range(rank) if axis not in kept)
    norm = computed(name, norm_shape, Way.WEIGHT_NORM, Step.NORM, direction, numbers=summed)
    if length.shape != norm_shape:
        length = computed(name, norm_shape, Way.WEIGHT_NORM, Step.RESHAPE, length, numbers=norm_shape)
    ratio = computed(name, norm_shape, Way.WEIGHT_NORM, Step.DIVIDE, length, norm)
    return _like(direction, computed(name, shape, Way.WEIGHT_NORM, Step.MULTIPLY, direction, ratio))


def _spectral_norm(name: str, weight: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """W / (u^T W v), W being the weight as a matrix of the axis that u is as long as."""
    rows, columns = prod(left.shape), prod(right.shape)
    size = prod(weight.shape)
    axes = [axis for axis, side in enumerate(weight.shape[:2]) if side == rows and side * columns == size]
    if not axes:
        raise _unknown(weight)
    value = computed(name, (), Way.SPECTRAL_NORM, Step.SINGULAR, weight, left, right, numbers=(axes[0],))
    return _like(weight, computed(name, weight.shape, Way.SPECTRAL_NORM, Step.DIVIDE, weight, value))


def _scaled(tensor: Tensor, owned: Mapping[str, list[Tensor]]) -> Iterator[tuple[Tensor, set[str]]]:
    """An 8-bit weight times the scale beside it, minus its zero point where there is one; nothing without a scale."""
    owner = tensor.name[: max(tensor.name.rfind("."), tensor.name.rfind("/")) + 1]
    near = [*owned.get(owner, ()), *owned.get(f"{tensor.name}.", ()), *owned.get(f"{tensor.name}/", ())]
    if len(near) > _MOST_BESIDE:
        return
    beside = [other for other in near if other is not tensor and _is_beside(other.name, tensor.name)]
    scales = [other for other in beside if _is_scale(other)]
    if not scales:
        return
    zeros = [
        other for other in beside if _ZERO.search(_last(other.name)) and not _NO_WEIGHT_SCALE.search(_last(other.name))
    ]
    if len(scales) > 1 or len(zeros) > 1:
        raise Refused(Reason.UNSUPPORTED, "an 8-bit weight with more than one scale", ascii(tensor.name)[:200])
    whole = tensor
    for step, factor in ((Step.SUBTRACT, zeros), (Step.MULTIPLY, scales)):
        for each in factor:
            spread = _spread(tensor, each)
            whole = computed(tensor.name, tensor.shape, Way.SCALE, step, whole, spread)
    yield _like(tensor, whole), {tensor.name, *(each.name for each in (*scales, *zeros))}


def _spread(tensor: Tensor, scale: Tensor) -> Tensor:
    """A scale for all, an output channel, or a block of numbers, in a shape that fits the weight's."""
    shape, rank = tensor.shape, len(tensor.shape)
    if len(scale.shape) == rank and all(side in {1, whole} for side, whole in zip(scale.shape, shape, strict=True)):
        return scale
    if len(scale.shape) == rank:
        times = tuple(ceil(whole / side) if side else 0 for side, whole in zip(scale.shape, shape, strict=True))
        return computed(tensor.name, shape, Way.SCALE, Step.REPEAT, scale, numbers=times)
    if prod(scale.shape) in {1, shape[0]}:
        fitting = (prod(scale.shape), *[1] * (rank - 1))
        return computed(tensor.name, fitting, Way.SCALE, Step.RESHAPE, scale, numbers=fitting)
    detail = f"an 8-bit weight of shape {shape} with scales of shape {scale.shape}"
    raise Refused(Reason.UNSUPPORTED, detail[:200], ascii(tensor.name)[:200])


def _is_beside(name: str, weight: str) -> bool:
    """Whether it belongs to the same layer: the weight's name with more behind it, or another word in its place."""
    if name.startswith((f"{weight}_", f"{weight}.", f"{weight}/")):
        return True
    owner = weight[: max(weight.rfind("."), weight.rfind("/")) + 1]
    return name.startswith(owner) and not re.search(r"[./]", name[len(owner) :])


def _last(name: str) -> str:
    return re.split(r"[./]", name)[-1]


def _is_scale(tensor: Tensor) -> bool:
    word = _last(tensor.name)
    is_float = DTYPES[tensor.dtype].number_class is NumberClass.FLOAT
    return is_float and bool(_SCALE.search(word)) and not _NO_WEIGHT_SCALE.search(word)


def _refuse_low_rank(section: Sequence[Tensor]) -> None:
    """Low-rank adapters change weights by a factor that stands in no tensor; those of linear layers do not matter."""
    for tensor in section:
        half = _LOW_RANK.match(tensor.name)
        if half is not None and len(tensor.shape) >= 3:
            detail = "low-rank adapters (LoRA) of convolutions: neither half is a filter"
            raise Refused(Reason.UNSUPPORTED, detail, ascii(tensor.name)[:200])


def _like(part: Tensor, whole: Tensor) -> Tensor:
    """With the layout, and what is known of the operation, of the part that the weight is made of."""
    return replace(whole, layout=part.layout, convolution=part.convolution)
