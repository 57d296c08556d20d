"""A network of a few megabytes, and how each format that can be read by ranges writes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch


def network(*, with_convolutions: bool = True, with_matrices: bool = True) -> dict[str, torch.Tensor]:
    """About 9 MB of convolutions in layers of many sizes; 20 MB of matrices, or 0.4 MB, behind and between them."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}
    channels, matrix = 3, 1100 if with_matrices else 110
    for number, width in enumerate([32, 64, 64, 128, 128, 256, 256, 384, 96]):
        if with_convolutions:
            state[f"stage{number}.conv.weight"] = torch.randn(width, channels, 3, 3, generator=generator)
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"stage{number}.bn.{name}"] = torch.randn(width, generator=generator)
        if number % 3 == 2:
            state[f"stage{number}.mlp.weight"] = torch.randn(matrix, matrix, generator=generator)
        channels = width
    state["head.weight"] = torch.randn(20 * matrix, matrix // 11, generator=generator)
    return state


def write_safetensors(state: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    save_file(state, path)


def write_shards(state: dict[str, torch.Tensor], path: Path) -> None:
    names = list(state)
    parts = [names[::2], names[1::2]]
    for number, part in enumerate(parts):
        write_safetensors({name: state[name] for name in part}, path.with_name(f"m-{number}.safetensors"))
    weight_map = {name: f"m-{number}.safetensors" for number, part in enumerate(parts) for name in part}
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def write_zip(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save({"state_dict": state, "epoch": 1}, path)


def write_legacy(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def write_onnx(state: dict[str, torch.Tensor], path: Path) -> None:
    """Every matrix is an initializer; the convolutions are a chain. Initializers stand in another order than nodes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, previous = [], "input"
    for name, weight in state.items():
        if weight.ndim == 4:
            nodes.append(helper.make_node("Conv", [previous, name], [f"{name}.out"]))
            previous = f"{name}.out"
    nodes.append(helper.make_node("Identity", [previous], ["out"]))
    arrays = [numpy_helper.from_array(weight.numpy(), name) for name, weight in reversed(state.items())]
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("input", "out")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", sides[:1], sides[1:], arrays)), path)


def write_npz(state: dict[str, torch.Tensor], path: Path) -> None:
    np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})  # type: ignore[arg-type]  # NumPy's types know no names of arrays
