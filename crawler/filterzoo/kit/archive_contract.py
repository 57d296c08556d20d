"""The contract of archives, rule by rule: `accepts` is checked in this process, `members` in the real jail."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from filterzoo.archive import Archive, Member
from filterzoo.errors import Refused
from filterzoo.files import LocalFile
from filterzoo.jail import Jail
from filterzoo.kit.damage import cut_short, damaged
from filterzoo.kit.findings import Finding, finding, name_faults, unchecked
from filterzoo.kit.format_contract import (
    CUT,
    DAMAGED,
    DECLINES,
    LIMITS,
    SHORT,
    acceptance_faults,
    sample_bytes,
    short_faults,
    survival_faults,
)
from filterzoo.references import PluginReference

FINDS = "the jail finds the model in {}, and what is packed can be unpacked"


def archive_findings(
    archive: Archive, plugins: Sequence[PluginReference], samples: Sequence[Path]
) -> Iterator[Finding]:
    """Every rule in turn.

    plugins: the archive's own, and those whose formats read the models inside. samples: valid archives of the kind with
    one model each; StartError for an unreadable one.
    """
    subject = f"archive {archive.name}"
    data = [sample_bytes(path) for path in samples]
    yield finding(subject, "its name is made of [a-z0-9_]", name_faults(archive.name))
    yield finding(subject, DECLINES, acceptance_faults(archive))
    yield finding(subject, SHORT, short_faults(archive, data))
    if not samples:
        yield unchecked(subject, "files are read", "give good archives with one model each, each with --sample FILE")
    with Jail(plugins, LIMITS) as jail:
        for path, content in zip(samples, data, strict=True):
            yield finding(subject, FINDS.format(path.name), _finding_faults(jail, path))
            yield finding(subject, CUT.format(path.name), survival_faults(jail, path, cut_short(content)))
            yield finding(subject, DAMAGED.format(path.name), survival_faults(jail, path, damaged(content)))


def _finding_faults(jail: Jail, path: Path) -> list[str]:
    try:
        with LocalFile(path) as file, tempfile.TemporaryFile() as sink:
            found = jail.look(file, path.name)
            if isinstance(found, Member):
                jail.unpack(file, found, sink)
    except Refused as refusal:
        return [f"it is refused: {refusal}"]
    return []
