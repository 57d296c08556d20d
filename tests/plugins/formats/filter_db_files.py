"""Writes files as CNN Filter DB 1.0 and onnxzoo2filterdb have them, from arrays; by h5py alone, as PyTables marks them.

`tests/plugins/sources/test_cnn_filter_db.py` compares one with what pandas and PyTables write, where these are there.
"""

from __future__ import annotations

import csv
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

NAN = float("nan")


@dataclass(frozen=True)
class Network:
    """(filters, conv_depth, conv_depth_norm, (in, out) or None) of each layer, and the table's facts."""

    name: str
    layers: Sequence[tuple[np.ndarray, int, float, tuple[int, int] | None]]
    facts: Mapping[str, Any] = field(default_factory=dict)


def normal(seed: int, count: int) -> np.ndarray:
    """Filters as float32 weights that were stored as float64."""
    return np.random.default_rng(seed).standard_normal((count, 3, 3), np.float32).astype(np.float64)


def zoo() -> list[Network]:
    """Three networks: the first has a stem that the file lacks, the second no channels, the third one depth."""
    return [
        Network(
            "resnet_a_imagenet_11",
            [(normal(1, 12), 1, 0.25, (3, 4)), (normal(2, 20), 2, 0.5, (4, 5)), (normal(3, 9), 4, 1.0, (1, 9))],
            {
                "Task": "Object Detection",
                "Visual Category": "medical xray",
                "Training-Dataset": "coco",
                "Pretraining-Dataset": "imagenet1k",
                "Framework": "pytorch",
                "op_set": 11,
                "Accessible": "https://zoo.example/a",
            },
        ),
        Network(
            "robustbench_b_cifar10_13",
            [(normal(4, 7), 0, 0.0, None), (normal(5, 6), 0, 0.0, (2, 2))],
            {
                "Task": "Folding Laundry",
                "Visual Category": "natural",
                "Training-Dataset": "imagenet",
                "Pretraining-Dataset": "True",
                "Robust": False,
                "Clean Accuracy": 68.46,
                "Robust Accuracy": 0.0,
                "Backbone": "WideResNet-28-10",
                "Accessible": "ask us",
            },
        ),
        Network("net_c", [(normal(6, 4), 0, 0.0, (2, 2))], {"Task": "Auto-Encoder", "Robust": True}),
    ]


def table(networks: Sequence[Network]) -> dict[str, list[Any]]:
    """The columns of `/meta`, levels of the index first; rows by model, depth and layer."""
    rows, start = [], 0
    for number, network in enumerate(networks):
        for place, (filters, depth, norm, channels) in enumerate(network.layers):
            index = {"model_id": number, "conv_depth": depth, "conv_depth_norm": norm, "layer_id": place}
            known = {"filter_ids": f"{start}:{start + len(filters) - 1}", "model": network.name, **network.facts}
            wide = {"in_channels": float(channels[0]), "out_channels": float(channels[1])} if channels else {}
            rows.append(index | known | wide | {"Conv": 3.0, "(3, 3) filters": 41.0})
            start += len(filters)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name, NAN) for row in rows] for name in names}


def release(path: Path, networks: Sequence[Network], changes=lambda columns: None, *, shape=(3, 3), **filters) -> Path:
    """`/filters` as h5py writes it, then `/meta` as pandas does. changes: what is done to the columns before that."""
    columns = table(networks)
    changes(columns)
    every = np.concatenate([layer[0] for network in networks for layer in network.layers])
    with h5py.File(path, "w") as file:
        file.create_dataset("filters", data=every.reshape(-1, *shape), **filters)
        frame(file.create_group("meta"), columns)
    return path


def frame(group: h5py.Group, columns: dict[str, list[Any]], levels: int = 4) -> None:
    """A DataFrame whose first columns are the levels of its index."""
    index, rest = list(columns)[:levels], list(columns)[levels:]
    floats = [name for name in rest if all(isinstance(cell, float) for cell in columns[name])]
    objects = [name for name in rest if name not in floats]
    _mark(group, CLASS="GROUP", TITLE="", VERSION="1.0", pandas_type="frame", pandas_version="0.15.2", ndim=2)
    _mark(group, encoding="UTF-8", errors="strict", nblocks=2, axis0_variety="regular")
    _mark(group, axis1_variety="multi", axis1_nlevels=levels)
    _array(group, "axis0", [name.encode() for name in rest])
    for number, name in enumerate(index):
        level, places = np.unique(np.array(columns[name]), return_inverse=True)
        _mark(_array(group, f"axis1_level{number}", level), kind="integer", name=name)
        _array(group, f"axis1_label{number}", places.astype(np.int8))
    _array(group, "block0_items", [name.encode() for name in floats])
    _array(group, "block0_values", np.array([columns[name] for name in floats]).T)
    _array(group, "block1_items", [name.encode() for name in objects])
    cells = np.empty((len(objects), len(columns["model_id"])), np.object_)
    for place, name in enumerate(objects):
        cells[place] = columns[name]
    pickled(group, "block1_values", pickle.dumps(cells.T, protocol=4))


def pickled(group: h5py.Group, name: str, content: bytes) -> None:
    """A node of PyTables' class VLArray, kind `object`."""
    node = group.create_dataset(name, (1,), h5py.vlen_dtype(np.uint8), maxshape=(None,), chunks=(65536,))
    node[0] = np.frombuffer(content, np.uint8)
    _mark(node, CLASS="VLARRAY", PSEUDOATOM="object", TITLE="", VERSION="1.4", transposed=1)


def _array(group: h5py.Group, name: str, values: Any) -> h5py.Dataset:
    node = group.create_dataset(name, data=np.array(values))
    _mark(node, CLASS="ARRAY", FLAVOR="numpy", TITLE="", VERSION="2.4", transposed=1)
    return node


def _mark(node: Any, **attributes: str | int) -> None:
    for name, value in attributes.items():
        if isinstance(value, int):
            node.attrs[name] = np.int64(value)
        elif value:
            node.attrs.create(name, value.encode(), dtype=h5py.string_dtype("utf-8", len(value)))
        else:
            node.attrs[name] = h5py.Empty("S1")


def onnxzoo2filterdb(folder: Path, networks: Sequence[Network]) -> Path:
    """`dataset.h5` with filters only, and the three tables beside it."""
    every = np.concatenate([layer[0] for network in networks for layer in network.layers])
    with h5py.File(folder / "dataset.h5", "w") as file:
        file["filters"] = every
    rows = []
    columns = table(networks)
    for place, stated in enumerate(columns["filter_ids"]):
        first, last = map(int, stated.split(":"))
        depths = [columns[name][place] for name in ("layer_id", "conv_depth", "conv_depth_norm")]
        rows.append([first, last + 1, columns["model_id"][place], depths[0], 7, *depths[1:]])
    _csv(
        folder / "filterinfo.csv",
        ["filter_id_start", "filter_id_end", "model", "layer_id", "depth", "conv_depth", "conv_depth_norm"],
        rows,
    )
    models = [[number, n.name, "/data/x.onnx", n.facts.get("op_set", "")] for number, n in enumerate(networks)]
    _csv(folder / "datastorage.meta.csv", ["", "model", "path", "op_set"], models)
    facts = list(dict.fromkeys(name for network in networks for name in network.facts if name != "op_set"))
    _csv(
        folder / "meta.csv",
        ["Name", *facts],
        [[network.name, *(network.facts.get(name, "") for name in facts)] for network in networks],
    )
    return folder / "dataset.h5"


def _csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
