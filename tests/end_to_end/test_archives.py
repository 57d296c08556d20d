"""Models inside archives: found by themselves, or by the name a source gives."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save
from tests.crawler.network.networks import write_onnx
from tests.program import filterzoo
from tests.servers import WebServer

from filterzoo.crawl.worker.opening import opened
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.jail import Jail
from filterzoo.plugins import load, references
from filterzoo.store.workfolder import WorkFolder

SMALL = {"conv.weight": np.arange(72, dtype=np.float32).reshape(2, 4, 3, 3)}
LARGE = {"conv.weight": np.arange(216, dtype=np.float32).reshape(6, 4, 3, 3)}
ZOO = """
from filterzoo import Artifact, Checkpoint, Source, hookimpl


class Archives(Source):
    name = "archives"

    def discover(self):
        for member in ("fold_0/small.safetensors", "fold_1/large.safetensors", "nowhere"):
            artifact = Artifact(url="URL", name="folds.zip", member=member)
            yield Checkpoint(id=member, revision="v1", licence="mit", artifacts=(artifact,))


@hookimpl
def filterzoo_sources():
    return [Archives]
"""


def two_models(compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("README.txt", "two folds of one network")
        archive.writestr("fold_0/small.safetensors", save(SMALL))
        archive.writestr("fold_1/large.safetensors", save(LARGE))
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_source_names_the_member(tmp_path: Path, compression: int) -> None:
    with WebServer() as server:
        url = server.add("/folds.zip", two_models(compression))
        (tmp_path / "zoo.py").write_text(ZOO.replace("URL", url))
        (tmp_path / "zoo.yaml").write_text("name: zoo\nsources:\n  - source: archives\n")
        ran = filterzoo("crawl", "zoo.yaml", "--plugin", "zoo.py", "--allow-private", "--json", cwd=tmp_path)
    assert ran.code == 1
    assert ran.document["filters"] == {"3x3": 8 + 24}
    assert ran.document["reasons"] == {"malformed": 1}
    work = WorkFolder(tmp_path / "filterzoo-work")
    with work.existing_journal() as journal:
        members = {done.member: done for done in journal.done()}
        assert next(journal.ledger()).id == "nowhere"
    assert set(members) == {"fold_0/small.safetensors", "fold_1/large.safetensors"}
    assert {done.integrity for done in members.values()} == {"crc32" if compression == zipfile.ZIP_STORED else "none"}
    (batch,) = work.store().filters(members["fold_1/large.safetensors"].filters_fragment or "")
    assert batch.column("weights")[0].as_py() == LARGE["conv.weight"].reshape(-1).tolist()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_the_one_model_of_a_tar_is_found(tmp_path: Path, mode: str) -> None:
    with tarfile.open(tmp_path / "model.tar", mode) as archive:  # type: ignore[call-overload]  # the argument is one of several words
        for name, body in (("readme.txt", b"hello"), ("net/model.safetensors", save(SMALL))):
            information = tarfile.TarInfo(name)
            information.size = len(body)
            archive.addfile(information, io.BytesIO(body))
    document = filterzoo("inspect", "--json", "model.tar", cwd=tmp_path).document
    assert document["filters"] == {"3x3": 8}
    assert document["layers"][0]["name"] == "conv.weight"


def large_models(folder: Path) -> dict[str, bytes]:
    """One network in many formats, of more than one block of bzip2, which the numbers in it do not let shrink."""
    state = {"conv.weight": torch.randn(300, 100, 3, 3, generator=torch.Generator().manual_seed(0))}
    array = state["conv.weight"].numpy()
    torch.save(state, folder / "zip.pth")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    np.savez(folder / "m.npz", **{"conv.weight": array})  # type: ignore[arg-type]  # NumPy's types know no names of arrays
    write_onnx(state, folder / "m.onnx")
    (folder / "m.safetensors").write_bytes(save({"conv.weight": array}))
    with h5py.File(folder / "m.h5", "w") as file:
        file["conv/kernel"] = array.transpose(2, 3, 1, 0)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("packed", "ending"),
    [
        (gzip, "gz"),
        pytest.param(bz2, "bz2", marks=pytest.mark.slow),
        pytest.param(lzma, "xz", marks=pytest.mark.slow),
    ],
)
def test_a_model_that_is_compressed_by_itself_is_read_under_such_a_name(tmp_path: Path, packed, ending: str) -> None:
    (tmp_path / "plain").mkdir()
    names = []
    for name, body in large_models(tmp_path / "plain").items():
        names.append(f"{name}.{ending}")
        (tmp_path / names[-1]).write_bytes(packed.compress(body))
    ran = filterzoo("inspect", "--json", *names, cwd=tmp_path)
    documents = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == 0, ran.out
    assert [document["file"] for document in documents] == names
    assert all(document["filters"] == {"3x3": 30_000} for document in documents)


@pytest.mark.parametrize("ending", ["gz", *(pytest.param(ending, marks=pytest.mark.slow) for ending in ("bz2", "xz"))])
def test_a_compressed_tar_of_a_large_model_is_read(tmp_path: Path, ending: str) -> None:
    (tmp_path / "plain").mkdir()
    large_models(tmp_path / "plain")
    for name in (f"m.tar.{ending}", f"m.t{ending}"):
        with tarfile.open(tmp_path / name, f"w:{ending}") as archive:  # type: ignore[call-overload]  # the argument is one of several words
            archive.add(tmp_path / "plain" / "m.safetensors", "net/m.safetensors")
        assert filterzoo("inspect", "--json", name, cwd=tmp_path).document["filters"] == {"3x3": 30_000}


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("m.safetensors", gzip.compress(save(LARGE)), "unsupported"),
        ("m.bz2", gzip.compress(save(LARGE)), "unsupported"),
        ("m.gz", gzip.compress(save(LARGE))[:-20], "damaged"),
        ("m.gz", gzip.compress(save(LARGE))[:-6] + b"other!", "damaged"),
        ("m.gz", b"\x1f\x8b" + bytes(100), "damaged"),
        ("m.gz", gzip.compress(b"hello"), "unknown_format"),
        ("m.gz", gzip.compress(save({"conv.weight": np.zeros((2000, 1000, 3, 3), np.float32)})), "limit"),
    ],
    ids=["under another name", "under another's name", "cut", "another checksum", "garbage", "a text", "a bomb"],
)
def test_what_is_compressed_and_no_model_is_refused(tmp_path: Path, name: str, body: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(body)
    ran = filterzoo("inspect", "--json", name, cwd=tmp_path)
    assert (ran.code, ran.document["error"]["reason"]) == (2, reason), ran.out


@pytest.mark.parametrize("name", ["folds.tar.gz", "folds.tgz"])
def test_a_source_names_the_member_of_a_compressed_tar(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member, state in (("fold_0/small.safetensors", SMALL), ("fold_1/large.safetensors", LARGE)):
            information = tarfile.TarInfo(member)
            information.size = len(save(state))
            archive.addfile(information, io.BytesIO(save(state)))
    (tmp_path / name).write_bytes(buffer.getvalue())
    found = {}
    with Jail(load(references(())).format_references) as jail, LocalFile(tmp_path / name) as whole:
        for member in ("fold_0/small.safetensors", "fold_1/large.safetensors"):
            with opened(whole, name, jail, tmp_path / "scratch", member) as (_, index):
                found[index.member] = index.convolutions[0].shape
    assert found == {"fold_0/small.safetensors": (2, 4, 3, 3), "fold_1/large.safetensors": (6, 4, 3, 3)}


def test_a_packed_model_has_no_files_beside_it(tmp_path: Path) -> None:
    """What lies in the scratch folder at that time is ours."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "m-0.safetensors").write_bytes(save(SMALL))
    index = {"metadata": {}, "weight_map": {"conv.weight": "m-0.safetensors"}}
    (tmp_path / "m.safetensors.index.json.gz").write_bytes(gzip.compress(json.dumps(index).encode()))
    with (
        Jail(load(references(())).format_references) as jail,
        LocalFile(tmp_path / "m.safetensors.index.json.gz") as whole,
        pytest.raises(Refused) as caught,
        opened(whole, "m.safetensors.index.json.gz", jail, tmp_path / "scratch"),
    ):
        pass
    assert caught.value.reason is Reason.UNSUPPORTED


def test_an_archive_of_two_models_asks_for_a_name(tmp_path: Path) -> None:
    (tmp_path / "two.zip").write_bytes(two_models(zipfile.ZIP_DEFLATED))
    ran = filterzoo("inspect", "--json", "two.zip", cwd=tmp_path)
    assert ran.code == 2
    assert ran.document["error"]["reason"] == "unsupported"
    assert "name one" in ran.document["error"]["detail"]


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", save({"conv.weight": np.zeros((2000, 1000, 3, 3), np.float32)}))
    ran = filterzoo("inspect", "--json", "bomb.zip", cwd=tmp_path)
    assert ran.document["error"]["reason"] == "limit"
