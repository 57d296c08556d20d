"""Where a release goes: what the release needs of a folder or of the Hub."""

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
"""How the title of every commit of ours begins."""


class Conflict(FilterZooError):
    """Raised by a target whose state is no longer, or may no longer be, what the plan was made for: plan again."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A release that is in place. `url` is where to look at it, `tag` its name; None where a target has none."""

    url: str | None = None
    tag: str | None = None


class Target(ABC):
    """A place for a data set. A context manager: what `add` was given without a `commit` is gone in the end."""

    place: str
    """What its user calls it."""
    name: str
    """What the README tells readers to write in `load_dataset`."""
    url: str | None = None
    """Where everybody finds it; None for a folder."""
    doi: str | None = None
    """What its owner registered; None keeps that of the last release."""
    takes_links: bool = False
    """Whether a file for `add` may be a symbolic link to one that stays as it is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.discard()

    @abstractmethod
    def read(self) -> PublishedFiles | None:
        """The data set as it is now, None where there is none."""

    @abstractmethod
    def prepare(self) -> Path:
        """Make the place ready to be written to; gives an empty local folder for files that are being written."""

    def resume(self) -> None:
        """Finish a release that was decided here and interrupted, and clear what one left that was not."""

    @abstractmethod
    def add(self, shard: Shard) -> None:
        """Take a finished file for the next commit."""

    @abstractmethod
    def commit(self, documents: Mapping[str, bytes], removed: Sequence[str], message: str, release: str) -> Commit:
        """All added files and the documents in one step, the removed ones away; Conflict when another was faster.

        documents: path -> content of small files, in the place of those before. release: its name.
        """

    @abstractmethod
    def discard(self) -> None:
        """Forget what was added since the last commit."""

    def tags(self) -> set[str]:
        """Names that no new release can have."""
        return set()

    def settle(self, release: str) -> Commit | None:
        """Finish what a publisher that was killed after its commit left undone; None where nothing was.

        release: the name of the newest release.
        """
        del release
        return None
