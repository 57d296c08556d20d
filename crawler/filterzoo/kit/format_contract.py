"""The contract of formats, rule by rule: `accepts` is checked in this process, `index` in the real jail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from filterzoo.archive import Archive
from filterzoo.errors import Reason, Refused, StartError, describe
from filterzoo.files import LocalFile
from filterzoo.format import HEAD_BYTES, Format
from filterzoo.jail import Jail
from filterzoo.jail.limits import JailLimits
from filterzoo.kit.damage import DamagedCopy, HeldFile, cut_short, damaged
from filterzoo.kit.findings import SHOWN, Finding, finding, name_faults, unchecked
from filterzoo.kit.foreign_heads import foreign_heads
from filterzoo.layers.normalise import read
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Index
from filterzoo.references import PluginReference

MAX_SAMPLE = 64_000_000
"""Largest sample in bytes; it is read some two hundred times."""
LIMITS = JailLimits(cpu_seconds=2)

DECLINES = "accepts declines what is not of this format"
SHORT = "accepts takes first bytes of any length"
READS = "the jail reads {}, and every convolution in it"
CUT = "{} cut short is refused with a reason, or read as far as it goes"
DAMAGED = "{} with other bytes in it is refused with a reason, or read"


def format_findings(reference: PluginReference, format_: Format, samples: Sequence[Path]) -> Iterator[Finding]:
    """Every rule in turn. `samples`: valid files of the format; StartError for an unreadable one."""
    subject = f"format {format_.name}"
    data = [sample_bytes(path) for path in samples]
    yield finding(subject, "its name is made of [a-z0-9_]", name_faults(format_.name))
    yield finding(subject, DECLINES, acceptance_faults(format_))
    yield finding(subject, SHORT, short_faults(format_, data))
    if not samples:
        yield unchecked(subject, "files are read", "give good files of the format, each with --sample FILE")
    with Jail([reference], LIMITS) as jail:
        for path, content in zip(samples, data, strict=True):
            yield finding(subject, READS.format(path.name), _reading_faults(jail, format_, path))
            yield finding(subject, CUT.format(path.name), survival_faults(jail, path, cut_short(content)))
            yield finding(subject, DAMAGED.format(path.name), survival_faults(jail, path, damaged(content)))


def claims(format_: Format | Archive, sample: Path) -> bool:
    """The result of `accepts` for a sample; StartError for a sample that cannot be read."""
    return _accepts(format_, sample_bytes(sample)[:HEAD_BYTES], sample.name) is True


def sample_bytes(path: Path) -> bytes:
    """The bytes of a sample; StartError if it cannot be read."""
    try:
        with LocalFile(path) as file:
            if not 0 < file.size <= MAX_SAMPLE:
                raise StartError(f"--sample {path}: {file.size} bytes; give a file of 1 to {MAX_SAMPLE} bytes")
            return file.read(0, file.size)
    except Refused as refusal:
        raise StartError(f"--sample {path}: {refusal.detail}") from refusal


def _accepts(format_: Format | Archive, head: bytes, name: str) -> bool | str:
    """Its result, or the exception that it raised."""
    try:
        return bool(format_.accepts(head, name))
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin may raise anything; it is reported
        return f"raised {describe(error)}"


def acceptance_faults(format_: Format | Archive) -> list[str]:
    """Foreign files that it accepts. A page must be rejected under any name."""
    faults: dict[str, None] = {}
    for head in foreign_heads():
        if format_.name in head.owners:
            continue
        for name in ("", "model.bin", *([f"model.{format_.name}"] if head.is_page else [])):
            accepted = _accepts(format_, head.data[:HEAD_BYTES], name)
            if accepted is not False:
                faults[f"of {head.what} it {'says that it is one' if accepted is True else accepted}"] = None
    return list(faults)


def short_faults(format_: Format | Archive, samples: Iterable[bytes]) -> list[str]:
    """Exceptions of `accepts` for first bytes of different lengths."""
    faults: dict[str, None] = {}
    for data in (*samples, *(head.data for head in foreign_heads())):
        for length in range(min(len(data), 80)):
            accepted = _accepts(format_, data[:length], "model.bin")
            if isinstance(accepted, str):
                faults[f"of {length} bytes it {accepted}"] = None
    return list(faults)


def _reading_faults(jail: Jail, format_: Format, path: Path) -> list[str]:
    """The table as the crawler receives it, and the bytes it refers to."""
    try:
        with LocalFile(path) as file:
            index = jail.index(file, path.name)
            _read_all(file, index)
    except Refused as refusal:
        return [f"it is refused: {refusal}"]
    if index.format != format_.name:
        return [f"the format {index.format} of the same plugin takes it first"]
    if not index.convolutions:
        arrays = f"{index.tensor_count} arrays were listed, and none is named and shaped like a convolution's weight"
        return [f"no convolution was found: {arrays} (`filterzoo.layers.selection`)"]
    return []


def _read_all(file: LocalFile, index: Index) -> None:
    with TensorReader(file) as reader:
        reader.check(index.containers)
        for tensor in index.convolutions:
            read(tensor, reader)


def survival_faults(jail: Jail, path: Path, variants: Iterable[DamagedCopy]) -> list[str]:
    """Results of the format that are neither a table nor a refusal."""
    faults: list[str] = []
    with LocalFile(path) as sample:
        for variant in variants:
            try:
                jail.index(HeldFile(variant.data, sample), path.name)
            except Refused as refusal:
                if _is_fault(refusal):
                    faults.append(f"{variant.what}: {refusal.detail}")
                    if len(faults) > SHOWN or refusal.plugin is None:
                        break  # a child that crashed or hung costs seconds
    return faults


def _is_fault(refusal: Refused) -> bool:
    """A correct format refuses malformed input itself; the jail is only the safety net."""
    if refusal.plugin is not None or refusal.reason is Reason.CRASHED:
        return True
    return refusal.reason is Reason.LIMIT and refusal.detail.startswith(("indexing needs more", "reading took longer"))
