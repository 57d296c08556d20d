"""Reparametrised weights: composed as the framework does, or left out by name.

Known schemes are torch.nn.utils.weight_norm, spectral_norm, prune and their successors in
torch.nn.utils.parametrizations. A weight of an unknown scheme gets an obstacle, so that it is left out by its name and
the others are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from operator import is_

from filterzoo.computation import Step, Way
from filterzoo.errors import Reason, Refused
from filterzoo.layers.computations import computed
from filterzoo.layers.selection import names
from filterzoo.layers.selection.obstacles import blocked
from filterzoo.layers.selection.scales import scaled
from filterzoo.records import Layout, Tensor

_PARAMETRISED = re.compile(r"(?P<owner>.*?)(?P<list>\.?parametrizations\.(?P<name>[^.]+))\.original(?P<number>\d*)$")
_MOST_WAYS = 3
"""Most nested schemes; pruning the direction of weight norm is two."""
_PART = re.compile(r"(?P<weight>.+)_(?P<part>orig|bar|v|g)$")


def assembled(section: Sequence[Tensor]) -> list[Tensor]:
    """The tensors of a state dict, with the parts of each reparametrised convolution weight replaced by the weight."""
    tensors = list(section)
    for _ in range(_MOST_WAYS):
        whole = _once(tensors)
        if len(whole) == len(tensors) and all(map(is_, whole, tensors)):
            break
        tensors = whole
    return tensors


def _once(section: Sequence[Tensor]) -> list[Tensor]:
    """One pass of `assembled`: parts may consist of parts themselves."""
    by_name = {tensor.name: tensor for tensor in section}
    owned: dict[str, list[Tensor]] = {}
    for tensor in section:
        owned.setdefault(tensor.name[: max(tensor.name.rfind("."), tensor.name.rfind("/")) + 1], []).append(tensor)
    made: dict[str, Tensor] = {}
    spent: set[str] = set()
    for tensor in section:
        for weight, used in _whole_or_blocked(tensor, by_name, owned):
            made[tensor.name] = weight
            spent.update(used)
            spent.update({weight.name} - {tensor.name})  # a pickled module also contains the last computed weight
    return [made.get(tensor.name, tensor) for tensor in section if tensor.name in made or tensor.name not in spent]


def _whole_or_blocked(
    tensor: Tensor, by_name: Mapping[str, Tensor], owned: Mapping[str, list[Tensor]]
) -> list[tuple[Tensor, set[str]]]:
    """As `_wholes`; a weight that cannot be composed has an obstacle, and its parts are consumed."""
    try:
        return list(_wholes(tensor, by_name, owned))
    except Refused as refusal:
        if refusal.reason is not Reason.UNSUPPORTED:
            raise
        name, used = _weight_of(tensor, by_name)
        return [(blocked(tensor, refusal.detail, name), used)]


def _weight_of(tensor: Tensor, by_name: Mapping[str, Tensor]) -> tuple[str, set[str]]:
    """The name of the weight that a tensor is a part of, and the names of its parts that are as large as the weight."""
    listed = _PARAMETRISED.match(tensor.name)
    if listed is not None:
        folder = f"{listed['owner']}{listed['list']}."
        return f"{listed['owner']}.{listed['name']}".lstrip("."), {key for key in by_name if key.startswith(folder)}
    part = _PART.match(tensor.name)
    if part is None:
        return tensor.name, {tensor.name}
    others = {f"{part['weight']}_{other}" for other in ("orig", "bar", "u", "v", "g", "mask")}
    return part["weight"], {tensor.name, *(others & by_name.keys())}


def _wholes(
    tensor: Tensor, by_name: Mapping[str, Tensor], owned: Mapping[str, list[Tensor]]
) -> Iterator[tuple[Tensor, set[str]]]:
    """The weight that a tensor is the main part of, and the names of all parts."""
    if not 3 <= len(tensor.shape) <= 5 or tensor.obstacle is not None:
        return
    listed = _PARAMETRISED.match(tensor.name)
    if listed is not None:
        yield from _parametrised(tensor, listed, by_name)
        return
    part = _PART.match(tensor.name)
    if part is not None:
        yield from _old_style(tensor, part["weight"], part["part"], by_name)
        return
    yield from scaled(tensor, owned)


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
    following = by_name.get(f"{folder}.original1")
    if listed["number"] == "0" and following is not None and 3 <= len(following.shape) <= 5:
        return  # handled with the next tensor
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
        elif length is not None and names.is_weight(weight):
            raise _unknown(tensor)
    elif part in {"orig", "bar"}:
        if left is not None and right is not None and mask is None:
            yield _spectral_norm(weight, tensor, left, right), {tensor.name, left.name, right.name}
        elif mask is not None and mask.shape == tensor.shape and left is None:
            product = computed(weight, tensor.shape, Way.MASK, Step.MULTIPLY, tensor, mask)
            yield product, {tensor.name, mask.name}
        else:
            raise _unknown(tensor)


def _unknown(tensor: Tensor) -> Refused:
    detail = "a weight in parts that neither weight norm, spectral norm nor pruning explains (such as an equalised"
    detail += " learning rate, whose factor is in no file)"
    return Refused(Reason.UNSUPPORTED, detail, ascii(tensor.name)[:200])


def _weight_norm(name: str, length: Tensor, direction: Tensor) -> Tensor:
    """v * (g / |v|), the norm over all axes except that of g (torch._weight_norm)."""
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
    return _described_as(direction, computed(name, shape, Way.WEIGHT_NORM, Step.MULTIPLY, direction, ratio))


def _spectral_norm(name: str, weight: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """W / (u^T W v), where W is the weight as a matrix whose rows are the axis of u."""
    rows, columns = prod(left.shape), prod(right.shape)
    size = prod(weight.shape)
    axes = [axis for axis, side in enumerate(weight.shape[:2]) if side == rows and side * columns == size]
    if not axes:
        raise _unknown(weight)
    value = computed(name, (), Way.SPECTRAL_NORM, Step.SINGULAR, weight, left, right, numbers=(axes[0],))
    whole = _described_as(weight, computed(name, weight.shape, Way.SPECTRAL_NORM, Step.DIVIDE, weight, value))
    is_transposed = axes == [1] and whole.layout is Layout.OI_K and whole.convolution is None
    return replace(whole, layout=Layout.IO_K) if is_transposed else whole  # torch uses axis 1 only for these


def _described_as(part: Tensor, whole: Tensor) -> Tensor:
    """The computed weight with the layout and the operation of its main part."""
    return replace(whole, layout=part.layout, convolution=part.convolution)
