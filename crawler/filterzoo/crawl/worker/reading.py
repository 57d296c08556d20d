"""Reads the layers of a checkpoint and checks all checksums, in the required order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from filterzoo.crawl.worker.published_hashes import PublishedHashes
from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile
from filterzoo.layers.layer import Layer
from filterzoo.layers.normalise import normalise
from filterzoo.layers.stored import TensorReader
from filterzoo.manifests.manifest import VerifySha256
from filterzoo.network.files.cache import Cache
from filterzoo.records import Index


class CheckedLayers:
    """The layers of one checkpoint, in order, to be iterated once; `integrity` is set when the block ends."""

    def __init__(self, index: Index, reader: TensorReader) -> None:
        self._index = index
        self._reader = reader
        self._are_read = False
        self._integrity: str | None = None

    def __iter__(self) -> Iterator[Layer]:
        """One layer at a time: memory is bounded by the largest. Refused as `normalise` does."""
        yield from normalise(self._index.convolutions, self._reader)
        self._are_read = True

    @property
    def integrity(self) -> str:
        """What the bytes were checked against: `sha256`, `crc32`, `sha256+crc32`, or `none`."""
        if self._integrity is None:
            raise RuntimeError("what the layers were checked against is known when all of them were read and compared")
        return self._integrity

    def conclude(self, hashes: PublishedHashes) -> None:
        """Compare the published hashes; Refused (hash_mismatch). RuntimeError unless all layers were read."""
        if not self._are_read:
            raise RuntimeError("hashes are compared after all layers were read")
        hashes.compare()
        checks = {"sha256": hashes.cover_layers, "crc32": self._reader.has_crc}
        self._integrity = "+".join(name for name, was_compared in checks.items() if was_compared) or "none"


@contextlib.contextmanager
def checked_layers(
    whole: RandomAccessFile,
    file: RandomAccessFile,
    index: Index,
    *,
    scratch: Path,
    published: Mapping[str | None, str],
    verify: VerifySha256,
    cache: Cache,
    most: int | None = None,
) -> Iterator[CheckedLayers]:
    """The layers, to be read completely inside the block; nothing may be committed before the block has ended.

    The order: decide which files are downloaded whole (`PublishedHashes`), compare the checksums of archive members,
    read the layers, compare the published hashes over the bytes that were read. Refused (damaged, hash_mismatch, ...).

    whole: the checkpoint's first file as it was opened. file: the one with the model. published: sha256 by side file,
    None for the first. scratch: the folder for large decoded tensors. most: bytes of all files together.
    """
    with TensorReader(file, scratch) as reader:
        hashes = PublishedHashes(whole, index, reader, published=published, verify=verify, cache=cache)
        check_size(whole.size + hashes.side_bytes, most)
        reader.check(index.containers)
        layers = CheckedLayers(index, reader)
        yield layers
        layers.conclude(hashes)


def check_size(size: int, most: int | None) -> None:
    """Refused (too_large), as at discovery, because some zoos state no size or a wrong one."""
    if most is not None and size > most:
        raise Refused(Reason.TOO_LARGE, f"{size} bytes, the manifest allows {most}")
