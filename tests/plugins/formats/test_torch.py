from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from tests.memory_file import MemoryFile
from tests.plugins.formats import torch_files
from tests.plugins.formats.torch_files import TorchZip, mapping, program, tensor, text

from filterzoo.errors import Reason, Refused
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Quantisation, StoredRange, Tensor
from filterzoo_plugins.formats.torch import TorchFormat

HOSTILE = torch_files.hostile_files()
GOOD = torch_files.good_files()
EVIL = torch_files.evil_bodies("true")
FORMAT = TorchFormat()


def index(data: bytes, *, is_remote: bool = False) -> list[Tensor]:
    return list(FORMAT.index(MemoryFile(data, is_remote=is_remote)))


@pytest.mark.parametrize("label", GOOD)
@pytest.mark.parametrize("is_remote", [False, True])
def test_good_files_are_read(label, is_remote):
    file = MemoryFile(GOOD[label], is_remote=is_remote)
    assert FORMAT.accepts(GOOD[label][:4096], "weights")
    (only,) = FORMAT.index(file)
    assert (only.name, only.dtype, only.shape, only.strides) == ("conv.weight", "F32", (1, 4, 3, 3), None)
    assert only.section == ""
    with TensorReader(file) as reader:
        assert np.array_equal(reader.read(only).reshape(-1), np.arange(36))
        assert reader.has_crc == label.startswith("zip")


def test_the_battery_is_large():
    assert len(HOSTILE) >= 100
    assert {reason for _, reason in HOSTILE.values()} == {
        Reason.MALFORMED, Reason.UNSAFE, Reason.LIMIT, Reason.UNSUPPORTED, Reason.DAMAGED,
    }  # fmt: skip


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_files_are_refused_for_the_right_reason(label):
    data, reason = HOSTILE[label]
    assert FORMAT.accepts(data[:4096], "model.pt")
    started = time.process_time()
    with pytest.raises(Refused) as refusal:
        index(data)
    assert refusal.value.reason is reason
    assert time.process_time() - started < 2
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("label", EVIL)
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_code_in_a_pickle_stays_data(label, container, tmp_path):
    target = tmp_path / "RUN"
    body = mapping(text("conv.weight"), tensor(), text("x"), torch_files.evil_bodies(f"touch {target}")[label])
    pickle = program(body, 4)
    data = TorchZip(pickle).bytes() if container == "zip" else torch_files.legacy(pickle=pickle)
    assert [found.name for found in index(data)] == ["conv.weight"]
    assert not target.exists()


def test_the_payload_of_that_test_is_real(tmp_path):
    import pickle

    target = tmp_path / "RUN"
    pickle.loads(program(torch_files.payload(f"touch {target}")))
    assert target.exists()


def test_other_zips_and_files_are_left_to_others():
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(3))
    foreign = {"arrays.npz": stream.getvalue(), "page.pt": b"<!DOCTYPE html>", "empty.pt": b"", "zeros.pth": bytes(512)}
    for name, members in {
        "model.keras": ["metadata.json", "config.json", "model.weights.h5"],
        "archive.zip": ["weights/a.pth", "weights/b.pth"],
        "nested.zip": ["model.pt"],
        "photos.zip": ["data/1.png"],
    }.items():
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for member in members:
                archive.writestr(member, TorchZip().bytes())
        foreign[name] = stream.getvalue()
    for name, data in foreign.items():
        assert not FORMAT.accepts(data[:4096], name), name


def test_a_hostile_first_name_still_comes_here_by_the_next_or_by_the_file_name():
    data = TorchZip().bytes().replace(b"archive/data.pkl", b"archive/data.pkX", 1)
    assert FORMAT.accepts(data, "unnamed")
    assert FORMAT.accepts(TorchZip().bytes().replace(b"archive/", b"archive_", 3), "model.pth")


def test_scales_per_channel_are_read():
    (only,) = index(torch_files.quantised_zip(struct.pack("<d", 0.5)))
    assert only.dtype == "I8"
    assert only.quantisation == Quantisation((0.5,), (3,), 0)


def test_the_record_is_the_whole_storage_with_its_crc():
    data = TorchZip(program(mapping(text("w"), tensor(offset=9, shape=(3, 3, 3), strides=(9, 3, 1))))).bytes()
    (only,) = index(data)
    at = data.index(torch_files.VALUES)
    (record,) = only.stored_in
    assert isinstance(record, StoredRange)
    assert (record.offset, record.length, record.size) == (at, 144, 144)
    assert (only.span.offset, only.span.length) == (at + 36, 108)
    damaged = bytearray(data)
    damaged[at] ^= 1
    with pytest.raises(Refused) as refusal, TensorReader(MemoryFile(bytes(damaged))) as reader:
        reader.read(only)
    assert refusal.value.reason is Reason.DAMAGED


def test_hostile_names_come_back_equal_or_escaped():
    names = ["\x1b[31mred", "a\0b", "\u202eevil", "../../etc/passwd", "C:\\x", "a" * 100_000, "", "🦊"]
    pairs = [part for name in names for part in (text(name), tensor())]
    assert [found.name for found in index(TorchZip(program(mapping(*pairs))).bytes())] == names
    (escaped,) = index(TorchZip(program(mapping(text("\ud800x"), tensor()))).bytes())
    assert escaped.name == "\\ud800x"


def test_mutated_files_are_read_or_refused_and_nothing_else():
    """2,000 seeded mutations: bytes changed, byte ranges cut, doubled or swapped for opcodes; only Refused escapes."""
    numbers = random.Random(0)
    opcodes = bytes(range(0x80, 0x99)) + b"()]}.012NQRabcdehijloqrstuXUKMJTSVFGIL"
    seeds = [*GOOD.values(), torch_files.quantised_zip(struct.pack("<d", 0.5))]
    seeds += [TorchZip(program(mapping(text("w"), tensor(), text("x"), body))).bytes() for body in EVIL.values()]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(2000):
        data = bytearray(numbers.choice(seeds))
        for _ in range(numbers.randint(1, 4)):
            at = numbers.randrange(len(data))
            match numbers.randrange(4):
                case 0:
                    data[at] = numbers.randrange(256)
                case 1:
                    data[at] = numbers.choice(opcodes)
                case 2:
                    del data[at : at + numbers.randint(1, 20)]
                case 3:
                    data[at:at] = data[at : at + numbers.randint(1, 20)]
            if not data:
                break
        outcomes[_outcome(bytes(data), is_remote=bool(numbers.randrange(2)))] += 1
    assert outcomes["read"] > 50
    assert outcomes["refused"] > 500


def test_mutated_pickles_are_read_or_refused_and_nothing_else():
    """The same below the CRC, which hides most mutations of a zip from the pickle machine."""
    numbers = random.Random(1)
    opcodes = bytes(range(0x80, 0x99)) + b"()]}.012NQRabcdehijloqrstuXUKMJTSVFGIL"
    seeds = [program(mapping(text("w"), tensor(), text("x"), body), 4) for body in EVIL.values()]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(2000):
        pickle = bytearray(numbers.choice(seeds))
        for _ in range(numbers.randint(1, 3)):
            at = numbers.randrange(2, len(pickle))
            pickle[at] = numbers.choice(opcodes) if numbers.randrange(2) else numbers.randrange(256)
        outcomes[_outcome(TorchZip(bytes(pickle)).bytes(), is_remote=False)] += 1
    assert outcomes["read"] > 50
    assert outcomes["refused"] > 500


def _outcome(data: bytes, *, is_remote: bool) -> str:
    FORMAT.accepts(data[:4096], "x.pt")
    try:
        index(data, is_remote=is_remote)
    except Refused:
        return "refused"
    return "read"


def test_the_module_is_light_and_brings_nothing_that_runs_pickles():
    """A child of the jail imports it for every file; its static cousin looks at all reading modules."""
    code = "import sys, filterzoo_plugins.formats.torch; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(run.stdout.split())
    assert "filterzoo_plugins.formats.torch" in loaded
    assert not {"torch", "numpy", "pickle", "_pickle", "marshal", "zipfile", "httpx", "pydantic"} & (loaded - BY_PYTHON)


BY_PYTHON = {"marshal"}
"""The import system itself loads it."""
