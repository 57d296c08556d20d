"""The table of the CNN Filter DB release, made from a published data set: a row for each exported layer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.dataset.loading import POINTERS
from filterzoo.dataset.published import PublishedFiles
from filterzoo.errors import FilterZooError
from filterzoo.records import Kind
from filterzoo_publish.cnn_filter_db.frame import Column
from filterzoo_publish.plan.state import read_config

NAN = float("nan")
INDEX = ("model_id", "conv_depth", "conv_depth_norm", "layer_id")
COLUMNS = (
    "layer_depth",
    "in_channels",
    "out_channels",
    "filter_ids",
    "model",
    "path",
    "producer",
    "op_set",
    "depth",
    "Name",
    "Paper",
    "Pretraining-Dataset",
    "Training-Dataset",
    "Visual Category",
    "Visual Category_micro",
    "Task",
    "Precision",
    "Framework",
    "Conv Weight Initializer",
    "Optimizer",
    "Input Shape",
    "Accessible",
    "Dataset URL",
    "Selection",
    "Hide",
    "Tracer Warning",
    "Comment",
    "Robust",
    "Clean Accuracy",
    "Robust Accuracy",
    "Network",
    "Backbone",
    "Licence",
    "layer_name",
    "total_filters",
    "3x3_filter_share",
    "Conv",
)
"""The release's columns, those of its set of robust networks, and two of FilterZoo: `Licence` and `layer_name`.

Columns with the number of filters of each kernel size follow. A column without any known value is kept, because old
code expects it. `Conv` is the only operator count.
"""

_TASKS = {
    "classification": "Classification",
    "segmentation": "Segmentation",
    "gan-generator": "GAN-Generator",
    "gan-discriminator": "GAN-Discriminator",
    "object-detection": "Object Detection",
    "style-transfer": "Style Transfer",
    "super-resolution": "Super Resolution",
    "face-detection": "Face Detection",
    "face-recognition": "Face Recognition",
    "depth-estimation": "Depth Estimation",
    "auto-encoder": "Auto-Encoder",
}
"""The release's spelling of tasks. Tasks that it lacks keep FilterZoo's spelling."""
_PRECISIONS = {"F16": "fp16", "BF16": "bf16", "F32": "fp32", "F64": "fp64"}
_LAYERS = ("model_id", "layer_index", "name", "kind", "kernel", "shape", "dtype", "conv_depth", "conv_depth_norm")


@dataclass(frozen=True, slots=True, eq=False)
class ExportTable:
    """The content of an export.

    layers: the exported rows of `layers`, in the order in which their filters are written. counts: the number of
    filters of each. index, columns: those of the table, which has an order of its own. pairs: rows of the authors'
    table of pairs. transposed, unpublished: the number of 3x3 layers that are left out because the release has no
    transposed convolutions, or because their filters are not published.
    """

    layers: pa.Table
    counts: list[int]
    index: dict[str, Column]
    columns: dict[str, Column]
    pairs: list[dict[str, str]]
    models: int
    transposed: int
    unpublished: int


def export_table(files: PublishedFiles) -> ExportTable:
    """The export of all 3x3 filters of a data set; `counts` is empty if there are none.

    FilterZooError if a mandatory column of `layers` has nulls.
    """
    names = [*_LAYERS, "n_filters", "layer_id", *POINTERS]
    every = read_config(files, "layers", names).sort_by([("model_id", "ascending"), ("layer_index", "ascending")])
    is_transposed = pc.equal(every["kind"], Kind.TRANSPOSED.value)
    is_3x3, is_published = pc.equal(every["kernel"], "3x3"), pc.is_valid(every["filters_file"])
    for name in (*_LAYERS, "n_filters", "layer_id"):
        if every[name].null_count:
            raise FilterZooError(f"{files.root}: layers without {name}; run filterzoo verify")
    convolutions = every.filter(pc.invert(is_transposed))
    layers = every.filter(pc.and_(pc.and_(is_3x3, is_published), pc.invert(is_transposed)))
    facts = _facts(files)
    rows = _rows(layers, facts, _census(convolutions))
    rows.sort(key=lambda row: (row["model_id"], row["conv_depth"], row["conv_depth_norm"], row["layer_id"]))
    kernels = sorted({name for row in rows for name in row if name.endswith(") filters")})
    columns = {name: _column([row.get(name, NAN) for row in rows]) for name in (*INDEX, *COLUMNS, *kernels)}
    return ExportTable(
        layers=layers,
        counts=layers["n_filters"].to_pylist(),
        index={name: columns[name] for name in INDEX},
        columns={name: column for name, column in columns.items() if name not in INDEX},
        pairs=_pairings(files, {row["Name"] for row in rows}),
        models=len(pc.unique(layers["model_id"])),
        transposed=_count(pc.and_(is_3x3, is_transposed)),
        unpublished=_count(pc.and_(pc.and_(is_3x3, pc.invert(is_published)), pc.invert(is_transposed))),
    )


def _count(mask: pa.ChunkedArray) -> int:
    return pc.sum(mask).as_py() or 0


def _column(cells: list[Any]) -> Column:
    for kind, type_ in ((int, np.int64), (float, np.float64)):
        if all(type(cell) is kind for cell in cells):
            return np.array(cells, type_)
    if all(type(cell) in {int, float} for cell in cells):
        return np.array(cells, np.float64)
    column = np.empty(len(cells), np.object_)
    column[:] = cells
    return column


def _rows(
    layers: pa.Table, facts: Mapping[str, dict[str, Any]], census: Mapping[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows, in the order of their filters. `model_id` numbers the models, `layer_id` the layers within a model."""
    numbers: dict[str, int] = {}
    seen: defaultdict[str, int] = defaultdict(int)
    rows = []
    ends = accumulate(layers["n_filters"].to_pylist())
    for layer, end in zip(layers.to_pylist(), ends, strict=True):
        model = layer["model_id"]
        rows.append(
            {
                "model_id": numbers.setdefault(model, len(numbers)),
                "conv_depth": layer["conv_depth"],
                "conv_depth_norm": float(layer["conv_depth_norm"]),
                "layer_id": seen[model],
                "in_channels": layer["shape"][1],
                "out_channels": layer["shape"][0],
                "filter_ids": f"{end - layer['n_filters']}:{end - 1}",
                **facts.get(model, _unknown(model)),
                "layer_name": layer["name"],
                **census[model],
            }
        )
        seen[model] += 1
    return rows


def _facts(files: PublishedFiles) -> dict[str, dict[str, Any]]:
    """FilterZoo's model_id -> the columns of the release's table that describe a network."""
    spelt: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "model": ("name", str),
        "path": ("file", str),
        "op_set": ("opset", int),
        "Name": ("name", str),
        "Pretraining-Dataset": ("pretraining_dataset", str),
        "Training-Dataset": ("training_dataset", str),
        "Visual Category": ("visual_category", lambda word: word.replace("-", " ")),
        "Task": ("task", lambda word: _TASKS.get(word, word)),
        "Framework": ("framework", lambda name: "pytorch" if name == "torch" else name),
        "Accessible": ("url", str),
        "Robust": ("robust", bool),
        "Clean Accuracy": ("clean_accuracy", _per_cent),
        "Robust Accuracy": ("robust_accuracy", _per_cent),
        "Backbone": ("architecture", str),
        "Licence": ("licence", str),
    }
    models = _named(read_config(files, "models", list({*_READ, *(name for name, _ in spelt.values())} - {"name"})))
    return {
        model["model_id"]: {
            name: _UNKNOWN.get(name, NAN) if model[ours] is None else spell(model[ours])
            for name, (ours, spell) in spelt.items()
        }
        for model in models
    }


_READ = ("model_id", "id", "pair_id", "robust", "architecture", "training_dataset", "duplicate_of")
_UNKNOWN = {"Task": "", "Visual Category": "", "Robust": ""}
"""Columns in which the notebooks expect a string or a boolean: NaN would raise, or count as true."""


def _named(models: pa.Table) -> list[dict[str, Any]]:
    """The rows of `models`, each with a unique `name`, the key on which the notebooks join tables.

    It is the zoo's name of the model, which the release uses too, or the model_id if that name is ambiguous.
    """
    rows = models.to_pylist()
    times = Counter(row["id"] for row in rows)
    return [row | {"name": row["id"] if times[row["id"]] == 1 else row["model_id"]} for row in rows]


def _unknown(model: str) -> dict[str, Any]:
    return {"model": model, "Name": model, **_UNKNOWN}


def _pairings(files: PublishedFiles, exported: set[str]) -> list[dict[str, str]]:
    """The rows of `robust_vs_normal_pairings.csv`: each robust network with the normal network of its pair."""
    rows = [
        row
        for row in _named(read_config(files, "models", list(_READ)))
        if row["duplicate_of"] is None and row["name"] in exported
    ]
    normal: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["pair_id"] is not None and row["robust"] is False:
            normal.setdefault(row["pair_id"], row)
    return [
        {
            "Robust": row["name"],
            "Normal": normal[row["pair_id"]]["name"],
            "Arch": row["architecture"] or normal[row["pair_id"]]["architecture"] or "",
            "Dataset": row["training_dataset"] or normal[row["pair_id"]]["training_dataset"] or "",
        }
        for row in rows
        if row["robust"] and row["pair_id"] in normal
    ]


def _per_cent(share: float) -> float:
    return round(100 * share, 10)


def _census(convolutions: pa.Table) -> dict[str, dict[str, Any]]:
    """model_id -> counts of its 2-D filters by kernel size, as the release counts them, and its weights' precision."""
    counts: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    dtypes: defaultdict[str, set[str]] = defaultdict(set)
    columns = (convolutions[name].to_pylist() for name in ("model_id", "kernel", "n_filters", "dtype"))
    for model, kernel, filters, dtype in zip(*columns, strict=True):
        dtypes[model].add(dtype)
        counts[model]["Conv"] += 1
        if kernel.count("x") == 1:
            counts[model][f"({kernel.replace('x', ', ')}) filters"] += filters
    for of_model in counts.values():
        total = sum(n for name, n in of_model.items() if name not in {"Conv", "(1, 1) filters"})
        of_model["total_filters"] = total
        of_model["3x3_filter_share"] = of_model.get("(3, 3) filters", 0.0) / total if total else NAN
    precisions = {
        model: _PRECISIONS.get(next(iter(found)), NAN) if len(found) == 1 else NAN for model, found in dtypes.items()
    }
    return {model: {"Precision": precisions[model], **of_model} for model, of_model in counts.items()}
