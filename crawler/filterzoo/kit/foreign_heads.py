"""First bytes of files that a new format or archive must leave to others, or to nobody."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass

from filterzoo.format import HEAD_BYTES


@dataclass(frozen=True, slots=True)
class Head:
    """`owners`: formats and archives that may accept it, by name. is_page: a server gives it instead of any file."""

    what: str
    data: bytes
    owners: frozenset[str] = frozenset()
    is_page: bool = False


def foreign_heads() -> list[Head]:
    """What a crawler meets: pages, texts, pictures, archives, random bytes, and the files of the built-in formats."""
    noise = random.Random(0)
    return [
        Head("an empty file", b"", is_page=True),
        Head("a single zero byte", b"\0"),
        Head("zeros", bytes(HEAD_BYTES)),
        Head("bytes of all ones", b"\xff" * HEAD_BYTES),
        *(Head(f"random bytes ({number})", noise.randbytes(HEAD_BYTES)) for number in range(20)),
        Head("an HTML page", b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n", is_page=True),
        Head("an HTML page after blanks", b"\n\n  <html><body>Not found</body></html>", is_page=True),
        Head("a JSON answer", b'{"error": "Repository not found"}', is_page=True),
        Head("a text", b"# Model card\n\nThis network was trained on ImageNet.\n", is_page=True),
        Head("a git-LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64, is_page=True),
        Head("a PNG picture", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + bytes(17)),
        Head("a PDF file", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
        Head("a program", b"\x7fELF\x02\x01\x01" + bytes(57)),
        Head("gzip data", b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + zlib.compress(b"text"), frozenset({"tar"})),
        Head("a zip of texts", _zip("README.txt"), frozenset({"zip"})),
        Head("a torch zip", _zip("archive/data.pkl"), frozenset({"torch", "zip"})),
        Head("a Keras archive", _zip("metadata.json"), frozenset({"keras", "zip"})),
        Head("an npz file", _zip("w.npy", b"\x93NUMPY\1\0"), frozenset({"npz", "zip"})),
        Head(
            "a legacy torch file", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", frozenset({"torch"})
        ),
        Head("a pickle", b"\x80\x04\x95\x0b\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.", frozenset({"torch"})),
        Head(
            "an npy array",
            b"\x93NUMPY\1\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
            frozenset({"npy"}),
        ),
        Head(
            "a safetensors file",
            struct.pack("<Q", 64) + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            frozenset({"safetensors"}),
        ),
        Head("an HDF5 file", b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0", frozenset({"hdf5"})),
        Head(
            "an ONNX file",
            b"\x08\x08\x12\x07pytorch\x1a\x031.0:\x80\x01\n\x10\n\x01x\x12\x01y\x1a\x01c",
            frozenset({"onnx"}),
        ),
        Head("an MXNet parameter file", struct.pack("<QQQ", 0x112, 0, 1) + bytes(32), frozenset({"mxnet"})),
        Head("a Flax file", b"\x81\xa6params\x81\xa4conv\x81\xa6kernel\xc7\x10\x01" + bytes(16), frozenset({"flax"})),
        Head("a TFLite file", struct.pack("<I", 28) + b"TFL3" + bytes(56), frozenset({"tflite"})),
        Head(
            "a TensorFlow checkpoint",
            b"\0\0\x06\x08\x01\x1a\x02\x08\x01\0\x0b\x20conv/kernel",
            frozenset({"tensorflow_checkpoint"}),
        ),
        Head("a TensorFlow graph", b"\x0a\x10\x0a\x01x\x12\x0bPlaceholder" * 3, frozenset({"tensorflow_graph"})),
        Head("a Caffe network", b"\x0a\x03net\xa2\x06\x14\x0a\x05conv1\x12\x0bConvolution", frozenset({"caffe"})),
        Head("a MATLAB file", b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM", frozenset({"matconvnet"})),
        Head("a Core ML model", b"\x08\x04\x12\x04\x0a\x02\x0a\0\xa2\x1f\0", frozenset({"coreml"})),
        Head("an OpenVINO network", b'<?xml version="1.0"?>\n<net name="n" version="11">', frozenset({"openvino"})),
    ]


def _zip(name: str, data: bytes = b"text") -> bytes:
    """The start of a zip with one stored member."""
    header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0)
    return header + name.encode() + data
