"""Writes a small zoo of real files in every format of the first line, with good and bad ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

MANIFEST = """
name: test-zoo
sources:
  - source: local
    paths: ["zoo/*"]
    license: apache-2.0
"""


def state_dict(seed: int) -> dict[str, torch.Tensor]:
    """A little network: 3x3, depthwise 3x3, 1x1, 5x5 and a linear layer."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "stem.weight": normal(16, 3, 3, 3),
        "stem.bias": normal(16),
        "block.dw.weight": normal(16, 1, 3, 3),
        "block.pw.weight": normal(32, 16, 1, 1),
        "block.conv.weight": normal(32, 32, 3, 3) * 0.1,
        "head.conv.weight": normal(8, 32, 5, 5),
        "head.fc.weight": normal(10, 8),
    }


def write_good(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Five good files; gives the state dict of each by file name. The last two hold the same weights as the first."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    states = {f"net{i}": state_dict(i) for i in range(3)}
    torch.save(states["net0"], folder / "a.pth")
    torch.save(states["net1"], folder / "b-legacy.pt", _use_new_zipfile_serialization=False)
    save_file(states["net2"], folder / "c.safetensors")
    write_onnx(states["net0"], folder / "d.onnx")
    torch.save({"state_dict": states["net0"], "epoch": 3}, folder / "e.ckpt")
    return {
        "a.pth": states["net0"],
        "b-legacy.pt": states["net1"],
        "c.safetensors": dict(sorted(states["net2"].items())),  # safetensors keeps names in order
        "d.onnx": states["net0"],
        "e.ckpt": states["net0"],
    }


def write_onnx(state: dict[str, torch.Tensor], path: Path) -> None:
    """The convolutions of a state dict as a chain in an ONNX file."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = {name: tensor.numpy() for name, tensor in state.items() if tensor.ndim == 4}
    nodes, previous = [], "input"
    for name, weight in weights.items():
        group = weight.shape[0] if weight.shape[1] == 1 else 1
        nodes.append(helper.make_node("Conv", [previous, name], [f"{name}.out"], group=group))
        previous = f"{name}.out"
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info(previous, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, name) for name, weight in weights.items()],
    )
    onnx.save(helper.make_model(graph), path)


def write_bad(folder: Path) -> dict[str, str]:
    """Files that must be refused; gives the reason of each by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "empty.pth").write_bytes(b"")
    (folder / "page.pth").write_text("<!DOCTYPE html><html>404 Not Found</html>")
    torch.save(state_dict(9), folder / "whole.pth")
    whole = (folder / "whole.pth").read_bytes()
    (folder / "whole.pth").unlink()
    (folder / "truncated.pth").write_bytes(whole[: len(whole) // 2])
    weights = state_dict(9)["block.conv.weight"].numpy().tobytes()
    place = whole.index(weights) + 100
    (folder / "flipped.pth").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    return {
        "empty.pth": "unknown_format",
        "page.pth": "unknown_format",
        "truncated.pth": "malformed",
        "flipped.pth": "damaged",
    }


def convolutions(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The convolution weights of a state dict, in order."""
    return {name: tensor.numpy() for name, tensor in state.items() if tensor.ndim == 4}
