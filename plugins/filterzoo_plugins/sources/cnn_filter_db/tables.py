"""The tables of CNN Filter DB: the rows of filters of each layer and network, and facts about the networks.

The release stores one table, `/meta`, in its file. onnxzoo2filterdb, which generated it, writes three CSV files next to
a file of filters: `filterinfo.csv`, `datastorage.meta.csv` and the manually maintained `meta.csv` (its
`filter_dataset.py` joins them).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

from filterzoo import RandomAccessFile, Reason, Refused
from filterzoo_plugins.encodings.hdf5.pandas_frame import Cell, Table, read_frame
from filterzoo_plugins.encodings.hdf5.tree import Tree
from filterzoo_plugins.encodings.names import show, without_surrogates
from filterzoo_plugins.sources.cnn_filter_db import SIDE_FILES

FACTS = (
    "model",
    "Task",
    "Visual Category",
    "Datatype",
    "Training-Dataset",
    "Pretraining-Dataset",
    "Framework",
    "op_set",
    "Accessible",
    "Robust",
    "Clean Accuracy",
    "Robust Accuracy",
    "Backbone",
    "Licence",
)
"""Columns of a network. `Licence` is in our exports only; `Datatype` is the former name of `Visual Category`."""
INDEX = ("model_id", "conv_depth", "conv_depth_norm", "layer_id")
ROWS = ("filter_ids", "in_channels", "out_channels", "layer_name")

MAX_CSV = 32 << 20
MAX_TEXT = 1000
"""Most characters of a cell."""
_RANGE = re.compile(r"(\d{1,15}):(\d{1,15})", re.ASCII)


def read_networks(tree: Tree, file: RandomAccessFile, filters: int) -> list[dict[str, Any]]:
    """The networks in file order, each {key, facts, layers}, as JSON values.

    A layer is {start, count, inputs, outputs, depth, depth_norm, name}, with None for unknown values.
    filters: the number of rows. Refused (malformed) for a table that contradicts itself or the filters.
    """
    if "meta" in tree.groups:
        table = read_frame(tree, "meta", {*FACTS, *ROWS})
    elif "meta" in tree.data_sets:
        raise Refused(Reason.UNSUPPORTED, "a table of a release before 1.0, which does not distinguish layers", "meta")
    else:
        table = _joined(file)
    missing = [name for name in (*INDEX, "filter_ids") if name not in table]
    if missing:
        raise Refused(Reason.UNSUPPORTED, f"a table without the columns {', '.join(missing)}", "meta")
    networks: dict[int, dict[str, Any]] = {}
    for row in _rows(table):
        key = _natural(row["model_id"])
        if key is None:
            raise Refused(Reason.MALFORMED, "a row of no model", show(str(row["filter_ids"])))
        network = networks.setdefault(key, {"key": key, "facts": _facts(row), "layers": []})
        network["layers"].append(_layer(row, filters))
    for network in networks.values():
        network["layers"].sort(key=lambda layer: layer["start"])
    found = sorted(networks.values(), key=lambda network: network["layers"][0]["start"])
    _check_overlaps(found)
    return found


def _rows(table: Table) -> Iterator[dict[str, Cell]]:
    for cells in zip(*table.values(), strict=True):
        yield dict(zip(table, cells, strict=True))


def _facts(row: dict[str, Cell]) -> dict[str, Cell]:
    """Texts, numbers and booleans of the network, from its first row."""
    kept = {name: row.get(name) for name in FACTS}
    return {name: without_surrogates(cell[:MAX_TEXT]) if isinstance(cell, str) else cell for name, cell in kept.items()}


def _layer(row: dict[str, Cell], filters: int) -> dict[str, Any]:
    """The layer of a row; its `filter_ids` are `first:last`, inclusive."""
    stated = str(row["filter_ids"])
    match = _RANGE.fullmatch(stated)
    start, last = (int(match[1]), int(match[2])) if match else (0, -1)
    if not 0 <= start <= last < filters:
        raise Refused(Reason.MALFORMED, f"rows {show(stated)} of {filters} filters", "filter_ids")
    count = last + 1 - start
    inputs, outputs = _natural(row.get("in_channels")), _natural(row.get("out_channels"))
    is_shape = inputs is not None and outputs is not None and inputs * outputs == count
    depth, norm = _natural(row["conv_depth"]), _number(row["conv_depth_norm"])
    name = row.get("layer_name")
    place = f"depth{'?' if depth is None else depth}/layer{_natural(row['layer_id'])}"
    return {
        "start": start,
        "count": count,
        "inputs": inputs if is_shape else None,
        "outputs": outputs if is_shape else None,
        "depth": depth,
        "depth_norm": norm if norm is not None and 0 <= norm <= 1 else None,
        "name": without_surrogates(name[:MAX_TEXT]) if isinstance(name, str) else place,
    }


def _check_overlaps(networks: list[dict[str, Any]]) -> None:
    end = 0
    spans = ((layer["start"], layer["count"]) for network in networks for layer in network["layers"])
    for start, count in sorted(spans):
        if start < end:
            raise Refused(Reason.MALFORMED, "two layers that share filters", f"filter {start}")
        end = start + count


def _natural(cell: Cell) -> int | None:
    """The cell as a non-negative integer, or None; a column with gaps contains floats."""
    number = _number(cell)
    return int(number) if number is not None and number >= 0 and number.is_integer() else None


def _number(cell: Cell) -> float | None:
    if isinstance(cell, (int, float)) and abs(cell) < 1 << 53:
        return float(cell)
    if isinstance(cell, str):
        try:
            return float(cell) if len(cell) < 40 and abs(float(cell)) < 1 << 53 else None
        except ValueError:
            return None
    return None


def _joined(file: RandomAccessFile) -> Table:
    """One table from the side files of onnxzoo2filterdb; the ends of ranges in `filterinfo.csv` are exclusive."""
    layers, models, facts = (_read_csv(file, name) for name in SIDE_FILES)
    model_of = {row.get("") or "": row for row in models}
    facts_of = {row.get("Name") or "": row for row in facts}
    table: Table = {name: [] for name in (*INDEX, *FACTS, "filter_ids")}
    for row in layers:
        described = model_of.get(row.get("model") or "", {})
        model = described.get("model")
        known: dict[str, Cell] = {**facts_of.get(model or "", {}), "op_set": _natural(described.get("op_set"))}
        first, end = _natural(row.get("filter_id_start")), _natural(row.get("filter_id_end"))
        known |= {name: row.get(name) for name in INDEX} | {"model_id": row.get("model"), "model": model}
        known["filter_ids"] = None if first is None or end is None else f"{first}:{end - 1}"
        for name, column in table.items():
            column.append(known.get(name))
    return table


def _read_csv(file: RandomAccessFile, name: str) -> list[dict[str, str | None]]:
    with file.beside(name) as side:
        if side.size > MAX_CSV:
            raise Refused(Reason.LIMIT, f"a table of {side.size} bytes; at most {MAX_CSV} are read", name)
        raw = side.read(0, side.size)
    try:
        rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(Reason.MALFORMED, f"not a CSV file in UTF-8: {show(str(error))}", name) from error
    return [{key: value or None for key, value in row.items() if isinstance(value, str)} for row in rows]
