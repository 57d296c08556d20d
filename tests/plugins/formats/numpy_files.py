"""Writes good and hostile npy and npz files, byte by byte and without NumPy."""

from __future__ import annotations

import io
import struct
import zipfile

from filterzoo.errors import Reason

EVIL = b"cos\nsystem\n(S'true'\ntR."
"""A pickle that would run a program."""


def npy_header(descr: str = "'<f4'", shape: str = "(3, 3)", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def npy_bytes(header: str | bytes | None = None, data: bytes = bytes(36), version: int = 1) -> bytes:
    text = npy_header().encode() if header is None else header.encode() if isinstance(header, str) else header
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def npz_bytes(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members:
            information = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            information.compress_type = method
            archive.writestr(information, data)
    return stream.getvalue()


def twice(name: str, first: bytes, second: bytes) -> bytes:
    """Two members of one name, which Python's own writer warns of."""
    other = name[:-1] + "_"
    return npz_bytes((name, first), (other, second)).replace(other.encode(), name.encode())


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


_CODE = "{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').system('true'),), }\n"
_DEFLATED = npz_bytes(("w.npy", npy_bytes()), method=zipfile.ZIP_DEFLATED)
_BOMB = npy_bytes(npy_header(shape="(25000000,)"), bytes(100_000_000))
_LARGE = npy_bytes(npy_header(shape="(10000000,)"), bytes(40_000_000))

HOSTILE_NPY: dict[str, tuple[bytes, Reason]] = {
    "magic alone": (b"\x93NUMPY", Reason.MALFORMED),
    "no header": (b"\x93NUMPY\1\0", Reason.MALFORMED),
    "version 9": (npy_bytes(version=9), Reason.UNSUPPORTED),
    "header of 4 GB": (b"\x93NUMPY\2\0" + struct.pack("<I", 0xFFFFFFF0) + b"{", Reason.LIMIT),
    "header past the end": (b"\x93NUMPY\1\0" + struct.pack("<H", 900) + b"{", Reason.MALFORMED),
    "header with a call": (npy_bytes("__import__('os').system('true')\n"), Reason.MALFORMED),
    "shape with a call": (npy_bytes(_CODE), Reason.MALFORMED),
    "shape that is a sum": (npy_bytes(npy_header(shape="(1+2, 3)")), Reason.MALFORMED),
    "shape that is a list": (npy_bytes(npy_header(shape="[3, 3]")), Reason.MALFORMED),
    "shape that is a number": (npy_bytes(npy_header(shape="9")), Reason.MALFORMED),
    "shape in brackets": (npy_bytes(npy_header(shape="(9)")), Reason.MALFORMED),
    "negative shape": (npy_bytes(npy_header(shape="(-3, -3)")), Reason.MALFORMED),
    "float shape": (npy_bytes(npy_header(shape="(3.0, 3)")), Reason.MALFORMED),
    "shape of 100 digits": (npy_bytes(npy_header(shape=f"({'9' * 100},)")), Reason.MALFORMED),
    "2^60 numbers": (npy_bytes(npy_header(shape="(1073741824, 1073741824)")), Reason.MALFORMED),
    "80 GB": (npy_bytes(npy_header(shape="(20000000000,)")), Reason.MALFORMED),
    "100 axes": (npy_bytes(npy_header(shape="(" + "1, " * 100 + ")"), bytes(4)), Reason.LIMIT),
    "9,000 nested brackets": (npy_bytes("(" * 4500 + ")" * 4500), Reason.MALFORMED),
    "18,000 nested brackets": (npy_bytes("(" * 9000 + ")" * 9000, version=2), Reason.LIMIT),
    "objects": (npy_bytes(npy_header("'|O'", "(1,)"), EVIL), Reason.UNSUPPORTED),
    "structures": (npy_bytes(npy_header("[('a', '|O')]", "(1,)"), EVIL), Reason.UNSUPPORTED),
    "big-endian long double": (npy_bytes(npy_header("'>f16'", "(2,)"), bytes(32)), Reason.UNSUPPORTED),
    "long double": (npy_bytes(npy_header("'<f16'", "(2,)"), bytes(32)), Reason.UNSUPPORTED),
    "untyped bytes": (npy_bytes(npy_header("'|V2'", "(2,)"), bytes(4)), Reason.UNSUPPORTED),
    "dtype that is no dtype": (npy_bytes(npy_header("'evil'")), Reason.UNSUPPORTED),
    "dtype that is a number": (npy_bytes(npy_header("4")), Reason.MALFORMED),
    "text": (npy_bytes(npy_header("'<U3'", "(3,)")), Reason.UNSUPPORTED),
    "order that is a word": (npy_bytes(npy_header(order="'False'")), Reason.MALFORMED),
    "key twice": (npy_bytes("{'shape': (3, 3), " + npy_header()[1:]), Reason.MALFORMED),
    "key missing": (npy_bytes("{'descr': '<f4', 'shape': (3, 3), }\n"), Reason.MALFORMED),
    "unknown key": (npy_bytes("{'more': 1, " + npy_header()[1:]), Reason.MALFORMED),
    "text behind the header": (npy_bytes(npy_header().strip() + "; import os\n"), Reason.MALFORMED),
    "cut by one byte": (npy_bytes(data=bytes(35)), Reason.MALFORMED),
    "bytes behind the data": (npy_bytes(data=bytes(37)), Reason.MALFORMED),
}

HOSTILE_NPZ: dict[str, tuple[bytes, Reason]] = {
    "100 MB out of 100 kB": (npz_bytes(("w.npy", _BOMB), method=zipfile.ZIP_DEFLATED), Reason.LIMIT),
    "three arrays of 40 MB out of 120 kB": (
        npz_bytes(("a.npy", _LARGE), ("b.npy", _LARGE), ("c.npy", _LARGE), method=zipfile.ZIP_DEFLATED),
        Reason.LIMIT,
    ),
    "declared larger than stored": (
        npz_bytes(("w.npy", npy_bytes(npy_header(shape="(1000000000,)"))), method=zipfile.ZIP_DEFLATED),
        Reason.MALFORMED,
    ),
    "objects": (npz_bytes(("w.npy", npy_bytes(npy_header("'|O'", "(1,)"), EVIL))), Reason.UNSUPPORTED),
    "two arrays of one name": (twice("w.npy", npy_bytes(), npy_bytes(data=b"\1" * 36)), Reason.UNSAFE),
    "name outside": (npz_bytes(("../../w.npy", npy_bytes())), Reason.UNSAFE),
    "member that is no array": (npz_bytes(("w.npy", b"hello")), Reason.MALFORMED),
    "empty member": (npz_bytes(("w.npy", b"")), Reason.MALFORMED),
    "member cut short": (npz_bytes(("w.npy", npy_bytes(data=bytes(20)))), Reason.MALFORMED),
    "cut in half": (_DEFLATED[: len(_DEFLATED) // 2], Reason.MALFORMED),
    "cut by one byte": (_DEFLATED[:-1], Reason.MALFORMED),
    "broken deflate": (_flip(_DEFLATED, 35), Reason.DAMAGED),
    "bytes before the zip": (b"PK\3\4" + bytes(500) + npz_bytes(("w.npy", npy_bytes())), Reason.UNSAFE),
    "bzip2": (npz_bytes(("w.npy", npy_bytes()), method=zipfile.ZIP_BZIP2), Reason.UNSUPPORTED),
}
