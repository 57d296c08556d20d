"""What former versions left: each journal is migrated, each data set is read and goes on.

`former/N.tar.xz` was written by the code of the time: a work folder with a journal of version N and the data set that
was published of it, of two networks and a file that is none. 0 is that of the release 0.1.0.
"""

from __future__ import annotations

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.program import filterzoo

from filterzoo.store.doctor import examine
from filterzoo.store.journal_tables import VERSION
from filterzoo.store.workfolder import WorkFolder

FORMER = Path(__file__).with_name("former")
MANIFEST = """name: zoo
sources:
  - source: local
    paths: ["zoo/*"]
    license: mit
"""


@pytest.fixture(params=range(VERSION + 1))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """`work` and `out` as the version left them."""
    with tarfile.open(FORMER / f"{request.param}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    with closing(sqlite3.connect(tmp_path / "work" / "journal.sqlite")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (request.param,)
    return tmp_path


def write_network(folder: Path, name: str, seed: int) -> None:
    (folder / "zoo").mkdir(exist_ok=True)
    layer = np.random.default_rng(seed).standard_normal((8, 4, 3, 3)).astype(np.float32)
    save_file({"conv.weight": layer}, folder / "zoo" / f"{name}.safetensors")


def test_the_journal_of_each_version_is_migrated(folder: Path) -> None:
    work = WorkFolder(folder / "work")
    with work.existing_journal() as journal:
        assert [done.checkpoint.id for done in journal.done()] == ["zoo/a.safetensors", "zoo/b.safetensors"]
        assert [(entry.id, entry.reason) for entry in journal.ledger()] == [("zoo/bad.pth", "unknown_format")]
        assert journal.sources().keys() <= {"local"}
    with closing(sqlite3.connect(work.journal_path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert examine(work).findings == []


@pytest.mark.slow
def test_the_work_and_the_data_set_of_each_version_go_on(folder: Path) -> None:
    """Nothing is read again; a third network is added to both, beside the files that are there."""
    for seed, name in enumerate(("a", "b")):
        write_network(folder, name, seed)
    (folder / "zoo" / "bad.pth").write_bytes(b"not a model")
    (folder / "manifest.yaml").write_text(MANIFEST)
    before = {
        path.relative_to(folder): path.read_bytes() for path in (folder / "out" / "data" / "filters").rglob("*.*")
    }
    crawl = ("crawl", "manifest.yaml", "--workdir", "work", "--workers", "1")
    assert "0 new, 3 already there" in filterzoo(*crawl, cwd=folder).out
    write_network(folder, "c", 2)
    assert "1 new, 3 already there" in filterzoo(*crawl, cwd=folder).out
    published = filterzoo("publish", "./out", "--workdir", "work", "--json", cwd=folder)
    assert published.code == 0, published.err
    assert published.document["models"] == {"local": 1}
    verified = filterzoo("verify", "./out", cwd=folder)
    assert verified.code == 0, verified.out
    assert {path: (folder / path).read_bytes() for path in before} == before
    exported = filterzoo("export", "./out", "out.h5", "--format", "cnn-filter-db", "--json", cwd=folder)
    assert (exported.document["models"], exported.document["filters"]) == (3, 96)
