"""Honest safetensors, ONNX, NumPy and TFLite files, with what the reference of each format says is in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file, save_file
from tests.plugins.formats.onnx_files import WEIGHT, conv, external, model_of, one_conv, stored, ways_to_store
from tests.plugins.formats.tflite_files import (
    CONV,
    CONV_3D,
    CONV_OPTIONS,
    DEPTHWISE,
    DEQUANTIZE,
    TRANSPOSE_CONV,
    Graph,
    Op,
    T,
    tflite_bytes,
)
from tests.plugins.formats.tflite_files import one_conv as one_tflite_conv
from tests.plugins.formats.tflite_files import stored as tflite_stored
from tests.untrusted_files.honest_keras import depthwise, regular
from tests.untrusted_files.honest_torch import numbers, plain

Layers = dict[str, np.ndarray]
Writer = Callable[[Path], Layers]


def safetensors(state: dict[str, torch.Tensor]) -> Writer:
    def write(path: Path) -> Layers:
        save_file(state, path, {"format": "pt"})
        return plain(load_file(path))

    return write


def shards(path: Path) -> Layers:
    state = numbers(torch.float32, torch.bfloat16, torch.float16)
    weight_map: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    for place, (name, value) in enumerate(state.items()):
        shard = f"model-{place + 1:05}-of-{len(state):05}.safetensors"
        save_file({name: value}, path.with_name(shard), {"format": "pt"})
        weight_map[name] = shard
        expected |= plain(load_file(path.with_name(shard)))
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return expected


def safetensors_files() -> Iterator[tuple[str, str, Writer]]:
    types = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
    for dtype in types:
        yield f"safetensors {dtype}", "x.safetensors", safetensors(numbers(dtype))
    yield "safetensors of all types", "x.safetensors", safetensors(numbers(*types))
    yield "safetensors shards", "model.safetensors.index.json", shards


def onnx_file(nodes: list[onnx.NodeProto], arrays: list[onnx.TensorProto]) -> Writer:
    """A Conv that reads what the nodes make of the arrays; ONNX's own evaluator says what that is."""

    def write(path: Path) -> Layers:
        name = nodes[-1].output[0] if nodes else "w"
        value = ReferenceEvaluator(model_of(nodes, arrays, (), (name,))).run(None, {})[0]  # type: ignore[index]  # run gives a list
        path.write_bytes(model_of([*nodes, conv(name)], arrays).SerializeToString())
        return {"": np.ascontiguousarray(value.astype("f4"))}

    return write


def onnx_external(path: Path) -> Layers:
    (path.parent / "weights.bin").write_bytes(b"before" + WEIGHT.tobytes() + b"behind")
    path.write_bytes(one_conv(external(location="weights.bin", offset=6, length=WEIGHT.nbytes)))
    return {"": WEIGHT}


def onnx_external_by_onnx(path: Path) -> Layers:
    model = model_of([conv()], [stored("other", WEIGHT[0]), stored("w", WEIGHT)])
    onnx.save(model, path, save_as_external_data=True, location="side.bin", size_threshold=0)
    held = onnx.load(path).graph.initializer[1]
    return {"w": onnx.numpy_helper.to_array(held)}


def onnx_branches(path: Path) -> Layers:
    """An If whose branches each convolve, with weights inside and outside of them."""
    inner = [helper.make_node("Conv", ["x", name], [f"{name}y"]) for name in ("w", "v")]
    branches = [
        helper.make_graph([inner[0]], "then", [], [onnx.ValueInfoProto(name="wy")], []),
        helper.make_graph([inner[1]], "else", [], [onnx.ValueInfoProto(name="vy")], [stored("v", -WEIGHT)]),
    ]
    node = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    path.write_bytes(model_of([node], [stored("w", WEIGHT)], ("x", "c")).SerializeToString())
    return {"w": WEIGHT, "v": -WEIGHT}


def onnx_transposed(path: Path) -> Layers:
    weight = np.arange(4 * 3 * 9, dtype="f4").reshape(4, 3, 3, 3)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], group=2)
    path.write_bytes(model_of([node], [stored("w", weight)]).SerializeToString())
    return {"w": np.concatenate([half.transpose(1, 0, 2, 3) for half in np.split(weight, 2)])}


def onnx_files() -> Iterator[tuple[str, str, Writer]]:
    for label, (nodes, arrays) in ways_to_store():
        yield f"ONNX {label}", "x.onnx", onnx_file(nodes, arrays)
    yield "ONNX external data", "x.onnx", onnx_external
    yield "ONNX external data as onnx writes them", "x.onnx", onnx_external_by_onnx
    yield "ONNX If", "x.onnx", onnx_branches
    yield "ONNX ConvTranspose in groups", "x.onnx", onnx_transposed


def npz(*, compressed: bool = False, fortran: bool = False, dtype: str = "f4") -> Writer:
    def write(path: Path) -> Layers:
        arrays = {"a.weight": WEIGHT.astype(dtype), "conv/kernel": WEIGHT.transpose(2, 3, 1, 0).astype(dtype)}
        if fortran:
            arrays = {name: np.asfortranarray(array) for name, array in arrays.items()}
        (np.savez_compressed if compressed else np.savez)(path, **arrays)  # type: ignore[arg-type]  # NumPy's types know no names of arrays
        with np.load(path) as held:
            weight, kernel = held["a.weight"], held["conv/kernel"]
        return {"a.weight": weight.astype("f4"), "conv/kernel": np.ascontiguousarray(regular(kernel).astype("f4"))}

    return write


def npz_files() -> Iterator[tuple[str, str, Writer]]:
    for compressed in (False, True):
        for fortran in (False, True):
            label = f"{'deflated' if compressed else 'stored'}{', Fortran order' if fortran else ''}"
            yield f"npz {label}", "x.npz", npz(compressed=compressed, fortran=fortran)
    for dtype in ("f2", "f8"):
        yield f"npz {dtype}", "x.npz", npz(dtype=dtype)


def tflite(weight: np.ndarray, scales: list[float], zeros: list[int], axis: int = 0, code: int = CONV) -> Writer:
    """Numbers, scales and zero points as TFLite's specification defines them: (q - zero) * scale."""

    def write(path: Path) -> Layers:
        options = {1: 1, 2: 1, **({3: weight.shape[-1] // 2} if code == DEPTHWISE else {0: 1})}
        made = (
            tflite_stored("w", weight, scales=scales, zeros=zeros, axis=axis) if scales else tflite_stored("w", weight)
        )
        path.write_bytes(one_tflite_conv(made, code, options))
        values = weight.astype("f4")
        if scales:
            along = [-1 if place == axis else 1 for place in range(weight.ndim)]
            points = np.array(zeros or [0] * len(scales), "f4").reshape(along)
            values = (values - points) * np.array(scales, "f4").reshape(along)
        turned = depthwise(values[0][:, :, None]) if code == DEPTHWISE else np.moveaxis(values, -1, 1)
        return {"w": np.ascontiguousarray(turned)}

    return write


def tflite_through_dequantize(path: Path) -> Layers:
    weight = np.random.default_rng(2).normal(size=(4, 3, 5, 2)).astype("f2")
    tensors = [T("x", (1, 8, 8, 2)), tflite_stored("h", weight), T("w", weight.shape), T("y", (1, 8, 8, 4))]
    operators = [Op(DEQUANTIZE, (1,), (2,), {}), Op(CONV, (0, 2), (3,), CONV_OPTIONS)]
    path.write_bytes(tflite_bytes(Graph(tensors, operators)))
    return {"h": np.ascontiguousarray(np.moveaxis(weight.astype("f4"), -1, 1))}


def tflite_transposed(path: Path) -> Layers:
    weight = np.random.default_rng(2).normal(size=(4, 3, 5, 2)).astype("f4")
    shape = tflite_stored("shape", np.array([1, 16, 16, 4], "i4"))
    tensors = [T("x", (1, 8, 8, 2)), tflite_stored("w", weight), shape, T("y", (1, 8, 8, 4))]
    path.write_bytes(tflite_bytes(Graph(tensors, [Op(TRANSPOSE_CONV, (2, 1, 0), (3,), {0: 1, 1: 2, 2: 2})])))
    return {"w": np.ascontiguousarray(np.moveaxis(weight, -1, 1))}


def tflite_volume(path: Path) -> Layers:
    weight = np.random.default_rng(2).normal(size=(2, 3, 4, 5, 6)).astype("f4")
    tensors = [T("x", (1, 8, 8, 8, 5)), tflite_stored("w", weight), T("y", (1, 8, 8, 8, 6))]
    options = {0: 1, 1: 1, 2: 1, 3: 1, 5: 1, 6: 1, 7: 1}
    path.write_bytes(tflite_bytes(Graph(tensors, [Op(CONV_3D, (0, 1), (2,), options)])))
    return {"w": np.ascontiguousarray(np.moveaxis(weight, (-1, -2), (0, 1)))}


def tflite_files() -> Iterator[tuple[str, str, Writer]]:
    dice = np.random.default_rng(1)
    whole = dice.integers(-128, 128, (4, 3, 5, 2)).astype("i1")
    deep = dice.integers(-128, 128, (1, 3, 3, 4)).astype("i1")
    yield "TFLite float32", "x.tflite", tflite(dice.normal(size=(4, 3, 5, 2)).astype("f4"), [], [])
    yield "TFLite int8", "x.tflite", tflite(whole, [0.017], [])
    yield "TFLite int8 per channel", "x.tflite", tflite(whole, [0.1, 0.02, 0.3, 0.004], [])
    yield "TFLite uint8 with a zero point", "x.tflite", tflite(whole.view("u1"), [0.017], [129])
    yield "TFLite int16", "x.tflite", tflite(whole.astype("i2") * 200, [0.0001], [])
    yield "TFLite depthwise", "x.tflite", tflite(deep.astype("f4"), [], [], code=DEPTHWISE)
    yield "TFLite depthwise int8 per channel", "x.tflite", tflite(deep, [0.1, 0.2, 0.3, 0.4], [], 3, DEPTHWISE)
    yield "TFLite float16 through DEQUANTIZE", "x.tflite", tflite_through_dequantize
    yield "TFLite TRANSPOSE_CONV", "x.tflite", tflite_transposed
    yield "TFLite CONV_3D", "x.tflite", tflite_volume
