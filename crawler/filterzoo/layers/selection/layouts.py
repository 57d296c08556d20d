"""The order of axes of a state dict's weights, if neither a graph nor the file's format states it.

Kernels are small and regular: all sides are equal, or 1. The order is chosen for which all weights of a rank have such
kernels. Sparse convolutions of torch (spconv 1 and 2) and modulated ones, (1, out, in, *kernel), are recognised in the
same way. If several orders fit, the word for weight in the names decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import log2

from filterzoo.layers.selection import names
from filterzoo.records import Evidence, Layout, Tensor

LARGE = 11
"""Kernels rarely have longer sides."""
_MARGIN_OPEN = 0.3
"""Orders whose costs differ by at most this much are tied."""
_MARGIN = 0.5
"""The least cost, per file, by which another order must beat torch's in a torch file."""

Reading = Callable[[Tensor], Tensor | None]


def read_layouts(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors; those of rank 3 to 5 with an open layout get the layout that fits the file."""
    result = {id(tensor): tensor for tensor in tensors}
    candidates = [t for t in tensors if 3 <= len(t.shape) <= 5 and 0 not in t.shape and t.convolution is None]
    undecided = [t for t in candidates if t.layout is Layout.OPEN]
    if undecided:
        result |= _voted(undecided, {t.name: t.shape for t in tensors if len(t.shape) == 1})
    stated = [t for t in candidates if t.layout is Layout.K_IO]
    if stated:
        shapes = {tensor.name: tensor.shape for tensor in tensors}
        result |= {id(t): _with_order(t, Layout.K_IO, t.evidence, shapes) for t in stated}
    kernels = [t for t in candidates if t.layout is Layout.OI_K and len(t.shape) > 3 and names.is_weight(t.name)]
    volumes = [t for t in kernels if len(t.shape) == 5]
    if kernels:
        result |= _sparse(kernels) | (_volumes(volumes) if volumes else {})
    return [result[id(tensor)] for tensor in tensors]


def _voted(tensors: list[Tensor], vectors: Mapping[str, tuple[int, ...]]) -> dict[int, Tensor]:
    """Decide open layouts: one order for all ranks if its kernels fit, otherwise one for each rank."""
    weights = [t for t in tensors if names.is_weight(t.name) and not _is_spread(t.shape)] or tensors
    weights = [t for t in weights if len(t.shape) > 3] or weights  # any short axis may be a kernel of rank 1
    costs = {layout: sum(irregular(_kernel(t.shape, layout)) for t in weights) for layout in _ORDERS}
    shapes = {**vectors, **{tensor.name: tensor.shape for tensor in tensors}}
    if _are_mixed(weights, costs):
        called = {True: Evidence.NAME, False: Evidence.ASSUMED}
        return {id(t): _with_order(t, _usual_layout(t), called[names.is_weight(t.name)], shapes) for t in tensors}
    least = min(costs.values())
    best = [layout for layout in _ORDERS if costs[layout] <= least + _MARGIN_OPEN]
    evidence = Evidence.SHAPES
    if len(best) > 1:
        is_torch = sum(_usual_layout(t) is Layout.OI_K for t in weights) * 2 > len(weights)
        wanted = Layout.OI_K if is_torch else Layout.K_IO
        best, evidence = ([wanted], Evidence.NAME) if wanted in best else (best, Evidence.ASSUMED)
    return {id(tensor): _with_order(tensor, best[0], evidence, shapes) for tensor in tensors}


def _usual_layout(tensor: Tensor) -> Layout:
    """The order of the frameworks that use this name for weights: torch (`.weight`), or Keras and Flax."""
    return Layout.OI_K if tensor.name.rpartition(".")[2] == "weight" else Layout.K_IO


def _are_mixed(weights: Sequence[Tensor], costs: Mapping[Layout, float]) -> bool:
    """Whether the file holds weights of two frameworks: each fits its own order, and neither order fits them all.

    (out, *kernel, in) may fit such a file by chance, for example (4, 3, 3, 3) and (3, 3, 3, 4).
    """
    own = sum(irregular(_kernel(t.shape, _usual_layout(t))) for t in weights)
    least_of_one = min(costs[Layout.OI_K], costs[Layout.K_IO])
    return own <= min(costs.values()) + _MARGIN_OPEN and own + _MARGIN_OPEN < least_of_one


def _with_order(
    tensor: Tensor, layout: Layout, evidence: Evidence | None, shapes: Mapping[str, tuple[int, ...]]
) -> Tensor:
    """The tensor with the file's order; (*kernel, in, 1) is depthwise if its bias has length `in`, or by its name."""
    if layout is Layout.K_IO and len(tensor.shape) > 3 and tensor.shape[-1] == 1 < tensor.shape[-2]:
        bias = next((shapes[name] for name in names.biases(tensor.name) if name in shapes), None)
        readers = {shape[-2] for shape in shapes.values() if 3 < len(shape) < 6 and set(shape[:-2]) == {1}}
        is_read = bias is None and set(tensor.shape[:-2]) != {1} and tensor.shape[-2] in readers
        if is_read or bias == tensor.shape[-2:-1] or (bias is None and names.says_depthwise(tensor.name)):
            found = Evidence.SHAPES if bias or is_read else Evidence.NAME
            return replace(tensor, layout=Layout.K_IM, evidence=found)
    return replace(tensor, layout=layout, evidence=evidence)


_ORDERS = (Layout.K_IO, Layout.OI_K, Layout.O_K_I)


def _volumes(tensors: list[Tensor]) -> dict[int, Tensor]:
    """Weights of rank 5 in a torch file: volumes in torch's order, sparse ones in others, or modulated 2-D kernels."""
    readings: dict[str, tuple[Reading, Callable[[tuple[int, ...]], tuple[int, ...]]]] = {
        "torch": (lambda t: t, lambda shape: shape[2:]),
        "modulated": (_modulated, lambda shape: shape[3:]),
        "spconv 2": (lambda t: _with_layout(t, Layout.O_K_I), lambda shape: shape[1:4]),
        "spconv 1": (lambda t: _with_layout(t, Layout.K_IO), lambda shape: shape[:3]),
    }
    costs = {name: sum(irregular(kernel(t.shape)) for t in tensors) for name, (_, kernel) in readings.items()}
    if any(t.shape[0] != 1 or t.strides is not None for t in tensors):
        costs.pop("modulated")
    best = min(costs, key=lambda name: (costs[name], list(readings).index(name)))
    if best == "torch" or costs["torch"] - costs[best] < _MARGIN or costs[best] >= _MARGIN:
        return {}
    return {id(t): found for t in tensors if (found := readings[best][0](t)) is not None}


def _sparse(tensors: Sequence[Tensor]) -> dict[int, Tensor]:
    """Sparse kernels in a file with dense ones (a sparse backbone, a dense neck): regular only in an order of spconv.

    A dense kernel of 3x32 that reads 3 channels has such a shape too. So two such weights are required, or one that
    reads another layer's outputs, and one of them must have a square kernel. Kernels of side 1 are no evidence.
    """
    output_channels = {tensor.shape[0] for tensor in tensors}
    plain = [tensor for tensor in tensors if tensor.strides is None]
    regular = {
        layout: [t for t in plain if irregular(t.shape[2:]) >= _MARGIN and irregular(_kernel(t.shape, layout)) == 0]
        for layout in (Layout.O_K_I, Layout.K_IO)
    }
    layout = max(regular, key=lambda each: len(regular[each]))
    kernels = [set(_kernel(tensor.shape, layout)) for tensor in regular[layout]]
    reads = [tensor.shape[-1 if layout is Layout.O_K_I else -2] for tensor in regular[layout]]
    if any(len(kernel) == 1 and kernel != {1} for kernel in kernels) and (
        len(reads) > 1 or reads[0] in output_channels
    ):
        return {id(tensor): _with_layout(tensor, layout) for tensor in regular[layout]}
    return {}


def _with_layout(tensor: Tensor, layout: Layout) -> Tensor:
    return replace(tensor, layout=layout, evidence=Evidence.SHAPES)


def _modulated(tensor: Tensor) -> Tensor:
    """(1, out, in, *kernel): the first axis is the batch axis."""
    return replace(tensor, shape=tensor.shape[1:], evidence=Evidence.SHAPES)


def _kernel(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    return {Layout.K_IO: shape[:-2], Layout.OI_K: shape[2:], Layout.O_K_I: shape[1:-1]}[layout]


def _is_spread(shape: Iterable[int]) -> bool:
    """Whether all axes but one have length 1: a scale or a shift, which is no evidence of the order."""
    return sum(side != 1 for side in shape) <= 1


def irregular(kernel: Sequence[int]) -> float:
    """A penalty: 0 for a small kernel whose sides are equal or 1; it grows as the shape resembles a kernel less."""
    largest = max(kernel)
    cost = max(0.0, log2(largest / LARGE))
    others = [side for side in kernel if side not in {1, largest}]
    if others:
        cost += log2(largest / min(others)) + 0.25
    if largest > 3 and largest % 2 == 0:
        cost += 0.1
    return cost
