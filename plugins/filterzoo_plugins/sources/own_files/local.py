"""Local weight files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Annotated, ClassVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import Field, field_validator

from filterzoo import Artifact, Checkpoint, Licence, LocalFile, Refusal, Source, SourceOptions, StartError, hookimpl
from filterzoo_plugins.sources.files.weight_files import passed_over, unlisted
from filterzoo_plugins.sources.own_files.facts_table import read_table


class LocalOptions(SourceOptions):
    """`paths`: globs, `**` crosses folders. `license`: of all these files, since they state none.

    `facts`: a table of facts, CSV or YAML: its keys are ids or globs, its columns those of `models` (architecture,
    task, training_dataset, robust, pair_id, clean_accuracy, ...) and `license`.
    """

    paths: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    license: str | None = None
    facts: str | None = None

    @field_validator("license")
    @classmethod
    def _is_known(cls, value: str | None) -> str | None:
        if value is not None and Licence.parse(value).expression is None:
            raise ValueError(f"{value!r} is not an SPDX licence, such as apache-2.0; leave it out if it is unknown")
        return value


class LocalSource(Source[LocalOptions]):
    """Files that globs match, relative to the manifest. Every file matched is a checkpoint, side files too.

    The id is the path from the manifest's folder, the revision the start of the content's sha256: a changed file is a
    new revision. Discovery therefore reads the files. Links are followed. Files in the same folders whose names
    continue after a pattern's ending (`x.pth.tar` for `*.pth`) go to the ledger.
    """

    name: ClassVar[str] = "local"

    def discover(self) -> Iterator[Checkpoint | Refusal]:
        """See `Source.discover`; StartError for a pattern that matches no file."""
        options = self.options
        facts = read_table(options.facts, self.folder, licences=True)
        found = {path for pattern in options.paths for path in self._matches(pattern)}
        for path in sorted(found, key=PurePath.as_posix):
            yield facts.with_facts(self._checkpoint(path, options.license))
        yield from self._passed_over(found)

    def open(self, artifact: Artifact) -> LocalFile:
        """See `Source.open`."""
        return LocalFile(self.folder / os.fsdecode(unquote_to_bytes(artifact.url)))

    def _matches(self, pattern: str) -> list[Path]:
        """All matches except folders; a broken link or a pipe is refused when it is opened, and so in the ledger."""
        try:
            paths = [path for path in _glob(self.folder, pattern) if not path.is_dir()]
        except (OSError, ValueError, NotImplementedError) as error:
            raise StartError(f"local: cannot look for {pattern!r} in {self.folder}: {error}") from error
        if not paths:
            raise StartError(f"local: no file matches {pattern!r} in {self.folder}")
        return paths

    def _passed_over(self, found: set[Path]) -> Iterator[Refusal]:
        """An entry for each folder with files whose names continue after a pattern's ending."""
        endings = {PurePath(pattern).suffix for pattern in self.options.paths} - {""}
        for folder in sorted({path.parent for path in found}, key=PurePath.as_posix):
            names = {path.name for path in found if path.parent == folder}
            try:
                others = unlisted((path.name for path in folder.iterdir() if not path.is_dir()), names)
            except OSError:
                continue
            longer = [name for name in others if any(f"{ending}." in name for ending in endings)]
            if longer:
                owner = PurePath(os.path.relpath(folder, self.folder)).as_posix()
                shown = os.fsencode(owner).decode("utf-8", "backslashreplace")
                names_shown = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in longer]
                yield passed_over(
                    shown, "unlisted", names_shown, "look like weights, and no pattern of `paths` fits them"
                )

    def _checkpoint(self, path: Path, licence: str | None) -> Checkpoint:
        relative = os.path.relpath(path, self.folder)
        encoded = os.fsencode(PurePath(relative).as_posix())
        shown = encoded.decode("utf-8", "backslashreplace")
        content = _content(path)
        size, sha256 = content or (None, None)
        revision = f"sha256:{sha256[:16]}" if sha256 else "unreadable"
        artifact = Artifact(url=quote_from_bytes(encoded), name=shown.rpartition("/")[2], size=size, sha256=sha256)
        return Checkpoint(id=shown, revision=revision, artifacts=(artifact,), licence=licence)


def _glob(folder: Path, pattern: str) -> Iterable[Path]:
    if PurePath(pattern).is_absolute():
        anchor = Path(PurePath(pattern).anchor)
        return anchor.glob(str(PurePath(pattern).relative_to(anchor)))
    return folder.glob(pattern)


def _content(path: Path) -> tuple[int, str] | None:
    """Size in bytes and sha256 in hex of a regular file; None for anything else, and for an unreadable one."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        pass
    return None


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [LocalSource]
