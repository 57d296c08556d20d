"""A Keras model's configuration, read as data: the layer of each weight, and that layer's parameters.

Nothing in it is called or imported; classes are mere names. Names of variables follow Keras 2.2 to 3.15.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from filterzoo import Convolution, Kind, Layout
from filterzoo_plugins.encodings.json import is_natural, read_json
from filterzoo_plugins.encodings.kernel_names import (
    NO_CONVOLUTION,
    KernelMeaning,
    depthwise,
    meaning_by_name,
    plain,
    transposed,
)

CONFIG_DEPTH = 200
_KERAS_CLASS = re.compile(r"(Depthwise|Separable)?(?:Conv|Convolution)([123])D(Transpose)?|(ConvLSTM)([123])D")
_NO_CONVOLUTION = {"Dense", "EinsumDense", "Embedding", "LocallyConnected1D", "LocallyConnected2D"}


@dataclass(frozen=True, slots=True)
class KerasLayer:
    """One layer of a configuration. `config` is None if only its class is known.

    `layers` are those of a nested model, in order; `inner` are layers under other keys of its configuration.
    """

    name: str
    class_name: str
    config: Mapping[str, Any] | None = None
    layers: tuple[KerasLayer, ...] = ()
    inner: Mapping[str, KerasLayer] = field(default_factory=dict)
    by_name: Mapping[str, KerasLayer] = field(default_factory=dict)
    """The nested model's layers by name."""

    def find(self, parts: Sequence[str]) -> KerasLayer:
        """The innermost layer on a weight's path; parts that name no layer are skipped."""
        layer = self
        for part in parts:
            layer = layer.by_name.get(part) or layer.inner.get(part) or layer
        return layer.wrapped

    @property
    def wrapped(self) -> KerasLayer:
        """The layer inside a wrapper such as TimeDistributed; the layer itself if it is no wrapper."""
        layer = self
        while "layer" in layer.inner:
            layer = layer.inner["layer"]
        return layer


def read_config(text: bytes, where: str) -> KerasLayer:
    """The model of a JSON configuration; Refused (malformed, limit) if it is not valid JSON."""
    return _layer(read_json(text, where, depth=CONFIG_DEPTH))


def variables(model: KerasLayer) -> Iterator[tuple[str, KerasLayer]]:
    """Paths of Keras 3 (`layers/conv2d_1`) and their layers, in the model's order.

    Keras names a layer in a container by its class and a counter (`keras.src.saving.saving_lib`).
    """
    pending = [("", model)]
    while pending:
        path, layer = pending.pop()
        yield path, layer
        used: dict[str, int] = {}
        inside = []
        for child in layer.layers:
            if layer.class_name == "Sequential" and child.class_name == "InputLayer":
                continue
            name = _snake_case(child.class_name)
            used[name] = used.get(name, -1) + 1
            inside.append((f"{path}/layers/{name}{f'_{used[name]}' if used[name] else ''}".lstrip("/"), child))
        inside += [(f"{path}/{key}".lstrip("/"), child) for key, child in layer.inner.items()]
        if layer.class_name == "Bidirectional" and "layer" in layer.inner:
            inside.append((f"{path}/forward_layer".lstrip("/"), layer.inner["layer"]))
        pending += reversed(inside)


def meaning(layer: KerasLayer, variable: str, shape: Sequence[int]) -> KernelMeaning:
    """Layout and convolution of a layer's `variable`: `kernel`, `pointwise_kernel`, ... or Keras 3's number of it."""
    if layer.class_name in _NO_CONVOLUTION:
        return NO_CONVOLUTION
    known = _KERAS_CLASS.fullmatch(layer.class_name)
    if known is None and _is_like_convolution(layer.config, shape):
        return meaning(replace(layer, class_name=f"Conv{len(shape) - 2}D"), variable, shape)
    if known is None:
        return meaning_by_name(f"{layer.class_name}/{variable}", shape)
    modifier, sides, is_transposed, lstm, lstm_sides = known.groups()
    if len(shape) != int(sides or lstm_sides) + 2:
        return NO_CONVOLUTION
    config = layer.config
    groups = None if config is None else config.get("groups", 1)
    if lstm:
        return _with_groups(plain(shape), 1) if variable in {"kernel", "recurrent_kernel", "0", "1"} else NO_CONVOLUTION
    if modifier == "Separable" and variable in {"pointwise_kernel", "1"}:
        return _applied(_with_groups(plain(shape), 1), {}, shape)
    if modifier and variable in {"depthwise_kernel", "kernel", "0"}:
        return _applied(depthwise(shape), config, shape)
    if modifier or variable not in {"kernel", "0"}:
        return NO_CONVOLUTION
    if is_transposed:
        return _applied(_with_groups(transposed(), 1), config, shape)
    return _applied(_with_groups(plain(shape), groups), config, shape)


def _is_like_convolution(config: Mapping[str, Any] | None, shape: Sequence[int]) -> bool:
    """Whether a custom class has the settings of a convolution, and a kernel that fits them."""
    if config is None or not 3 <= len(shape) <= 5:
        return False
    return config.get("kernel_size") == list(shape[:-2]) and config.get("filters") == shape[-1]


def has_bfloat16(layer: KerasLayer) -> bool:
    """Whether a layer's configuration states bfloat16, as the dtype or as a dtype policy."""
    stated = (layer.config or {}).get("dtype")
    policy = stated.get("config") if isinstance(stated, dict) else None
    return (policy.get("name") if isinstance(policy, dict) else stated) == "bfloat16"


def class_of(name: str) -> str | None:
    """The convolution class of a Keras 3 path component or default layer name (`separable_conv2d_3`)."""
    return _CLASS_OF.get(re.sub(r"_\d+$", "", name))


def _layer(node: object) -> KerasLayer:
    if not isinstance(node, dict):
        return KerasLayer("", "")
    config = node.get("config")
    settings = config if isinstance(config, dict) else {}
    listed = config if isinstance(config, list) else settings.get("layers")
    layers = tuple(_layer(entry) for entry in listed) if isinstance(listed, list) else ()
    return KerasLayer(
        _text(node.get("name")) or _text(settings.get("name")),
        _text(node.get("class_name")),
        settings,
        layers,
        {key: _layer(entry) for key, entry in settings.items() if _is_layer(entry)},
        {layer.name: layer for layer in layers},
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _is_layer(entry: object) -> bool:
    return isinstance(entry, dict) and "class_name" in entry and isinstance(entry.get("config"), dict)


def _with_groups(found: KernelMeaning, groups: object) -> KernelMeaning:
    layout, convolution = found
    if convolution is None or not isinstance(groups, int) or not is_natural(groups) or groups == 0:
        return found
    return layout, replace(convolution, groups=groups)


def _applied(found: KernelMeaning, config: Mapping[str, Any] | None, shape: Sequence[int]) -> KernelMeaning:
    """With stride, dilation and padding from the configuration, None if it states no valid ones."""
    layout, convolution = found
    if convolution is None or config is None:
        return found
    kernel = tuple(shape[:-2])
    stride = _sizes(config.get("strides", 1), len(kernel))
    dilation = _sizes(config.get("dilation_rate", 1), len(kernel))
    padding = None
    if layout is not Layout.K_OI:  # the cropping of a transposed convolution depends on output_padding too
        padding = _padding(config.get("padding", "valid"), kernel, stride, dilation)
    kind, groups = convolution.kind, convolution.groups
    if layout is Layout.K_IO and groups is not None and groups > 1:
        if shape[-1] % groups:
            return layout, Convolution(kind=kind, context=convolution.context)
        kind = Kind.DEPTHWISE if shape[-2] == 1 else Kind.GROUPED
    return layout, replace(convolution, kind=kind, stride=stride, dilation=dilation, padding=padding)


def _sizes(value: object, rank: int) -> tuple[int, ...] | None:
    values: list[Any] = value if isinstance(value, list) else [value] * rank
    return tuple(values) if len(values) == rank and all(is_natural(size) and size > 0 for size in values) else None


def _padding(
    name: object, kernel: Sequence[int], stride: Sequence[int] | None, dilation: Sequence[int] | None
) -> tuple[int, ...] | None:
    """(begin of each axis, end of each axis); None for `same` with a stride, which depends on the input."""
    # The value is untrusted: a list, for instance, is not hashable.
    if not isinstance(name, str):
        return None
    if name == "valid":
        return (0,) * (2 * len(kernel))
    if dilation is None or name not in {"same", "causal"}:
        return None
    reach = [(side - 1) * step for side, step in zip(kernel, dilation, strict=True)]
    if name == "causal":
        return (*reach, *(0 for _ in reach))
    if stride is None or any(step != 1 for step in stride):
        return None
    return (*(total // 2 for total in reach), *(total - total // 2 for total in reach))


def _snake_case(name: str) -> str:
    """As `keras.src.utils.naming.to_snake_case`."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


_CLASSES = [f"{kind}Conv{sides}D" for kind in ("", "Depthwise", "Separable") for sides in "123"]
_CLASSES += [name for sides in "123" for name in (f"Conv{sides}DTranspose", f"ConvLSTM{sides}D")]
_CLASS_OF = {_snake_case(name): name for name in _CLASSES}
