"""First bytes of files that a new format or archive must not accept."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass

from filterzoo.format import HEAD_BYTES


@dataclass(frozen=True, slots=True)
class ForeignHead:
    """owners: names of the formats and archives that may accept it.

    is_page: a response that servers send instead of a file.
    """

    what: str
    data: bytes
    owners: frozenset[str] = frozenset()
    is_page: bool = False


def foreign_heads() -> list[ForeignHead]:
    """Heads of pages, texts, pictures, archives, random bytes, and of the built-in formats."""
    return [*_texts_and_noise(), *_archives(), *_models()]


def _texts_and_noise() -> list[ForeignHead]:
    noise = random.Random(0)
    return [
        ForeignHead("an empty file", b"", is_page=True),
        ForeignHead("a single zero byte", b"\0"),
        ForeignHead("zeros", bytes(HEAD_BYTES)),
        ForeignHead("bytes of all ones", b"\xff" * HEAD_BYTES),
        *(ForeignHead(f"random bytes ({number})", noise.randbytes(HEAD_BYTES)) for number in range(20)),
        ForeignHead(
            "an HTML page", b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n", is_page=True
        ),
        ForeignHead("an HTML page after blanks", b"\n\n  <html><body>Not found</body></html>", is_page=True),
        ForeignHead("a JSON response", b'{"error": "Repository not found"}', is_page=True),
        ForeignHead("a text", b"# Model card\n\nThis network was trained on ImageNet.\n", is_page=True),
        ForeignHead(
            "a git-LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64, is_page=True
        ),
        ForeignHead("a PNG picture", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + bytes(17)),
        ForeignHead("a PDF file", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
        ForeignHead("a program", b"\x7fELF\x02\x01\x01" + bytes(57)),
    ]


def _archives() -> list[ForeignHead]:
    """Archives, and the models that are zips."""
    return [
        ForeignHead("gzip data", b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + zlib.compress(b"text"), frozenset({"tar"})),
        ForeignHead("a zip of texts", _zip("README.txt"), frozenset({"zip"})),
        ForeignHead("a torch zip", _zip("archive/data.pkl"), frozenset({"torch", "zip"})),
        ForeignHead("a Keras archive", _zip("metadata.json"), frozenset({"keras", "zip"})),
        ForeignHead("an npz file", _zip("w.npy", b"\x93NUMPY\1\0"), frozenset({"npz", "zip"})),
    ]


def _models() -> list[ForeignHead]:
    """The other built-in formats."""
    return [
        ForeignHead(
            "a legacy torch file", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", frozenset({"torch"})
        ),
        ForeignHead("a pickle", b"\x80\x04\x95\x0b\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.", frozenset({"torch"})),
        ForeignHead(
            "an npy array",
            b"\x93NUMPY\1\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
            frozenset({"npy"}),
        ),
        ForeignHead(
            "a safetensors file",
            struct.pack("<Q", 64) + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            frozenset({"safetensors"}),
        ),
        ForeignHead("an HDF5 file", b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0", frozenset({"hdf5"})),
        ForeignHead(
            "an ONNX file",
            b"\x08\x08\x12\x07pytorch\x1a\x031.0:\x80\x01\n\x10\n\x01x\x12\x01y\x1a\x01c",
            frozenset({"onnx"}),
        ),
        ForeignHead("an MXNet parameter file", struct.pack("<QQQ", 0x112, 0, 1) + bytes(32), frozenset({"mxnet"})),
        ForeignHead(
            "a Flax file", b"\x81\xa6params\x81\xa4conv\x81\xa6kernel\xc7\x10\x01" + bytes(16), frozenset({"flax"})
        ),
        ForeignHead("a TFLite file", struct.pack("<I", 28) + b"TFL3" + bytes(56), frozenset({"tflite"})),
        ForeignHead(
            "a TensorFlow checkpoint",
            b"\0\0\x06\x08\x01\x1a\x02\x08\x01\0\x0b\x20conv/kernel",
            frozenset({"tensorflow_checkpoint"}),
        ),
        ForeignHead("a TensorFlow graph", b"\x0a\x10\x0a\x01x\x12\x0bPlaceholder" * 3, frozenset({"tensorflow_graph"})),
        ForeignHead(
            "a Caffe network", b"\x0a\x03net\xa2\x06\x14\x0a\x05conv1\x12\x0bConvolution", frozenset({"caffe"})
        ),
        ForeignHead("a MATLAB file", b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM", frozenset({"matconvnet"})),
        ForeignHead("a Core ML model", b"\x08\x04\x12\x04\x0a\x02\x0a\0\xa2\x1f\0", frozenset({"coreml"})),
        ForeignHead(
            "an OpenVINO network", b'<?xml version="1.0"?>\n<net name="n" version="11">', frozenset({"openvino"})
        ),
    ]


def _zip(name: str, data: bytes = b"text") -> bytes:
    """The start of a zip with one stored member."""
    header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0)
    return header + name.encode() + data
