"""Honest Keras files as Keras 2 and 3 lay them out, written with h5py: one layer of every convolutional class."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Layers = dict[str, np.ndarray]
Writer = Callable[[Path], Layers]
Turn = Callable[[np.ndarray], np.ndarray]


def regular(kernel: np.ndarray) -> np.ndarray:
    """(*kernel, in/groups, out)."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def transposed(kernel: np.ndarray) -> np.ndarray:
    """(*kernel, out, in)."""
    return np.moveaxis(kernel, (-2, -1), (0, 1))


def depthwise(kernel: np.ndarray) -> np.ndarray:
    """(*kernel, in, multiplier): output channel in * multiplier + m has the kernel of its input channel."""
    return np.moveaxis(kernel, (-2, -1), (0, 1)).reshape(-1, 1, *kernel.shape[:-2])


# class -> its variables in Keras's order: (name, shape, how its axes turn, None for no convolution)
CLASSES: dict[str, list[tuple[str, tuple[int, ...], Turn | None]]] = {
    "Conv1D": [("kernel", (3, 2, 4), regular), ("bias", (4,), None)],
    "Conv2D": [("kernel", (3, 5, 2, 4), regular), ("bias", (4,), None)],
    "Conv3D": [("kernel", (2, 3, 4, 2, 4), regular), ("bias", (4,), None)],
    "Conv2DTranspose": [("kernel", (2, 3, 4, 6), transposed), ("bias", (4,), None)],
    "Conv3DTranspose": [("kernel", (2, 3, 2, 4, 6), transposed), ("bias", (4,), None)],
    "DepthwiseConv2D": [("depthwise_kernel", (3, 3, 4, 2), depthwise), ("bias", (8,), None)],
    "SeparableConv2D": [
        ("depthwise_kernel", (3, 3, 4, 2), depthwise),
        ("pointwise_kernel", (1, 1, 8, 5), regular),
        ("bias", (5,), None),
    ],
    "SeparableConv1D": [
        ("depthwise_kernel", (3, 4, 2), depthwise),
        ("pointwise_kernel", (1, 8, 5), regular),
        ("bias", (5,), None),
    ],
    "Dense": [("kernel", (4, 3), None), ("bias", (3,), None)],
    "BatchNormalization": [("gamma", (4,), None), ("beta", (4,), None)],
}
KERAS_3_ONLY = {"Conv1DTranspose": [("kernel", (3, 4, 6), transposed), ("bias", (4,), None)]}


def snake(class_name: str) -> str:
    """Keras's default names, as its own to_snake_case makes them: conv2d, depthwise_conv2d, conv2d_transpose."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def random(class_name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng([len(class_name), *shape]).normal(size=shape).astype(dtype)


def turned(kernel: np.ndarray, turn: Turn) -> np.ndarray:
    return np.ascontiguousarray(turn(kernel).astype("f4"))


def config(classes: dict[str, list]) -> dict[str, Any]:
    layers = [{"class_name": name, "config": {"name": snake(name)}} for name in classes]
    return {"class_name": "Functional", "config": {"name": "model", "layers": layers}}


def keras_2(*, whole: bool, dtype: str = "f4", **options: Any) -> Writer:
    """A model or a weights file of Keras 2: groups by layer name, the weights' names in attributes."""

    def write(path: Path) -> Layers:
        expected = {}
        with h5py.File(path, "w") as file:
            top = file.create_group("model_weights") if whole else file
            if whole:
                file.attrs["model_config"] = json.dumps(config(CLASSES)).encode()
                file.create_group("optimizer_weights/Adam/conv2d/kernel").create_dataset(
                    "m:0", data=np.ones((3, 5, 2, 4))
                )
            top.attrs["layer_names"] = [snake(name).encode() for name in CLASSES]
            top.attrs["backend"], top.attrs["keras_version"] = b"tensorflow", b"2.15.0"
            for class_name, variables in CLASSES.items():
                layer = snake(class_name)
                names = [f"{layer}/{variable}:0" for variable, _, _ in variables]
                top.create_group(layer).attrs["weight_names"] = [name.encode() for name in names]
                for name, (_, shape, turn) in zip(names, variables, strict=True):
                    data = random(class_name, shape, dtype)
                    chunks = {**options, "chunks": tuple(max(1, side - 1) for side in shape)} if options else {}
                    top[layer].create_dataset(name, data=data, **chunks)
                    if turn:
                        expected[f"{layer}/{name}"] = turned(data, turn)
        return expected

    return write


def keras_3_weights(stream: object, prefix: str = "", dtype: str = "f4") -> Layers:
    """What `save_weights` of Keras 3 writes: variables by number."""
    expected = {}
    with h5py.File(stream, "w") as file:
        for class_name, variables in (CLASSES | KERAS_3_ONLY).items():
            owner = f"{prefix}layers/{snake(class_name)}/vars"
            file.create_group(owner).attrs["name"] = snake(class_name)
            for number, (_, shape, turn) in enumerate(variables):
                data = random(class_name, shape, dtype)
                file[owner].create_dataset(str(number), data=data)
                if turn:
                    expected[f"{owner}/{number}"] = turned(data, turn)
        file.create_group("optimizer/vars").create_dataset("1", data=np.ones((3, 5, 2, 4), "f4"))
    return expected


def keras_3_file(path: Path) -> Layers:
    return keras_3_weights(path)


def keras_3_archive(path: Path) -> Layers:
    stream = io.BytesIO()
    expected = keras_3_weights(stream)
    metadata = {"keras_version": "3.15.0", "date_saved": "2026-11-01@00:00:00"}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", json.dumps(config(CLASSES | KERAS_3_ONLY) | {"module": "keras"}))
        archive.writestr("model.weights.h5", stream.getvalue())
    return expected


def files() -> Iterator[tuple[str, str, Writer]]:
    yield "Keras 2 model", "x.h5", keras_2(whole=True)
    yield "Keras 2 weights", "x.weights.h5", keras_2(whole=False)
    yield "Keras 2 model of float16", "x.h5", keras_2(whole=True, dtype="f2")
    yield "Keras 2 model of float64", "x.hdf5", keras_2(whole=True, dtype="f8")
    yield "Keras 2 weights, chunked", "x.h5", keras_2(whole=False, shuffle=False)
    yield "Keras 2 weights, compressed", "x.h5", keras_2(whole=False, compression="gzip")
    yield "Keras 2 weights, shuffled and compressed", "x.h5", keras_2(whole=False, compression="gzip", shuffle=True)
    yield "Keras 2 weights, shuffled", "x.h5", keras_2(whole=False, shuffle=True)
    yield "Keras 3 weights", "x.weights.h5", keras_3_file
    yield "Keras 3 archive", "x.keras", keras_3_archive
