"""The interface of targets: a folder or the Hub."""

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
"""The prefix of the title of our commits."""


class Conflict(FilterZooError):
    """Raised by a target whose state may have changed since the plan was made: plan again."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A committed release. `url`: its page; `tag`: its name; None where the target has none."""

    url: str | None = None
    tag: str | None = None


class Target(ABC):
    """A target of releases. A context manager: files added without a `commit` are discarded at exit."""

    place: str
    """The name given by the user."""
    name: str
    """The argument of `load_dataset` in the README."""
    url: str | None = None
    """Its public URL; None for a folder."""
    doi: str | None = None
    """Its registered DOI; None keeps that of the last release."""
    takes_links: bool = False
    """Whether a file for `add` may be a symbolic link to an immutable file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.discard()

    @abstractmethod
    def read(self) -> PublishedFiles | None:
        """The current data set, None where there is none."""

    @abstractmethod
    def prepare(self) -> Path:
        """Prepare for writing; returns an empty local folder for draft files."""

    def resume(self) -> None:
        """Finish an interrupted release that was decided here, and clear the rest of an undecided one."""

    @abstractmethod
    def add(self, shard: Shard) -> None:
        """Add a finished file to the next commit."""

    @abstractmethod
    def commit(self, documents: Mapping[str, bytes], removed: Sequence[str], message: str, release: str) -> Commit:
        """Add all files and documents and remove others atomically; Conflict when another publisher was faster.

        documents: path -> new content of small files. release: its name.
        """

    @abstractmethod
    def discard(self) -> None:
        """Discard files added since the last commit."""

    def tags(self) -> set[str]:
        """Release names that are taken."""
        return set()

    def settle(self, release: str) -> Commit | None:
        """Finish what a publisher killed after its commit left undone; None where nothing was.

        release: the name of the newest release.
        """
        del release
        return None
