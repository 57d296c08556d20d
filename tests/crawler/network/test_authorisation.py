"""Secret headers reach one origin and no other, whatever a server answers, and no message or file shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tests import servers
from tests.program import filterzoo
from tests.servers import WebServer

from filterzoo.errors import Refused, StartError
from filterzoo.network.authorisation import secret
from filterzoo.network.door import Door
from filterzoo.records import Artifact

TOKEN = "tok-5f1c8e9a7b"
BODY = bytes(range(256)) * 2000


@pytest.fixture
def zoo() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture
def other() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture
def door(tmp_path: Path, zoo: WebServer) -> Iterator[Door]:
    with Door(tmp_path / "cache", allow_private=True) as opened:
        yield opened.with_headers(zoo.url, {"Authorization": f"Bearer {TOKEN}", "X-Zoo-Key": TOKEN})


def tokens(server: WebServer) -> list[tuple[str | None, str | None]]:
    return [(headers.get("Authorization"), headers.get("X-Zoo-Key")) for _, _, headers in server.requests]


BOTH = (f"Bearer {TOKEN}", TOKEN)


@pytest.mark.parametrize("elsewhere", ["another port", "another name", "and back"])
def test_a_redirect_takes_no_secret_to_another_origin(zoo, other, door, elsewhere):
    if elsewhere == "another name":  # the same server under a name that is another origin
        target = zoo.add("/moved.bin", BODY).replace("127.0.0.1", "localhost")
    else:
        target = other.add("/moved.bin", BODY)
    if elsewhere == "and back":
        zoo.add("/back.bin", BODY)
        other.resources["/moved.bin"].faults += [servers.status(302, Location=f"{zoo.url}/back.bin")] * 9
    for ranges in (True, False):
        url = zoo.add(f"/w{ranges}.bin", b"", *[servers.status(302, Location=target)] * 9)
        (other if elsewhere != "another name" else zoo).resources["/moved.bin"].ranges = ranges
        with door.open(Artifact(url=url)) as file:
            assert file.read(300_000, 1000) == BODY[300_000:301_000]
        door.get(url)
    if elsewhere == "another name":
        moved = [sent for sent, asked in zip(tokens(zoo), zoo.requests, strict=True) if asked[0] == "/moved.bin"]
    else:
        moved = tokens(other)
    assert set(moved) == {(None, None)}
    at_home = [sent for sent, asked in zip(tokens(zoo), zoo.requests, strict=True) if asked[0] != "/moved.bin"]
    assert set(at_home) == {BOTH}


def test_what_lies_beside_a_file_is_asked_for_with_the_same_headers(zoo, other, door):
    zoo.add("/net/side.bin", BODY)
    with door.open(Artifact(url=zoo.add("/net/w.bin", BODY))) as file, file.beside("side.bin") as side:
        assert side.read(0, 5) == BODY[:5]
    assert set(tokens(zoo)) == {BOTH}
    with door.open(Artifact(url=other.add("/w.bin", BODY))):
        assert set(tokens(other)) == {(None, None)}


@pytest.mark.parametrize("location", [f"ftp://elsewhere/{TOKEN}", f"https://[{TOKEN}", f"http://10.0.0.1/{TOKEN}"])
def test_a_server_that_sends_its_secret_back_has_it_shown_nowhere(zoo, tmp_path, location):
    with Door(tmp_path / "c") as strict:
        door = strict.trusting(zoo.url).with_headers(zoo.url, {"Authorization": f"Bearer {TOKEN}"})
        url = zoo.add("/w.bin", b"", servers.status(302, Location=location))
        with pytest.raises(Refused) as caught:
            door.get(url)
        assert "***" in str(caught.value)
        assert TOKEN not in str(caught.value) + repr(door.transport) + repr(vars(caught.value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", f"Bearer {TOKEN}\nX: 1"),
        ("Authorization", f"{TOKEN}é"),
        ("Authorization", ""),
        ("Range", TOKEN),
        ("host", TOKEN),
        ("X Y", TOKEN),
        ("X\r\nY", TOKEN),
    ],
)
def test_a_header_that_no_request_can_have_is_refused_without_its_value(door, name, value):
    with pytest.raises(StartError) as caught:
        door.with_headers("https://zoo.example.org", {name: value})
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_variable_that_is_not_set_is_named(monkeypatch):
    monkeypatch.setenv("EMPTY_TOKEN", " ")
    for variable in ("EMPTY_TOKEN", "NO_SUCH_TOKEN"):
        with pytest.raises(StartError, match=f"variable {variable} is not set"):
            secret(variable)


ZOO = '''
from filterzoo import Artifact, Checkpoint, Source, hookimpl

class LockedZoo(Source):
    """A zoo that lists and serves to those who have its key."""

    name = "locked_zoo"

    def discover(self):
        for name in self.door.get_json("{url}/list.json"):
            yield Checkpoint(
                id=name, revision="v1", licence="mit", artifacts=(Artifact(url="{url}/" + name, name=name),)
            )

@hookimpl
def filterzoo_sources():
    return [LockedZoo]
'''
MANIFEST = """
name: locked
sources:
  - source: locked_zoo
    headers:
      {url}:
        Authorization: Bearer ${{LOCKED_ZOO_TOKEN}}
"""


@pytest.fixture
def locked(zoo: WebServer, other: WebServer, tmp_path: Path) -> Path:
    """A zoo that wants a token, for its list and its files; one file is elsewhere, one is not given at all."""

    def wants_token(answer: servers.Answer) -> bool:
        if answer.headers.get("Authorization") == f"Bearer {TOKEN}":
            return False
        answer.send(401, b"who are you?", "text/plain")
        return True

    network = save({"conv.weight": np.arange(36, dtype=np.float32).reshape(1, 4, 3, 3)})
    zoo.add("/list.json", json.dumps(["a.safetensors", "moved.safetensors", "odd.safetensors"]).encode())
    zoo.add("/a.safetensors", network)
    there = other.add("/a.safetensors", network[:-4] + b"\0\0\0\0")
    zoo.add("/moved.safetensors", b"")
    zoo.add("/odd.safetensors", b"")
    for path, resource in zoo.resources.items():
        targets = {"/moved.safetensors": there, "/odd.safetensors": f"ftp://x/{TOKEN}"}
        leads = [servers.status(302, Location=targets[path])] * 30 if path in targets else []
        resource.faults = leads or [wants_token] * 30
    (tmp_path / "zoo.py").write_text(ZOO.replace("{url}", zoo.url))
    (tmp_path / "zoo.yaml").write_text(MANIFEST.format(url=zoo.url))
    return tmp_path


CRAWL = ("crawl", "zoo.yaml", "--plugin", "zoo.py", "-v", "--log-format", "json")


def test_a_manifest_names_the_variable_and_nothing_keeps_its_value(locked, zoo, other):
    ran = filterzoo(*CRAWL, "--allow-private", cwd=locked, env={"LOCKED_ZOO_TOKEN": TOKEN}, fresh=True)
    assert ran.code == 1, ran.err  # the odd file
    status = filterzoo("status", "--json", cwd=locked)
    assert {BOTH[0]} == {sent for sent, _ in tokens(zoo)}
    assert {None} == {sent for sent, _ in tokens(other)}
    assert TOKEN not in ran.out + ran.err + status.out + status.err
    assert "***" in status.out
    kept = [path for path in locked.rglob("*") if path.is_file()]
    assert len(kept) > 4
    assert [path for path in kept if TOKEN.encode() in path.read_bytes()] == []


def test_without_the_variable_nothing_starts(locked, zoo):
    ran = filterzoo(*CRAWL, "--allow-private", cwd=locked)
    assert ran.code == 2
    assert "zoo.yaml: sources: locked_zoo: the environment variable LOCKED_ZOO_TOKEN is not set" in ran.err
    assert not zoo.requests


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("Bearer ${LOCKED_ZOO_TOKEN}", "Bearer abc", "name an environment variable"),
        ("Authorization:", "Range:", "Range is set by FilterZoo"),
        ("http://", "http://me:password@", "the address of a server alone"),
    ],
)
def test_a_manifest_with_wrong_headers_is_refused_in_its_line(locked, before, after, told):
    manifest = locked / "zoo.yaml"
    manifest.write_text(manifest.read_text().replace(before, after))
    ran = filterzoo(*CRAWL, cwd=locked)
    assert ran.code == 2
    assert told in ran.err
    assert "zoo.yaml:" in ran.err
