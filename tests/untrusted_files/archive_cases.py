"""Good and hostile archives for the battery: models in zips and tars, and members that would leave them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

from tests.plugins.formats import onnx_files, safetensors_files, torch_files
from tests.plugins.formats.numpy_files import twice

from filterzoo.errors import Reason

Verdict = Reason | str
MODEL = torch_files.TorchZip().bytes()
SAFETENSORS = safetensors_files.safetensors_bytes({"conv.weight": safetensors_files.entry(0, 36, [1, 1, 3, 3])})
Member = tuple[str, bytes, bytes, str]


def tar(*members: Member, pax: bool = False) -> bytes:
    """Members are (name, content, type, link target)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT) as archive:
        for name, content, kind, target in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, target, len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def regular(name: str, content: bytes = MODEL) -> Member:
    return name, content, tarfile.REGTYPE, ""


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            archive.writestr(entry, content)
    return stream.getvalue()


def nested(depth: int) -> bytes:
    made = zipped(("model.pt", MODEL))
    for _ in range(depth):
        made = zipped(("inner.zip", made))
    return made


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def zip_cases() -> dict[str, tuple[bytes, Verdict]]:
    weights = zipped(("m/model.safetensors", SAFETENSORS))
    last = weights.index(SAFETENSORS) + len(SAFETENSORS) - 4
    deflated = zipped(("m/model.safetensors", SAFETENSORS), method=zipfile.ZIP_DEFLATED)
    external = onnx_files.one_conv(onnx_files.external(location="w.bin"))
    return {
        "a model": (zipped(("weights/model.pt", MODEL)), "accept"),
        "a model and a readme": (zipped(("README.md", b"hello"), ("model.safetensors", SAFETENSORS)), "accept"),
        "a deflated model": (zipped(("model.pt", MODEL), method=zipfile.ZIP_DEFLATED), "accept"),
        "a zip in a zip": (nested(1), "accept"),
        "control characters in the name": (zipped(("a\1b\n<script>.pt", MODEL)), "accept"),
        "a name that turns the text": (zipped(("ab\u202etp.exe", MODEL)), "accept"),
        "a name of 5,000 letters": (zipped(("a" * 5000 + ".pt", MODEL)), "accept"),
        "a name outside": (zipped(("../../evil.pt", MODEL)), Reason.UNSAFE),
        "an absolute name": (zipped(("/tmp/evil.pt", MODEL)), Reason.UNSAFE),
        "backslashes": (zipped(("..\\..\\evil.pt", MODEL)), Reason.UNSAFE),
        "a drive": (zipped(("C:/evil.pt", MODEL)), Reason.UNSAFE),
        "thirteen zips in one another": (nested(13), Reason.LIMIT),
        "200 MB of zeros": (zipped(("m.pt", bytes(200_000_000)), method=zipfile.ZIP_DEFLATED), "refuse"),
        "a member twice": (twice("model.pt", MODEL, MODEL), Reason.UNSAFE),
        "two models": (zipped(("a.pt", MODEL), ("b.pt", MODEL)), Reason.UNSUPPORTED),
        "no model": (zipped(("README.md", b"hello")), Reason.UNKNOWN_FORMAT),
        "nothing": (zipped(), "refuse"),
        "a model with a flipped bit": (_flipped(weights, last), Reason.DAMAGED),
        "broken deflate": (_flipped(deflated, 60), Reason.DAMAGED),
        "LZMA": (zipped(("model.pt", MODEL), method=zipfile.ZIP_LZMA), Reason.UNSUPPORTED),
        "weights beside a model in it": (zipped(("m.onnx", external), ("w.bin", bytes(432))), "accept"),
        "weights above a model in it": (zipped(("a/m.onnx", external), ("w.bin", bytes(432))), Reason.MALFORMED),
        "weights beside a model in it, twice": (
            zipped(("a/m.onnx", external), ("a/w.bin", bytes(432)), ("a/./w.bin", bytes(432))), "safe"),
        "cut in half": (weights[: len(weights) // 2], Reason.MALFORMED),
    }  # fmt: skip


def tar_cases() -> dict[str, tuple[bytes, Verdict]]:
    good = tar(regular("weights/model.pt"))
    evil = regular("model.pt")
    return {
        "a model": (good, "accept"),
        "a model, pax": (tar(regular("ü" * 200 + ".pt"), pax=True), "accept"),
        "gzip": (gzip.compress(good, mtime=0), "accept"),
        "bzip2": (bz2.compress(good), "accept"),
        "xz": (lzma.compress(good), "accept"),
        "two gzip members": (gzip.compress(good[:700], mtime=0) + gzip.compress(good[700:], mtime=0), "accept"),
        "a name outside": (tar(regular("../evil.pt")), Reason.UNSAFE),
        "an absolute name": (tar(regular("/tmp/evil.pt")), Reason.UNSAFE),
        "a name outside, pax": (tar(regular("../" + "ü" * 200 + ".pt"), pax=True), Reason.UNSAFE),
        "a symbolic link": (tar(("a", b"", tarfile.SYMTYPE, "/tmp"), evil), Reason.UNSAFE),
        "a hard link": (tar(("a", b"", tarfile.LNKTYPE, "/etc/passwd"), evil), Reason.UNSAFE),
        "a device": (tar(("d", b"", tarfile.CHRTYPE, ""), evil), Reason.UNSAFE),
        "a pipe": (tar(("f", b"", tarfile.FIFOTYPE, ""), evil), Reason.UNSAFE),
        "cut": (good[:1500], Reason.MALFORMED),
        "a wrong checksum": (_flipped(good, 100), "refuse"),
        "a size that is no number": (good.replace(good[124:136], b"\xff" * 12, 1), "refuse"),
        "100 MB of zeros in gzip": (gzip.compress(tar(regular("m.pt", bytes(100_000_000))), mtime=0), "refuse"),
        "200 MB of zeros in bzip2": (bz2.compress(tar(regular("m.pt", bytes(200_000_000)))), Reason.LIMIT),
        "gzip cut short": (gzip.compress(good, mtime=0)[:-20], "refuse"),
        "gzip with a flipped bit": (_flipped(gzip.compress(good, mtime=0), 200), Reason.DAMAGED),
        "gzip of no tar": (gzip.compress(MODEL, mtime=0), Reason.UNSUPPORTED),
        "no model": (tar(regular("README.md", b"hello")), Reason.UNKNOWN_FORMAT),
        "two models": (tar(regular("a.pt"), regular("b.pt")), Reason.UNSUPPORTED),
    }
