"""Most of the content of a release, made with libraries: `python -m benchmarks._by_libraries ZOO OUT`.

With the frameworks' loaders, hashlib, torchconvquality, torch, NumPy, SciPy and pyarrow it computes hashes of files and
layers, stores each layer once with its measures, moments, histograms and singular values, and writes both tables as
Parquet. It leaves out what no library offers: the jail, licences, cards, the sample, and the search for layers in
graphs.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from benchmarks._by_hand import weights
from scipy.fft import dctn
from torchconvquality import measure_conv_weight_quality

BINS, RANGE = 70, (-3, 3)
BLOCK = 32_768


def measures(weight: torch.Tensor) -> dict[str, Any]:
    """A row of `layers`."""
    filters = weight.numpy().reshape(-1, 9).astype(np.float64)
    peaks = np.abs(filters).max(axis=1)
    scaled = filters / np.where(peaks == 0, 1, peaks)[:, None]
    coefficients = dctn(scaled.reshape(-1, 3, 3), axes=(1, 2), norm="ortho").reshape(-1, 9)
    values = torch.linalg.svdvals(weight.reshape(len(weight), -1)).numpy().astype(np.float64)
    shares = values / values.sum()
    squares = values**2
    return measure_conv_weight_quality(weight) | {
        "l1_norm": float(np.abs(filters).sum()),
        "l2_norm": float(np.linalg.norm(filters)),
        "raw_mean": filters.mean(axis=0),
        "raw_m2": np.cov(filters, rowvar=False).ravel() * (len(filters) - 1),
        "scaled_mean": scaled.mean(axis=0),
        "scaled_m2": np.cov(scaled, rowvar=False).ravel() * (len(filters) - 1),
        "dct_histogram": np.concatenate([np.histogram(column, BINS, RANGE)[0] for column in coefficients.T]),
        "spectral_norm": float(values[0]),
        "stable_rank": float(squares.sum() / squares[0]),
        "effective_rank": float(np.exp(-(shares * np.log(shares)).sum())),
    }


def main() -> None:
    """Write filters.parquet and layers.parquet into the folder OUT."""
    zoo, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir()
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    schema = pa.schema([("layer_id", pa.string()), ("first_filter", pa.int64()), ("weights", pa.list_(pa.float32()))])
    options = {"compression": "zstd", "use_dictionary": ["layer_id"], "column_encoding": None}
    options |= {"use_byte_stream_split": ["weights.list.element"]}
    with pq.ParquetWriter(out / "filters.parquet", schema, **options) as writer:
        for path in sorted(zoo.iterdir()):
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            for name, weight in weights(path):
                if weight.ndim != 4 or weight.shape[2:] != (3, 3):
                    continue
                layer_id = hashlib.sha256(weight.numpy().tobytes()).hexdigest()
                rows.append({"model": path.name, "sha256": sha256, "layer": name, "layer_id": layer_id})
                rows[-1] |= measures(weight)
                if layer_id not in seen:
                    seen.add(layer_id)
                    filters = weight.numpy().reshape(-1, 9)
                    firsts = range(0, len(filters), BLOCK)
                    blocks = [filters[first : first + BLOCK].ravel() for first in firsts]
                    columns = {"layer_id": [layer_id] * len(blocks), "first_filter": list(firsts), "weights": blocks}
                    writer.write_table(pa.table(columns, schema=schema))
    pq.write_table(pa.Table.from_pylist(rows), out / "layers.parquet")


if __name__ == "__main__":
    main()
