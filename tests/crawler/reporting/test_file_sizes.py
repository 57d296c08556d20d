"""Sizes that a dry run asks for: from headers alone, through each source's own way to its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import servers
from tests.program import filterzoo
from tests.servers import Fault, WebServer

from filterzoo import Artifact, Checkpoint, RandomAccessFile, Source, SourceOptions
from filterzoo.network.time_limits import Clocks
from filterzoo.reporting.file_sizes import SizeDoor, with_sizes

BODY = bytes(range(256)) * 4000


class Plain(Source[SourceOptions]):
    name = "plain"

    def discover(self) -> Iterator[Checkpoint]:
        return iter(())


class Downloading(Plain):
    """As sources of files with hashes of their own do."""

    def open(self, artifact: Artifact) -> RandomAccessFile:
        self.door.download(artifact.url)
        return super().open(artifact)


class Broken(Plain):
    def open(self, artifact: Artifact) -> RandomAccessFile:
        raise ZeroDivisionError


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture
def size(server: WebServer, tmp_path: Path) -> Iterator[Callable[..., int | None]]:
    with SizeDoor(tmp_path / "cache", allow_private=True, clocks=Clocks(sleep=lambda _: None)) as door:

        def asked(url: str, source: type[Plain] = Plain) -> int | None:
            checkpoint = Checkpoint(id="a", revision="1", artifacts=(Artifact(url=url),))
            return with_sizes(checkpoint, source(SourceOptions(), door, tmp_path)).artifacts[0].size

        yield asked


@pytest.mark.parametrize("source", [Plain, Downloading])
def test_the_size_is_that_of_the_whole_file_and_none_of_it_is_sent(server, size, source) -> None:
    assert size(server.add("/w.pth", BODY), source) == len(BODY)
    assert server.sent <= 1
    assert [asked for _, asked, _ in server.requests] == ["bytes=0-0"]


def test_a_server_without_ranges_states_the_length(server, size) -> None:
    assert size(server.add("/w.pth", BODY, servers.ignores_range)) == len(BODY)


def test_an_empty_file_has_no_bytes(server, size) -> None:
    assert size(server.add("/w.pth", b"")) == 0


@pytest.mark.parametrize(
    "fault",
    [servers.html, servers.gzipped, servers.gzipped_range, servers.status(404), servers.wrong_range("bytes 0-0/*")],
)
def test_what_states_no_size_leaves_it_unknown(server, size, fault: Fault) -> None:
    assert size(server.add("/w.pth", BODY, fault)) is None


def test_a_source_that_fails_leaves_it_unknown(server, size) -> None:
    assert size(server.add("/w.pth", BODY), Broken) is None


def test_the_command_asks_where_it_is_told_to(server, tmp_path: Path) -> None:
    files = [{"url": server.add(f"/{name}.pth", BODY[:length]), "license": "mit"} for name, length in SIZES.items()]
    manifest = {"name": "m", "limits": {"checkpoint_bytes": 500_000}, "sources": [{"source": "urls", "files": files}]}
    (tmp_path / "m.yaml").write_text(json.dumps(manifest))
    asked = ("crawl", "m.yaml", "--dry-run", "--allow-private")
    assert "the sizes of 3 are unknown, which --sizes asks for\n" in filterzoo(*asked, cwd=tmp_path).out
    assert not server.requests
    told = filterzoo(*asked, "--sizes", "--json", cwd=tmp_path).document
    assert told["sources"]["urls"]["bytes"] == 300_000
    assert told["sources"]["urls"]["unknown_sizes"] == 0
    assert told["sources"]["urls"]["left_out"] == {"too_large": 1}
    assert server.sent <= 3
    assert "add --dry-run" in filterzoo("crawl", "m.yaml", "--sizes", cwd=tmp_path).err


SIZES = {"small": 100_000, "medium": 200_000, "large": 1_000_000}
