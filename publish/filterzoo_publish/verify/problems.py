"""The problems that `verify` finds, and its access to files. A file is used only if its hash matches its name."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa

from filterzoo.dataset.parquet import ParquetFile
from filterzoo.dataset.paths import NAME_DIGITS, data_path
from filterzoo.dataset.published import PublishedFiles
from filterzoo.errors import FilterZooError, StartError
from filterzoo.vocabularies import PUBLISHED
from filterzoo_publish.schema import COLUMNS, is_schema_of, with_every_column
from filterzoo_publish.shards.cards import card_path, read_cards

_CHUNK = 1 << 20
_ROWS = 1 << 12
"""Rows of a part: as many as a row group of `layers` has in a release."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a data set. check: its kind, a single word. where: the file or id."""

    check: str
    where: str
    detail: str


@dataclass(slots=True)
class Examination:
    """The data set that is checked, and the problems found so far."""

    files: PublishedFiles
    problems: list[Problem] = field(default_factory=list)

    def report(self, check: str, where: str, detail: str) -> None:
        """Report a problem."""
        self.problems.append(Problem(check, where, detail))

    def row_groups(self, config: str) -> Iterator[tuple[str, int, pa.Table]]:
        """(path, number, rows) of each row group of the config's sound files. Each file is read once."""
        for path, number, parquet in self._groups(config):
            yield from ((path, number, table) for table in self._row_group(path, number, config, parquet, None))

    def parts(self, config: str) -> Iterator[tuple[str, int, pa.Table]]:
        """`row_groups`, `_ROWS` rows at a time, because a hostile row group may be too large for memory."""
        for path, number, parquet in self._groups(config):
            yield from ((path, number, table) for table in self._row_group(path, number, config, parquet, _ROWS))

    def _groups(self, config: str) -> Iterator[tuple[str, int, ParquetFile]]:
        """(path, number, file) of each row group of the config's sound files."""
        paths = [path for path, is_ours in self.files.listing(config) if is_ours]
        if not paths:
            self.report("missing", f"data/{config}", "no file; an empty config has an empty file")
        for path in paths:
            with self._opened(path) as file:
                if file is None or not self._fits_schema(path, config, file):
                    continue
                with ParquetFile(file, where=path) as parquet:
                    for number in range(parquet.num_row_groups):
                        yield path, number, parquet

    def check_names(self) -> None:
        """Report files under data/ whose names no release writes."""
        for path, is_ours in self.files.listing():
            if not is_ours:
                self.report("name", ascii(path)[:200], "not a file of the data set: its name, or a link, or no file")

    def check_cards(self, path: str, names: list[str]) -> None:
        """Report a file of `models` whose cards are not those of its rows."""
        try:
            cards = [card["model_id"] for _, card in read_cards(self.files, path)]
        except (StartError, UnicodeDecodeError) as error:
            self.report("cards", card_path(path), str(error))
            return
        if cards != names:
            self.report("cards", card_path(path), f"is missing, or has not the cards of the rows of {path}")

    def check_folder(self, path: str, row: dict[str, Any]) -> None:
        """Report a row whose source and licence class are not those of its folder."""
        named = folder_names(path)
        if named is not None and named != (row["source"], row["licence_class"]):
            self.report("folder", path, f"holds {row['model_id']} of {row['source']}, {row['licence_class']}")

    @contextmanager
    def _opened(self, path: str) -> Iterator[IO[bytes] | None]:
        """A local copy of the file; None if its hash does not match its name."""
        with tempfile.TemporaryFile() as copy:
            digest = hashlib.sha256()
            with self.files.open(path) as source:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    copy.write(chunk)
            found = digest.hexdigest()[:NAME_DIGITS]
            if path.rpartition("/")[2] == f"{found}.parquet":
                copy.seek(0)
                yield copy
            else:
                self.report("hash", path, f"damaged or changed: its bytes have the hash {found}; its rows are left out")
                yield None

    def _fits_schema(self, path: str, config: str, file: IO[bytes]) -> bool:
        try:
            schema = ParquetFile(file, where=path).schema_arrow
        except (pa.ArrowException, OSError, FilterZooError) as error:
            self.report("schema", path, f"not a Parquet file of a release: {error}")
            return False
        if is_schema_of(config, schema):
            return True
        self.report("schema", path, f"has not the columns of {config}")
        return False

    def _row_group(
        self, path: str, number: int, config: str, parquet: ParquetFile, rows: int | None
    ) -> Iterator[pa.Table]:
        """The rows of a row group, all at once or `rows` at a time. Ends at the first part with wrong rows."""
        try:
            whole = [parquet.read_row_group(number)] if rows is None else parquet.parts_of_row_group(number, rows)
            for part in whole:
                table = with_every_column(config, part)
                if not self._has_cells(path, number, config, table):
                    return
                yield table
        except (pa.ArrowException, OSError, FilterZooError) as error:
            self.report("schema", path, f"row group {number} cannot be read: {error}")

    def _has_cells(self, path: str, number: int, config: str, table: pa.Table) -> bool:
        """Whether mandatory columns have no nulls. Also reports words outside a closed list."""
        nulls = [c.name for c in COLUMNS[config] if c.null == "never" and table[c.name].null_count]
        if nulls:
            self.report("null", path, f"row group {number} has empty cells in {', '.join(nulls)}")
            return False
        for column in [name for name in table.column_names if name in PUBLISHED]:
            self._check_words(path, number, column, table[column])
        return True

    def _check_words(self, path: str, number: int, column: str, found: pa.ChunkedArray) -> None:
        """Report words that are not in the column's closed list."""
        for word in sorted(set(found.unique().to_pylist()) - {None} - {str(word) for word in PUBLISHED[column]}):
            self.report("value", path, f"row group {number}: {column}: {ascii(word)[:80]} is none of its words")


def folder_names(path: str) -> tuple[str, str] | None:
    """(source, licence class), from the folders of a file; None if it has no such folders."""
    place = data_path(path)
    return (place.source, place.licence_class) if place and place.source and place.licence_class else None
