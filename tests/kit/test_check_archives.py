"""Each way an archive kind can break the contract is found and told in words; sound ones pass."""

from __future__ import annotations

import tarfile
import zipfile

import numpy as np
import pytest

from filterzoo.kit import Verdict, check, faults_of
from filterzoo.kit.checking import Request

BOX = '''
from filterzoo import Archive, Member, Reason, Refused, hookimpl


class Box(Archive):
    """BOX, a byte for the length of the name, the name, one stored file to the end."""

    name = "box"

    def accepts(self, head, name):
        return ACCEPTS

    def members(self, file):
        if file.size < 4:
            raise Refused(Reason.MALFORMED, "a box that ends too early")
        length = file.read(3, 1)[0]
        name = file.read(4, length).decode("latin-1")
        MEMBERS


@hookimpl
def filterzoo_archives():
    return [Box()]
'''
ACCEPTS = "head.startswith(b'BOX')"
MEMBERS = "yield Member(name=name, offset=4 + length, length=file.size - 4 - length)"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "w.npy"
    np.save(path, np.ones((2, 1, 3, 3), np.float32))
    return path


@pytest.fixture
def sample(tmp_path, model):
    path = tmp_path / "sample.box"
    path.write_bytes(b"BOX\5w.npy" + model.read_bytes())
    return path


def write(folder, accepts=ACCEPTS, members=MEMBERS):
    path = folder / "box.py"
    path.write_text(BOX.replace("ACCEPTS", accepts).replace("MEMBERS", members.replace("\n", "\n        ")))
    return path


def test_a_sound_archive_has_no_faults(tmp_path, sample):
    findings = list(check(write(tmp_path), Request(samples=[sample])))
    assert {finding.verdict for finding in findings} == {Verdict.HOLDS}, findings
    assert "archive box" in {finding.subject for finding in findings}


@pytest.mark.parametrize(
    ("accepts", "members", "expected"),
    [
        ("True", MEMBERS, "of an empty file it says that it is one"),
        ("head[2] == 88", MEMBERS, "of 0 bytes it raised IndexError"),
        ("head.startswith((b'BOX', b'PK'))", MEMBERS, "of a torch zip it says that it is one"),
        (ACCEPTS, "yield 1", "it is refused: plugin_error: the archive 'box' raised AttributeError"),
        (ACCEPTS, MEMBERS.replace("4 + length,", "1 << 40,"), "it is refused: malformed"),
        (ACCEPTS, "assert file.size > 210\n" + MEMBERS, "cut short is refused with a reason"),
        (ACCEPTS, "yield from ()", "it is refused: unknown_format: a box archive with no model file"),
    ],
)
def test_a_fault_of_an_archive_is_reported(tmp_path, sample, accepts, members, expected):
    faults = faults_of(write(tmp_path, accepts, members), samples=[sample])
    assert any(expected in fault for fault in faults), faults


def test_our_own_archives_keep_the_contract(tmp_path, model):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(model, "w.npy")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(model, "w.npy")
    assert faults_of("zip", samples=[tmp_path / "a.zip"]) == []
    assert faults_of("tar", samples=[tmp_path / "a.tar"]) == []
