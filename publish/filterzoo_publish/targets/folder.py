"""A data set in a local folder. A release appears in one rename, so a kill leaves the old one or the new one."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from filterzoo.dataset.published import PublishedFiles, open_folder
from filterzoo.errors import StartError
from filterzoo.store.fragments import sync_folder
from filterzoo_publish.shards.parquet import Shard
from filterzoo_publish.targets.target import README, Commit, Target

_STAGED = ".staged"
"""Files of a release that is not decided yet: thrown away by the next publisher."""
DECIDED = ".decided"
"""The same folder under the name that decides: its files belong to the data set and only have to be moved."""
_REMOVED = "removed.txt"


class FolderTarget(Target):
    """The folder at `path`. Readers see a release when its folder `.staged` is renamed `.decided` and then emptied.

    Each step after the decision can be done again, so a publisher that finds `.decided` goes on with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None
        self.place = str(path)
        self.name = "path/to/this/folder"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._lock is not None:
            self.discard()
            os.close(self._lock)
            self._lock = None

    def read(self) -> PublishedFiles | None:
        """See `Target.read`. Before `prepare`, a release that was decided and not moved is not seen."""
        return open_folder(self._path) if self._path.is_dir() else None

    def prepare(self) -> Path:
        """See `Target.prepare`; StartError where another publisher is at work or the folder is something else's."""
        if self._lock is None:
            self._path.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            self._move_decided()
            self._refuse_strangers()
        self.discard()
        writing = self._path / _STAGED / "writing"
        writing.mkdir(parents=True)
        return writing

    def add(self, shard: Shard) -> None:
        """See `Target.add`."""
        _sync(shard.local)
        place = self._path / _STAGED / shard.path
        place.parent.mkdir(parents=True, exist_ok=True)
        shard.local.replace(place)

    def commit(self, documents: Mapping[str, bytes], removed: Sequence[str], message: str, release: str) -> Commit:
        """See `Target.commit`."""
        del message, release
        staged = self._path / _STAGED
        shutil.rmtree(staged / "writing", ignore_errors=True)
        for name, content in (*documents.items(), (_REMOVED, "\n".join(removed).encode())):
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_bytes(content)
            _sync(staged / name)
        for folder, _, _ in os.walk(staged):
            sync_folder(Path(folder))
        staged.rename(self._path / DECIDED)
        sync_folder(self._path)
        self._move_decided()
        return Commit()

    def discard(self) -> None:
        """See `Target.discard`."""
        shutil.rmtree(self._path / _STAGED, ignore_errors=True)

    def _move_decided(self) -> None:
        """Move the files of a decided release to their places, the README last, and remove what it replaces."""
        decided = self._path / DECIDED
        if not decided.is_dir():
            return
        last = {decided / README, decided / _REMOVED}
        for file in sorted(path for path in decided.rglob("*") if path.is_file() and path not in last):
            _move(file, self._path / file.relative_to(decided))
        if (decided / README).exists():
            _move(decided / README, self._path / README)
        if (decided / _REMOVED).exists():
            for path in (decided / _REMOVED).read_text().splitlines():
                (self._path / path).unlink(missing_ok=True)
        shutil.rmtree(decided)
        sync_folder(self._path)

    def _take_lock(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StartError(f"{self._path}: another publisher is writing there; wait for it to end") from error
        self._lock = descriptor

    def _refuse_strangers(self) -> None:
        """A folder with files in it and no data set among them is not ours to write a README into."""
        names = {entry.name for entry in self._path.iterdir()} - {_STAGED, DECIDED, ".git", ".gitattributes"}
        if names and not (self._path / "data" / "models").is_dir():
            example = ascii(min(names))[:80]
            raise StartError(f"{self._path}: holds other files ({example}) and no data set; choose an empty folder")


def _move(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    file.replace(place)
    sync_folder(place.parent)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
