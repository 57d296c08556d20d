"""Stores by URL: files appear whole or not at all, and what fails for a while is tried again."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
import tenacity
from fsspec.implementations.memory import MemoryFileSystem

from filterzoo.errors import StartError, StorageFailed
from filterzoo.stopping import Stopped
from filterzoo.store.objects.base import Objects, check_url
from filterzoo.store.objects.local import LocalObjects
from filterzoo.store.objects.opening import open_objects
from filterzoo.store.objects.remote import RemoteObjects


class Faulty(MemoryFileSystem):
    """A store in memory that fails as it is told; `faulty` is no object store: an upload is seen half-written."""

    protocol = "faulty"
    cachable = False
    faults: ClassVar[list[BaseException]] = []
    seen: ClassVar[list[tuple[str, str]]] = []

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        self.seen.append(("put", rpath))
        if self.faults:
            with self.open(rpath, "wb") as half:
                half.write(b"half")
            raise self.faults.pop(0)
        super().put_file(lpath, rpath, **options)

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        self.seen.append(("mv", path2))
        super().mv(path1, path2, **options)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        if self.faults:
            raise self.faults.pop(0)
        return super().cat_file(path, start, end, **options)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> RemoteObjects:
    fsspec.register_implementation("faulty", Faulty, clobber=True)
    Faulty.faults, Faulty.seen = [], []
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **_: tenacity.wait_none())
    return RemoteObjects(f"faulty://{secrets.token_hex(4)}", patience=0.2)


class NoCredentialsError(Exception):
    """By the name of botocore's error, whose package may be absent."""


@pytest.mark.parametrize(("error", "attempts"), [(NoCredentialsError("none"), 1), (ConnectionError("refused"), 2)])
def test_a_store_that_cannot_be_reached_is_one_line(
    error: Exception, attempts: int, faulty: RemoteObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials that are not set are not waited for."""
    asked: list[str] = []

    def fail(_self: Faulty, path: str, **_options: Any) -> None:
        asked.append(path)
        raise error

    monkeypatch.setattr(Faulty, "ls", fail)
    with pytest.raises(StartError) as told:
        faulty.check()
    line = f"cannot be used: {type(error).__name__}: {error}; check the URL, and the address and credentials"
    assert line in str(told.value)
    assert "run the same command again" not in str(told.value)
    assert min(len(asked), 2) == attempts


@pytest.fixture(params=["folder", "file", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    folder = tmp_path / "a store"
    urls = {"folder": str(folder), "file": folder.as_uri(), "memory": f"memory://{secrets.token_hex(4)}/prefix"}
    return open_objects(urls[request.param])


def written(tmp_path: Path, content: bytes = b"content") -> Path:
    path = tmp_path / "written"
    path.write_bytes(content)
    return path


def test_a_file_is_kept_read_listed_set_aside_and_removed(objects: Objects, tmp_path: Path) -> None:
    assert objects.paths() == []
    objects.keep(written(tmp_path, bytes(range(256)) * 40_000), "ab/abc.arrow")
    assert not (tmp_path / "written").exists()
    assert objects.paths() == ["ab/abc.arrow"]
    assert objects.exists("ab/abc.arrow")
    assert not objects.exists("ab/other.arrow")
    with objects.open("ab/abc.arrow") as file:
        file.seek(9_999_999)
        assert file.read(3) == bytes([127, 128, 129])
    with objects.stream("ab/abc.arrow") as file:
        assert file.read() == objects.read("ab/abc.arrow") == bytes(range(256)) * 40_000
    objects.replace(written(tmp_path, b"other"), "ab/abc.arrow")
    assert objects.read("ab/abc.arrow") == b"other"
    assert objects.age_of("ab/abc.arrow") > 1e9
    assert objects.age_of("ab/none") == 0
    objects.set_aside("ab/abc.arrow")
    assert objects.paths() == []
    objects.keep(written(tmp_path), "x")
    objects.remove("x")
    assert objects.paths() == []
    with pytest.raises(FileNotFoundError):
        objects.open("x")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the paths of open files are not to be had here")
def test_a_file_is_on_the_disk_before_it_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, rename = os.fsync, Path.replace

    def note_sync(file: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{file}').readlink()}")
        sync(file)

    def note_rename(path: Path, place: Path) -> Path:
        steps.append(f"rename {path}")
        return rename(path, place)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_rename)
    store = tmp_path.resolve() / "a store"
    new = written(tmp_path.resolve())
    LocalObjects(store).replace(new, "crawl.json")
    assert steps[:2] == [f"sync {new}", f"rename {new}"]
    assert {f"sync {store}", f"sync {store.parent}"} <= set(steps[2:])


def test_an_empty_file_can_be_read(objects: Objects, tmp_path: Path) -> None:
    objects.keep(written(tmp_path, b""), "empty")
    with objects.stream("empty") as file:
        assert file.read() == b""


def test_a_server_of_files_gets_a_temporary_one_that_is_renamed(faulty: RemoteObjects, tmp_path: Path) -> None:
    """A half that a broken upload leaves has no fragment's name."""
    Faulty.faults = [ConnectionResetError("reset"), OSError(errno.EBUSY, "SlowDown")]
    faulty.keep(written(tmp_path), "ab/abc.arrow")
    assert faulty.read("ab/abc.arrow") == b"content"
    puts = [path for what, path in Faulty.seen if what == "put"]
    assert len(puts) == 3
    assert all(path.endswith(".part") for path in puts)
    assert [path.rpartition("/")[2] for what, path in Faulty.seen if what == "mv"] == ["abc.arrow"]


def test_what_fails_for_a_while_is_read_again(faulty: RemoteObjects, tmp_path: Path) -> None:
    faulty.keep(written(tmp_path), "a")
    Faulty.faults = [TimeoutError("slow"), OSError(errno.EBUSY, "SlowDown")]
    with faulty.stream("a") as file:
        assert file.read() == b"content"


def test_a_store_that_never_works_ends_the_run_with_its_name(faulty: RemoteObjects, tmp_path: Path) -> None:
    Faulty.faults = [OSError(errno.EBUSY, "SlowDown")] * 1_000_000
    with pytest.raises(StorageFailed, match=r"the store faulty://\w+ cannot be written to: OSError.*SlowDown") as told:
        faulty.keep(written(tmp_path), "a")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("error", [PermissionError("denied"), FileNotFoundError("NoSuchBucket")])
def test_errors_that_retries_cannot_solve_end_the_run_at_once(
    error: OSError, faulty: RemoteObjects, tmp_path: Path
) -> None:
    Faulty.faults = [error] * 2
    with pytest.raises(StorageFailed, match="cannot be written to"):
        faulty.keep(written(tmp_path), "a")
    assert len(Faulty.faults) == 1


def test_a_signal_is_not_taken_for_trouble_of_the_store(faulty: RemoteObjects, tmp_path: Path) -> None:
    Faulty.faults = [Stopped(2), OSError("not reached")]
    with pytest.raises(Stopped):
        faulty.keep(written(tmp_path), "a")
    assert len(Faulty.faults) == 1


def test_fewer_bytes_than_were_sent_are_no_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RemoteObjects(f"memory://{secrets.token_hex(4)}", patience=0.0)
    put = MemoryFileSystem.put_file
    monkeypatch.setattr(
        MemoryFileSystem,
        "put_file",
        lambda self, lpath, rpath, **options: (put(self, lpath, rpath, **options), self.pipe_file(rpath, b"cut")),
    )
    with pytest.raises(StorageFailed, match="has 3 bytes after an upload of 7"):
        store.keep(written(tmp_path), "a")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://key:secret@bucket/prefix", "holds a password"),
        ("nothing://bucket", "give a folder or a URL such as s3://bucket/prefix"),
    ],
)
def test_a_url_that_is_no_store_is_reported_without_its_password(url: str, told: str) -> None:
    with pytest.raises(StartError, match=told) as caught:
        check_url(url)
    assert "secret" not in str(caught.value)


def test_a_folder_is_on_this_machine(tmp_path: Path) -> None:
    assert isinstance(open_objects("filterzoo-work/fragments"), LocalObjects)
