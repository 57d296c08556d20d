"""Access to the files of a published data set, in a folder or on the Hub at one revision."""

from __future__ import annotations

import fcntl
import os
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.fs as pafs
from fsspec.implementations.local import LocalFileSystem

from filterzoo.dataset import confined
from filterzoo.dataset.paths import DECIDED, DEPTH, LONGEST, is_published_path
from filterzoo.errors import StartError, system_says
from filterzoo.reporting.terminal import printable

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

READERS = max(4, os.cpu_count() or 1)
"""Files and row groups that are read in parallel; at least 4, because reads from the Hub wait for the network."""
LARGEST_FILE = 64 << 30
"""Largest file that is read, in bytes: the size that the Hub states determines the memory that is allocated."""
LONGEST_TEXT = 256 << 20
"""Largest small file that is read, in bytes: the cards of a file of `models`."""
_PATIENCE = 5
"""Seconds for the Hub's first response; it is short because TARGET may be a missing folder."""
_MOVING = 10.0
"""Seconds for which readers of a folder wait while a release's files are moved, which takes milliseconds."""
Target = str | os.PathLike[str]
"""A folder, or `user/name` on the Hub; a Path is always a folder."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_HUB_ADDRESS = re.compile(rf"(hf://|https?://[^/]+/)?datasets/(?P<name>{_HUB_NAME.pattern})", re.ASCII)


def is_hub_name(target: str) -> bool:
    """Whether `target` is on the Hub: `user/name`, if nothing here is named `user`. `./user/name` is a folder."""
    return _HUB_NAME.fullmatch(target) is not None and not os.path.lexists(Path(target).parent)


@dataclass(frozen=True, slots=True)
class PublishedFiles:
    """The files of a data set; on the Hub pinned to the commit `revision`, so that all reads see one state.

    listed: result of `listing` for a folder between two releases; None: list the folder each time.
    """

    filesystem: AbstractFileSystem
    root: str
    revision: str | None = None
    listed: tuple[tuple[str, bool], ...] | None = None

    @property
    def is_local(self) -> bool:
        """Whether its files are on this machine."""
        return isinstance(self.filesystem, LocalFileSystem)

    def paths(self, config: str | None = None) -> list[str]:
        """The files of a config (None: of all) as `data/<config>/...`, sorted.

        StartError if something else is among them: a link, a FIFO, a name that no release uses.
        """
        found = self.listing(config)
        for path, is_ours in found:
            if not is_ours:
                raise StartError(f"{self.root}: {ascii(path)[:200]} is not a file of a data set; run filterzoo verify")
        return [path for path, _ in found]

    def listing(self, config: str | None = None) -> list[tuple[str, bool]]:
        """(path, whether it is a regular file with a release's name) of all that `paths` checks."""
        folder = f"data/{config}" if config else "data"
        if self.listed is not None:
            return [(path, is_ours) for path, is_ours in self.listed if path.startswith(f"{folder}/")]
        if self.is_local:
            entries = confined.entries(self.root, folder, DEPTH - folder.count("/") - 1)
            return [(path, is_regular and is_published_path(path)) for path, is_regular in entries]
        try:
            found = cast("list[str]", self.filesystem.find(f"{self.root}/{folder}"))
        except FileNotFoundError:
            return []
        paths = sorted(path[len(self.root) + 1 :] for path in found)
        return [(path, is_published_path(path)) for path in paths]

    def open(self, path: str) -> IO[bytes]:
        """A file of the data set, for reading at any offset; StartError for any other path, and for a link."""
        self._check(path)
        if self.is_local:
            return os.fdopen(confined.open_regular_file(self.root, path), "rb")
        self._check_size(path)
        return cast("IO[bytes]", self.filesystem.open(f"{self.root}/{path}", "rb"))

    def native(self, path: str) -> pa.NativeFile:
        """`open` for pyarrow; local files are mapped into memory, without a copy."""
        self._check(path)
        if not self.is_local:
            self._check_size(path)
            return _ExactReads(self.filesystem).open_input_file(f"{self.root}/{path}")
        descriptor = confined.open_regular_file(self.root, path)
        try:
            # pyarrow opens only paths: this one refers to the open descriptor, so the checked file cannot be replaced.
            return pa.memory_map(f"/dev/fd/{descriptor}")
        finally:
            os.close(descriptor)

    def exists(self, name: str) -> bool:
        """Whether a file or folder of that name exists."""
        place = f"{self.root}/{name}"
        return os.path.lexists(place) if self.is_local else bool(self.filesystem.exists(place))

    def text(self, path: str) -> str | None:
        """A small text file, None if it is missing; StartError if it is too long or not UTF-8."""
        longest = LONGEST.get(path, LONGEST_TEXT)
        try:
            with self.open(path) as file:
                content = file.read(longest + 1)
        except FileNotFoundError:
            return None
        if len(content) > longest:
            raise StartError(f"{self.root}: {path} has more than {longest:,} bytes; no release's has")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise StartError(f"{self.root}: {path} is not UTF-8 text; run filterzoo verify") from error

    def _check_size(self, path: str) -> None:
        """StartError for a size that no file of a release has; FileNotFoundError if it does not exist."""
        size = self.filesystem.info(f"{self.root}/{path}").get("size")
        if not isinstance(size, int) or not 0 <= size <= LARGEST_FILE:
            raise StartError(f"{self.root}: {path}: the Hub states a size of {ascii(size)[:40]} bytes; that cannot be")

    def _check(self, path: str) -> None:
        if not is_published_path(path):
            raise StartError(f"{self.root}: {ascii(path)[:200]} is not the path of a data set's file; verify it")


class _ExactReads(pafs.FSSpecHandler):  # type: ignore[misc]  # pyarrow has no types for it
    """Reads exactly what is requested: pyarrow knows what it needs, and read-ahead would fetch more."""

    def open_input_file(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(self.fs.open(path, "rb", cache_type="none"), mode="r")


def open_folder(folder: Path) -> PublishedFiles:
    """The data set in a local folder, for its publisher; other readers may see files of two releases."""
    return PublishedFiles(LocalFileSystem(skip_instance_cache=True), folder.absolute().as_posix())


def open_whole(folder: Path, *, even_interrupted: bool = False) -> PublishedFiles:
    """The data set in a local folder, for readers: the files of one release, even if another is published meanwhile.

    StartError if a release's files were not all moved because its publisher was killed; with even_interrupted, the
    files as they are.
    """
    files = open_folder(folder)
    end = time.monotonic() + _MOVING
    while True:
        state = _state(folder)
        if state is not None:
            listed = tuple(files.listing())
            if _state(folder) == state:
                return replace(files, listed=listed)
        elif not _has_publisher(folder) or time.monotonic() > end:
            if even_interrupted:
                return files
            raise StartError(
                f"{folder}: a release is in it whose files were not all moved ({DECIDED}); run the `publish` or "
                "`takedown` that was interrupted again, with its --workdir"
            )
        time.sleep(0.02)


def _has_publisher(folder: Path) -> bool:
    """Whether a publisher holds the folder's lock."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return not os.path.lexists(folder / DECIDED)  # the publisher has just finished


def _state(folder: Path) -> tuple[int, ...] | None:
    """A value that differs after each release; None while a release's files are moved. The README is moved last."""
    if os.path.lexists(folder / DECIDED):
        return None
    try:
        found = os.lstat(folder / "README.md")
    except FileNotFoundError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns


def open_hub(name: str, revision: str | None = None, **connection: Any) -> PublishedFiles:
    """The data set `user/name` at a tag, branch or commit.

    `connection`: endpoint and token for huggingface_hub, which by default takes HF_ENDPOINT, HF_TOKEN and proxies from
    the environment. StartError if the repository or the revision is not available.
    """
    from huggingface_hub import HfApi, HfFileSystem, errors  # noqa: PLC0415  # half a second that a folder does not need

    transport_error = errors.HTTPError  # type: ignore[attr-defined]  # of httpx or httpx2, whichever the client has

    try:
        commit = HfApi(**connection).dataset_info(name, revision=revision, timeout=_PATIENCE).sha
    except errors.RevisionNotFoundError as error:
        raise StartError(f"{name}: has no tag, branch or commit {revision}") from error
    except errors.HfHubHTTPError as error:
        raise StartError(
            f"{name}: not on the Hub, or not yours to read ({first_line(error)}); a folder: ./{name}"
        ) from error
    except (transport_error, ConnectionError) as error:
        raise StartError(
            f"{name}: there is no folder of that name, and the Hub cannot be reached: {first_line(error)}"
        ) from error
    filesystem = HfFileSystem(skip_instance_cache=True, **connection)
    return PublishedFiles(filesystem, f"datasets/{name}@{commit}", commit)


def open_published(target: Target, revision: str | None = None, *, even_interrupted: bool = False) -> PublishedFiles:
    """The data set at TARGET, a folder or `user/name`; StartError if there is none.

    even_interrupted: see `open_whole`.
    """
    if not isinstance(target, (str, os.PathLike)):
        raise TypeError(f"target: takes a folder, or user/name on the Hub, not {ascii(target)[:80]}")
    if revision is not None and not isinstance(revision, str):
        raise TypeError(f"revision: takes a tag, a branch or a commit, not {ascii(revision)[:80]}")
    if isinstance(target, str) and is_hub_name(target):
        return open_hub(target, revision)
    if not os.fspath(target):
        raise StartError("target: is empty; name a folder, or user/name on the Hub")
    folder = Path(target)
    if not os.path.isdir(folder):  # noqa: PTH112  # Path.is_dir raises for a name that is too long
        raise StartError(f"{printable(str(target), 200)}: {_missing(str(target))}")
    if revision is not None:
        raise StartError(f"{target}: a folder has no revisions")
    return open_whole(folder, even_interrupted=even_interrupted)


def _missing(target: str) -> str:
    """The reason why a folder has no data set, for messages."""
    address = _HUB_ADDRESS.match(target)
    if address:
        return f"no such folder; the data set on the Hub is called {address['name']}"
    try:
        is_there = Path(target).exists()
    except OSError as error:
        return system_says(error)
    return "is a file, not the folder of a data set; name the folder" if is_there else "no such folder"


def first_line(error: BaseException) -> str:
    """The message of a client's error, cut to one line."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()
