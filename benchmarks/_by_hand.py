"""Filters and a few measures, as a script of a user would get them: `python -m benchmarks._by_hand ZOO OUT.h5`.

It uses the frameworks' loaders, torchconvquality, pandas and h5py. The files are trusted, and nothing is hashed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import onnx
import pandas as pd
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from torchconvquality import measure_conv_weight_quality


def weights(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of every tensor in a file."""
    if path.suffix == ".onnx":
        for tensor in onnx.load(path).graph.initializer:
            yield tensor.name, torch.from_numpy(numpy_helper.to_array(tensor).copy())
    else:
        yield from (load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)).items()


def main() -> None:
    """Write the filters to OUT.h5 and the layers to OUT.csv."""
    zoo, out = Path(sys.argv[1]), Path(sys.argv[2])
    rows, parts = [], []
    for path in sorted(zoo.iterdir()):
        for name, weight in weights(path):
            if weight.ndim == 4 and weight.shape[2:] == (3, 3):
                rows.append({"model": path.name, "layer": name} | measure_conv_weight_quality(weight))
                parts.append(weight.numpy().reshape(-1, 3, 3))
    with h5py.File(out, "w") as file:
        file.create_dataset("filters", data=np.vstack(parts))
    pd.DataFrame(rows).to_csv(out.with_suffix(".csv"))


if __name__ == "__main__":
    main()
