"""The work folder: journal, fragments and scratch files; one crawl at a time.

It may come from someone else: a link in place of one of its files or folders would make commands write to, empty or
remove the link's target.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from filterzoo.durable import make_folder, sync, sync_folder
from filterzoo.errors import StartError, WorkFolderBusy, system_says
from filterzoo.network.files.cache import default_folder
from filterzoo.store.journal import Journal
from filterzoo.store.salvage import salvaged

if TYPE_CHECKING:
    from filterzoo.store.fragments import FragmentStore

SOCKETS = "sockets"
"""Folder with the sockets of running crawls, a subfolder per process; those of killed processes are stale."""

_JOURNAL = "journal.sqlite"
_STORE = "store.json"
_RELEASES = "releases.csv"
"""A file of every published data set, and of no work folder."""
_FILES = (
    "lock",
    _STORE,
    *(f"{_JOURNAL}{ending}" for ending in ("", "-wal", "-shm", "-journal", ".new", ".salvaged")),
    "aside/journal.jsonl",
)
_FOLDERS = ("fragments", "fragments.aside", "scratch", SOCKETS, "hosts", "confidences", "aside", "releases")


class WorkFolder:
    """Paths of a work folder, and the lock that a crawl holds in it."""

    def __init__(self, path: Path, store: str | None = None) -> None:
        """`store` is the URL of a shared store; a folder remembers the one it was used with."""
        self.path = path
        self._store = store
        self._lock: IO[str] | None = None
        self._entered = 0

    @property
    def fragments_url(self) -> str:
        """The URL or path of the fragments, for `FragmentStore`."""
        root = str(self.path.absolute()) if self.store_url is None else self.store_url.rstrip("/")
        return f"{root}/fragments"

    @property
    def store_url(self) -> str | None:
        """The shared store, as a URL or an absolute path; None if the fragments are in this folder."""
        url = self._store or self.remembered.get("url")
        return url if url is None or "://" in url else str(Path(url).absolute())

    @property
    def remembered(self) -> dict[str, str | None]:
        """What `remember` wrote last; StartError if it cannot be read, or was not written by this user.

        Otherwise the sender of a folder could choose where the next crawl writes and what `doctor --repair` removes.
        """
        self.check()
        try:
            found = json.loads((self.path / _STORE).read_bytes())
            remembered = {"url": str(found["url"]), "run": found["run"]}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StartError(f"{self.path / _STORE}: cannot be read; remove it and name the --store again") from error
        if self._store is None and not self._note(str(remembered["url"])).is_file():
            raise StartError(
                f"{self.path / _STORE}: names the store {ascii(remembered['url'])[1:-1][:200]}, and nobody used this "
                "folder with it here; if the store is yours, give it by --store"
            )
        return remembered

    def _note(self, url: str) -> Path:
        """The file in the user's cache that confirms that this folder was used with that store."""
        name = hashlib.sha256(f"{self.path.resolve()}\n{url}".encode()).hexdigest()
        return default_folder() / "stores" / name

    def remember(self, store: dict[str, str | None]) -> None:
        """Store the `url` of the shared store, and the `run` of this folder that wrote to it last."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        file = self.scratch / _STORE
        with file.open("w") as sink:
            json.dump(store, sink)
            sync(sink)
        file.replace(self.path / _STORE)
        sync_folder(self.path)
        with contextlib.suppress(OSError):  # without it, the user has to name the store again
            note = self._note(str(store["url"]))
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()

    @property
    def scratch(self) -> Path:
        """The folder for files that are being written; emptied by each crawl."""
        return self.path / "scratch"

    @property
    def sockets(self) -> Path:
        """The folder for sockets of a crawl's processes."""
        return self.path / SOCKETS

    @property
    def hosts(self) -> Path:
        """The folder of hosts that are down (`network.health`); emptied by each crawl."""
        return self.path / "hosts"

    @property
    def confidences(self) -> Path:
        """The folder of rows of `confidences` that are not published yet (`store.confidences`)."""
        return self.path / "confidences"

    @property
    def aside(self) -> Path:
        """The folder of what `filterzoo doctor --repair` removed."""
        return self.path / "aside"

    @property
    def has_lost_journal(self) -> bool:
        """Whether there are fragments but no journal, or an empty file in its place; False with a shared store.

        Also True while a damaged journal is being replaced.
        """
        if salvaged(self.journal_path).exists():
            return True
        if self.store_url is not None:
            return False
        log = self.journal_path.with_name(f"{self.journal_path.name}-wal")
        has_journal = any(path.exists() and path.stat().st_size for path in (self.journal_path, log))
        return not has_journal and any((self.path / "fragments").glob("*/*.arrow"))

    @property
    def journal_path(self) -> Path:
        """The SQLite file."""
        return self.path / _JOURNAL

    def check(self) -> None:
        """StartError if a link, a FIFO or anything else is in place of one of its files or folders.

        The folder itself may be a link, because the user named it.
        """
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise StartError(f"{self.path}: is a file, not a work folder; name another --workdir")
        above = next(parent for parent in self.path.absolute().parents if os.path.lexists(parent))
        if not above.is_dir():
            raise StartError(f"{self.path}: {above} is a file, not a folder; name another --workdir")
        if (self.path / _RELEASES).exists() and not self.journal_path.exists():
            raise StartError(f"{self.path}: is a published data set, not a work folder; name another --workdir")
        for names, is_ours, kind in ((_FILES, stat.S_ISREG, "file"), (_FOLDERS, stat.S_ISDIR, "folder")):
            for place in (self.path / name for name in names):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    if not is_ours(place.lstat().st_mode):
                        raise StartError(
                            f"{place}: is a link, or no {kind}, and a work folder has none; look where it leads, and "
                            "remove it or name another --workdir"
                        )

    def journal(self) -> Journal:
        """Open the journal; created if there is none."""
        self.check()
        return Journal(self.journal_path)

    def existing_journal(self, *, read_only: bool = False) -> Journal:
        """Open the journal; StartError if there was no crawl yet. read_only: see `Journal`."""
        self.check()
        self._check_used()
        return Journal(self.journal_path, read_only=read_only)

    def store(self) -> FragmentStore:
        """Open the fragment store."""
        from filterzoo.store.fragments import FragmentStore  # noqa: PLC0415  # Arrow, which a look at the journal needs not

        return FragmentStore(self.fragments_url, self.scratch)

    def __enter__(self) -> Self:
        """Take the lock and remove partial files of an interrupted crawl.

        StartError, and nothing is removed, if the journal cannot be read, is from a newer version or is lost: with a
        new journal, everything would be fetched again. Does nothing inside its own block.
        """
        if self._entered:
            self._entered += 1
            return self
        self._hold()
        self._entered = 1
        try:
            self._check_journal()
        except BaseException:
            self.__exit__()
            raise
        shutil.rmtree(self.scratch, ignore_errors=True)
        shutil.rmtree(self.hosts, ignore_errors=True)
        for left in self.path.joinpath(SOCKETS).glob("*"):
            if left.name != str(os.getpid()):
                shutil.rmtree(left, ignore_errors=True)
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_exception: object) -> None:
        self._entered = max(0, self._entered - 1)
        if self._entered:
            return
        if kind is not None and self._lock is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)
        if self._lock is not None:
            shutil.rmtree(self.hosts, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @contextlib.contextmanager
    def held(self, *, used: bool = True) -> Iterator[None]:
        """Hold the lock of an existing work folder, without changes; StartError if there is none.

        used: False creates it.
        """
        self.check()
        if used and not self.has_lost_journal:
            self._check_used()
        self._hold()
        try:
            yield
        finally:
            self.__exit__()

    def _check_journal(self) -> None:
        self._check_lost()
        if self.journal_path.is_file():
            with self.journal() as journal:
                journal.check_records()

    def _check_lost(self) -> None:
        if self.has_lost_journal:
            raise StartError(
                f"{self.path}: its journal is lost; `filterzoo doctor --repair --workdir {self.path}` rebuilds it from "
                "what the fragments say they are of"
            )

    def _check_used(self) -> None:
        self._check_lost()
        if not self.journal_path.is_file():
            why = "" if self.path.exists() else ", there is no such folder"
            raise StartError(
                f"{self.path}: no crawl has been here{why}; name the --workdir of a crawl, or run "
                f"`filterzoo crawl MANIFEST --workdir {self.path}`"
            )

    def _hold(self) -> None:
        self.check()
        try:
            make_folder(self.path)
            with contextlib.ExitStack() as undo:
                lock = undo.enter_context((self.path / "lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                undo.pop_all()
            self._lock = lock
        except BlockingIOError:
            raise WorkFolderBusy(
                f"{self.path}: another crawl is working here; wait for it or choose another --workdir"
            ) from None
        except OSError as error:
            advice = "make it writable" if self.journal_path.is_file() else "choose another --workdir"
            raise StartError(f"{self.path}: cannot be used as work folder: {system_says(error)}; {advice}") from error
