"""Files in an object store or on a server, through fsspec, with retries."""

from __future__ import annotations

import errno
import io
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import pyarrow as pa
import tenacity

from filterzoo.errors import FilterZooError, StartError, StorageFailed, describe
from filterzoo.store.objects.base import Objects, check_url

Result = TypeVar("Result")

PATIENCE = 300.0
"""Seconds for which an operation is retried; then the run ends, and the next run continues."""
AT_START = 20.0
"""The same for the first operation, so that a wrong address or missing permissions are reported soon."""
READ_AHEAD = 4_000_000
_ADVICE = "check the URL, and the address and credentials in the environment that its library reads (for s3, AWS_*)"
_PERMANENT = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    ImportError,
    TypeError,
    ValueError,
    FilterZooError,
)
"""Permanent errors; any other exception may be a transient error of the network or the store."""
_NO_CREDENTIALS = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "CredentialUnavailableError"}
)
"""Names of the errors of the clouds' libraries, which may be absent: credentials are not set. Permanent too."""
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "memory"})
"""Protocols with atomic uploads; with others, a finished temporary file is renamed."""
_CONDITIONAL = frozenset({"s3", "s3a"})
"""Protocols with conditional uploads, which fail if the file exists (`If-None-Match: *`)."""


class RemoteObjects(Objects):
    """Files below `url`. StorageFailed if the store fails for longer than `patience` seconds."""

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        check_url(url)
        self._url = url
        self._patience = patience
        try:
            self._filesystem, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError, OSError) as error:
            raise StartError(f"--store {url}: cannot be opened: {describe(error)}") from error
        self._root = str(root).rstrip("/")
        protocol = self._filesystem.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        self._is_whole = bool(names & _WHOLE)
        self._is_conditional = bool(names & _CONDITIONAL)

    def check(self) -> None:
        """See `Objects.check`: it can be reached and listed."""
        try:
            self._patiently("listed", lambda: self._filesystem.ls(self._root, detail=False), AT_START)
        except FileNotFoundError:
            return  # it is empty; the first write shows whether it is writable
        except (StorageFailed, OSError, ValueError, TypeError) as error:
            raise StartError(f"--store {self._url}: cannot be used: {_text(_origin(error))}; {_ADVICE}") from error

    def keep(self, written: Path, path: str) -> None:
        """See `Objects.keep`."""
        self._write(written, path, is_content=True)

    def replace(self, written: Path, path: str) -> None:
        """See `Objects.replace`."""
        self._write(written, path, is_content=False)

    def open(self, path: str) -> Any:
        """See `Objects.open`: read by byte ranges, on demand."""
        return pa.PythonFile(self.stream(path), mode="r")

    def stream(self, path: str) -> io.BufferedReader:
        """See `Objects.stream`."""
        size = int(self._patiently("read", lambda: self._filesystem.info(self._full(path)))["size"])
        return io.BufferedReader(_RangedFile(lambda first, end: self._range(path, first, end), size), READ_AHEAD)

    def read(self, path: str) -> bytes:
        """See `Objects.read`."""
        return bytes(self._patiently("read", lambda: self._filesystem.cat_file(self._full(path))))

    def link_or_copy(self, path: str, place: Path, *, as_link: bool) -> None:
        """See `Objects.link_or_copy`: a copy."""
        del as_link
        self._patiently("read", lambda: self._filesystem.get_file(self._full(path), str(place)))
        size = int(self._patiently("read", lambda: self._info(path))["size"])
        if place.stat().st_size != size:
            raise OSError(errno.EIO, f"{place.stat().st_size} bytes came of {path}, which has {size}")

    def exists(self, path: str) -> bool:
        """See `Objects.exists`."""
        try:
            self._patiently("read", lambda: self._info(path))
        except FileNotFoundError:
            return False
        return True

    def paths(self) -> list[str]:
        """See `Objects.paths`."""
        self._filesystem.invalidate_cache()
        found = self._patiently("listed", lambda: self._filesystem.find(self._root))
        return sorted(str(path)[len(self._root) :].lstrip("/") for path in found)

    def remove(self, path: str) -> None:
        """See `Objects.remove`."""
        self._patiently("written to", lambda: self._filesystem.rm_file(self._full(path)))

    def set_aside(self, path: str) -> None:
        """See `Objects.set_aside`."""
        self._patiently("written to", lambda: self._rename(self._full(path), f"{self._root}.aside/{path}"))

    def age_of(self, path: str) -> float:
        """See `Objects.age_of`."""
        try:
            return float(self._filesystem.modified(self._full(path)).timestamp())
        except (NotImplementedError, OSError, KeyError, AttributeError):
            return 0.0

    def _write(self, written: Path, path: str, *, is_content: bool) -> None:
        """Converts every error to StorageFailed: all other checkpoints would fail as well."""
        try:
            self._patiently("written to", lambda: self._upload(written, path, is_content=is_content))
        except (OSError, ValueError, TypeError, NotImplementedError, ImportError) as error:
            raise StorageFailed(f"the store {self._url} cannot be written to: {_text(error)}") from error
        written.unlink()

    def _upload(self, written: Path, path: str, *, is_content: bool) -> None:
        """One attempt. A failed multipart upload is aborted by the file system, and no part of it becomes visible."""
        size, full = written.stat().st_size, self._full(path)
        if not self._is_whole:
            part = f"{self._root}/{secrets.token_hex(8)}.part"
            self._filesystem.makedirs(full.rpartition("/")[0], exist_ok=True)
            self._filesystem.put_file(str(written), part)
            self._rename(part, full)
        elif is_content and self._is_conditional:
            self._create(written, path)
        else:
            self._filesystem.put_file(str(written), full)
        if (found := self._info(path)["size"]) != size:
            raise OSError(errno.EIO, f"{full} has {found} bytes after an upload of {size}")

    def _create(self, written: Path, path: str) -> None:
        """Upload unless the file exists; one of another size is incomplete, and is replaced."""
        try:
            self._filesystem.put_file(str(written), self._full(path), mode="create")
        except OSError as error:
            if error.errno == errno.ENOSYS:
                self._is_conditional = False
            elif not self.exists(path):
                raise
            elif self._info(path)["size"] == written.stat().st_size:
                return
            self._filesystem.put_file(str(written), self._full(path))

    def _rename(self, path: str, place: str) -> None:
        self._filesystem.makedirs(place.rpartition("/")[0], exist_ok=True)
        self._filesystem.mv(path, place)

    def _info(self, path: str) -> dict[str, Any]:
        """The current size, not a cached one."""
        full = self._full(path)
        self._filesystem.invalidate_cache(full.rpartition("/")[0])
        return dict(self._filesystem.info(full))

    def _range(self, path: str, first: int, end: int) -> bytes:
        found = self._patiently("read", lambda: self._filesystem.cat_file(self._full(path), start=first, end=end))
        return bytes(found)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _patiently(self, what: str, operation: Callable[[], Result], patience: float | None = None) -> Result:
        """The result of `operation`, with retries of transient errors; then StorageFailed."""
        retries = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            stop=tenacity.stop_after_delay(self._patience if patience is None else min(patience, self._patience)),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=20),
            reraise=True,
        )
        try:
            return retries(operation)
        except _PERMANENT:
            raise
        except Exception as error:
            raise StorageFailed(
                f"the store {self._url} cannot be {what}: {_text(error)}; run the same command again to continue"
            ) from error


class _RangedFile(io.RawIOBase):
    """A file of `size` bytes; `fetch(first, end)` returns those of a byte range."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase.seek`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def tell(self) -> int:
        """See `io.RawIOBase.tell`."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase.readinto`; OSError if the store returns fewer bytes than stated."""
        end = min(self._place + len(buffer), self._size)
        if end <= self._place:
            return 0
        found = self._fetch(self._place, end)
        if len(found) != end - self._place:
            raise OSError(errno.EIO, f"{len(found)} bytes came for a range of {end - self._place}")
        buffer[: len(found)] = found
        self._place = end
        return len(found)


def _may_pass(error: BaseException) -> bool:
    lacks_credentials = any(kind.__name__ in _NO_CREDENTIALS for kind in type(error).__mro__)
    return isinstance(error, Exception) and not isinstance(error, _PERMANENT) and not lacks_credentials


def _origin(error: BaseException) -> BaseException:
    """The store's error that a StorageFailed was raised from; any other error itself."""
    return error.__cause__ if isinstance(error, StorageFailed) and error.__cause__ else error


def _text(error: BaseException) -> str:
    """The first line of the error's message."""
    return " ".join(describe(error).split())[:300]
