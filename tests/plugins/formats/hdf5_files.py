"""Writes HDF5 and `.keras` files with h5py, as Keras 2.2.4 and 3.15.1 lay them out, and hostile ones."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from filterzoo.errors import Reason

_NUMBERS = np.random.default_rng(7)


@dataclass(frozen=True)
class KerasLayer:
    """`number` is what Keras 3 calls the layer in its container."""

    class_name: str
    name: str
    number: str
    variables: dict[str, np.ndarray]
    config: dict[str, Any]


def _layer(class_name: str, name: str, number: str, shapes: dict[str, tuple[int, ...]], **config: Any) -> KerasLayer:
    variables = {key: _NUMBERS.normal(size=shape).astype("f4") for key, shape in shapes.items()}
    return KerasLayer(class_name, name, number, variables, {"name": name, **config})


LAYERS = [
    _layer("InputLayer", "zinput", "input_layer", {}),
    _layer("Conv2D", "stem", "conv2d", {"kernel": (3, 3, 3, 6), "bias": (6,)}, strides=[2, 2], padding="same"),
    _layer("BatchNormalization", "bn", "batch_normalization", {"gamma": (6,), "beta": (6,)}),
    _layer("DepthwiseConv2D", "dw", "depthwise_conv2d", {"depthwise_kernel": (3, 3, 6, 2)}, padding="same"),
    _layer(
        "SeparableConv2D",
        "a_separable",
        "separable_conv2d",
        {"depthwise_kernel": (3, 3, 12, 1), "pointwise_kernel": (1, 1, 12, 8), "bias": (8,)},
        strides=2,
    ),
    _layer("Conv2D", "grouped", "conv2d_1", {"kernel": (3, 3, 4, 8)}, groups=2, dilation_rate=[2, 2], padding="same"),
    _layer("Conv2DTranspose", "up", "conv2d_transpose", {"kernel": (2, 2, 6, 8), "bias": (6,)}, strides=[2, 2]),
    _layer("EinsumDense", "query", "einsum_dense", {"kernel": (6, 2, 4)}),
    _layer("Conv3D", "volume", "conv3d", {"kernel": (3, 3, 3, 2, 4)}),
    _layer("Dense", "head", "dense", {"kernel": (8, 5), "bias": (5,)}),
    _layer("Conv1D", "causal", "conv1d", {"kernel": (3, 1, 3)}, padding="causal"),
]
"""A model without a sense, one layer of each kind."""


def model_config(layers: list[KerasLayer]) -> bytes:
    listed = [{"class_name": layer.class_name, "name": layer.name, "config": layer.config} for layer in layers]
    return json.dumps({"class_name": "Functional", "config": {"name": "model", "layers": listed}}).encode()


def write_model(path: Path, layers: list[KerasLayer], *, config: bool = True, suffix: str = ":0", **how: Any) -> None:
    """`model.save("x.h5")`, or without a configuration `model.save_weights("x.h5")`; `how` goes to create_dataset."""
    with h5py.File(path, "w") as file:
        weights = file
        if config:
            file.attrs["model_config"] = model_config(layers)
            weights = file.create_group("model_weights")
            file.create_dataset("optimizer_weights/Adam/m/kernel:0", data=np.ones((3, 3, 3, 6), "f4"))
        weights.attrs["keras_version"] = b"2.2.4"
        weights.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = weights.create_group(layer.name)
            group.attrs["weight_names"] = [f"{layer.name}/{key}{suffix}".encode() for key in layer.variables]
            for key, array in layer.variables.items():
                group.create_dataset(f"{layer.name}/{key}{suffix}", data=array, **how)


def write_numbered(path: Path | io.BytesIO, layers: list[KerasLayer]) -> None:
    """`model.save_weights("x.weights.h5")` of Keras 3: variables by number, optimiser beside the layers."""
    with h5py.File(path, "w") as file:
        for layer in layers:
            group = file.create_group(f"layers/{layer.number}/vars")
            group.attrs["name"] = layer.name
            for number, array in enumerate(layer.variables.values()):
                group[str(number)] = array
        file["optimizer/vars/2"] = np.ones((3, 3, 3, 6), "f4")


def write_shards(folder: Path, groups: dict[str, tuple[str, list[np.ndarray]]], most: int, **how: Any) -> Path:
    """`model.save_weights("model.weights.json", max_shard_size=...)`; most: bytes of a shard. Returns the index.

    groups: of variables (`layers/conv2d/vars`), each with its layer's name, which stands only in the shard that was
    open when Keras began the group; `how` goes to create_dataset.
    """
    weight_map: dict[str, list[str]] = {}
    number, held = 0, 0
    for path, (name, arrays) in groups.items():
        with h5py.File(folder / f"model_{number:05}.weights.h5", "a") as file:
            file.create_group(path).attrs["name"] = name
        for variable, array in enumerate(arrays):
            if held + array.nbytes > most:
                number, held = number + 1, 0
            held += array.nbytes
            shard = f"model_{number:05}.weights.h5"
            with h5py.File(folder / shard, "a") as file:
                file.create_dataset(f"{path}/{variable}", data=array, **how)
            shards = weight_map.setdefault(f"/{path}", [])
            if shard not in shards:
                shards.append(shard)
    index = folder / "model.weights.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1.0}, "weight_map": weight_map}, indent=4))
    return index


def keras_archive(layers: list[KerasLayer], method: int = zipfile.ZIP_STORED, **replaced: bytes | None) -> bytes:
    """`model.save("x.keras")`; `replaced` gives members other contents, None leaves one out."""
    weights = io.BytesIO()
    write_numbered(weights, layers)
    members: dict[str, bytes | None] = {
        "metadata.json": json.dumps({"keras_version": "3.15.1"}).encode(),
        "config.json": model_config(layers),
        "model.weights.h5": weights.getvalue(),
    }
    members |= {name.replace("_", "."): content for name, content in replaced.items()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            if content is not None:
                archive.writestr(zipfile.ZipInfo(name), content, method)
    return stream.getvalue()


def hdf5_bytes(write: Callable[[h5py.File], object]) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        write(file)
    return stream.getvalue()


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 3, 1, 1), "f4")
    layout[...] = h5py.VirtualSource("other.h5", "k", (3, 3, 1, 1))
    file.create_virtual_dataset("conv/kernel", layout)


def _deep(file: h5py.File) -> None:
    group: h5py.Group = file
    for _ in range(300):
        group = group.create_group("g")


def _listed(file: h5py.File, layer: str, weight: str) -> None:
    file.attrs["layer_names"] = [layer.encode()]
    file.create_group("conv").attrs["weight_names"] = [weight.encode()]


def _fill(file: h5py.File) -> None:
    array = file.create_dataset("conv/kernel", (3, 3, 4, 4), "f4", chunks=(3, 3, 4, 2), fillvalue=1.0)
    array[..., :2] = 2


def _config(file: h5py.File, text: str) -> None:
    file.attrs["model_config"] = text
    file["model_weights/conv/kernel"] = np.zeros((3, 3, 1, 1), "f4")


def _many_names(file: h5py.File) -> None:
    file["conv0/kernel"] = np.zeros((3, 3, 100, 100), "f4")
    for number in range(1, 300):
        file[f"conv{number}/kernel"] = file["conv0/kernel"]


_KERNEL = np.arange(36, dtype="f4").reshape(3, 3, 2, 2)
_GOOD = hdf5_bytes(lambda file: file.create_dataset("conv/kernel", data=_KERNEL))


def _put(name: str, **how: Any) -> bytes:
    return hdf5_bytes(lambda file: file.create_dataset(name, **how))


HOSTILE: dict[str, tuple[bytes, Reason]] = {
    "external link": (hdf5_bytes(lambda f: f.__setitem__("conv", h5py.ExternalLink("o.h5", "/k"))), Reason.UNSAFE),
    "soft link to nowhere": (hdf5_bytes(lambda f: f.__setitem__("conv", h5py.SoftLink("/nowhere"))), Reason.MALFORMED),
    "soft link to itself": (hdf5_bytes(lambda f: f.__setitem__("conv", h5py.SoftLink("/conv"))), Reason.MALFORMED),
    "bytes in another file": (_put("conv", shape=(3, 3), dtype="f4", external=[("o.txt", 0, 36)]), Reason.UNSAFE),
    "virtual data set": (hdf5_bytes(_virtual), Reason.UNSAFE),
    "180 GB of nothing": (
        _put("conv/kernel", shape=(3, 3, 100_000, 50_000), dtype="f4", chunks=(3, 3, 64, 64)),
        Reason.LIMIT,
    ),
    "300,000 chunks": (_put("conv", shape=(600, 500), dtype="f4", chunks=(1, 1)), Reason.LIMIT),
    "never written": (_put("conv/kernel", shape=(3, 3, 4, 4), dtype="f4"), Reason.LIMIT),
    "100 MB of zeros in 100 kB": (
        _put("conv/kernel", data=np.zeros((3, 3, 1700, 1700), "f4"), chunks=(3, 3, 425, 425), compression="gzip"),
        Reason.LIMIT,
    ),
    "one data set of 300 names": (hdf5_bytes(_many_names), Reason.LIMIT),
    "300 nested groups": (hdf5_bytes(_deep), Reason.LIMIT),
    "long double": (_put("conv/kernel", data=_KERNEL.astype("longdouble")), Reason.UNSUPPORTED),
    "references": (_put("conv", shape=(2,), dtype=h5py.ref_dtype), Reason.UNSUPPORTED),
    "scale and offset": (_put("conv/kernel", data=_KERNEL, chunks=True, scaleoffset=2), Reason.UNSUPPORTED),
    "unwritten chunks that are not zero": (hdf5_bytes(_fill), Reason.UNSUPPORTED),
    "listed layer that is not there": (hdf5_bytes(lambda f: _listed(f, "none", "w")), Reason.MALFORMED),
    "listed weight that is not there": (hdf5_bytes(lambda f: _listed(f, "conv", "w")), Reason.MALFORMED),
    "weight listed outside its layer": (hdf5_bytes(lambda f: _listed(f, "conv", "../w")), Reason.MALFORMED),
    "configuration that is no JSON": (hdf5_bytes(lambda f: _config(f, "{")), Reason.MALFORMED),
    "configuration of 9,000 lists": (hdf5_bytes(lambda f: _config(f, "[" * 9000 + "]" * 9000)), Reason.LIMIT),
    "Keras 1": (hdf5_bytes(lambda f: f.attrs.__setitem__("keras_version", "1.2.2")), Reason.UNSUPPORTED),
    "cut in half": (_GOOD[: len(_GOOD) // 2], Reason.MALFORMED),
    "cut by one byte": (_GOOD[:-1], Reason.MALFORMED),
    "magic alone": (b"\x89HDF\r\n\x1a\n", Reason.MALFORMED),
    "magic and nonsense": (b"\x89HDF\r\n\x1a\n" + b"\xff" * 200, Reason.MALFORMED),
}


def endless_heap() -> bytes:
    """A string attribute whose heap has a free space of the wrong length: libhdf5 2.0 never gets out of it."""
    data = bytearray(hdf5_bytes(lambda f: _config(f, "{}")))
    heap = data.index(b"GCOL")
    at = heap + 16
    while data[at : at + 2] != b"\0\0":
        at += 16 + (int.from_bytes(data[at + 8 : at + 16], "little") + 7) // 8 * 8
    free = int.from_bytes(data[at + 8 : at + 16], "little")
    data[at + 8 : at + 16] = (free - 32).to_bytes(8, "little")
    return bytes(data)
