"""Model files that are not read are refused under their own name, whatever they look like."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import onnx
import pytest
from tests.plugins.formats.onnx_files import GOOD, varint
from tests.untrusted_files.reading import BytesFile, index

from filterzoo.errors import Reason, Refused
from filterzoo_plugins.formats.onnx import Onnx
from filterzoo_plugins.formats.unread import Unread

PADDLE = bytes(16) + struct.pack("<i", 6) + b"\x08\x05\x10\x08\x10\x03" + bytes(96)
KINDS = {
    "weight.bin": (struct.pack("<II", 1, 2) + bytes(56) + b"\xef\xbe\xad\xde" + bytes(60), "Core ML package"),
    "variables.data-00000-of-00001": (np.ones(99, "f4").tobytes(), "TensorFlow checkpoint"),
    "model.gguf": (b"GGUF\3\0\0\0" + bytes(16), "GGUF"),
    "net.mat": (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(90), "MATLAB file"),
    "yolo.cfg": (b"# a net\n[net]\nbatch=1\n[convolutional]\n", "Darknet"),
    "model.pdiparams": (PADDLE, "PaddlePaddle"),
    "model.json": (b'{"modelTopology": {}, "weightsManifest": []}', "TensorFlow.js"),
    "w.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(30), "7z archive"),
    "w.pth.lz4": (b"\x04\x22\x4d\x18" + bytes(30), "LZ4"),
    "w.tar.zst": (b"\x28\xb5\x2f\xfd" + bytes(30), "Zstandard"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_named_as_what_it_is(name):
    content, what = KINDS[name]
    with pytest.raises(Refused, match=what) as refused:
        index(BytesFile(content), name)
    assert refused.value.reason is Reason.UNSUPPORTED


def test_a_zip_of_what_is_not_read_says_what_it_holds():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("README.txt", "a model")
        archive.writestr("model/net.gguf", KINDS["model.gguf"][0])
        archive.writestr("model/weights/weight.bin", KINDS["weight.bin"][0])
    with pytest.raises(Refused, match="GGUF"):
        index(BytesFile(buffer.getvalue()), "model.zip")


def test_a_model_beside_what_is_not_read_is_still_the_only_one():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net.gguf", KINDS["model.gguf"][0])
        archive.writestr("net.onnx", GOOD)
    found = index(BytesFile(buffer.getvalue()), "models.zip")
    assert (found.format, found.member) == ("onnx", "net.onnx")


def test_honest_onnx_files_are_not_taken_for_others():
    model = onnx.load_from_string(GOOD)
    model.producer_name, model.producer_version, model.domain = "pytörch", "2.9.0", "ai.pytorch"
    for documentation in ("", "a long\ntext\n" * 1000):
        model.doc_string = documentation
        head = model.SerializeToString()[:4096]
        assert Onnx().accepts(head, "model.mlmodel")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 64,
        b"just some text",
        b"{}",
        b"<html><body></body></html>",
        b"\x80\x02}q\0.",
        varint(1 << 40),
        b"\x81",
    ],
)
def test_what_nothing_here_knows_stays_unknown(content):
    assert not Unread().accepts(content, "file")
