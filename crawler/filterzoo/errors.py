"""All errors that FilterZoo raises, and the enumerations of reasons and stages for checkpoints that are left out.

What went wrong with one checkpoint is raised as `Refused`. It crosses from the jail to the parent as a message with the
same fields, becomes a `LedgerEntry` in the journal, and a row of the published `skipped`. A source lists a checkpoint
that it cannot fetch as a `Refusal`, which becomes a `LedgerEntry` too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import ClassVar


class Stage(StrEnum):
    """The stage at which a checkpoint or a whole plugin failed.

    The value is published in the `skipped` config and never changes.
    """

    IMPORT = "import"
    """A plugin's module is imported."""
    HOOK = "hook"
    """A plugin's hooks are called."""
    DISCOVER = "discover"
    """A source lists its checkpoints."""
    FETCH = "fetch"
    """The checkpoint's file is opened."""
    INDEX = "index"
    """The file's tensors are listed, in the jail."""
    NORMALISE = "normalise"
    """A tensor's bytes are read and become a layer."""
    MEASURE = "measure"
    """A layer is measured."""
    STORE = "store"
    """The layers become fragments."""
    PUBLISH = "publish"
    """The checkpoint was removed from a published data set."""


class Reason(StrEnum):
    """Why a checkpoint was skipped or failed. The value is in the ledger and the `skipped` config and never changes."""

    LICENCE = "licence"
    """The manifest does not allow the checkpoint's licence."""
    LICENCE_UNKNOWN = "licence_unknown"
    """Neither the zoo nor the file states a recognised licence, and the manifest skips unknown licences."""
    TOO_LARGE = "too_large"
    """Its files are larger than the manifest's `limits.checkpoint_bytes`."""
    TOO_MANY_FILTERS = "too_many_filters"
    """It holds more filters than the manifest's `limits.filters_per_checkpoint`."""
    GATED = "gated"
    """The zoo requires an agreement or a token."""
    REMOVED = "removed"
    """The zoo lists it, but the file is gone."""
    DUPLICATE = "duplicate"
    """The same file of the same revision is also listed under another name, and crawled under that one."""
    TAKEN_DOWN = "taken_down"
    """Its owner asked for its removal; it is blocked from every later release."""
    FETCH_FAILED = "fetch_failed"
    """The network or the server failed after all retries."""
    CHANGED = "changed"
    """The file changed while it was being read, or is not the pinned revision."""
    HASH_MISMATCH = "hash_mismatch"
    """The bytes are not those of the published hash or size."""
    UNKNOWN_FORMAT = "unknown_format"
    """No format accepts these bytes: not a model file (an error page, a text, an empty file)."""
    UNSUPPORTED = "unsupported"
    """A known format in a variant that is not read (a dtype, a compression, a version)."""
    MALFORMED = "malformed"
    """The structure of the file contradicts itself or the format's rules."""
    DAMAGED = "damaged"
    """A checksum inside the file does not match its bytes."""
    UNSAFE = "unsafe"
    """Unsafe references: links, paths outside the file, hidden duplicates."""
    LIMIT = "limit"
    """Reading it would exceed a limit of time, memory, nesting or size."""
    CRASHED = "crashed"
    """The process that read it died."""
    PLUGIN_ERROR = "plugin_error"
    """A source or format plugin raised something that is not one of our errors."""

    @property
    def is_skip(self) -> bool:
        """Whether it was left out on purpose, by the manifest, its zoo or its owner; all other reasons are failures."""
        return self in _SKIPS

    @property
    def is_transient(self) -> bool:
        """Whether the next run of the same command retries."""
        return self in _TRANSIENT


_SKIPS = frozenset(
    {
        Reason.LICENCE,
        Reason.LICENCE_UNKNOWN,
        Reason.TOO_LARGE,
        Reason.TOO_MANY_FILTERS,
        Reason.GATED,
        Reason.REMOVED,
        Reason.DUPLICATE,
        Reason.TAKEN_DOWN,
    }
)
_TRANSIENT = frozenset({Reason.FETCH_FAILED, Reason.CHANGED, Reason.HASH_MISMATCH, Reason.CRASHED, Reason.PLUGIN_ERROR})


class FilterZooError(Exception):
    """Base of all errors of this project: one line that says what, where, why and what to do."""

    exit_code: ClassVar[int] = 2
    """The exit code of `filterzoo` when this error ends it."""


class StartError(FilterZooError):
    """Raised when a command cannot start: a bad manifest, no such target, no work folder. Exit code 2."""


class WorkFolderBusy(StartError):
    """Raised when another process holds the work folder.

    Exit code 3, so that a scheduler can distinguish it from a failure.
    """

    exit_code = 3


class NewerJournal(StartError):
    """Raised for a journal written by a newer version: no command reads, changes or repairs it."""


class StorageFailed(FilterZooError):
    """Raised when a folder of FilterZoo's own cannot be written to.

    It stops the run: every other checkpoint would fail as well.
    """


class Refused(FilterZooError):
    """Raised by any stage for one checkpoint; the run records it in the ledger (`LedgerEntry`) and goes on.

    `where` names the tensor, stored range or byte offset, if there is one. `plugin` names the plugin that raised
    another exception (`plugin_error`). `not_before` is the time until which a host asked to wait, in UTC
    (`2026-12-01T18:00:00Z`). Texts may quote an untrusted file, so they are kept as `storable` gives them.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str,
        where: str | None = None,
        plugin: str | None = None,
        not_before: str | None = None,
    ) -> None:
        super().__init__(reason, detail, where, plugin, not_before)
        self.reason = reason
        self.detail = storable(detail)
        self.where = None if where is None else storable(where)
        self.plugin = plugin
        self.not_before = not_before

    def __str__(self) -> str:
        place = f" (at {self.where})" if self.where else ""
        return f"{self.reason}: {self.detail}{place}"


def plugin_error(plugin: str, what: str, error: BaseException, owner: type | None = None) -> Refused:
    """The refusal of a checkpoint after an unexpected exception in `what`, a part of the plugin `plugin`.

    owner: the plugin's class, for file and line.
    """
    where = line_of(error, owner) if owner is not None else None
    place = f" ({where})" if where else ""
    return Refused(Reason.PLUGIN_ERROR, f"{what} raised {describe(error)}{place}", plugin=plugin)


_DISK_TROUBLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
_ANOTHER_PATH = "name another path"
_REMEDIES = {
    errno.ENOSPC: "free space",
    errno.EDQUOT: "free space",
    errno.EFBIG: "allow larger files (ulimit -f)",
    errno.EROFS: "make it writable",
    errno.EACCES: "change its permissions",
    errno.EPERM: "change its permissions",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.EIO: "check the disk",
    errno.ENOENT: _ANOTHER_PATH,
    errno.ENOTDIR: _ANOTHER_PATH,
    errno.EISDIR: _ANOTHER_PATH,
    errno.EEXIST: _ANOTHER_PATH,
    errno.ENAMETOOLONG: _ANOTHER_PATH,
    errno.ELOOP: _ANOTHER_PATH,
}


def remedy(error: OSError) -> str:
    """The advice for an error of the operating system, such as `free space`."""
    return _REMEDIES.get(error.errno or 0, "remove the cause")


def system_says(error: OSError) -> str:
    """The operating system's message for an error, such as `No space left on device`, without a library's additions."""
    if error.errno is not None and (not error.strerror or "[errno" in error.strerror):
        return os.strerror(error.errno)
    return error.strerror or " ".join(str(error).split())


def raise_disk_trouble(error: OSError, place: str) -> None:
    """StorageFailed if the disk under `place` is full or not writable; other errors are left to the caller."""
    if error.errno in _DISK_TROUBLE:
        raise StorageFailed(
            f"{place} cannot be written to: {system_says(error)}; {remedy(error)} and run the same command again"
        ) from error


@contextlib.contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """StorageFailed that names `place` if its disk is full or not writable; libraries' errors do not name it."""
    try:
        yield
    except OSError as error:
        raise_disk_trouble(error, str(place))
        raise


def raise_failed_disk(error: OSError, place: str) -> None:
    """As `raise_disk_trouble`, also for a disk that fails (EIO): no checkpoint is to blame for it."""
    raise_disk_trouble(error, place)
    if error.errno == errno.EIO:
        raise StorageFailed(f"{place} cannot be written to: {system_says(error)}; see its disk") from error


@contextlib.contextmanager
def on_disk(place: str) -> Iterator[None]:
    """Apply `raise_failed_disk` to errors in the block."""
    try:
        yield
    except OSError as error:
        raise_failed_disk(error, place)
        raise


LONGEST_TEXT = 2000
"""Longest text of an error, in characters."""


def storable(text: str) -> str:
    """The text in a form that tables and databases accept: cut at `LONGEST_TEXT`, lone surrogates escaped."""
    return text[:LONGEST_TEXT].encode("utf-8", "backslashreplace").decode()


def line_of(error: BaseException, owner: type) -> str | None:
    """`file.py, line 3`: the innermost line of a traceback in the file that defines a plugin's class."""
    file = getattr(sys.modules.get(owner.__module__), "__file__", None)
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if file is not None and frame.f_code.co_filename == file]
    return f"{Path(str(file)).name}, line {lines[-1]}" if lines else None


def describe(error: BaseException) -> str:
    """Type and message of an error that third-party code raised, even if computing the message fails."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  # a plugin's error may have a broken __str__
        message = "(its message cannot be had)"
    return storable(f"{type(error).__name__}: {message}")
