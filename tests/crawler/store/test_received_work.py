"""A work folder from somebody else: nothing outside is read, written, emptied or removed; each oddity is a line."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.crawler.journals import seal
from tests.end_to_end.test_crawl import hashes
from tests.program import filterzoo
from tests.publish.work import write_work, zoo
from tests.tiers import fast_only

from filterzoo.store.workfolder import WorkFolder

MANIFEST = "name: m\nsources: [{source: local, paths: ['zoo/*'], license: mit}]\n"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_work(tmp_path_factory.mktemp("sound") / "filterzoo-work", zoo()[:2])


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A received work folder, a manifest, and what must stay as it is: `home`."""
    shutil.copytree(written, tmp_path / "filterzoo-work")
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    (tmp_path / "home/documents").mkdir(parents=True)
    (tmp_path / "home/documents/thesis").write_text("mine\n")
    (tmp_path / "home/.bashrc").write_text("mine as well\n")
    return tmp_path


@pytest.fixture
def work(folder: Path) -> Path:
    return folder / "filterzoo-work"


COMMANDS = {
    "crawl": ("crawl", "manifest.yaml"),
    "status": ("status",),
    "doctor": ("doctor",),
    "repair": ("doctor", "--repair"),
    "publish": ("publish", "out"),
}


def refused(folder: Path, *arguments: str) -> str:
    """What a command says that ends with one line; what is outside the work folder is as it was."""
    before = hashes(folder / "home")
    ran = filterzoo(*arguments, cwd=folder)
    assert ran.code == 2, (arguments, ran.out, ran.err)
    assert len(ran.err.splitlines()) == 1, ran.err
    assert hashes(folder / "home") == before
    return ran.err


FOLDERS = ["fragments", "fragments.aside", "scratch", "sockets", "hosts", "confidences", "aside", "releases"]
FILES = ["lock", "journal.sqlite", "journal.sqlite-wal", "journal.sqlite.new", "store.json", "aside/journal.jsonl"]


def check_every_command(folder: Path, said: str) -> None:
    for arguments in COMMANDS.values():
        assert said in refused(folder, *arguments), arguments


@pytest.mark.parametrize("name", fast_only({"scratch", "sockets", "releases"}, FOLDERS))
def test_a_folder_that_is_a_link_is_refused(folder: Path, work: Path, name: str) -> None:
    """A crawl clears `scratch` and what is in `sockets`."""
    shutil.rmtree(work / name, ignore_errors=True)
    (work / name).symlink_to(folder / "home")
    check_every_command(folder, f"filterzoo-work/{name}: is a link, or no folder")


@pytest.mark.parametrize("name", fast_only({"lock", "journal.sqlite-wal"}, FILES))
def test_a_file_that_is_a_link_is_refused(folder: Path, work: Path, name: str) -> None:
    """A crawl empties its lock."""
    (work / name).parent.mkdir(exist_ok=True)
    (work / name).unlink(missing_ok=True)
    (work / name).symlink_to(folder / "home/.bashrc")
    check_every_command(folder, f"filterzoo-work/{name}: is a link, or no file")


def test_a_lock_or_a_journal_that_is_a_fifo_is_refused(folder: Path, work: Path) -> None:
    for name in ("lock", "journal.sqlite"):
        (work / name).unlink(missing_ok=True)
        os.mkfifo(work / name)
        check_every_command(folder, f"filterzoo-work/{name}: is a link, or no file")
        (work / name).unlink()


def test_confidences_are_not_written_through_a_link(folder: Path, work: Path) -> None:
    (work / "confidences").symlink_to(folder / "home")
    with pytest.raises(Exception, match="is a link, or no folder"):
        WorkFolder(work).check()


def test_a_store_that_somebody_else_named_is_not_used(folder: Path, work: Path) -> None:
    """`doctor --repair` would take away what it does not know there."""
    (folder / "home/fragments/aa").mkdir(parents=True)
    (folder / "home/fragments/aa/mine.part").write_text("mine")
    (work / "store.json").write_text(json.dumps({"url": str(folder / "home"), "run": None}))
    check_every_command(folder, "if the store is yours, give it by --store")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def outside(path: Path) -> None:
    path.symlink_to(path.parents[3] / "home/documents/thesis")


@pytest.mark.parametrize("plant", [fifo, endless, outside])
def test_a_fragment_that_is_no_file_is_damage(folder: Path, work: Path, plant: Callable[[Path], None]) -> None:
    for path in [*work.glob("fragments/*/*.arrow"), *work.glob("fragments/*/*.parquet")]:
        path.unlink()
        plant(path)
    assert "its fragment is damaged or lost" in refused(folder, "publish", "out")
    assert filterzoo("doctor", cwd=folder).code == 1


def edited(work: Path, *statements: str) -> None:
    with closing(sqlite3.connect(work / "journal.sqlite", isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)
        if all(statement.startswith("UPDATE") for statement in statements):
            seal(database)


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, i, i, i, i FROM n"


@pytest.mark.parametrize(
    "statements",
    [
        ("DROP TABLE done", f"CREATE VIEW done(source, id, revision, settings, document) AS {ENDLESS}"),
        ("CREATE TRIGGER t AFTER DELETE ON ledger BEGIN INSERT INTO listed SELECT * FROM (SELECT 1, 2, 3, 4); END",),
    ],
    ids=["view", "trigger"],
)
def test_a_journal_that_runs_what_somebody_wrote_is_refused(folder: Path, work: Path, statements) -> None:
    edited(work, *statements)
    for name in ("crawl", "status", "publish"):
        assert "no crawl wrote it" in refused(folder, *COMMANDS[name]), name
    assert filterzoo("doctor", cwd=folder).code == 1
    assert filterzoo("doctor", "--repair", cwd=folder).code == 0
    assert list(work.glob("journal.broken-*.sqlite")), "it is kept"
    assert filterzoo("status", cwd=folder).code == 0


@pytest.mark.parametrize(
    "document",
    [
        "[" * 100_000,
        '{"checkpoint": ' * 5_000 + "1" + "}" * 5_000,
        '{"checkpoint": {"artifacts": []}}',
        '{"checkpoint": []}',
        "[]",
        "null",
        '"text"',
        '{"checkpoint": {"artifacts": 5}}',
    ],
)
def test_a_record_that_no_crawl_wrote_is_a_line(folder: Path, work: Path, document: str) -> None:
    edited(work, f"UPDATE done SET document = '{document}'")
    for name in ("crawl", "status", "publish"):
        assert "a record cannot be read" in refused(folder, *COMMANDS[name]), name
    assert filterzoo("doctor", cwd=folder).code == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_layers", '"many"'),
        ("size", "null"),
        ("filters_by_kernel", "[1]"),
        ("filters_by_kernel", '{"3x3": "x"}'),
        ("layers_fragment", "7"),
        ("checkpoint", '{"artifacts": [], "id": 5}'),
        ("left_out", '[{"a": 1}]'),
    ],
)
def test_a_field_of_another_type_is_a_line(folder: Path, work: Path, field: str, value: str) -> None:
    edited(work, f"UPDATE done SET document = json_set(document, '$.{field}', json('{value}'))")
    for name in ("status", "publish"):
        assert "a record cannot be read" in refused(folder, *COMMANDS[name]), name


@pytest.mark.parametrize("name", ["../../../home/documents/thesis", "/etc/passwd", "", "A" * 64])
def test_a_fragment_is_named_by_a_hash_only(folder: Path, work: Path, name: str) -> None:
    edited(work, f"UPDATE done SET document = json_set(document, '$.layers_fragment', '{name}')")
    assert "is not the name of a fragment" in refused(folder, "publish", "out")
