"""Models inside archives: found by themselves, or by the name a source gives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tests.program import filterzoo
from tests.servers import WebServer

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
    with tarfile.open(tmp_path / "model.tar", mode) as archive:
        for name, body in (("readme.txt", b"hello"), ("net/model.safetensors", save(SMALL))):
            information = tarfile.TarInfo(name)
            information.size = len(body)
            archive.addfile(information, io.BytesIO(body))
    document = filterzoo("inspect", "--json", "model.tar", cwd=tmp_path).document
    assert document["filters"] == {"3x3": 8}
    assert document["layers"][0]["name"] == "conv.weight"


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
