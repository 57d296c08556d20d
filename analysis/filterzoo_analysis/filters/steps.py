"""Plans the reading of filters: row groups that are read together, and the layers that begin in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filterzoo.dataset.footers import read_footer
from filterzoo.dataset.published import PublishedFiles

_POINTERS = ("filters_file", "filters_first_row", "filters_rows", "layer_id", "n_filters")


@dataclass(frozen=True, slots=True)
class Stored:
    """A layer in `filters`: `rows` rows of a file from row `first` on. numbers: the numbers of a filter."""

    path: str
    first: int
    rows: int
    layer_id: str
    n_filters: int
    numbers: int


@dataclass(frozen=True, slots=True, eq=False)
class ReadingStep:
    """Row groups of a file that are read together because a layer spans them, and the layers that begin in the first.

    footer: that of the file. low: the number, in the file, of the first row of `groups`.
    """

    path: str
    footer: pq.FileMetaData
    groups: tuple[int, ...]
    low: int
    layers: tuple[Stored, ...]

    @property
    def size(self) -> int:
        """Bytes of all weights in the row groups when decoded."""
        groups = [self.footer.row_group(number) for number in self.groups]
        numbers: int = sum(max(each.column(place).num_values for place in range(each.num_columns)) for each in groups)
        return numbers * np.dtype(np.float32).itemsize


def reading_steps(files: PublishedFiles, table: pa.Table) -> list[ReadingStep]:
    """The steps of a pass over the layers in `table` (columns of `layers`). Each distinct layer is read once."""
    table = table.filter(pc.is_valid(table["filters_file"]))
    numbers = [math.prod(map(int, kernel.split("x"))) for kernel in table["kernel"].to_pylist()]
    columns = (*(table[name].to_pylist() for name in _POINTERS), numbers)
    stored = sorted({Stored(*row) for row in zip(*columns, strict=True)}, key=lambda each: (each.path, each.first))
    steps: list[ReadingStep] = []
    for path, layers in groupby(stored, key=lambda each: each.path):
        with files.native(path) as file:
            footer = read_footer(file, f"{files.root}: {path}")
        steps.extend(_steps_of_file(path, footer, list(layers)))
    return steps


def _steps_of_file(path: str, footer: pq.FileMetaData, layers: list[Stored]) -> Iterator[ReadingStep]:
    starts = np.cumsum([0, *(footer.row_group(number).num_rows for number in range(footer.num_row_groups))])

    def first_group(layer: Stored) -> int:
        return int(np.searchsorted(starts, layer.first, side="right")) - 1

    for group, members in groupby(layers, key=first_group):
        here = tuple(members)
        last = int(np.searchsorted(starts, here[-1].first + here[-1].rows, side="left"))
        groups = range(group, min(max(last, group + 1), footer.num_row_groups))
        yield ReadingStep(path, footer, tuple(groups), int(starts[group]), here)
