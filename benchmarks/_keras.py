"""The networks of keras.applications, built without weights: names of tensors in HDF5, and the kind of each kernel."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from filterzoo.records import Kind

Shape = tuple[int, ...]
Truth = tuple[Kind, int, Shape]
"""Kind, groups, and the shape (out, in/groups, *kernel)."""


def networks() -> Iterator[tuple[str, int, list[tuple[str, Shape]], dict[str, Truth]]]:
    """(name, input channels, names and shapes of the tensors, convolutions by name). ImportError without keras."""
    keras = importlib.import_module("keras")
    applications = keras.applications
    names = sorted(name for name in dir(applications) if name[0].isupper() and callable(getattr(applications, name)))
    for number, name in enumerate(names):
        for channels in (3, 1, 4) if number % 4 == 0 else (3,):
            try:
                with keras.device("meta"):
                    model = getattr(applications, name)(weights=None, input_shape=_input(name, channels), classes=10)
            except ValueError:  # not every network supports every number of channels
                continue
            yield name, channels, *_described(model)


def _input(name: str, channels: int) -> Shape:
    side = 331 if name == "NASNetLarge" else 224
    return side, side, channels


def _described(model: Any) -> tuple[list[tuple[str, Shape]], dict[str, Truth]]:
    tensors: list[tuple[str, Shape]] = []
    truth: dict[str, Truth] = {}
    for layer in model.layers:
        for inner in [layer, *getattr(layer, "layers", ())]:
            if getattr(inner, "layers", None):
                continue
            for weight in inner.weights:
                path, shape = f"{layer.name}/{weight.path}", tuple(weight.shape)
                tensors.append((path, shape))
                own = _truth(type(inner).__name__, weight.name, shape, getattr(inner, "groups", 1))
                if own is not None:
                    truth[path] = own
    return tensors, truth


def _truth(layer: str, weight: str, shape: Shape, groups: int) -> Truth | None:
    if len(shape) < 3 or "kernel" not in weight or "Conv" not in layer:
        return None
    kernel, inputs, outputs = shape[:-2], shape[-2], shape[-1]
    if weight == "depthwise_kernel" or layer.startswith("Depthwise"):
        return Kind.DEPTHWISE, inputs, (inputs * outputs, 1, *kernel)
    if layer.endswith("Transpose"):
        return Kind.TRANSPOSED, 1, (inputs, outputs, *kernel)
    kind = Kind.CONV if groups == 1 else Kind.DEPTHWISE if inputs == 1 else Kind.GROUPED
    return kind, groups, (outputs, inputs, *kernel)
