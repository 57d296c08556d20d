"""The time of a report from statistics alone over 25,000 layers, and the filter rates of variants that read filters.

`python benchmarks/report.py` generates a synthetic table of layers (2,000 models, 12 tasks, 700 pairs) and times each
section, the drawing and the page. Then it streams a published folder of 8.4 million filters through each variant.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from filterzoo.measures.statistics import pack
from filterzoo_analysis import zoo
from filterzoo_analysis.filters.kept import KEPT_BYTES
from filterzoo_analysis.filters.variants import Variant, coefficients, passes_of
from filterzoo_analysis.page import report
from filterzoo_analysis.tables.dataset import DataSet, read
from filterzoo_analysis.tables.statistics import layers_of
from filterzoo_publish.schema import arrow_schema
from filterzoo_publish.shards.parquet import ShardWriter

FAMILIES = ("resnet50", "densenet121", "unet", "vgg16", "efficientnet_b0", "mobilenetv3", "dla34", "regnety")


def tables(models: int, layers: int) -> DataSet:
    """A data set without files: with random statistics, and facts that repeat in turn."""
    rng = np.random.default_rng(0)
    facts = [_facts(number, rng) for number in range(models)]
    model = np.sort(rng.integers(models, size=layers))
    depth = rng.random(layers)
    rows: dict[str, Any] = {
        name: [facts[number].get(name) for number in model]
        for name in ("model_id", "source", "task", "visual_category")
    }
    counts = rng.integers(64, 100_000, size=layers)
    rows |= {
        "name": [f"layer{number}" for number in range(layers)],
        "kind": ["conv"] * layers,
        "kernel": ["3x3"] * layers,
        "dtype": ["F32"] * layers,
        "conv_depth": (depth * 50).astype(int),
        "conv_depth_norm": depth,
        "layer_index": np.arange(layers),
        "layer_id": [hashlib.sha256(str(number).encode()).hexdigest() for number in range(layers)],
        "n_filters": counts,
        "n_finite": counts,
        "sparse_count": (counts * 0.1).astype(int),
        "sparsity": rng.beta(1, 9, layers),
        "orthogonality": rng.beta(9, 1, layers),
        "variance_entropy": rng.uniform(0.3, 0.95, layers),
        "variance_entropy_threshold": np.full(layers, 0.95),
        **_statistics(rng, counts),
    }
    schema = arrow_schema("layers")
    columns = [pa.array(rows[f.name], f.type) if f.name in rows else pa.nulls(layers, f.type) for f in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    table_of_models = pa.Table.from_pylist(facts, schema=arrow_schema("models")).sort_by("model_id")
    order = [("model_id", "ascending"), ("layer_index", "ascending")]
    return DataSet("synthetic", table_of_models, table.sort_by(order), arrow_schema("skipped").empty_table())


def _facts(number: int, rng: np.random.Generator) -> dict[str, Any]:
    category = number % 16
    return {
        "model_id": f"made/{number:05d}@1",
        "source": f"source{number % 5}",
        "task": f"task {number % 12}",
        "visual_category": "natural"
        if rng.random() < 0.8
        else f"medical {category}"
        if category < 4
        else f"kind {category}",
        "training_dataset": f"set {number % 30}",
        "architecture": FAMILIES[number % len(FAMILIES)],
        "licence": "mit",
        "robust": number % 2 == 0 if number < 1400 else None,
        "pair_id": f"pair {number // 2}" if number < 1400 else None,
        "robust_accuracy": rng.random() if number < 1400 else None,
        "clean_accuracy": rng.random(),
        "n_layers": 12,
        "filters_3x3": 100_000,
    }


def _statistics(rng: np.random.Generator, counts: np.ndarray) -> dict[str, list[np.ndarray] | pa.Array]:
    layers = len(counts)
    centres = np.linspace(-3, 3, 71)[:-1] + 3 / 70
    means = rng.normal(scale=0.1, size=(layers, 9, 1))
    shares = np.exp(-((centres - means) ** 2) / 0.7)
    histogram = (shares / shares.sum(axis=2, keepdims=True) * counts[:, None, None]).astype(np.uint32)
    histogram[:, :, 35] += (counts[:, None] - histogram.sum(axis=2)).astype(np.uint32)
    scatter = np.einsum("i,jk->ijk", counts * 0.35, np.eye(9))
    return {
        "raw_mean": list(means[:, :, 0]),
        "raw_m2": list(pack(scatter)),
        "scaled_mean": list(means[:, :, 0]),
        "scaled_m2": list(pack(scatter)),
        "dct_histogram": list(histogram.reshape(layers, -1)),
    }


def filters(folder: Path, groups: int) -> Path:
    """Write a published folder with four layers of 262,144 normal filters in each row group."""
    rng = np.random.default_rng(0)
    made = tables(4, 4 * groups)
    ids = made.layers["layer_id"].to_pylist()
    count, block = 262_144, 32_768
    with ShardWriter(folder, "filters") as writer:
        for start in range(0, len(ids), 4):
            rows = [
                {"layer_id": layer, "model_id": "", "kernel": "3x3", "first_filter": first, "n_filters": block}
                | {"weights": (rng.standard_normal(9 * block, np.float32) * np.float32(0.05))}
                for layer in ids[start : start + 4]
                for first in range(0, count, block)
            ]
            schema = arrow_schema("filters")
            rows = [{name: row.get(name) for name in schema.names} for row in rows]
            writer.write(pa.Table.from_pylist(rows, schema=schema))
        shard = writer.finish("made")
    place = folder / shard.path
    place.parent.mkdir(parents=True)
    shard.local.rename(place)
    pointers = {
        "n_filters": pa.array([count] * len(ids), pa.int64()),
        "filters_file": pa.array([shard.path] * len(ids)),
        "filters_first_row": pa.array(np.arange(len(ids)) * (count // block), pa.int64()),
        "filters_rows": pa.array([count // block] * len(ids), pa.int32()),
    }
    table = made.layers
    for name, column in pointers.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    for config, rows in (("layers", table), ("models", made.models)):
        with ShardWriter(folder, config) as writer:
            writer.write(rows)
            shard = writer.finish("made")
        (folder / shard.path).parent.mkdir(parents=True)
        shard.local.rename(folder / shard.path)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=25_000)
    parser.add_argument("--models", type=int, default=2_000)
    parser.add_argument("--row-groups", type=int, default=8, help="of a million filters each, for the variants")
    arguments = parser.parse_args()
    dataset = tables(arguments.models, arguments.layers)
    start = time.perf_counter()
    made = zoo.prepare(dataset)
    print(f"{'prepare':20}{time.perf_counter() - start:8.1f} s")
    for section in report.SECTIONS:
        before = time.perf_counter()
        count = len(section(made).exhibits)
        name = section.__module__.rpartition(".")[2]
        print(f"{name:20}{time.perf_counter() - before:8.1f} s   {count} exhibits", flush=True)
    print(f"{'statistics in all':20}{time.perf_counter() - start:8.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        before = time.perf_counter()
        page = report.write(zoo.prepare(dataset), Path(folder))
        print(f"{'with figures, page':20}{time.perf_counter() - before:8.1f} s   {page.stat().st_size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        _time_variants(filters(Path(folder), arguments.row_groups), arguments.row_groups * 4 * 262_144)


def _time_variants(folder: Path, total: int) -> None:
    """Print medians without the first run, which compiles, with and without a cache of filters in memory."""
    published = read(str(folder))
    layers = layers_of(published)
    for variant in (Variant.CVPR22, Variant.ROBUST22, Variant.MEDICAL22):
        passes = passes_of(variant)
        for keep in (KEPT_BYTES, 0)[:passes]:
            runs = []
            for _ in range(6):
                before, cpu = time.perf_counter(), time.process_time()
                coefficients(variant, layers, published.files, keep=keep)
                runs.append((time.perf_counter() - before, time.process_time() - cpu))
            seconds, cpu = (statistics.median(column) for column in zip(*runs[1:], strict=True))
            rate, cost = total * passes / seconds / 1e6, cpu / total / passes * 1e9
            how = f"{passes} passes, {'kept between them' if keep else 'decoded in each'}" if passes > 1 else "1 pass"
            print(f"{variant:10} {how:28}{rate:6.1f} million filters/s a pass, {cost:.0f} ns of CPU a filter", end="")
            print(f"; the first run took {runs[0][0]:.1f} s, others {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
