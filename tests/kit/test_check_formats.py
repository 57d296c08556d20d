"""Each way a format can break the contract is made once, found, and told in words; sound ones pass."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from tests.plugins.formats.openvino_files import Network
from tests.program import filterzoo
from tests.tiers import fast_only

from filterzoo.errors import StartError
from filterzoo.jail.limits import JailLimits
from filterzoo.kit import Verdict, check, faults_of, format_contract
from filterzoo.kit.checking import Request
from filterzoo.kit.damage import cut_short, damaged

SHELF = '''
from filterzoo import Format, Reason, Refused, Span, Tensor, hookimpl


class Shelf(Format):
    """SHELF, the rank, the axes as 32-bit numbers, float32 to the end."""

    name = "shelf"

    def accepts(self, head, name):
        return ACCEPTS

    def index(self, file):
        rank = file.read(5, 1)[0]
        shape = tuple(int.from_bytes(file.read(6 + 4 * axis, 4), "little") for axis in range(rank))
        INDEX


@hookimpl
def filterzoo_formats():
    return [Shelf()]
'''
ACCEPTS = "head.startswith(b'SHELF')"
INDEX = "yield Tensor(name='conv.weight', dtype='F32', shape=shape, span=Span(6 + 4 * rank, file.size - 6 - 4 * rank))"
GOOD = b"SHELF" + bytes([4]) + struct.pack("<4I", 2, 1, 3, 3) + struct.pack("<18f", *range(18))


def write(folder: Path, accepts: str = ACCEPTS, index: str = INDEX) -> Path:
    path = folder / "shelf.py"
    path.write_text(SHELF.replace("ACCEPTS", accepts).replace("INDEX", index.replace("\n", "\n        ")))
    return path


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.bin"
    path.write_bytes(GOOD)
    return path


ACCEPTING = {
    "anything": ("True", "of an empty file it says that it is one"),
    "raises on short heads": ("head[5] == 4", "takes first bytes of any length: of 0 bytes it raised IndexError"),
    "by name alone": ("head.startswith(b'SHELF') or name.endswith('.shelf')", "of an HTML page it says that it is one"),
    "zips": ("head.startswith((b'SHELF', b'PK'))", "of a zip of texts it says that it is one; of a torch zip it says"),
    "HDF5": ("head.startswith((b'SHELF', b'\\x89HDF'))", "of an HDF5 file it says that it is one"),
    "its own not": ("head.startswith(b'FOLD')", "its formats and archives accept the samples: sample.bin"),
}
INDEXING = {
    "raises on a damaged table": (
        f"if 0 in shape: raise ValueError('no axis')\n{INDEX}",
        "sample.bin with other bytes in it is refused with a reason, or read: ",
    ),
    "raises where it is cut": (f"assert file.size > 90\n{INDEX}", "sample.bin cut short is refused"),
    "takes memory as it is told": (f"bytearray(shape[0])\n{INDEX}", "indexing needs more memory than the jail allows"),
    "goes on as long as it is told": (f"n = shape[0]\nwhile n: n -= 1\n{INDEX}", "indexing needs more than 1 s of CPU"),
    "ends the process": (f"import os\nif shape[0] > 9: os._exit(3)\n{INDEX}", "that read the file ended with 3"),
    "spans past the end": (INDEX.replace("Span(6", "Span(7"), "malformed: its bytes lie outside the file"),
    "spans too short": (INDEX.replace("4 * rank))", "4 * rank - 4))"), "the span is not as long as shape and dtype"),
    "another dtype": (INDEX.replace("F32", "float"), "raised KeyError: 'float'"),
    "no convolution": (
        INDEX.replace("shape=shape", "shape=(shape[0] * 9,)"),
        "1 arrays were listed, and none is named and shaped",
    ),
    "opens files": (f"open('/etc/hostname')\n{INDEX}", "it is refused: plugin_error: the format 'shelf' raised"),
    "asks the network": (f"import socket\nsocket.create_connection(('127.0.0.1', 80))\n{INDEX}", "it is refused: "),
}


def test_a_sound_format_has_no_faults(tmp_path, sample):
    findings = list(check(write(tmp_path), Request(samples=[sample])))
    assert {finding.verdict for finding in findings} == {Verdict.HOLDS}, findings
    assert len(findings) == 9


def test_without_samples_unchecked_points_are_named(tmp_path):
    findings = list(check(write(tmp_path)))
    assert [finding.rule for finding in findings if finding.verdict is Verdict.OPEN] == ["files are read"]


@pytest.mark.parametrize("case", ACCEPTING)
def test_a_fault_of_accepts_is_reported(case, tmp_path, sample):
    accepts, expected = ACCEPTING[case]
    faults = faults_of(write(tmp_path, accepts), samples=[sample])
    assert any(expected in fault for fault in faults), faults


@pytest.mark.parametrize("case", fast_only(INDEXING.keys() - {"goes on as long as it is told"}, INDEXING))
def test_a_fault_of_index_is_reported(case, tmp_path, sample, monkeypatch):
    monkeypatch.setattr(format_contract, "LIMITS", JailLimits(cpu_seconds=1, patience=60))
    index, expected = INDEXING[case]
    faults = faults_of(write(tmp_path, index=index), samples=[sample])
    assert any(expected in fault for fault in faults), faults


def test_our_own_formats_keep_the_contract(tmp_path):
    from safetensors.numpy import save_file

    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    save_file({"conv.weight": weights}, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **{"conv.weight": weights})  # type: ignore[arg-type]  # NumPy's types know no names of arrays
    assert faults_of("safetensors", samples=[tmp_path / "a.safetensors"]) == []
    assert faults_of("npz", samples=[tmp_path / "a.npz"]) == []


def test_weights_that_are_computed_are_read(tmp_path):
    network = Network()
    whole = network.const(np.ones((4, 3, 3, 3), "i1"))
    scaled = network.add(
        "Multiply", network.add("Convert", whole, destination_type="f32"), network.const(np.ones(1, "f4"))
    )
    network.conv(network.add("Parameter", shape="1,3,8,8"), scaled)
    (tmp_path / "net.xml").write_bytes(network.xml())
    (tmp_path / "net.bin").write_bytes(network.bin)
    assert faults_of("openvino", samples=[tmp_path / "net.xml"]) == []


def test_damage_is_the_same_every_time_and_never_the_sample():
    for make in (cut_short, damaged):
        variants = list(make(GOOD))
        assert variants == list(make(GOOD))
        assert len(variants) >= 10
        assert sum(variant.data == GOOD for variant in variants) == 0
    assert {len(variant.data) for variant in cut_short(GOOD)} >= {len(GOOD) - 1, len(GOOD) // 2}
    assert [variant.data for variant in cut_short(b"ab")] == [b"a"]
    assert list(damaged(b"a"))


def test_a_sample_that_cannot_be_read_is_one_line(tmp_path):
    path = write(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    for name, expected in {"missing": "cannot open the file", "empty": "0 bytes; give a file of 1 to"}.items():
        with pytest.raises(StartError, match=expected):
            list(check(path, Request(samples=[tmp_path / name])))
    ran = filterzoo("check-plugin", "shelf.py", "--sample", "missing", cwd=tmp_path)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)


def test_the_command_takes_samples(tmp_path, sample):
    write(tmp_path)
    good = filterzoo("check-plugin", "shelf.py", "--sample", "sample.bin", cwd=tmp_path)
    assert good.code == 0, good.out
    write(tmp_path, index=INDEXING["no convolution"][0])
    bad = filterzoo("check-plugin", "shelf.py", "--sample", "sample.bin", cwd=tmp_path)
    assert bad.code == 1
    assert "wrong       format shelf: the jail reads sample.bin" in bad.out
