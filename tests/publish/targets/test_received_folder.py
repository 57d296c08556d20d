"""Publishing into, and reading from, a folder that somebody else has filled: nothing outside it is touched or read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from threading import Thread

import pytest
from tests.publish import received
from tests.publish.folders import publish_models, tree
from tests.publish.work import write_work, zoo

import filterzoo
from filterzoo.dataset.paths import is_published_path
from filterzoo.dataset.published import open_folder
from filterzoo.errors import FilterZooError, StartError
from filterzoo_publish.release import publish, target_for
from filterzoo_publish.schema import CONFIGS
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind
from filterzoo_publish.targets.decided import Decided, Notes
from filterzoo_publish.targets.folder import FolderTarget
from filterzoo_publish.verify.checks import verify


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("received")
    publish_models(folder / "first", folder / "out", zoo()[:2])
    write_work(folder / "second", zoo()[:3])
    return folder


@pytest.fixture
def victim(tmp_path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/authorized_keys").write_text("my own key\n")
    return tmp_path / "home/authorized_keys"


@pytest.fixture
def target(sound, tmp_path) -> Path:
    return shutil.copytree(sound / "out", tmp_path / "target")


@pytest.mark.parametrize("attack", received.ATTACKS)
def test_a_received_folder_makes_no_command_reach_outside(sound, target, victim, attack):
    attack(target, victim)
    outside, inside = tree(victim.parent), tree(target)
    with pytest.raises(StartError):
        publish(sound / "second", target_for(str(target), workdir=sound / "second"))
    with pytest.raises(StartError):
        take_down(target_for(str(target), workdir=sound / "second"), [(TakedownKind.MODEL, zoo()[0].model_id)])
    verify_refuses(target)
    assert tree(victim.parent) == outside
    assert tree(target) == inside, "a refused target stays as it was"


def verify_refuses(target: Path) -> None:
    """A problem or a refusal; what only publishers write is not verify's business."""
    try:
        problems = verify(str(target))
    except StartError:
        return
    writers_only = (target / ".staged").is_symlink() or (target / "cards").is_symlink()
    assert problems or writers_only


@pytest.mark.parametrize("place", ["../secret.parquet", "/tmp/secret.parquet", "data/layers/{hash}.parquet", "{link}"])
def test_filters_are_only_read_from_files_of_filters(sound, target, tmp_path, place):
    secret = next((sound / "out/data/filters").rglob("*.parquet"))
    shutil.copy(secret, tmp_path / "secret.parquet")
    link = target / "data/filters" / f"{7:032x}.parquet"
    if place == "{link}":
        link.symlink_to(tmp_path / "secret.parquet")
    place = place.format(hash=f"{1:032x}", link=link.relative_to(target).as_posix())
    received.point_filters_to(target, place)
    with pytest.raises(FilterZooError):
        filterzoo.load(str(target))


def test_an_interrupted_release_is_finished_only_with_the_work_folder_that_began_it(sound, tmp_path, monkeypatch):
    target = tmp_path / "target"
    with monkeypatch.context() as patch:
        patch.setattr(FolderTarget, "_finish", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish(sound / "second", target_for(str(target), workdir=sound / "second"))
    moved = shutil.copytree(target, tmp_path / "sent")
    for workdir in (None, tmp_path / "other"):
        with pytest.raises(StartError, match="not begun with this work folder"):
            publish(sound / "second", target_for(str(target), workdir=workdir))
    (moved / ".decided/README.md").write_text("not what was decided")
    with pytest.raises(StartError, match="was changed since"):
        publish(sound / "second", target_for(str(moved), workdir=sound / "second"))
    publish(sound / "second", target_for(str(target), workdir=sound / "second"))
    assert verify(str(target)) == []
    assert not (sound / "second/releases").exists(), "the note is gone with what it was about"


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/etc/passwd",
        "data/filters/../../x",
        f"data/filters/{0:032x}.parquet\n",
        f"data/filters/a/b/c/{0:032x}.parquet",
        f"data/other/{0:032x}.parquet",
        f"data/filters/{0:031x}.parquet",
        f"data/filters/A/b/{0:032x}.parquet",
        ".decided/README.md",
        "",
    ],
)
def test_paths_that_no_release_writes_are_refused(target, path):
    assert not is_published_path(path)
    with pytest.raises(StartError):
        open_folder(target).open(path)
    with pytest.raises(StartError):
        open_folder(target).native(path)
    with pytest.raises(StartError):
        Decided.read(Decided(token="0" * 32, files={path: ""}, removed=()).content())
    with pytest.raises(StartError):
        Decided.read(Decided(token="0" * 32, files={}, removed=(path,)).content())


def test_every_file_of_a_release_is_in_the_grammar(target):
    assert {path.split("/")[1] for path in tree(target) if path.startswith("data/")} == set(CONFIGS)
    assert all(is_published_path(path) for path in tree(target))


@pytest.mark.parametrize("linked", ["data", "data/models", "file"])
def test_no_link_is_followed_to_a_file(target, tmp_path, linked):
    """A name that was a file's when the folder was listed may be a link by the time it is opened."""
    path = open_folder(target).paths("models")[0]
    place = target / (path if linked == "file" else linked)
    shutil.move(place, tmp_path / "moved")
    place.symlink_to(tmp_path / "moved")
    with pytest.raises(StartError):
        open_folder(target).open(path)
    with pytest.raises(StartError):
        open_folder(target).native(path)


@pytest.mark.parametrize("name", ["README.md", "releases.csv", "takedowns.csv", "data/models"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_nothing_but_a_regular_file_is_opened(target, name: str, make):
    """A FIFO opens, and reads as an empty document: takedowns that are forgotten."""
    path = open_folder(target).paths(name.partition("/")[2])[0] if "/" in name else name
    (target / path).unlink(missing_ok=True)
    make(target / path)
    for read in (open_folder(target).open, open_folder(target).native, open_folder(target).text):
        with pytest.raises(StartError):
            read(path)


@pytest.mark.parametrize("stranger", [Path.mkdir, lambda place: place.symlink_to("/etc/hostname")])
def test_a_release_is_not_decided_where_a_file_cannot_take_its_place(sound, target, stranger):
    (target / "NOTICE").unlink(missing_ok=True)
    stranger(target / "NOTICE")
    before = tree(target)
    with pytest.raises(StartError, match="NOTICE"):
        publish(sound / "second", target_for(str(target), workdir=sound / "second"))
    assert tree(target) == before
    assert (target / "NOTICE").is_dir() or (target / "NOTICE").is_symlink()


def test_notes_of_two_publishers_from_one_work_folder_are_kept(tmp_path: Path) -> None:
    """Each removes the folder of notes where it is empty, also while the other is about to write one."""
    plans = [(number, Notes(tmp_path / "work"), b"%d" % number, tmp_path / f"out{number}") for number in range(2)]
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "journal.sqlite").touch()
    lost: list[int] = []

    def publish_often(number: int, notes: Notes, plan: bytes, target: Path) -> None:
        for _ in range(100):
            notes.add(plan, target)
            if not notes.has(plan):
                lost.append(number)
            notes.drop(plan)

    threads = [Thread(target=publish_often, args=arguments) for arguments in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    assert not (tmp_path / "work" / "releases").exists()


def test_notes_are_not_written_or_removed_through_a_link(tmp_path):
    outside, target = tmp_path / "outside", tmp_path / "out"
    work = tmp_path / "work"
    for folder in (outside, work):
        folder.mkdir()
    Notes(work).add(b"plan", target)
    (note,) = Notes(work).of(target)
    note.rename(outside / note.name)
    note.parent.rmdir()
    note.parent.symlink_to(outside)
    Notes(work).add(b"another plan", target)
    Notes(work).forget(target)
    assert [path.name for path in outside.iterdir()] == [note.name]
    assert not Notes(work).has(b"plan")


def test_notes_for_other_targets_stay(tmp_path):
    notes = Notes(tmp_path / "work")
    for name in ("one", "other"):
        notes.add(name.encode(), tmp_path / name)
    (torn,) = notes.of(tmp_path / "one")
    torn.write_bytes(b"")
    notes.forget(tmp_path / "one")
    assert (notes.has(b"one"), notes.has(b"other")) == (False, True)
