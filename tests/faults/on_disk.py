"""A digest of the state of a folder: equal digests mean that a command that reads only the disk behaves the same."""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

JOURNAL = ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm")
"""SQLite's files. The write-ahead log contains random salts; -shm is recreated when the database is opened."""
SETTINGS = ("integrity_check", "user_version", "application_id", "journal_mode", "page_size", "auto_vacuum")
CHANCE = (
    rb"/(?:scratch|writing)/([0-9a-f]{16})(?![0-9a-f])",
    rb"/sockets/(\d+)",
    rb'"token": "([0-9a-f]{32})"',
    rb'"kept": ([0-9.]+)',
    rb"INSERT INTO \"sources\" VALUES\([^()]*'([0-9-]+T[0-9:.]+Z)',\d+\)",
    rb"INSERT INTO \"sources\" VALUES\([^()]*'[0-9-]+T[0-9:.]+Z',(\d+)\)",
)
"""Random names, process ids, times of day and their checksums: they differ between two runs up to the same call."""


def name_of_state(folder: Path) -> str:
    """The sha256 of every path below `folder` with its mode and bytes; of a readable journal, of its content.

    Random values are replaced by numbers in order of appearance, so that only their equality counts. Modification
    times are ignored.
    """
    parts = list(_parts(folder))
    numbers: dict[bytes, bytes] = {}
    for part in parts:
        for pattern in CHANCE:
            for found in re.findall(pattern, part):
                numbers.setdefault(found, b"<%d>" % len(numbers))
    digest = hashlib.sha256()
    for part in parts:
        for found, number in numbers.items():
            part = part.replace(found, number)  # noqa: PLW2901  # step by step
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _parts(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.rglob("*")):
        if path.name in JOURNAL[1:] and path.with_name(JOURNAL[0]).exists():
            continue
        mode = path.lstat().st_mode
        yield f"/{path.relative_to(folder)}".encode()
        yield oct(mode).encode()
        if path.name == JOURNAL[0]:
            yield from _journal(path)
        elif stat.S_ISREG(mode):
            yield path.read_bytes()


def _journal(path: Path) -> Iterator[bytes]:
    """The journal's SQL dump and settings, read from a copy; the bytes of its files if SQLite finds it damaged."""
    files = [path.with_name(name) for name in JOURNAL[:2] if path.with_name(name).exists()]
    yield str([file.name for file in files]).encode()
    with tempfile.TemporaryDirectory() as copies:
        for file in files:
            shutil.copyfile(file, Path(copies) / file.name)
        with closing(sqlite3.connect(Path(copies) / path.name)) as database:
            try:
                settings = [str(database.execute(f"PRAGMA {name}").fetchall()) for name in SETTINGS]
                found = [*settings, *database.iterdump()] if settings[0] == "[('ok',)]" else []
            except sqlite3.Error:
                found = []
    yield from (line.encode() for line in found)
    if not found:
        yield from (file.read_bytes() for file in files)
