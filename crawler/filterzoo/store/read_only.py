"""Opens SQLite files for reading, also in read-only folders."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path
from urllib.parse import quote


def open_read_only(path: Path, undo: contextlib.ExitStack) -> sqlite3.Connection:
    """The database for reading, also in a read-only folder, where SQLite cannot use a write-ahead log."""
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    with contextlib.suppress(sqlite3.OperationalError), contextlib.ExitStack() as failed:
        database = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=60)
        failed.callback(database.close)
        database.execute("SELECT count(*) FROM sqlite_master").fetchall()
        failed.pop_all()
        return database
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="filterzoo-journal-")))
        for file in (path, log):
            shutil.copyfile(file, folder / file.name)
        return sqlite3.connect(folder / path.name, isolation_level=None)
    return sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
