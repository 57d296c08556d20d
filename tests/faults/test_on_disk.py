"""States of a folder have the same digest if and only if a command cannot tell them apart."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.faults.on_disk import name_of_state
from tests.publish.work import Model, weights, write_work


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    write_work(folder / "work", [Model("a", {"own": weights(1, 4, 4, 3, 3)})])
    for name in ("0123456789abcdef", "fedcba9876543210"):
        (folder / "work" / "scratch" / name).mkdir(parents=True)
    (folder / "note").write_text('{"token": "%s"}' % ("ab" * 16))
    return folder


@pytest.fixture
def case(start: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(start, tmp_path / "case"))


def changed_journal(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "work" / "journal.sqlite")) as database, database:
        assert database.execute(statement).rowcount


def damaged_journal(folder: Path) -> None:
    journal = folder / "work" / "journal.sqlite"
    page = journal.read_bytes()[:100]
    journal.write_bytes(page + b"x" * (journal.stat().st_size - 100))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "note").unlink(),
        lambda folder: (folder / "note").chmod(0o600),
        lambda folder: (folder / "note").rename(folder / "noted"),
        lambda folder: (folder / "note").write_text('{"token": "short"}'),
        lambda folder: (folder / "empty").mkdir(),
        lambda folder: (folder / "work" / "scratch" / "0123456789abcdef").rmdir(),
        lambda folder: changed_journal(folder, "DELETE FROM done"),
        lambda folder: changed_journal(folder, "UPDATE done SET settings = 'other'"),
        damaged_journal,
    ],
)
def test_relevant_differences_give_another_name(start: Path, case: Path, change: Callable[[Path], object]) -> None:
    change(case)
    assert name_of_state(case) != name_of_state(start)


def test_random_parts_give_the_same_name(start: Path, case: Path) -> None:
    (case / "note").write_text((case / "note").read_text().replace("abab", "acac"))
    (case / "work" / "scratch" / "0123456789abcdef").rename(case / "work" / "scratch" / "1123456789abcdef")
    with closing(sqlite3.connect(case / "work" / "journal.sqlite")) as database:
        database.execute("VACUUM")
    assert name_of_state(case) == name_of_state(start)


def test_two_random_names_are_not_mixed_up(start: Path, case: Path) -> None:
    """A note of a token that another file has is not one of a token of its own."""
    names = []
    for token in ("ab" * 16, "cd" * 16):
        (case / "other").write_text(f'{{"token": "{token}"}}')
        names.append(name_of_state(case))
    assert names[0] != names[1]
