"""The battery: good, bad and borderline files of every format, each with the verdict it must get.

`python -m tests.untrusted_files.battery FOLDER` writes them, to look at by hand.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.plugins.formats import (
    caffe_files,
    coreml_files,
    darknet_files,
    flax_files,
    matlab_files,
    mxnet_files,
    numpy_files,
    onnx_files,
    openvino_files,
    safetensors_files,
    tensorflow_files,
    tflite_files,
    torch_files,
)
from tests.plugins.formats.safetensors_files import entry, safetensors_bytes
from tests.untrusted_files import archive_cases, hdf5_cases
from tests.untrusted_files.honest_others import shards as write_shards
from tests.untrusted_files.honest_torch import scripted

from filterzoo.errors import Reason

Verdict = Reason | str
"""Why it must be refused; "refuse" for whatever reason; "accept"; "safe" for either, as long as nothing happens."""
BEYOND_RECOGNITION = {
    "nothing after the length",
    "header of no length",
    "cut in a tag",
    "a group",
    "field number 0",
    "a number of 11 bytes",
}
"""Faults in the first bytes, by which files are known: no format takes such a file for its own."""
CANARY = "CANARY"
"""What the payloads would create, beside the files."""


@dataclass(frozen=True)
class Case:
    """A file with the files beside it, in a folder of its own."""

    family: str
    label: str
    file_name: str
    content: bytes
    verdict: Verdict
    sides: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.family}: {self.label}"

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        for name, content in self.sides.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        if self.family == "ONNX":
            (folder / "folder").mkdir()
            (folder / "link.bin").symlink_to("w.bin")
            os.mkfifo(folder / "pipe.bin")
        (folder / self.file_name).write_bytes(self.content)
        return folder / self.file_name


def cases(scratch: Path) -> list[Case]:
    """All of them; `scratch` is a folder that the frameworks may write to. Payloads would create scratch/CANARY."""
    return [
        *_torch(f"touch {scratch / CANARY}"),
        *_torchscript(scratch),
        *_group("safetensors", "x.safetensors", safetensors_files.HOSTILE, _good_safetensors()),
        *_shards(scratch),
        *_onnx(),
        *_group("HDF5", "x.h5", hdf5_cases.hdf5_cases()),
        *_group("Keras 2", "x.h5", hdf5_cases.keras_2_cases()),
        *_group("Keras 3", "x.keras", hdf5_cases.keras_3_cases()),
        *_group("npy", "x.npy", numpy_files.HOSTILE_NPY, _good_npy()),
        *_group("npz", "x.npz", numpy_files.HOSTILE_NPZ, _good_npz()),
        *_tflite(),
        *_openvino(),
        *_tensorflow(),
        *_caffe(),
        *_darknet(),
        *_matconvnet(),
        *_coreml(),
        *_group("Flax", "x.msgpack", flax_files.HOSTILE, _good_flax()),
        *_group("MXNet", "x.params", mxnet_files.HOSTILE, _good_mxnet()),
        *_group("zip", "x.zip", archive_cases.zip_cases()),
        *_group("tar", "x.tar", archive_cases.tar_cases()),
        *_group("no model", "x.pt", _no_models()),
    ]


def _group(family: str, file_name: str, *groups: Mapping[str, tuple[bytes, Verdict]]) -> Iterator[Case]:
    for group in groups:
        for label, (content, verdict) in group.items():
            yield Case(family, label, file_name, content, _verdict(label, verdict))


def _verdict(label: str, verdict: Verdict) -> Verdict:
    return Reason.UNKNOWN_FORMAT if label in BEYOND_RECOGNITION else verdict


def _torch(command: str) -> Iterator[Case]:
    for label, content in torch_files.good_files().items():
        yield Case(_container(label), label, "x.pt", content, "accept")
    for label, (content, reason) in torch_files.hostile_files().items():
        yield Case(_container(label), label, "x.pt", content, reason)
    for label, body in torch_files.evil_bodies(command).items():
        pickle = torch_files.program(
            torch_files.mapping(torch_files.text("conv.weight"), torch_files.tensor(), torch_files.text("x"), body),
            4,
        )
        yield Case("torch zip", f"code: {label}", "x.pt", torch_files.TorchZip(pickle).bytes(), "accept")
        yield Case("torch legacy", f"code: {label}", "x.pth", torch_files.legacy(pickle=pickle), "accept")
    good = torch_files.TorchZip().bytes()
    name_length = good.rindex(b"PK\3\4") + 26
    two_readers = good[:name_length] + b"\x90" + good[name_length + 1 :]
    yield Case("torch zip", "a local name longer than the directory's", "x.pt", two_readers, Reason.UNSAFE)
    then_broken = torch_files.TorchZip(b"\x80\x02" + torch_files.payload(command) + b"\xff").bytes()
    yield Case("torch zip", "code before a broken opcode", "x.pt", then_broken, Reason.MALFORMED)
    bare = torch_files.program(torch_files.payload(command))
    yield Case("torch legacy", "a bare pickle with code", "x.pkl", bare, Reason.UNSUPPORTED)


def _container(label: str) -> str:
    return "torch legacy" if label.startswith("legacy") else "torch zip"


def _torchscript(scratch: Path) -> Iterator[Case]:
    path = scratch / "script.pt"
    for rank in (1, 2, 3):
        for how in ("scripted", "traced"):
            scripted(rank, how)(path)
            yield Case("TorchScript", f"{how}, rank {rank}", "x.pt", path.read_bytes(), "accept")
    good = path.read_bytes()
    path.unlink()
    pickle, weights = good.index(b"data.pkl"), good.index(b"/data/0") + 200
    root = torch_files.name("__torch__", "Net") + b")\x81" + torch_files.mapping(
        torch_files.text("conv.weight"), torch_files.tensor()
    ) + b"b"  # fmt: skip
    code = b"import os\nos.system('touch CANARY')\nclass Net(Module):\n  def forward(self):\n    return exec('1')\n"
    beyond_ascii = "größe = '\\N{SNOWMAN}'\n".encode()

    def with_members(*members: tuple[str, bytes]) -> bytes:
        return torch_files.TorchZip(torch_files.program(root), more=list(members)).bytes()

    evil = torch_files.program(torch_files.payload("touch CANARY"))
    yield from _group("TorchScript", "x.pt", {
        "code that is Python": (with_members(("archive/code/__torch__.py", code)), "accept"),
        "code with names beyond ASCII": (with_members(("archive/code/__torch__.py", beyond_ascii)), "accept"),
        "code that is no code": (with_members(("archive/code/__torch__.py", b"\0\xff(((")), "accept"),
        "constants with a payload": (with_members(("archive/constants.pkl", evil)), "accept"),
        "debug information with a payload": (with_members(("archive/code/x.py.debug_pkl", evil)), "accept"),
        "code outside": (with_members(("archive/../code/x.py", code)), Reason.UNSAFE),
        "cut in half": (good[: len(good) // 2], Reason.MALFORMED),
        "cut by a byte": (good[:-1], Reason.MALFORMED),
        "a bit of the pickle flipped": (_flipped(good, pickle + 100), "refuse"),
        "a bit of a weight flipped": (_flipped(good, weights), "refuse"),
    })  # fmt: skip


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _good_safetensors() -> dict[str, tuple[bytes, Verdict]]:
    conv = {"conv.weight": entry(0, 36, [1, 1, 3, 3])}
    many = {f"t{n}": entry(0, 0, [0]) for n in range(50_000)}
    return {
        "one tensor": (safetensors_bytes(conv), "accept"),
        "metadata": (safetensors_bytes({"__metadata__": {"format": "pt"}} | conv), "accept"),
        "blanks behind the header": (safetensors_bytes(json.dumps(conv).encode() + b"   "), "accept"),
        "hostile names": (safetensors_files.hostile_names(), "accept"),
        "50,000 empty tensors": (safetensors_bytes(many, b""), "accept"),
    }


def _shards(scratch: Path) -> Iterator[Case]:
    folder = scratch / "shards"
    folder.mkdir()
    write_shards(folder / "index.json")
    index = json.loads((folder / "index.json").read_bytes())
    sides = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    first_name, first = min(index["weight_map"].items())

    def case(label: str, verdict: Verdict, changed: Mapping[str, Any] | bytes, **more: bytes) -> Case:
        document = {"metadata": {}, "weight_map": changed}
        content = changed if isinstance(changed, bytes) else json.dumps(document).encode()
        held = sides | {name.replace("__", "."): data for name, data in more.items()}
        return Case("shards", label, "model.safetensors.index.json", content, verdict, held)

    whole = index["weight_map"]
    yield case("three shards", "accept", whole)
    yield case("one of the shards", "accept", {first_name: first})
    for label, place in {
        "above": "../x.safetensors", "absolute": "/etc/x.safetensors", "with a backslash": "a\\x.safetensors",
        "on a drive": "C:x.safetensors", "with a NUL": "x\0.safetensors",
    }.items():  # fmt: skip
        yield case(f"a shard {label}", Reason.UNSAFE, whole | {first_name: place})
    yield case("a shard that is not there", Reason.MALFORMED, whole | {first_name: "none.safetensors"})
    yield case("a shard that is a pickle", Reason.UNSUPPORTED, whole | {first_name: "pytorch_model.bin"})
    yield case("a tensor that is in no shard", Reason.MALFORMED, whole | {"ghost": first})
    yield case("a shard by number", Reason.MALFORMED, whole | {first_name: 1})
    yield case("no map", Reason.MALFORMED, [])  # type: ignore[arg-type]  # that is the fault
    yield case("a map cut short", Reason.MALFORMED, b'{"metadata": {}, "weight_map": {"a": ')
    yield case("a tensor twice", Reason.MALFORMED, b'{"metadata": {}, "weight_map": {"a": "x", "a": "y"}}')
    yield case(
        "a shard cut short", Reason.MALFORMED, {first_name: "cut.safetensors"}, cut__safetensors=sides[first][:-1]
    )


def _onnx() -> Iterator[Case]:
    sides = {"w.bin": bytes(432)}
    conv = onnx_files.conv()
    for label, (nodes, arrays) in onnx_files.ways_to_store():
        name = nodes[-1].output[0] if nodes else "w"
        content = onnx_files.model_of([*nodes, onnx_files.conv(name)], arrays).SerializeToString()
        yield Case("ONNX", label, "x.onnx", content, "accept")
    yield Case(
        "ONNX", "external", "x.onnx", onnx_files.one_conv(onnx_files.external(location="w.bin")), "accept", sides
    )
    names = onnx_files.model_of([conv], [onnx_files.stored("w", onnx_files.WEIGHT)], doc_string="\x1b[31m" * 1000)
    yield Case("ONNX", "control characters in a description", "x.onnx", names.SerializeToString(), "accept")
    for label, (content, reason) in onnx_files.hostile().items():
        yield Case("ONNX", label, "x.onnx", content, _verdict(label, reason), sides)
    for name, reason in (("link.bin", Reason.UNSAFE), ("pipe.bin", Reason.UNSAFE)):
        content = onnx_files.one_conv(onnx_files.external(location=name))
        yield Case("ONNX", f"external {name}", "x.onnx", content, reason, sides)


def _good_flax() -> dict[str, tuple[bytes, Verdict]]:
    return {"one kernel": (flax_files.GOOD, "accept"), "as Flax writes it": (flax_files.WRITTEN_BY_FLAX, "accept")}


def _good_mxnet() -> dict[str, tuple[bytes, Verdict]]:
    return {
        "two arrays with names": (mxnet_files.GOOD, "accept"),
        "as MXNet writes it": (mxnet_files.WRITTEN_BY_MXNET, "accept"),
        "no arrays": (mxnet_files.params([]), "unsupported"),
    }


def _good_npy() -> dict[str, tuple[bytes, Verdict]]:
    header = numpy_files.npy_header
    return {
        "one array": (numpy_files.npy_bytes(), "accept"),
        "version 2": (numpy_files.npy_bytes(version=2), "accept"),
        "Fortran order": (numpy_files.npy_bytes(header(order="True")), "accept"),
        "no numbers": (numpy_files.npy_bytes(header(shape="(0, 3)"), b""), "accept"),
    }


def _good_npz() -> dict[str, tuple[bytes, Verdict]]:
    array = numpy_files.npy_bytes(numpy_files.npy_header(shape="(1, 1, 3, 3)"))
    text = numpy_files.npy_bytes(numpy_files.npy_header("'<U3'", "(3,)"))
    return {
        "one array": (numpy_files.npz_bytes(("conv.weight.npy", array)), "accept"),
        "deflated": (numpy_files.npz_bytes(("conv.weight.npy", array), method=8), "accept"),
        "text beside it": (numpy_files.npz_bytes(("conv.weight.npy", array), ("t.npy", text)), "accept"),
        "a name with colour": (numpy_files.npz_bytes(("\x1b[31mconv.weight.npy", array)), "accept"),
    }


def _tflite() -> Iterator[Case]:
    weight, whole = tflite_files.WEIGHT, tflite_files.INTEGERS
    good = {
        "float32": tflite_files.GOOD,
        "int8": tflite_files.one_conv(tflite_files.stored("w", whole, scales=[0.1])),
        "int8 per channel": tflite_files.one_conv(tflite_files.stored("w", whole, scales=[0.1, 0.2, 0.3, 0.4])),
        "bytes behind the end": tflite_files.GOOD + bytes(64),
        "a name with colour": tflite_files.one_conv(tflite_files.stored("\x1b[31mw", weight)),
    }
    yield from _group("TFLite", "x.tflite", {label: (content, "accept") for label, content in good.items()})
    for label, content, reason in tflite_files.hostile():
        yield Case("TFLite", label, "x.tflite", content, reason)


def _openvino() -> Iterator[Case]:
    good = openvino_files.one_conv()
    yield Case("OpenVINO", "a network", "net.xml", good.xml(), "accept", {"net.bin": bytes(good.bin)})
    for label, content, numbers, reason, _ in openvino_files.hostile():
        yield Case("OpenVINO", label, "net.xml", content, reason, {"net.bin": numbers})


def _tensorflow() -> Iterator[Case]:
    index, data = tensorflow_files.bundle({"conv/kernel": tensorflow_files.WEIGHT})
    yield Case("TensorFlow", "a checkpoint", "a.index", index, "accept", {"a.data-00000-of-00001": data})
    yield Case("TensorFlow", "a frozen graph", "a.pb", tensorflow_files.one_conv(), "accept")
    model, *sides = tensorflow_files.one_variable()
    names = ("variables/variables.index", "variables/variables.data-00000-of-00001")
    yield Case("TensorFlow", "a SavedModel", "saved_model.pb", model, "accept", dict(zip(names, sides, strict=True)))
    for label, name, content, beside, reason, _ in tensorflow_files.hostile():
        yield Case("TensorFlow", label, name, content, reason, beside)


def _caffe() -> Iterator[Case]:
    yield Case("Caffe", "a network", "a.caffemodel", caffe_files.one_conv(), "accept")
    yield Case("Caffe", "an old network", "a.caffemodel", caffe_files.one_conv(old=True), "accept")
    for label, content, reason, _ in caffe_files.hostile():
        yield Case("Caffe", label, "a.caffemodel", content, reason)


def _darknet() -> Iterator[Case]:
    good = darknet_files.weights(*darknet_files.ARRAYS)
    yield Case("Darknet", "a network", "a.weights", good, "accept", {"a.cfg": darknet_files.CONFIG.encode()})
    for label, content, config, reason, _ in darknet_files.hostile():
        yield Case("Darknet", label, "a.weights", content, reason, {} if config is None else {"a.cfg": config.encode()})


def _matconvnet() -> Iterator[Case]:
    good = matlab_files.conv(matlab_files.WEIGHT)
    yield Case("MatConvNet", "a network", "a.mat", matlab_files.chain(good), "accept")
    yield Case("MatConvNet", "not packed", "a.mat", matlab_files.chain(good, packed=False), "accept")
    for label, content, reason, _ in matlab_files.hostile():
        yield Case("MatConvNet", label, "a.mat", content, reason)


def _coreml() -> Iterator[Case]:
    blobs = coreml_files.Blobs()
    program = coreml_files.one_program(blobs.add(coreml_files.WEIGHT))
    yield Case("Core ML", "a network", "a.mlmodel", coreml_files.one_conv(), "accept")
    yield Case("Core ML", "a program", "a.mlmodel", program, "accept", {coreml_files.SIDE: blobs.content})
    for label, content, sides, reason, _ in coreml_files.hostile():
        yield Case("Core ML", label, "a.mlmodel", content, reason, sides)


def _no_models() -> dict[str, tuple[bytes, Verdict]]:
    unknown = {
        "nothing": b"",
        "a page": b"<!DOCTYPE html><html>404 Not Found</html>",
        "a pointer of git-LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 9\n",
        "zeros": bytes(4096),
        "ones": b"\xff" * 4096,
        "an error in JSON": b'{"error": "rate limited"}',
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(64),
        "a program": b"\x7fELF\x02\x01\x01" + bytes(64),
        "a script": b"#!/bin/sh\ntouch CANARY\n",
        "a length and nothing": struct.pack("<Q", 1 << 63),
    }
    of_known_kinds: dict[str, tuple[bytes, Verdict]] = {"7z": (b"7z\xbc\xaf\x27\x1c" + bytes(64), Reason.UNSUPPORTED)}
    return of_known_kinds | {label: (content, Reason.UNKNOWN_FORMAT) for label, content in unknown.items()}


if __name__ == "__main__":
    target = Path(sys.argv[1])
    (target / "scratch").mkdir(parents=True)
    for number, case_ in enumerate(cases(target / "scratch")):
        print(case_.write(target / f"{number:03}"), case_.id, case_.verdict, sep="\t")  # noqa: T201  # its output
