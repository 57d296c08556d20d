"""The plugins in examples/: installed as other people's are, found, held to the contract, and run."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tests.kit.fresh_environment import make_environment
from tests.kit.gguf_files import FACTS, Q4_0, fact, gguf, text
from tests.memory_file import MemoryFile
from tests.servers import WebServer

from filterzoo.errors import Reason, Refused, StartError
from filterzoo.kit import faults_of
from filterzoo.layers.selection import selection
from filterzoo.references import PluginReference

EXAMPLES = Path(__file__).parents[2] / "examples"
GGUF = EXAMPLES / "format-gguf" / "filterzoo_format_gguf.py"
CSV = EXAMPLES / "zoo-from-csv" / "filterzoo_zoo_from_csv.py"
RANDOM = np.random.default_rng(0)
TENSORS: dict[str, np.ndarray] = {
    "v.patch_embd.weight": RANDOM.normal(size=(8, 3, 4, 4)).astype(np.float32),
    "v.norm.weight": RANDOM.normal(size=7).astype(np.float32),
    "encoder.conv1.weight": RANDOM.normal(size=(6, 2, 3, 3)).astype(np.float16),
}


@pytest.fixture(scope="module")
def gguf_format():
    module = PluginReference("gguf", file=str(GGUF)).load()
    (made,) = module.filterzoo_formats()
    return made


@pytest.mark.slow
def test_both_are_installed_found_and_crawled(tmp_path):
    user = make_environment(tmp_path / "venv")
    copies = tmp_path / "copies"  # what is built from is not written to
    for package in ("zoo-from-csv", "format-gguf"):
        (copies / package).mkdir(parents=True)
        for file in (EXAMPLES / package).iterdir():
            if file.is_file():
                (copies / package / file.name).write_bytes(file.read_bytes())
    user.run("pip install --quiet --no-deps --no-build-isolation copies/zoo-from-csv copies/format-gguf", tmp_path)
    offers = json.loads(user.run("filterzoo plugins --json", tmp_path))["offers"]
    assert {"what": "source", "name": "csv", "plugin": "csv"} in offers
    assert {"what": "format", "name": "gguf", "plugin": "gguf"} in offers
    network = save({"conv.weight": np.ones((2, 3, 3, 3), np.float32)})
    with WebServer() as server:
        clip = server.add("/clip.gguf", gguf(TENSORS))
        plain = server.add("/plain.safetensors", network)
        lines = ("id,revision,url,licence,size", f"clip,1,{clip},mit,", f"plain,2,{plain},mit,{len(network)}")
        (tmp_path / "networks.csv").write_text("\n".join(lines))
        (tmp_path / "zoo.yaml").write_text("name: list\nsources:\n  - {source: csv, file: networks.csv}\n")
        user.run("filterzoo check-plugin csv --manifest zoo.yaml", tmp_path)
        ran = json.loads(user.run("filterzoo crawl zoo.yaml --allow-private --json", tmp_path))
    assert ran["checkpoints"] == {"done": 2, "skipped": 0, "failed": 0}
    assert ran["filters"] == {"3x3": 6 + 12, "4x4": 24}
    assert list(ran["sources"]) == ["csv"]


def test_the_format_keeps_the_contract(tmp_path):
    (tmp_path / "clip.gguf").write_bytes(gguf(TENSORS))
    assert faults_of(GGUF, samples=[tmp_path / "clip.gguf"]) == []


def test_gguf_is_read_bit_equal(gguf_format):
    for data in (gguf(TENSORS), gguf(TENSORS, facts=FACTS[:2], alignment=32, version=2)):
        file = MemoryFile(data)
        tensors = list(gguf_format.index(file))
        assert [tensor.name for tensor in tensors] == list(TENSORS)
        for tensor in tensors:
            stored = data[tensor.span.offset : tensor.span.offset + tensor.span.length]
            array = np.frombuffer(stored, TENSORS[tensor.name].dtype).reshape(tensor.shape)
            assert np.array_equal(array, TENSORS[tensor.name])
        assert gguf_format.facts(file).licence == "apache-2.0"
        assert max(file.times_read()[: len(data) // 2]) <= 2


def test_a_quantised_convolution_is_the_only_one_left_out(gguf_format):
    file = MemoryFile(gguf(TENSORS, kinds={"v.patch_embd.weight": Q4_0}))
    found = selection(list(gguf_format.index(file)))
    rest = [name for name, array in TENSORS.items() if array.ndim > 2 and name != "v.patch_embd.weight"]
    assert [each.name for each in found.convolutions] == rest != []
    assert [(each.name, each.detail) for each in found.left_out] == [
        ("v.patch_embd.weight", "numbers of ggml's type 2")
    ]


NESTED = struct.pack("<IQ", 9, 1) * 6
HOSTILE = {
    "another version": (gguf(TENSORS, version=4), Reason.UNSUPPORTED, "version 4"),
    "more tensors than there are": (gguf(TENSORS, count=1 << 60), Reason.MALFORMED, ""),
    "an enormous array": (
        gguf({}, facts=(fact("a", 9, struct.pack("<IQ", 10, 1 << 61)),)),
        Reason.MALFORMED,
        "outside the file",
    ),
    "a table without an end": (
        gguf({}, facts=(fact("a", 8, text("x" * 40_000_000)),)),
        Reason.LIMIT,
        "a table of more",
    ),
    "arrays in arrays": (gguf({}, facts=(fact("a", 9, NESTED),)), Reason.MALFORMED, "a fact of type 9"),
    "an unknown type of fact": (gguf({}, facts=(fact("a", 77, b""),)), Reason.MALFORMED, "a fact of type 77"),
    "no alignment": (
        gguf(TENSORS, facts=(fact("general.alignment", 4, bytes(4)),)),
        Reason.MALFORMED,
        "no multiple of 8",
    ),
    "bytes beyond the file": (gguf(TENSORS, offsets={"v.norm.weight": 1 << 40}), Reason.MALFORMED, "outside the file"),
    "bytes out of line": (gguf(TENSORS, offsets={"v.norm.weight": 4}), Reason.MALFORMED, "not aligned to 64"),
    "one name twice": (gguf(TENSORS, repeat="v.norm.weight"), Reason.MALFORMED, "two tensors of one name"),
    "text that is none": (
        gguf({}, facts=(fact("a", 8, struct.pack("<Q", 2) + b"\xff\xff"),)),
        Reason.MALFORMED,
        "UTF-8",
    ),
    "cut in the table": (gguf(TENSORS)[:150], Reason.MALFORMED, "outside the file"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_gguf_is_refused_with_its_reason(case, gguf_format):
    data, reason, detail = HOSTILE[case]
    with pytest.raises(Refused) as raised:
        list(gguf_format.index(MemoryFile(data)))
    assert raised.value.reason is reason
    assert detail in raised.value.detail


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id,url\na,b", "the columns are"),
        ("id,revision,url,colour\na,1,b,red", "known: "),
        ("id,revision,url\na,,https://x.example/a", ":2: revision must be given"),
        ("id,revision,url,size\na,1,https://x.example/a,big", ":2: the size 'big' is no number of bytes"),
        (b"id,revision,url\n\xff,1,u", "cannot read the list"),
        (None, "cannot read the list"),
    ],
)
def test_an_invalid_list_is_reported_with_its_line(content, expected, tmp_path):
    (kind,) = PluginReference("csv", file=str(CSV)).load().filterzoo_sources()
    if content is not None:
        (tmp_path / "list.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StartError, match=expected):
        list(kind(kind.Options(file="list.csv"), None, tmp_path).discover())


def test_the_csv_zoo_keeps_the_contract(tmp_path):
    lines = ("\ufeffid,revision,url,licence,task,sha256", f"a,1,https://x.example/a.onnx,mit,classification,{'0' * 64}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    (tmp_path / "zoo.yaml").write_text("name: list\nsources:\n  - {source: csv, file: list.csv}\n")
    assert faults_of(CSV, manifest=tmp_path / "zoo.yaml") == []
