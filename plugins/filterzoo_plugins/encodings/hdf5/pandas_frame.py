"""Reads a pandas table in an HDF5 file (`DataFrame.to_hdf`, layout `fixed`) without unpickling anything.

The layout: `pandas.io.pytables.BlockManagerFixed` and `write_multi_index`, pandas 0.15.2 to 3. Columns of one type
share a block; a block of objects is a pickled array, which the symbolic pickle machine reads.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from math import prod
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5a, h5t

from filterzoo import Reason, Refused
from filterzoo_plugins.encodings.hdf5.tree import H5DataSet, Tree, text_attribute
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.pickle.inert import Instance, Name
from filterzoo_plugins.encodings.pickle.machine import read_pickle
from filterzoo_plugins.encodings.pickle.stack import Truncated

Cell = str | int | float | bool | None
Table = dict[str, list[Cell]]
"""Name -> column, all of one length. Missing values (NaN) are None."""

MAX_BYTES = 64 << 20
"""Most bytes of one block."""
MAX_PARTS = 1000
"""Most blocks, or levels of the index."""
_ARRAY_MAKERS = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}


def read_frame(tree: Tree, group: str, wanted: Container[str]) -> Table:
    """The wanted columns of the table in `group`, levels of its index included.

    Refused: unsupported for another kind of table, unsafe if a cell would call something, malformed.
    """
    kind = text_attribute(tree.groups[group], "pandas_type")
    if kind != b"frame" or text_attribute(tree.groups[group], "axis1_variety") != b"multi":
        raise Refused(Reason.UNSUPPORTED, "a table that is no DataFrame with an index of several levels", show(group))
    table: Table = {}
    for name, column in (*_index(tree, group), *_blocks(tree, group, wanted)):
        if name in table:
            raise Refused(Reason.MALFORMED, "a table with two columns of one name", show(name))
        table[name] = column
    if len({len(column) for column in table.values()}) > 1:
        raise Refused(Reason.MALFORMED, "a table whose columns are not of one length", show(group))
    return table


def _index(tree: Tree, group: str) -> Iterator[tuple[str, list[Cell]]]:
    for number in range(_count(tree, group, "axis1_nlevels")):
        level = _node(tree, f"{group}/axis1_level{number}")
        name = (text_attribute(level.id, "name") or b"").decode("utf-8", "backslashreplace")
        values = _cells(_numbers(level))
        codes = _numbers(_node(tree, f"{group}/axis1_label{number}"))
        if codes.ndim != 1 or codes.dtype.kind not in "iu" or (codes.size and not -1 <= codes.min() <= codes.max()):
            raise Refused(Reason.MALFORMED, "an index that is no list of places", show(level.name))
        if codes.size and codes.max() >= len(values):
            raise Refused(Reason.MALFORMED, "an index that points past its level", show(level.name))
        yield name, [values[code] if code >= 0 else None for code in codes.tolist()]


def _blocks(tree: Tree, group: str, wanted: Container[str]) -> Iterator[tuple[str, list[Cell]]]:
    for number in range(_count(tree, group, "nblocks")):
        names = _names(_node(tree, f"{group}/block{number}_items"))
        node = _node(tree, f"{group}/block{number}_values")
        if not any(name in wanted for name in names):
            continue
        is_pickled = node.id.get_type().get_class() == h5t.VLEN
        values = _objects(node) if is_pickled else _numbers(node)
        if values.ndim != 2 or values.shape[1] != len(names):
            raise Refused(Reason.MALFORMED, f"a block of {len(names)} columns and shape {values.shape}", node.name)
        yield from ((name, _cells(values[:, place])) for place, name in enumerate(names) if name in wanted)


def _node(tree: Tree, name: str) -> H5DataSet:
    if name not in tree.data_sets:
        raise Refused(Reason.MALFORMED, "a table lacks a part", show(name))
    return tree.data_sets[name]


def _count(tree: Tree, group: str, name: str) -> int:
    """An attribute that states a number of parts."""
    owner = tree.groups[group]
    if h5a.exists(owner, name.encode()):
        attribute = h5a.open(owner, name.encode())
        if attribute.shape == () and attribute.get_type().get_class() == h5t.INTEGER:
            value = np.zeros((), attribute.dtype)
            attribute.read(value)
            if 0 <= value <= MAX_PARTS:
                return int(value)
    raise Refused(Reason.MALFORMED, f"a table without a possible {name}", show(group))


def _numbers(node: H5DataSet) -> npt.NDArray[Any]:
    """An array of numbers or booleans."""
    if node.id.get_type().get_class() not in {h5t.INTEGER, h5t.FLOAT, h5t.BITFIELD}:
        raise Refused(Reason.UNSUPPORTED, "a part of a table that is no array of numbers", show(node.name))
    is_truth = node.id.get_type().get_class() == h5t.BITFIELD
    values = _read(node)
    return values.astype(np.bool_) if is_truth else values


def _names(node: H5DataSet) -> list[str]:
    stored = node.id.get_type()
    if not isinstance(stored, h5t.TypeStringID) or stored.is_variable_str() or len(node.id.shape) != 1:
        raise Refused(Reason.UNSUPPORTED, "names of columns that are no list of short texts", show(node.name))
    return [name.decode("utf-8", "backslashreplace") for name in _read(node).tolist()]


def _read(node: H5DataSet) -> npt.NDArray[Any]:
    size = prod(node.id.shape) * node.id.get_type().get_size()
    if size > MAX_BYTES:
        raise Refused(Reason.LIMIT, f"{size} bytes of a table; at most {MAX_BYTES} are read at once", show(node.name))
    return np.asarray(h5py.Dataset(node.id)[()])


def _objects(node: H5DataSet) -> npt.NDArray[np.object_]:
    """(rows, columns) of an array of objects, which PyTables stores as one row of bytes with its pickle.

    pandas 3 stores each text column as an array of rank 1.
    """
    stored = node.id.get_type()
    element = stored.get_super() if isinstance(stored, h5t.TypeVlenID) else None
    if node.id.shape != (1,) or element is None or element.get_class() != h5t.INTEGER or element.get_size() != 1:
        raise Refused(Reason.UNSUPPORTED, "a part of a table that is no pickled array", show(node.name))
    # The heap with the texts was checked, and its size bounded, when it was read from the file.
    pickled = np.asarray(h5py.Dataset(node.id)[0]).tobytes()
    try:
        value, _end = read_pickle(pickled, _Inert())
    except Truncated:
        raise Refused(Reason.MALFORMED, "a pickle that ends too early", show(node.name)) from None
    match value:
        case Instance(maker=Name() as maker, state=(_, (int() as rows, *more) as shape, _, _, list() as cells)) if (
            f"{maker.module}.{maker.name}" in _ARRAY_MAKERS and len(shape) <= 2
        ):
            width = more[0] if more else 1
            if isinstance(width, int) and rows >= 0 and width >= 0 and len(cells) == rows * width:
                array = np.empty(len(cells), np.object_)
                array[:] = [_cell(cell, node.name) for cell in cells]
                return array.reshape(rows, width)
    raise Refused(Reason.UNSAFE, f"a pickle that is no array of objects: {_describe(value)}", show(node.name))


class _Inert:
    """Interprets every call as data."""

    def call(self, maker: object, arguments: tuple[object, ...]) -> object:
        return Instance(maker, arguments)

    def persistent(self, identity: object) -> object:
        del identity
        raise Refused(Reason.MALFORMED, "a table's pickle with a persistent id")


def _cell(value: object, where: str) -> Cell:
    """A cell's value; None for NumPy's own objects; Refused (unsafe) for a pickle that calls anything else."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    maker = value.maker if isinstance(value, Instance) else value
    if isinstance(maker, Name) and maker.module.partition(".")[0] == "numpy":
        return None
    raise Refused(Reason.UNSAFE, f"a cell of a table that is no text or number: {_describe(value)}", show(where))


def _describe(value: object) -> str:
    maker = value.maker if isinstance(value, Instance) else value
    return show(f"{maker.module}.{maker.name}") if isinstance(maker, Name) else type(maker).__name__


def _cells(values: npt.NDArray[Any]) -> list[Cell]:
    if values.ndim != 1:
        raise Refused(Reason.MALFORMED, "a column that is no list")
    return [None if cell != cell else cell for cell in values.tolist()]  # noqa: PLR0124  # NaN alone differs from itself
