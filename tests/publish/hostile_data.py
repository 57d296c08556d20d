"""Makes a published folder into one whose files are named right and hold what no release writes.

Each function plants one attack in the folder; those of `HEAVY` would take gigabytes or never end.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tests.crawler.dataset import parquet_files as made

Attack = Callable[[Path], None]


def first(target: Path, config: str) -> Path:
    """The first file of a config that has rows."""
    return next(
        path for path in sorted((target / "data" / config).rglob("*.parquet")) if pq.read_metadata(path).num_rows
    )


def put(path: Path, table: pa.Table, **options: Any) -> Path:
    """Write the table in the place of the file, under the name of its bytes; cards go with a file of models."""
    made = path.with_suffix(".new")
    pq.write_table(table, made, compression="zstd", **options)
    place = path.with_name(f"{hashlib.sha256(made.read_bytes()).hexdigest()[:32]}.parquet")
    path.unlink()
    return made.rename(place)


def edit(target: Path, config: str, column: str, change: Callable[[list], list]) -> None:
    """Change the cells of a column of the config's first file."""
    path = first(target, config)
    table = pq.read_table(path, partitioning=None)
    place = table.schema.get_field_index(column)
    field = table.schema.field(column)
    cells = change(table[column].to_pylist())
    put(path, table.set_column(place, field, pa.array(cells, field.type)))


def equal_rows(target: Path) -> None:
    """Two hundred thousand rows in some hundred kilobytes."""
    path = first(target, "layers")
    table = pq.read_table(path, partitioning=None).slice(0, 1)
    rows = pa.concat_tables([table] * 25_000).combine_chunks()
    made = path.with_suffix(".new")
    with pq.ParquetWriter(made, rows.schema, compression="zstd") as writer:
        for _ in range(8):
            writer.write_table(rows)
    place = path.with_name(f"{hashlib.sha256(made.read_bytes()).hexdigest()[:32]}.parquet")
    path.unlink()
    made.rename(place)


def wide_row_groups(target: Path, rows: int = 50_000, groups: int = 1) -> None:
    """Equal rows in row groups of many, in a file that random bytes make large enough to expand so far."""
    path = first(target, "layers")
    table = pq.read_table(path, partitioning=None).slice(0, 1)
    equal = pa.concat_tables([table] * rows).combine_chunks()
    names = [random.Random(0).randbytes(12 << 20).hex(), *equal["name"].to_pylist()[1:]]
    named = equal.set_column(equal.schema.get_field_index("name"), "name", pa.array(names))
    made = path.with_suffix(".new")
    with pq.ParquetWriter(made, equal.schema, compression="zstd") as writer:
        for part in (named, *[equal] * (groups - 1)):
            writer.write_table(part, row_group_size=rows)
    place = path.with_name(f"{hashlib.sha256(made.read_bytes()).hexdigest()[:32]}.parquet")
    path.unlink()
    made.rename(place)


def widest_row_groups(target: Path) -> None:
    """Two of nearly the size that is read."""
    wide_row_groups(target, 36_000, 2)


def repeat_text(target: Path, config: str, column: str) -> None:
    """One text of a megabyte in four thousand rows, kept once in each of the two row groups."""
    path = first(target, config)
    table = pq.read_table(path, partitioning=None).slice(0, 1)
    rows = pa.concat_tables([table] * 4_000).combine_chunks()
    place = rows.schema.get_field_index(column)
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0] * len(rows), pa.int32()), pa.array(["x" * (1 << 20)]))
    made = rows.set_column(place, column, dictionary)
    put(path, made, use_dictionary=[column], store_schema=False, row_group_size=2_000)


def long_texts(target: Path) -> None:
    repeat_text(target, "models", "task")


def long_layer_ids(target: Path) -> None:
    """The same of filters, in a file that keeps its name."""
    path = first(target, "filters")
    repeat_text(target, "filters", "layer_id")
    (made,) = set(path.parent.glob("*.parquet")) - {path}
    made.rename(path)


def long_names(target: Path) -> None:
    repeat_text(target, "layers", "name")


def endless_counts(target: Path) -> None:
    """Layers with 2^60 filters."""
    edit(target, "layers", "n_filters", lambda cells: [1 << 60 for _ in cells])


def endless_finite_counts(target: Path) -> None:
    edit(target, "layers", "n_finite", lambda cells: [1 << 62 for _ in cells])


def negative_counts(target: Path) -> None:
    edit(target, "layers", "n_filters", lambda cells: [-1 for _ in cells])


def empty_shapes(target: Path) -> None:
    edit(target, "layers", "shape", lambda cells: [[] for _ in cells])


def null_shapes(target: Path) -> None:
    edit(target, "layers", "shape", lambda cells: [None for _ in cells])


def null_ids(target: Path) -> None:
    edit(target, "layers", "layer_id", lambda cells: [None for _ in cells])


def short_statistics(target: Path) -> None:
    edit(target, "layers", "raw_mean", lambda cells: [cell and cell[:-1] for cell in cells])


def null_statistics(target: Path) -> None:
    edit(target, "layers", "scaled_m2", lambda cells: [None for _ in cells])


def short_weights(target: Path) -> None:
    edit(target, "filters", "weights", lambda cells: [cell[:-1] for cell in cells])


def null_first_filters(target: Path) -> None:
    edit(target, "filters", "first_filter", lambda cells: [None for _ in cells])


def wrong_pointers(target: Path) -> None:
    edit(target, "layers", "filters_first_row", lambda cells: [cell and -(1 << 60) for cell in cells])


def nested_yaml(target: Path) -> None:
    """A README whose YAML is nested 5,000 deep."""
    (target / "README.md").write_text("---\nconfigs: " + "[" * 5_000 + "]" * 5_000 + "\n---\n")


def endless_yaml(target: Path) -> None:
    (target / "README.md").write_text("---\nconfigs: " + "[a, " * (1 << 20) + "\n---\n")


def long_document(target: Path, name: str) -> None:
    """Sixteen megabytes of lines, each of which would be a record."""
    *_, line = (target / name).read_text().splitlines()
    with (target / name).open("a") as file:
        file.write(f"{line}\n" * ((16 << 20) // (len(line) + 1)))


def long_releases(target: Path) -> None:
    long_document(target, "releases.csv")


def long_takedowns(target: Path) -> None:
    (target / "takedowns.csv").write_text("kind,value,date\nmodel,x,2026-01-01\n")
    long_document(target, "takedowns.csv")


def long_readme(target: Path) -> None:
    long_document(target, "README.md")


def nested_cards(target: Path) -> None:
    """Cards whose JSON is nested 50,000 deep."""
    for path in (target / "cards").rglob("*.jsonl"):
        path.write_text('{"model_id": ' + "[" * 50_000 + "]" * 50_000 + "}\n")


def text_that_is_not_utf8(target: Path) -> None:
    for name in ("README.md", "releases.csv", "takedowns.csv"):
        (target / name).write_bytes(b"kind,\xff\xfe\x00value\n")


def negative_quota(target: Path) -> None:
    text = (target / "releases.csv").read_text()
    head, row = text.splitlines()
    (target / "releases.csv").write_text(f"{head}\n{row.rpartition(',')[0]},-5\n")


def not_parquet(target: Path) -> None:
    content = b"PAR1" + bytes(100) + b"PAR1"
    path = first(target, "models")
    path.unlink()
    path.with_name(f"{hashlib.sha256(content).hexdigest()[:32]}.parquet").write_bytes(content)


def cut_pages(target: Path) -> None:
    """A file whose footer is sound and whose pages are zeros."""
    path = first(target, "layers")
    content = bytearray(path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[4:footer] = bytes(footer - 4)
    path.unlink()
    path.with_name(f"{hashlib.sha256(content).hexdigest()[:32]}.parquet").write_bytes(content)


LIED = 1 << 28
"""Numbers that a page claims: two gigabytes of float64."""


def lying_pages(target: Path) -> None:
    lie_about(target, "layers", "raw_mean.list.element")


def lying_pages_of_weights(target: Path) -> None:
    """In a file that keeps its name, as layers has it."""
    path = first(target, "filters")
    lie_about(target, "filters", "weights.list.element")
    (changed,) = set(path.parent.glob("*.parquet")) - {path}
    changed.rename(path)


def lie_about(target: Path, config: str, column: str) -> None:
    """The last row of a column of lists is `LIED` nulls long in its page, in twenty bytes; the footer does not know."""
    path = first(target, config)
    content = bytearray(path.read_bytes())
    group = pq.read_metadata(path).row_group(0)
    chunk = next(group.column(n) for n in range(group.num_columns) if group.column(n).path_in_schema == column)
    starts = made.varint(group.num_rows << 1) + b"\0" + made.varint(LIED - group.num_rows << 1) + b"\1"
    nulls = made.varint(LIED << 1) + b"\2"
    plain = b"".join(len(levels).to_bytes(4, "little") + levels for levels in (starts, nulls))
    begin = chunk.data_page_offset if chunk.dictionary_page_offset is None else chunk.dictionary_page_offset
    room = chunk.total_compressed_size
    packed = pa.compress(plain, codec="zstd", asbytes=True)
    head = len(made.page(made.DATA, {1: LIED, 2: 0, 3: 3, 4: 3}, b"x" * room)) - room
    # What is left of the column's bytes is a frame that zstd skips.
    rest = room - head - len(packed) - 8
    packed += (0x184D2A50).to_bytes(4, "little") + rest.to_bytes(4, "little") + bytes(rest)
    lie = made.page(made.DATA, {1: LIED, 2: 0, 3: 3, 4: 3}, packed, whole=len(plain))
    content[begin : begin + len(lie)] = lie
    path.unlink()
    path.with_name(f"{hashlib.sha256(content).hexdigest()[:32]}.parquet").write_bytes(content)


HEAVY: tuple[Attack, ...] = (
    lying_pages,
    lying_pages_of_weights,
    long_releases,
    long_takedowns,
    long_readme,
    equal_rows,
    wide_row_groups,
    long_texts,
    long_names,
    long_layer_ids,
    endless_yaml,
)
LIGHT: tuple[Attack, ...] = (
    endless_counts,
    endless_finite_counts,
    negative_counts,
    empty_shapes,
    null_shapes,
    null_ids,
    short_statistics,
    null_statistics,
    short_weights,
    null_first_filters,
    wrong_pointers,
    nested_yaml,
    nested_cards,
    text_that_is_not_utf8,
    negative_quota,
    not_parquet,
    cut_pages,
)
