"""Runs the first convolutions of an ONNX graph on random input and compares the results with weights that were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from filterzoo.errors import Reason, Refused
from filterzoo.layers.layer import Floats
from filterzoo.running.session import parsed, session

COMPARED = 3
"""Number of convolutions that are compared: the first ones of the graph with one of the given weights."""
TOLERANCE = 1e-2
"""Largest difference of an output channel, relative to its size; a graph in half precision has about 1e-3."""
_SMALL = 1e-3
"""Channels smaller than this share of the largest one are compared relative to that share."""
_UNKNOWN_AXIS = 64
_MOST_NUMBERS = 1 << 26


@dataclass(frozen=True, slots=True)
class Compared:
    """A compared convolution. difference: the largest of any output channel, relative to its size, without means."""

    name: str
    difference: float

    @property
    def agrees(self) -> bool:
        """Whether the graph computes with the weights that were read."""
        return self.difference <= TOLERANCE


def compare(content: bytes, weights: Mapping[str, Floats], seed: int = 0) -> list[Compared]:
    """Compare the first COMPARED convolutions whose weight is, or is computed from, an initializer in `weights`.

    weights: by the initializer's name, canonical, (out, in/groups, *kernel). onnxruntime runs the operations before
    them, but no later ones. The mean of each channel is subtracted, and with it the bias. Refused (unsupported) if the
    graph must not be run, or no convolution can be compared.
    """
    model = parsed(content)
    makers = {output: node for node in model.graph.node for output in node.output if output}
    found: list[tuple[Any, str]] = []
    for node in model.graph.node:
        if node.op_type == "Conv" and len(found) < COMPARED:
            name = next((name for name in _before(node.input[1], makers) if name in weights), None)
            if name is not None:
                found.append((node, name))
    if not found:
        raise Refused(Reason.UNSUPPORTED, "no convolution of the graph has a weight that was read; none was compared")
    wanted = sorted({value for node, _ in found for value in (node.input[0], node.output[0])})
    inputs = [value for value in model.graph.input if value.name not in {one.name for one in model.graph.initializer}]
    feed = {value.name: _random(value, np.random.default_rng([seed, i])) for i, value in enumerate(inputs)}
    values = feed | _run(model, makers, [name for name in wanted if name not in feed], feed)
    return [
        Compared(name, _difference(values[node.input[0]], values[node.output[0]], weights[name], node))
        for node, name in found
    ]


def _before(value: str, makers: Mapping[str, Any]) -> list[str]:
    """The values that a value depends on, itself first, each once."""
    found = {value: None}
    waiting = [value]
    while waiting:
        node = makers.get(waiting.pop())
        for name in node.input if node is not None else ():
            if name and name not in found:
                found[name] = None
                waiting.append(name)
    return list(found)


def _run(
    model: Any, makers: Mapping[str, Any], wanted: Sequence[str], feed: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The wanted values; the model is reduced to what they depend on."""
    import onnx  # noqa: PLC0415  # an extra, which `parsed` asked for

    needed = {name for value in wanted for name in _before(value, makers)}
    nodes = [node for node in model.graph.node if any(output in needed for output in node.output)]
    if any(attribute.HasField("g") or attribute.graphs for node in nodes for attribute in node.attribute):
        raise Refused(Reason.UNSUPPORTED, "the graph has branches or loops before its first convolutions; not run")
    kept = [one for one in model.graph.initializer if one.name in needed]
    inputs = [one for one in model.graph.input if one.name in needed & feed.keys()]
    for field, values in (("node", nodes), ("initializer", kept), ("input", inputs)):
        own = [type(value).FromString(value.SerializeToString()) for value in values]
        del getattr(model.graph, field)[:]
        getattr(model.graph, field).extend(own)
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted)
    made = session(model)
    fed = {one.name: feed[one.name] for one in made.get_inputs()}
    try:
        return dict(zip(wanted, made.run(list(wanted), fed), strict=True))
    except Exception as error:  # as in `session`
        detail = f"onnxruntime: {' '.join(str(error).split())[:300]}"
        raise Refused(Reason.UNSUPPORTED, detail) from error


def _random(value: Any, random: np.random.Generator) -> np.ndarray:
    """Random values for an input of the graph: normal, or 0 to 255 for integers; unknown axes get a size."""
    import onnx  # noqa: PLC0415  # see above

    kind = value.type.tensor_type
    shape = [axis.dim_value or (1 if i == 0 else _UNKNOWN_AXIS) for i, axis in enumerate(kind.shape.dim)]
    if (
        not value.type.HasField("tensor_type")
        or np.prod(shape, dtype=float) > _MOST_NUMBERS
        or min(shape, default=1) < 0
    ):
        raise Refused(Reason.UNSUPPORTED, f"the input {ascii(value.name)[:80]} is no tensor of a size that is tried")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if np.issubdtype(dtype, np.floating):
        return random.normal(size=shape).astype(dtype)
    if np.issubdtype(dtype, np.integer):
        return random.integers(0, 100, shape).astype(dtype)
    raise Refused(Reason.UNSUPPORTED, f"the input {ascii(value.name)[:80]} is of type {dtype}; numbers are tried only")


def _difference(x: np.ndarray, found: np.ndarray, weights: Floats, node: Any) -> float:
    """The largest difference of any channel; infinite if the weights do not fit the operation."""
    import torch  # noqa: PLC0415  # seconds that other commands do not need

    settings = {attribute.name: _setting(attribute) for attribute in node.attribute}
    rank, groups = weights.ndim - 2, settings.get("group", 1)
    if x.ndim != rank + 2 or x.shape[1] != weights.shape[1] * groups or weights.shape[0] != found.shape[1]:
        return float("inf")
    strides, dilations = (tuple(settings.get(name, [1] * rank)) for name in ("strides", "dilations"))
    sides = _padding(settings, x.shape[2:], weights.shape[2:], strides, dilations)
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *sides])
    convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[rank - 1]
    kernel = torch.from_numpy(weights.astype(np.float64))
    own = convolve(torch.from_numpy(padded), kernel, None, strides, 0, dilations, groups).numpy()
    if own.shape != found.shape:
        return float("inf")
    axes = (0, *range(2, own.ndim))
    own, theirs = (each - each.mean(axis=axes, keepdims=True) for each in (own, found.astype(np.float64)))
    sizes = np.sqrt((theirs**2).sum(axis=axes))
    gaps = np.sqrt(((own - theirs) ** 2).sum(axis=axes))
    bounds = np.maximum(sizes, _SMALL * sizes.max())
    if not np.isfinite(gaps).all() or not bounds.all():
        raise Refused(Reason.UNSUPPORTED, "a convolution gives no finite numbers that differ; it proves nothing")
    return float((gaps / bounds).max())


def _setting(attribute: Any) -> Any:
    import onnx  # noqa: PLC0415  # see above

    return onnx.helper.get_attribute_value(attribute)


def _padding(
    settings: Mapping[str, Any],
    sides: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    """(begin, end) of each axis."""
    rank, auto = len(kernel), settings.get("auto_pad", b"NOTSET")
    if auto in {b"NOTSET", b"VALID"}:
        stated = settings.get("pads", [0] * 2 * rank) if auto == b"NOTSET" else [0] * 2 * rank
        return list(zip(stated[:rank], stated[rank:], strict=True))
    found = []
    for side, size, stride, dilation in zip(sides, kernel, strides, dilations, strict=True):
        total = max(0, (-(-side // stride) - 1) * stride + dilation * (size - 1) + 1 - side)
        small = total // 2
        found.append((small, total - small) if auto == b"SAME_UPPER" else (total - small, small))
    return found
