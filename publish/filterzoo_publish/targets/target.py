"""The interface of targets, which are folders or data sets on the Hub."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from filterzoo.dataset.published import PublishedFiles
from filterzoo.errors import FilterZooError
from filterzoo_publish.shards.parquet import Shard

README = "README.md"
RELEASE = "FilterZoo release"
"""The prefix of the titles of release commits."""


class Conflict(FilterZooError):
    """Raised if the target's state may have changed since the release was planned. The release is planned again."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A committed release. url: its page. tag: its name. None if the target has none."""

    url: str | None = None
    tag: str | None = None


class Target(ABC):
    """A target of releases. A context manager: files added without a `commit` are discarded at exit."""

    place: str
    """The target as the user names it."""
    name: str
    """What `load_dataset` takes in the README."""
    url: str | None = None
    """Its public URL; None for a folder."""
    doi: str | None = None
    """Its registered DOI. None keeps the DOI of the last release."""
    takes_links: bool = False
    """Whether a file for `add` may be a symbolic link to an immutable file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.discard()

    @abstractmethod
    def read(self) -> PublishedFiles | None:
        """The current data set; None if there is none yet."""

    @abstractmethod
    def prepare(self) -> Path:
        """Prepare for writing; returns an empty local folder for files that are being written."""

    def resume(self) -> None:
        """Finish an interrupted release that was decided here; discard one that was not decided."""

    @abstractmethod
    def add(self, shard: Shard) -> None:
        """Add a finished file to the next commit."""

    @abstractmethod
    def commit(self, documents: Mapping[str, bytes], removed: Sequence[str], message: str, release: str) -> Commit:
        """Add all files and documents and remove others, atomically; Conflict if another publisher was faster.

        documents: path -> new content of small files. removed: paths. release: its name.
        """

    @abstractmethod
    def discard(self) -> None:
        """Discard files added since the last commit."""

    def tags(self) -> set[str]:
        """Release names that are taken."""
        return set()

    def settle(self, release: str) -> Commit | None:
        """Finish the work of a publisher that was killed after its commit; None if nothing is left to do.

        release: the name of the newest release.
        """
        del release
        return None
