"""The published state of a target: its models, its ledger, and pointers to stored filters."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.dataset.parquet import ParquetFile
from filterzoo.dataset.published import PublishedFiles
from filterzoo.dataset.untrusted import reading
from filterzoo.errors import StartError
from filterzoo_publish.plan.releases import RELEASES, Release, read_releases
from filterzoo_publish.schema import arrow_schema
from filterzoo_publish.takedown.takedowns import TAKEDOWNS, Takedown, read_takedowns


class Pointer(NamedTuple):
    """Where a layer's filters are: the last columns of `layers`."""

    file: str
    row_group: int
    first_row: int
    rows: int


POINTER_COLUMNS = ("filters_file", "filters_row_group", "filters_first_row", "filters_rows")


@dataclass(frozen=True, slots=True)
class PublishedState:
    """A snapshot of a data set; `files` is None if there is none yet."""

    files: PublishedFiles | None
    models: pa.Table
    skipped: pa.Table
    confidences: pa.Table
    releases: tuple[Release, ...] = ()
    takedowns: tuple[Takedown, ...] = ()

    def paths(self, config: str) -> list[str]:
        """The config's files."""
        return self.files.paths(config) if self.files else []

    def read(self, config: str, columns: list[str] | None = None, where: pc.Expression | None = None) -> pa.Table:
        """Rows of a config, from all files. A column that an older file lacks is null in its rows."""
        return read_config(self.files, config, columns, where)

    def tables(self, config: str, columns: list[str], where: pc.Expression | None = None) -> Iterator[pa.Table]:
        """`read`, as one table for each file."""
        return config_tables(self.files, config, columns, where)

    def read_file(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """All rows of one file."""
        if self.files is None:
            raise FileNotFoundError(path)
        with self.files.open(path) as file, ParquetFile(file, where=f"{self.files.root}: {path}") as parquet:
            return parquet.read(columns=columns)

    @property
    def sample_quota(self) -> int | None:
        """The largest number of filters of one checkpoint in `filters_sample`; None if there is no release yet."""
        return self.releases[-1].sample_quota if self.releases else None

    def pointers(self, layer_ids: Collection[str] | None) -> Iterator[tuple[str, Pointer]]:
        """(layer_id, pointer) of those of the layers that are stored, file by file. None: of all stored layers."""
        if layer_ids is not None and not layer_ids:
            return
        wanted = pc.field("filters_file").is_valid()
        if layer_ids is not None:
            wanted &= pc.field("layer_id").isin(pa.array(layer_ids, pa.string()))
        for table in self.tables("layers", ["layer_id", *POINTER_COLUMNS], wanted):
            ids, *columns = (table[name].to_pylist() for name in ("layer_id", *POINTER_COLUMNS))
            yield from ((layer_id, Pointer(*place)) for layer_id, *place in zip(ids, *columns, strict=True))


def read_published(files: PublishedFiles | None) -> PublishedState:
    """The state of a data set; StartError if the target contains something else."""
    if files is not None and not files.paths("models"):
        if others := files.listing():
            raise StartError(f"{files.root}: holds other data ({ascii(others[0][0])[:80]}); choose an empty place")
        files = None
    with reading(files.root if files else ""):
        return _read(files)


def _read(files: PublishedFiles | None) -> PublishedState:
    return PublishedState(
        files,
        models=read_config(files, "models"),
        skipped=read_config(files, "skipped"),
        confidences=read_config(files, "confidences"),
        releases=read_releases(files.text(RELEASES) if files else None),
        takedowns=read_takedowns(files.text(TAKEDOWNS) if files else None),
    )


def read_config(
    files: PublishedFiles | None, config: str, columns: list[str] | None = None, where: pc.Expression | None = None
) -> pa.Table:
    """See `PublishedState.read`."""
    names = arrow_schema(config).names if columns is None else columns
    empty = _columns_of(config, names).empty_table()
    tables = [empty, *config_tables(files, config, names, where)]
    return pa.concat_tables(tables)


def config_tables(
    files: PublishedFiles | None, config: str, columns: list[str], where: pc.Expression | None = None
) -> Iterator[pa.Table]:
    """The rows of each file of the config, with these columns. A column that an older file lacks is null."""
    wanted = _columns_of(config, columns)
    if files is None:
        return
    for path in files.paths(config):
        with files.open(path) as file, ParquetFile(file, where=f"{files.root}: {path}") as parquet:
            table = parquet.read(columns=[name for name in columns if name in parquet.schema_arrow.names])
        rows = table if where is None else table.filter(where)
        yield pa.concat_tables([wanted.empty_table(), rows], promote_options="default").select(columns).cast(wanted)


def _columns_of(config: str, names: list[str]) -> pa.Schema:
    schema = arrow_schema(config)
    return pa.schema([schema.field(name) for name in names])
