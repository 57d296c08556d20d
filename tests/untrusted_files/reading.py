"""Reads files in this process as the jail's child and its parent do together: for many files, and to watch the code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from filterzoo import plugins
from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile, check_side_name
from filterzoo.jail import parent
from filterzoo.jail.indexing import Indexer, IndexRequest, load_readers
from filterzoo.jail.messages import Message
from filterzoo.jail.validation import validate
from filterzoo.layers.normalise import canonical
from filterzoo.layers.normalise import read as numbers
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Index, Tensor
from filterzoo.references import PluginReference


class BytesFile(RandomAccessFile):
    """A file in memory, with the files beside it."""

    def __init__(self, data: bytes, sides: Mapping[str, bytes] | None = None) -> None:
        self.data = data
        self.size = len(data)
        self.sides = sides or {}

    def read(self, offset: int, length: int) -> bytes:
        self.check_bounds(offset, length)
        return self.data[offset : offset + length]

    def beside(self, name: str) -> BytesFile:
        check_side_name(name)
        if name not in self.sides:
            raise Refused(Reason.MALFORMED, "there is no such side file", ascii(name)[:80])
        return BytesFile(self.sides[name])


@dataclass(frozen=True)
class Read:
    """A layer: its record, and its weights in canonical form."""

    tensor: Tensor
    weights: np.ndarray

    @property
    def name(self) -> str:
        return self.tensor.name


@cache
def readers() -> list[PluginReference]:
    """The installed plugins that offer formats or archives, as the parent names them to the jail."""
    return plugins.load(plugins.references()).format_references


@cache
def indexer() -> Indexer:
    """What the child makes of them, when it has had a file of each format."""
    offered = (offer.partition(":") for plugin in readers() for offer in plugin.offers or ())
    loaded, failures = load_readers(readers(), [name for kind, _, name in offered if kind == "format"])
    assert not failures
    return Indexer(loaded, failures)


def index(file: RandomAccessFile, name: str) -> Index:
    """The table of a file as it comes out of the jail; every refusal is a Refused, as it is there."""
    try:
        message, body = indexer().answer(file, IndexRequest(name))
    except RecursionError:
        raise Refused(Reason.LIMIT, "the file is nested too deeply") from None
    if message is not Message.TABLE:
        raise Refused(Reason.UNSUPPORTED, "the model inside the archive has to be unpacked first")
    table: Index = parent._INDEX.read(body)
    validate(table, file.size)
    return table


def layers(file: RandomAccessFile, table: Index) -> list[Read]:
    """The layers of a file, weights and all, as a crawl would take them."""
    with TensorReader(file) as reader:
        reader.check(table.containers)
        return [Read(tensor, canonical(numbers(tensor, reader), tensor)) for tensor in table.convolutions]


def read(file: RandomAccessFile, name: str) -> list[Read]:
    """Index and layers of a file."""
    return layers(file, index(file, name))


def write(folder: Path, name: str, content: bytes, sides: Mapping[str, bytes] | None = None) -> Path:
    """The file in the folder, with the files beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    for side, data in (sides or {}).items():
        (folder / side).parent.mkdir(parents=True, exist_ok=True)
        (folder / side).write_bytes(data)
    return folder / name
