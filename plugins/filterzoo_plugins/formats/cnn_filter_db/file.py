"""Where in a whole `dataset.h5` of CNN Filter DB its filters stand, and whose they are."""

from __future__ import annotations

from h5py import h5d, h5t

from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile
from filterzoo_plugins.encodings.hdf5 import data as hdf5_data
from filterzoo_plugins.encodings.hdf5 import tree as hdf5_tree
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.formats.cnn_filter_db.layout import FILTER
from filterzoo_plugins.formats.cnn_filter_db.tables import read_networks


def describe_file(file: RandomAccessFile) -> object:
    """A `_filter_db_layout.Description`, as a document."""
    with hdf5_tree.open_tree(file) as tree:
        for data_set in tree.data_sets.values():
            if data_set.id.get_type().get_class() == h5t.REFERENCE:
                raise Refused(Reason.UNSAFE, "a data set of references", show(data_set.name))
        filters = tree.data_sets.get("filters")
        if filters is None:
            raise Refused(Reason.UNSUPPORTED, "no array /filters: not a file of CNN Filter DB")
        dtype, offset, count = _locate(filters)
        networks = read_networks(tree, file, count)
    return {"dtype": dtype, "offset": offset, "filters": count, "networks": networks}


def _locate(filters: hdf5_tree.DataSet) -> tuple[str, int, int]:
    """(dtype, byte offset, number of filters) of `/filters`, (n, 3, 3) or (n, 9)."""
    if filters.id.get_create_plist().get_layout() == h5d.CHUNKED:
        detail = "filters in chunks; `h5repack -l /filters:CONTI` lays them out as the release has them"
        raise Refused(Reason.UNSUPPORTED, detail, "filters")
    stored = hdf5_data.locate(filters)
    if stored is None or stored.dtype not in {"F16", "F32", "F64"} or stored.shape[1:] not in {(3, 3), (FILTER,)}:
        raise Refused(Reason.UNSUPPORTED, "filters that are no array (n, 3, 3) or (n, 9) of floats", "filters")
    return stored.dtype, stored.span.offset, stored.shape[0]
