"""A published data set for analyses: its small tables and `layers` as Arrow tables, without filters."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from filterzoo.dataset.published import PublishedFiles, open_published
from filterzoo.dataset.untrusted import reading
from filterzoo.errors import StartError
from filterzoo_publish.plan.state import read_config
from filterzoo_publish.schema import arrow_schema


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """The tables that analyses need. models: sorted by model_id. layers: sorted by model_id and layer_index.

    skipped, confidences: as published. name: as the user wrote it. The columns are those of `filterzoo_publish.schema`.
    A column that an older release lacks is null.
    """

    name: str
    models: pa.Table
    layers: pa.Table
    skipped: pa.Table
    files: PublishedFiles | None = None
    confidences: pa.Table = field(default_factory=lambda: arrow_schema("confidences").empty_table())

    def sample(self) -> pa.Table:
        """The config `filters_sample`."""
        return read_config(self.files, "filters_sample")


def read(target: str, revision: str | None = None) -> DataSet:
    """The data set at TARGET, a folder or `user/name` on the Hub. No file of `filters` is opened.

    StartError if there is no data set.
    """
    files = open_published(target, revision)
    if not files.paths("models"):
        raise StartError(f"{target}: no data/models in it: not a published data set")
    with reading(target):
        return _read(files, target)


def _read(files: PublishedFiles, target: str) -> DataSet:
    return DataSet(
        name=target,
        models=read_config(files, "models").sort_by("model_id"),
        layers=read_config(files, "layers").sort_by([("model_id", "ascending"), ("layer_index", "ascending")]),
        skipped=read_config(files, "skipped"),
        files=files,
        confidences=read_config(files, "confidences"),
    )
