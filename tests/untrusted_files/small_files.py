"""Tiny honest files of every format, to damage and to mutate by the thousand."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from tests.plugins.formats import (
    caffe_files,
    coreml_files,
    darknet_files,
    matlab_files,
    numpy_files,
    onnx_files,
    tensorflow_files,
    tflite_files,
    torch_files,
)
from tests.untrusted_files import archive_cases, hdf5_cases
from tests.untrusted_files.honest_torch import scripted

WEIGHT = np.random.default_rng(9).normal(size=(2, 2, 3, 3)).astype("f4")


@dataclass(frozen=True)
class Small:
    """A file; `has_checksums`: the format covers every byte of the weights and of what names them by a checksum."""

    name: str
    content: bytes
    has_checksums: bool = False
    sides: Mapping[str, bytes] = field(default_factory=dict)


def small_files(folder: Path) -> dict[str, Small]:
    """By format; `folder` is one that TorchScript may write to."""
    state = {"conv.weight": torch.from_numpy(WEIGHT), "conv.bias": torch.zeros(2), "up.weight": torch.ones(2, 2, 1, 1)}
    external = onnx_files.one_conv(onnx_files.external(location="w.bin"))
    array = numpy_files.npy_bytes(numpy_files.npy_header(shape="(2, 2, 3, 3)"), WEIGHT.tobytes())
    script = folder / "script.pt"
    scripted(1, "scripted")(script)
    hdf5 = hdf5_cases.hdf5(lambda file: file.create_dataset("conv/kernel", data=WEIGHT))
    chunked = hdf5_cases.hdf5(lambda file: file.create_dataset("conv/kernel", data=WEIGHT, chunks=(1, 2, 3, 3)))
    return {
        "torch zip": Small("x.pt", torch_bytes(state), has_checksums=True),
        "torch zip by hand": Small("x.pt", torch_files.TorchZip().bytes(), has_checksums=True),
        "torch legacy": Small("x.pth", torch_bytes(state, _use_new_zipfile_serialization=False)),
        "TorchScript": Small("x.pt", script.read_bytes(), has_checksums=True),
        "safetensors": Small(
            "x.safetensors", save({"conv.weight": WEIGHT, "conv.bias": WEIGHT[0, 0, 0, :2].copy()}, {"format": "np"})
        ),
        "ONNX": Small("x.onnx", onnx_files.GOOD),
        "ONNX quantised": Small("x.onnx", quantised_onnx()),
        "ONNX external": Small("x.onnx", external, sides={"w.bin": onnx_files.WEIGHT.tobytes()}),
        "npy": Small("x.npy", array),
        "npz": Small("x.npz", numpy_files.npz_bytes(("conv.weight.npy", array)), has_checksums=True),
        "npz deflated": Small("x.npz", numpy_files.npz_bytes(("conv.weight.npy", array), method=8), has_checksums=True),
        "HDF5": Small("x.h5", hdf5),
        "HDF5 chunked": Small("x.h5", chunked),
        "Keras 3": Small("x.keras", keras(hdf5), has_checksums=True),
        "Keras 3 chunked": Small("x.keras", keras(chunked), has_checksums=True),
        "TFLite": Small("x.tflite", tflite_files.GOOD),
        "TFLite int8": Small(
            "x.tflite",
            tflite_files.one_conv(tflite_files.stored("w", tflite_files.INTEGERS, scales=[0.1, 0.2, 0.3, 0.4])),
        ),
        **tensorflow(),
        "MatConvNet": Small("x.mat", matlab_files.chain(matlab_files.conv(matlab_files.WEIGHT), packed=False)),
        "MatConvNet packed": Small("x.mat", matlab_files.chain(matlab_files.conv(matlab_files.WEIGHT))),
        **coreml(),
        "Darknet": Small(
            "x.weights", darknet_files.weights(*darknet_files.ARRAYS), sides={"x.cfg": darknet_files.CONFIG.encode()}
        ),
        "Caffe": Small("x.caffemodel", caffe_files.one_conv()),
        "zip": Small("x.zip", archive_cases.zipped(("m.safetensors", archive_cases.SAFETENSORS)), has_checksums=True),
        "tar": Small("x.tar", archive_cases.tar(archive_cases.regular("m.safetensors", archive_cases.SAFETENSORS))),
    }


def tensorflow() -> dict[str, Small]:
    index, data = tensorflow_files.bundle({"conv/kernel": WEIGHT})
    model, variables, numbers = tensorflow_files.one_variable()
    sides = {"variables/variables.index": variables, "variables/variables.data-00000-of-00001": numbers}
    return {
        "TensorFlow checkpoint": Small("x.index", index, sides={"x.data-00000-of-00001": data}),
        "TensorFlow checkpoint, old": Small("x.ckpt", tensorflow_files.old_checkpoint({"conv/weights": WEIGHT})),
        "TensorFlow graph": Small("x.pb", tensorflow_files.one_conv()),
        "TensorFlow SavedModel": Small("saved_model.pb", model, sides=sides),
    }


def coreml() -> dict[str, Small]:
    blobs = coreml_files.Blobs()
    program = coreml_files.one_program(blobs.add(coreml_files.WEIGHT))
    return {
        "Core ML network": Small("x.mlmodel", coreml_files.one_conv()),
        "Core ML program": Small("x.mlmodel", program, sides={coreml_files.SIDE: blobs.content}),
    }


def torch_bytes(content: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def quantised_onnx() -> bytes:
    nodes, arrays = dict(onnx_files.ways_to_quantise())["int8 per channel"]
    return onnx_files.model_of([*nodes, onnx_files.conv()], arrays).SerializeToString()


def keras(weights: bytes) -> bytes:
    """A small `.keras` archive."""
    stream = io.BytesIO()
    config = b'{"module": "keras", "class_name": "Sequential", "config": {"layers": []}}'
    members = {"metadata.json": b'{"keras_version": "3"}', "config.json": config, "model.weights.h5": weights}
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()
