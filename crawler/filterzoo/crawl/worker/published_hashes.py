"""Compares the files of a checkpoint with the hashes that their zoo publishes.

A hash covers a whole file and cannot verify a part of it. A local file is always compared. A remote file is compared if
it may be transferred completely: at a cost of at most 1.1 times the wanted bytes plus 1 MB, or at any cost if the
manifest says so. The comparison is the last step before the checkpoint is stored, and covers the bytes that the layers
were read from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from filterzoo.crawl.worker.opening import Unpacked
from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile, sha256_of
from filterzoo.layers.computations import stored_tensors
from filterzoo.layers.stored import TensorReader, byte_ranges
from filterzoo.manifests.manifest import VerifySha256
from filterzoo.network.files.cache import Cache
from filterzoo.network.files.ranges import FREE_SLACK, READ_AHEAD, READ_AHEAD_BUDGET, SLACK_SHARE, ByteRange, merged
from filterzoo.records import Artifact, Index

WASTE_SHARE = 10
"""Most additional bytes of a checkpoint: this fraction (1/10) of the wanted bytes ..."""
FREE_WASTE = 1_000_000
"""... plus this many bytes."""


@dataclass(frozen=True, slots=True)
class _Use:
    """A file that is read: the number of wanted bytes, whether layers come from it, its expected sha256."""

    side: str | None
    file: RandomAccessFile
    wanted: int
    has_layers: bool
    claims: frozenset[str]

    @property
    def waste(self) -> int:
        """The most additional bytes: all others if it is downloaded completely, otherwise the gaps between ranges."""
        gaps = self.file.size - self.wanted if self.file.is_remote else 0
        if self.claims:
            return gaps
        return min(gaps, max(FREE_SLACK, self.wanted // SLACK_SHARE) + READ_AHEAD + READ_AHEAD_BUDGET)


class PublishedHashes:
    """The hashes of one checkpoint: construct it before layers are read, call `compare` afterwards.

    whole: its first file; published: sha256 of that (key None) and of side files, by plain name.
    """

    def __init__(
        self,
        whole: RandomAccessFile,
        index: Index,
        reader: TensorReader,
        *,
        published: Mapping[str | None, str],
        verify: VerifySha256,
        cache: Cache,
    ) -> None:
        self._cache = cache
        self._uses = _uses(whole, index, reader, published)
        unread = len(published.keys() - {use.side for use in self._uses}) if whole.is_remote else 0
        waste = sum(use.waste for use in self._uses) + unread * READ_AHEAD
        is_cheap = waste <= sum(use.wanted for use in self._uses) // WASTE_SHARE + FREE_WASTE
        comes_whole = is_cheap or verify is VerifySha256.ALWAYS
        self._compared = [use for use in self._uses if use.claims and (comes_whole or not use.file.is_remote)]
        reader.take_whole(use.side for use in self._compared)
        if whole is not reader.file and any(use.side is None for use in self._compared):
            whole.will_read([(0, whole.size)])

    def compare(self) -> None:
        """Refused (hash_mismatch) if a file is not the published one; a copy in the cache is removed."""
        for use in self._compared:
            found = sha256_of(use.file)
            for claim in sorted(use.claims - {found}):
                self._cache.forget(claim)
                detail = f"sha256 is {found}, published is {claim}"
                raise Refused(Reason.HASH_MISMATCH, detail, use.side and ascii(use.side)[:200])
            use.file.verified_sha256 = found

    @property
    def side_bytes(self) -> int:
        """Bytes of the side files that layers come from."""
        return sum(use.file.size for use in self._uses if use.side is not None)

    @property
    def cover_layers(self) -> bool:
        """Whether every file with layers was compared; without layers, the first file."""
        return all(use in self._compared for use in self._uses if use.has_layers)


def published_hashes(artifacts: Sequence[Artifact]) -> dict[str | None, str]:
    """sha256 of a checkpoint's first file (key None) and of side files by plain name, as the zoo states them."""
    first, *others = artifacts
    count = Counter(_plain(other) for other in others)
    stated = [(None, first.sha256), *((_plain(other), other.sha256) for other in others if count[_plain(other)] == 1)]
    return {side: sha256.lower() for side, sha256 in stated if sha256}


def _plain(artifact: Artifact) -> str:
    return artifact.name.rpartition("/")[2]


def _uses(
    whole: RandomAccessFile, index: Index, reader: TensorReader, published: Mapping[str | None, str]
) -> list[_Use]:
    wanted: dict[str | None, list[ByteRange]] = {}
    for tensor in (stored for each in index.convolutions for stored in stored_tensors(each)):
        parts = [ByteRange(offset, offset + length) for offset, length in byte_ranges(tensor)]
        wanted.setdefault(tensor.span.side, []).extend(parts)
    has_layers = None in wanted or not wanted
    lengths = {side: sum(part.length for part in merged(parts)) for side, parts in wanted.items()}
    lengths[None] = _wanted_of_archive(reader.file, index) or lengths.get(None, 0)
    uses = []
    for side, length in lengths.items():
        file = whole if side is None else reader.file_of(side)
        claims = frozenset(claim for claim in (published.get(side), file.stated_sha256, file.verified_sha256) if claim)
        uses.append(_Use(side, file, length, side is not None or has_layers, claims))
    return uses


def _wanted_of_archive(file: RandomAccessFile, index: Index) -> int:
    """Bytes of an archive that are read for its model; 0 for other files."""
    if isinstance(file, Unpacked):
        return file.packed_bytes
    return index.containers[0].length if index.containers else 0
