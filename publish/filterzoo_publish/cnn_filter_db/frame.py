"""Writes a table into an HDF5 file as `DataFrame.to_hdf` does (layout `fixed`), so that `pandas.read_hdf` reads it.

The layout: `pandas.io.pytables.BlockManagerFixed` and `write_multi_index`, and the attributes that PyTables sets on
each node. PyTables itself is not needed to write it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from filterzoo_publish.cnn_filter_db.object_array import pickled

Column = npt.NDArray[Any]
"""One-dimensional, of dtype int64, float64 or object (strings, booleans, NaN for missing values)."""

_PLAIN = (np.dtype(np.int64), np.dtype(np.float64))


def write_frame(group: h5py.Group, index: Mapping[str, Column], columns: Mapping[str, Column]) -> None:
    """Write a table into the empty group. The index and the columns must have the same length."""
    groups = [[name for name, column in columns.items() if column.dtype == kind] for kind in _PLAIN]
    groups.append([name for name, column in columns.items() if column.dtype == np.object_])
    blocks = [names for names in groups if names]
    _mark(group, CLASS="GROUP", VERSION="1.0", pandas_type="frame", pandas_version="0.15.2")
    _mark(group, encoding="UTF-8", errors="strict", ndim=2, nblocks=len(blocks))
    _write_names(group, "axis0", list(columns))
    _write_index(group, index)
    for number, names in enumerate(blocks):
        values = np.column_stack([columns[name] for name in names])
        if values.dtype == np.object_:
            _write_objects(group, f"block{number}_values", values)
        else:
            _write_array(group, f"block{number}_values", values)
        _write_names(group, f"block{number}_items", names)


def _write_index(group: h5py.Group, index: Mapping[str, Column]) -> None:
    _mark(group, axis1_variety="multi", axis1_nlevels=len(index))
    for number, (name, column) in enumerate(index.items()):
        level, places = np.unique(column, return_inverse=True)
        kind = "integer" if level.dtype == np.int64 else "float"
        node = _write_array(group, f"axis1_level{number}", level)
        _mark(node, kind=kind, name=name, **{f"axis1_name{name}": name})
        _write_array(group, f"axis1_label{number}", places.astype(np.int64))


def _write_names(group: h5py.Group, key: str, names: list[str]) -> None:
    node = _write_array(group, key, np.array([name.encode() for name in names]))
    _mark(node, kind="string")
    _mark(group, **{f"{key}_variety": "regular"})


def _write_array(group: h5py.Group, key: str, values: Column) -> h5py.Dataset:
    node = group.create_dataset(key, data=values)
    _mark(node, CLASS="ARRAY", FLAVOR="numpy", VERSION="2.4", transposed=1)
    return node


def _write_objects(group: h5py.Group, key: str, values: npt.NDArray[np.object_]) -> None:
    """A VLARRAY of one row: the pickle of the array."""
    node = group.create_dataset(key, (1,), h5py.vlen_dtype(np.uint8), maxshape=(None,), chunks=(64,))
    node[0] = np.frombuffer(pickled(values), np.uint8)
    _mark(node, CLASS="VLARRAY", PSEUDOATOM="object", VERSION="1.4", transposed=1)


def _mark(node: h5py.Group | h5py.Dataset, **attributes: str | int) -> None:
    """Set attributes as PyTables reads them: UTF-8 strings of fixed length, and integers."""
    for name, value in attributes.items():
        if isinstance(value, str):
            text = value.encode()
            node.attrs.create(name, text, dtype=h5py.string_dtype("utf-8", len(text)))
        else:
            node.attrs.create(name, np.int64(value))
