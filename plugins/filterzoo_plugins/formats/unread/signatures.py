"""Signatures of unsupported model files: first bytes, or names if the content is raw."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from filterzoo_plugins.encodings.protobuf import VARINT, first_fields

_MAGIC = (
    (0, b"GGUF", "a GGUF model (llama.cpp, stable-diffusion.cpp)"),
    (0, b"lmgg", "a GGML model (whisper.cpp, llama.cpp)"),
    (0, b"tjgg", "a GGML model (llama.cpp)"),
    (0, b"fmgg", "a GGML model (llama.cpp)"),
    (0, b"MATLAB 7.3 MAT-file", "a MATLAB file (.mat)"),
    (0, b"7767517\n", "an ncnn network (.param)"),
    (0, b"ftrt", "a TensorRT engine"),
    (0, b"ptrt", "a TensorRT engine"),
    (0, b"RKNN", "an RKNN model"),
    (4, b"ORTM", "an ONNX Runtime model (.ort)"),
    (4, b"ET12", "an ExecuTorch program (.pte)"),
    (4, b"NM00", "an Arm NN or Ethos model"),
    (64, b"\xef\xbe\xad\xde", "the weights of a Core ML package (weight.bin)"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\x28\xb5\x2f\xfd", "a file packed by Zstandard"),
    (0, b"\x04\x22\x4d\x18", "a file packed by LZ4"),
    (0, b"BZh", "a file packed by bzip2"),
)
_NAMED = (
    (re.compile(r"\.data-\d{5}-of-\d{5}$"), "the data of a TensorFlow checkpoint"),
    (re.compile(r"\.pdiparams$"), "the parameters of a PaddlePaddle inference model"),
    (re.compile(r"\.mlmodel$"), "a Core ML model"),
    (re.compile(r"\.ckpt\.meta$"), "the graph of a TensorFlow checkpoint"),
)
"""Formats of raw numbers, and of messages without magic bytes, by file name."""
_LONGEST_NAME = 256


def kind_of(head: bytes, name: str) -> str | None:
    """The format of a file that starts with `head`; None if unknown."""
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    for test in _TESTS:
        found = test(head, name)
        if found is not None:
            return found
    return next((kind for pattern, kind in _NAMED if pattern.search(name.lower())), None)


def _text(head: bytes, name: str) -> str | None:
    """JSON and plain text that describe a network."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"{" and (b'"modelTopology"' in start or b'"weightsManifest"' in start):
        return "a TensorFlow.js model (model.json)"
    if re.match(rb"(#[^\n]*\n\s*)*\[net(work)?\]", start):
        return "a Darknet network (.cfg)"
    if name.lower().endswith(".prototxt") and re.search(rb"(?m)^\s*(layers?\s*\{|name\s*:)", start):
        return "a Caffe network (.prototxt)"
    return None


def _paddle(head: bytes, _: str) -> str | None:
    """A LoDTensor: versions and levels are zero, followed by the length of a short message with type and dims."""
    if len(head) < 24 or any(head[:16]):
        return None
    (length,) = struct.unpack_from("<i", head, 16)
    fields = first_fields(head[20 : 20 + length]) if 2 <= length <= 64 else []
    is_desc = bool(fields) and fields[0][0] == 1 << 3 | VARINT and all(tag >> 3 in {1, 2} for tag, _, _ in fields)
    return "the parameters of a PaddlePaddle inference model (.pdiparams)" if is_desc else None


_TESTS: tuple[Callable[[bytes, str], str | None], ...] = (
    _text,
    _paddle,
)


def _is_text(content: bytes) -> bool:
    try:
        return 0 < len(content) <= _LONGEST_NAME and content.decode().isprintable()
    except UnicodeDecodeError:
        return False
