"""Crawls into an S3 server on loopback: refused, slow, killed, gone on with elsewhere; the same bytes are published."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.end_to_end.test_crawl import hashes
from tests.object_store import ObjectStore
from tests.program import PROGRAM, Ran, filterzoo
from tests.zoo import MANIFEST, write_bad, write_good

pytest.importorskip("moto", reason="needs the extra `cluster`")
pytest.importorskip("s3fs", reason="needs the extra `cluster`")

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def s3() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        yield store


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "manifest.yaml").write_text(MANIFEST)
    write_good(folder / "zoo")
    write_bad(folder / "zoo")
    return folder


@pytest.fixture(scope="module")
def expected(zoo: Path) -> dict[str, str]:
    """What a crawl without a store publishes."""
    assert filterzoo("crawl", "manifest.yaml", "--workdir", "own", cwd=zoo).code == 1
    assert filterzoo("publish", "./out-own", "--workdir", "own", cwd=zoo).code == 0
    return hashes(zoo / "out-own")


@pytest.fixture
def prefix(s3: ObjectStore, request: pytest.FixtureRequest) -> str:
    s3.requests.clear()
    return f"s3://zoo/{request.node.name}"


def crawl(zoo: Path, s3: ObjectStore, prefix: str, work: str) -> Ran:
    return filterzoo(
        "crawl", "manifest.yaml", "--workdir", work, "--store", prefix, "--workers", 2, cwd=zoo, env=s3.environment
    )


def published(zoo: Path, s3: ObjectStore, prefix: str, work: str) -> dict[str, str]:
    """Published from a work folder that has seen no crawl, by a machine that only reads."""
    out = zoo / f"out-{work}"
    ran = filterzoo("publish", out, "--workdir", work, "--store", prefix, cwd=zoo, env=s3.environment)
    assert ran.code == 0, ran.err
    return hashes(out)


def uploads(s3: ObjectStore) -> Counter[str]:
    """How often each fragment was sent."""
    return Counter(path for method, path in s3.requests if method == "PUT" and "/fragments/" in path)


def test_a_store_gives_the_same_bytes(zoo: Path, s3: ObjectStore, prefix: str, expected: dict[str, str]) -> None:
    assert crawl(zoo, s3, prefix, "first").code == 1
    assert not (zoo / "first" / "fragments").exists()
    assert set(uploads(s3).values()) == {1}
    assert published(zoo, s3, prefix, "reader") == expected


def test_a_store_that_refuses_and_is_slow_for_a_while_costs_time_only(
    zoo: Path, s3: ObjectStore, prefix: str, expected: dict[str, str]
) -> None:
    """503 SlowDown, more often in a row than the client of S3 tries by itself."""
    s3.refuse(40, after=6)
    s3.delay = 0.1
    try:
        ran = crawl(zoo, s3, prefix, "patient")
    finally:
        s3.delay = 0.0
    assert ran.code == 1, ran.err
    assert s3.refused == 40
    s3.refuse(20, after=10)
    assert published(zoo, s3, prefix, "patient-reader") == expected
    assert s3.refused == 20


def test_a_crawl_that_is_killed_goes_on_in_another_folder(
    zoo: Path, s3: ObjectStore, prefix: str, expected: dict[str, str]
) -> None:
    """The one that goes on has no journal of the first: no copy was due. It reads nothing again that is stored."""
    command = [str(PROGRAM), "crawl", "manifest.yaml", "--workdir", "killed", "--store", prefix, "--workers", "1"]
    crawling = subprocess.Popen(
        command, cwd=zoo, env={**os.environ, **s3.environment}, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(uploads(s3)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(crawling.pid, signal.SIGKILL)
    crawling.wait()
    before = uploads(s3)
    assert len(before) >= 3
    ran = crawl(zoo, s3, prefix, "elsewhere")
    assert ran.code == 1, ran.err
    whole = [path for path in before if path.endswith(".arrow")]
    assert all(uploads(s3)[path] == 1 for path in whole[:-1]), "what was stored and told of itself was read again"
    assert published(zoo, s3, prefix, "elsewhere") == expected


def test_a_fragment_of_several_parts_is_there_as_a_whole(
    s3: ObjectStore, prefix: str, tmp_path: Path, monkeypatch
) -> None:
    from filterzoo.store.objects.remote import RemoteObjects

    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    store = RemoteObjects(prefix)
    content = os.urandom(1_000_000) * 110
    (tmp_path / "large").write_bytes(content)
    store.keep(tmp_path / "large", "ab/large")
    assert sum(method == "PUT" for method, _ in s3.requests) >= 2, "in parts"
    assert store.read("ab/large") == content
    with store.stream("ab/large") as file:
        file.seek(50_000_123)
        assert file.read(10) == content[50_000_123:50_000_133]
    assert store.paths() == ["ab/large"]


def test_a_file_that_is_there_is_not_replaced_and_half_of_one_is(
    s3: ObjectStore, prefix: str, tmp_path: Path, monkeypatch
) -> None:
    from filterzoo.store.objects.remote import RemoteObjects

    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    store = RemoteObjects(prefix)

    def keep(content: bytes) -> None:
        (tmp_path / "written").write_bytes(content)
        store.keep(tmp_path / "written", "ab/named-by-content")

    keep(b"half")
    keep(b"content")
    assert store.read("ab/named-by-content") == b"content"
    keep(b"CONTENT")
    assert store.read("ab/named-by-content") == b"content"
    (tmp_path / "written").write_bytes(b"other")
    store.replace(tmp_path / "written", "ab/named-by-content")
    assert store.read("ab/named-by-content") == b"other"


def test_a_missing_bucket_is_reported_before_anything_is_fetched(zoo: Path, s3: ObjectStore) -> None:
    ran = crawl(zoo, s3, "s3://no-such-bucket/a", "none")
    assert ran.code == 2
    assert "s3://no-such-bucket/a" in ran.err
    assert len(ran.err.splitlines()) == 1
