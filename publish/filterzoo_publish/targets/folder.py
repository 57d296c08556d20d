"""A data set in a local folder. A release takes effect in one rename: a kill leaves the old state or the new one.

The folder may come from others, so its content is untrusted. See `filterzoo.dataset.confined`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from filterzoo.dataset import confined
from filterzoo.dataset.paths import DECIDED, is_published_path
from filterzoo.dataset.published import PublishedFiles, open_folder
from filterzoo.durable import make_folder, sync, sync_folder
from filterzoo.errors import FilterZooError, StartError, StorageFailed, remedy, system_says
from filterzoo_publish.shards.parquet import Shard
from filterzoo_publish.targets.decided import LONGEST_PLAN, PLAN, Decided, Notes
from filterzoo_publish.targets.target import README, Commit, Target

_STAGED = ".staged"
"""The folder for files of a release that is not decided yet. The next publisher discards it."""
_WRITING = "writing"


class FolderTarget(Target):
    """The folder at `path`. A release is decided by renaming `.staged` to `.decided`; then its files are moved.

    Each step after the decision is idempotent. A publisher that finds `.decided` finishes the release if the work
    folder `workdir` has the note of its plan, and refuses the target otherwise.
    """

    def __init__(self, path: Path, workdir: Path | None = None) -> None:
        self._path = path
        self._notes = Notes(workdir)
        self._lock: int | None = None
        self._is_new = False
        self._added: dict[str, str] = {}
        self.place = str(path)
        self.name = "path/to/this/folder"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._lock is not None:
            self.discard()
            os.close(self._lock)
            self._lock = None
            if self._is_new:
                with contextlib.suppress(OSError):  # it stays if it is not empty
                    self._path.rmdir()

    def read(self) -> PublishedFiles | None:
        """See `Target.read`. Ignores a decided release whose files are not moved yet; `prepare` moves them."""
        if self._path.is_dir():
            return open_folder(self._path)
        if os.path.lexists(self._path):
            raise StartError(f"{self._path}: is not a folder; name another target")
        return None

    def prepare(self) -> Path:
        """See `Target.prepare`. StartError if another publisher is active or the folder contains something else."""
        interrupted = None
        with self._explained():
            if self._lock is None:
                self._lock = self._locked()
                interrupted = self._interrupted()
                if interrupted is None:
                    self._refuse_other_content()
                    self._notes.forget(self._path)
                self.discard()
        if interrupted is not None:
            self._finish(interrupted)
        with self._explained():
            self.discard()
            if os.path.lexists(self._path / _STAGED):
                raise StartError(f"{self._path / _STAGED}: is a link or cannot be removed; remove it")
            for folder in (_STAGED, f"{_STAGED}/{_WRITING}"):
                os.mkdir(folder, dir_fd=self._folder)  # fails if the path exists, even as a link
        return self._path / _STAGED / _WRITING

    def resume(self) -> None:
        """See `Target.resume`."""
        left = any(os.path.lexists(self._path / name) for name in (_STAGED, DECIDED))
        if self._path.is_dir() and (left or self._notes.of(self._path)):
            with self:
                self.prepare()
        else:
            self._notes.forget(self._path)  # also removes an empty folder of notes

    def add(self, shard: Shard) -> None:
        """See `Target.add`."""
        with self._explained():
            self._added[shard.path] = _digest(shard)
            confined.move(self._folder, f"{_STAGED}/{_WRITING}/{shard.local.name}", f"{_STAGED}/{shard.path}")

    def commit(self, documents: Mapping[str, bytes], removed: Sequence[str], message: str, release: str) -> Commit:
        """See `Target.commit`."""
        del message, release
        with self._explained():
            shutil.rmtree(f"{_STAGED}/{_WRITING}", dir_fd=self._folder)
            digests = {path: hashlib.sha256(content).hexdigest() for path, content in documents.items()}
            decided = Decided.new(self._added | digests, tuple(removed))
            for path in (*decided.files, *decided.removed):
                confined.check_place(self._folder, path)
            plan = decided.content()
            for path, content in (*documents.items(), (PLAN, plan)):
                confined.write_file(self._folder, f"{_STAGED}/{path}", content)
            for *_, folder in os.fwalk(_STAGED, dir_fd=self._folder):
                sync_folder(folder)
            self._notes.add(plan, self._path)
            os.rename(_STAGED, DECIDED, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            sync_folder(self._folder)
        self._finish(plan, are_ours=True)
        self._added = {}
        return Commit()

    def discard(self) -> None:
        """See `Target.discard`."""
        self._added = {}
        if self._lock is not None:
            shutil.rmtree(_STAGED, ignore_errors=True, dir_fd=self._lock)

    @property
    def _folder(self) -> int:
        if self._lock is None:
            raise AssertionError("prepare() comes first")
        return self._lock

    def _locked(self) -> int:
        """A descriptor of the folder, which is created if missing, with an exclusive lock."""
        if os.path.lexists(self._path) and not self._path.is_dir():
            raise StartError(f"{self._path}: is not a folder; name another target")
        self._is_new = not self._path.exists()
        make_folder(self._path)
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StartError(f"{self._path}: another publisher is writing there; wait for it to end") from error
        return descriptor

    def _interrupted(self) -> bytes | None:
        """The plan of an unfinished release that was begun with this work folder; StartError for any other."""
        if not os.path.lexists(self._path / DECIDED):
            return None
        with (
            contextlib.suppress(FileNotFoundError),
            os.fdopen(confined.open_regular_file(self._folder, f"{DECIDED}/{PLAN}"), "rb") as file,
        ):
            plan = file.read(LONGEST_PLAN)
            if self._notes.has(plan):
                return plan
        place = self._path / DECIDED
        raise StartError(
            f"{place}: an interrupted release that was not begun with this work folder; run the command that was "
            f"interrupted with its --workdir, or look at {PLAN} there and remove the folder to give the release up"
        )

    def _finish(self, plan: bytes, *, are_ours: bool = False) -> None:
        """Move the files of a decided release to their paths, the README last, and remove replaced files.

        are_ours: this process wrote or hashed the files under its lock, so they are not hashed again.
        """
        with self._explained("the release is decided", " to finish it"):
            self._move(plan, are_ours=are_ours)
        self._notes.drop(plan)

    def _move(self, plan: bytes, *, are_ours: bool) -> None:
        decided = Decided.read(plan)
        waiting = {path for path, digest in decided.files.items() if are_ours or self._is_waiting(path, digest)}
        for path in sorted(waiting - {README}):
            confined.move(self._folder, f"{DECIDED}/{path}", path)
        confined.sync_folders(self._folder, decided.files)  # also of files that an interrupted publisher moved
        if README in waiting:
            confined.move(self._folder, f"{DECIDED}/{README}", README)
            sync_folder(self._folder)
        for path in decided.removed:
            confined.remove(self._folder, path)
        # If the removal is interrupted, the next publisher discards a folder of this name.
        os.rename(DECIDED, _STAGED, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        sync_folder(self._folder)
        shutil.rmtree(_STAGED, dir_fd=self._folder)
        sync_folder(self._folder)

    def _is_waiting(self, path: str, digest: str) -> bool:
        """Whether a file of the plan still has to be moved; StartError if it is missing or has another hash."""
        for place in (f"{DECIDED}/{path}", path):
            with (
                contextlib.suppress(FileNotFoundError),
                os.fdopen(confined.open_regular_file(self._folder, place), "rb") as file,
            ):
                if hashlib.file_digest(file, "sha256").hexdigest().startswith(digest):
                    return place != path
                raise StartError(f"{self._path}: {place} was changed since its release was decided; see {DECIDED}")
        raise StartError(f"{self._path}: {path} of the interrupted release is lost; see {DECIDED}")

    def _refuse_other_content(self) -> None:
        """StartError if the folder has files but is no data set."""
        names = {entry.name for entry in self._path.iterdir()} - {_STAGED, ".git", ".gitattributes"}
        if names and not open_folder(self._path).paths("models"):
            example = ascii(min(names))[:80]
            raise StartError(f"{self._path}: holds other files ({example}) and no data set; choose an empty folder")

    @contextlib.contextmanager
    def _explained(self, state: str = "nothing was published", aim: str = "") -> Iterator[None]:
        """Converts an OSError about the folder to StorageFailed.

        state: the state of the release. aim: what running the command again is for.
        """
        try:
            yield
        except OSError as error:
            advice = f"{remedy(error)} and run the same command again{aim}"
            raise StorageFailed(
                f"{self._path}: cannot be written to: {system_says(error)}; {state}; {advice}"
            ) from error


def _digest(shard: Shard) -> str:
    """Sync the file; returns its sha256, or the prefix of it in the name of a Parquet file."""
    if not is_published_path(shard.path):
        raise FilterZooError(f"{ascii(shard.path)[:200]} is not the path of a data set's file")
    with shard.local.open("rb") as file:
        sync(file)
        if shard.path.endswith(".parquet"):
            return shard.path.rpartition("/")[2].removesuffix(".parquet")
        return hashlib.file_digest(file, "sha256").hexdigest()
