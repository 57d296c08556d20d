"""How CNN Filter DB lies on disk: one array of filters, and tables that say which rows are whose."""

from __future__ import annotations

from dataclasses import dataclass

SIDE_FILES = ("filterinfo.csv", "datastorage.meta.csv", "meta.csv")
"""What onnxzoo2filterdb wrote beside a file of filters."""
FILTER = 9
"""Numbers of a filter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A layer: `count` filters from `start`, in the whole array or in the network's part of it.

    inputs, outputs: channels, both known or neither. depth, depth_norm: `conv_depth` as the table has it.
    """

    start: int
    count: int
    inputs: int | None
    outputs: int | None
    depth: int | None
    depth_norm: float | None
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network of the table. key: its `model_id`; facts: the table's columns of text, numbers and truth values."""

    key: int
    facts: dict[str, str | int | float | bool | None]
    layers: tuple[Rows, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A whole file: `filters` rows of nine numbers from byte `offset`, and whose they are."""

    dtype: str
    offset: int
    filters: int
    networks: tuple[Network, ...]
