"""A synthetic zoo: torch, safetensors and ONNX files with random 3x3 filters in layers of many sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

SHAPES = [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (512, 256), (512, 512)]


@dataclass(frozen=True, slots=True)
class Zoo:
    """The content, to check results against. total: the sum of all numbers, in float64. size: in bytes."""

    files: int
    layers: int
    filters: int
    total: float
    size: int


def write_zoo(folder: Path, filters: int) -> Zoo:
    """Write files of about 500,000 filters each, in the three formats in turn."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    written = number = 0
    total = 0.0
    while written < filters:
        layers = {
            f"layer{i}.conv.weight": (generator.standard_normal((o, c, 3, 3)) / np.sqrt(9 * c)).astype(np.float32)
            for i, (o, c) in enumerate(SHAPES)
        }
        written += sum(w.shape[0] * w.shape[1] for w in layers.values())
        total += sum(float(w.sum(dtype=np.float64)) for w in layers.values())
        (_write_torch, _write_safetensors, _write_onnx)[number % 3](folder / f"{number:03}", layers)
        number += 1
    size = sum(path.stat().st_size for path in folder.iterdir())
    return Zoo(number, number * len(SHAPES), written, total, size)


def _write_torch(path: Path, layers: dict[str, np.ndarray]) -> None:
    import torch

    torch.save({name: torch.from_numpy(w) for name, w in layers.items()}, path.with_suffix(".pth"))


def _write_safetensors(path: Path, layers: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file(layers, path.with_suffix(".safetensors"))


def _write_onnx(path: Path, layers: dict[str, np.ndarray]) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, previous = [], "input"
    for name in layers:
        nodes.append(helper.make_node("Conv", [previous, name], [f"{name}.out"]))
        previous = f"{name}.out"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info(previous, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, name) for name, w in layers.items()],
    )
    onnx.save(helper.make_model(graph), path.with_suffix(".onnx"))
