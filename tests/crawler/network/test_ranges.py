"""Remote files by ranges: what is planned, what moves, and that what arrives is what a local file gives."""

from __future__ import annotations

import json
import mmap
import random
import socket
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import servers
from tests.crawler.network.networks import (
    network,
    write_legacy,
    write_npz,
    write_onnx,
    write_safetensors,
    write_shards,
    write_zip,
)
from tests.program import filterzoo
from tests.servers import WebServer

from filterzoo.crawl.worker.opening import opened
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile, RandomAccessFile
from filterzoo.jail import Jail
from filterzoo.jail.answers import Answers
from filterzoo.jail.limits import JailLimits
from filterzoo.jail.messages import Message, Wire
from filterzoo.layers.layer import Layer
from filterzoo.layers.normalise import normalise
from filterzoo.layers.stored import TensorReader
from filterzoo.network.door import Door
from filterzoo.network.files.http_file import CONNECTIONS
from filterzoo.network.files.ranges import (
    FREE_SLACK,
    PIECE,
    READ_AHEAD,
    READ_AHEAD_BUDGET,
    REQUEST_COST,
    SLACK_SHARE,
    ByteRange,
    requests_for,
)
from filterzoo.plugins import load, references
from filterzoo.records import Artifact, Index
from filterzoo.store.workfolder import WorkFolder

MB = 1 << 20


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with Door(tmp_path / "cache", allow_private=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    with Jail(load(references(())).format_references) as started:
        yield started


# What is planned


def all_missing(byte_range: ByteRange) -> list[ByteRange]:
    return [byte_range]


def test_neighbours_are_joined_and_far_ones_are_not() -> None:
    near = [ByteRange(0, 1000), ByteRange(1064, 2000), ByteRange(2000, 3000)]
    far = ByteRange(3000 + REQUEST_COST + 1, 3 * REQUEST_COST)
    assert requests_for([*near, far], all_missing) == [ByteRange(0, 3000), far]


def test_the_shortest_gaps_are_bridged_until_the_slack_is_used_up() -> None:
    """Twenty gaps of growing length between small layers: only so many fit into the slack."""
    wanted, at = [], 0
    for number in range(20):
        wanted.append(ByteRange(at, at + 1000))
        at += 1000 + (20 - number) * 8000
    planned = requests_for(wanted, all_missing)
    unasked = sum(s.length for s in planned) - sum(s.length for s in wanted)
    assert unasked == (2 + 3 + 4 + 5 + 6 + 7) * 8000 <= FREE_SLACK < unasked + 8 * 8000
    assert planned == [*wanted[:13], ByteRange(wanted[13].begin, wanted[-1].end)]


def test_long_byte_ranges_come_in_pieces_in_the_order_of_reading() -> None:
    backwards = [ByteRange(begin, begin + PIECE) for begin in range(4 * PIECE, -1, -PIECE)]
    assert requests_for(backwards, all_missing) == backwards


@st.composite
def files_of_tensors(draw: st.DrawFn) -> tuple[list[ByteRange], list[ByteRange]]:
    """What is here, and what will be read, in kilobytes: any order, with overlaps and repetitions."""

    def byte_ranges(most: int) -> list[ByteRange]:
        pairs = draw(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 900)), max_size=most))
        return [ByteRange(begin << 10, (begin + length) << 10) for begin, length in pairs]

    return byte_ranges(4), byte_ranges(20)


@given(files_of_tensors())
def test_a_plan_fetches_missing_bytes_once_with_few_others(case: tuple[list[ByteRange], list[ByteRange]]) -> None:
    here, wanted = case
    held = {kilobyte >> 10 for s in here for kilobyte in range(s.begin, s.end, 1024)}

    def missing(byte_range: ByteRange) -> list[ByteRange]:
        parts: list[ByteRange] = []
        for kilobyte in range(byte_range.begin >> 10, byte_range.end >> 10):
            if kilobyte in held:
                continue
            begin, end = kilobyte << 10, (kilobyte + 1) << 10
            if parts and parts[-1].end == begin:
                begin = parts.pop().begin
            parts.append(ByteRange(begin, end))
        return parts

    planned = requests_for(wanted, missing)
    asked = [kilobyte for s in planned for kilobyte in range(s.begin >> 10, s.end >> 10)]
    needed = {k for s in wanted for k in range(s.begin >> 10, s.end >> 10)} - held
    assert len(asked) == len(set(asked))
    assert not held & set(asked)
    assert needed <= set(asked)
    assert (len(asked) - len(needed)) << 10 <= max(FREE_SLACK, (len(needed) << 10) // SLACK_SHARE)
    assert all(0 < s.length <= PIECE for s in planned)


# What a remote file gives


def test_announced_byte_ranges_come_in_one_request_whatever_their_order(server: WebServer, door: Door) -> None:
    body = random.Random(2).randbytes(3 * MB)
    byte_ranges = [(offset, 50_000) for offset in range(200_000, 2 * MB, 55_000)]
    random.Random(3).shuffle(byte_ranges)
    with door.open(Artifact(url=server.add("/w", body))) as file:
        file.will_read(byte_ranges)
        for offset, length in [*byte_ranges, *byte_ranges]:
            assert file.read(offset, length) == body[offset : offset + length]
    assert len(server.requests) == 2
    assert server.sent <= READ_AHEAD + len(byte_ranges) * 55_000


def test_no_byte_comes_twice(server: WebServer, door: Door) -> None:
    """Index reads, views, repetitions, a hint over all of it: as many bytes as the file has, and the same ones."""
    body = random.Random(4).randbytes(3 * PIECE + 12_345)
    rng = random.Random(5)
    with door.open(Artifact(url=server.add("/w", body))) as file:
        for _ in range(20):
            offset = rng.randrange(len(body) - 300_000)
            length = rng.randrange(300_000)
            assert file.read(offset, length) == body[offset : offset + length]
        file.will_read([(len(body) - 5000, 5000), (0, len(body)), (77, 99)])
        buffer = bytearray(len(body))
        file.read_into(0, memoryview(buffer))
        assert buffer == body
        assert file.read(len(body) - 5000, 5000) == body[-5000:]
    assert server.sent == len(body)


def test_ranges_are_fetched_in_parallel(server: WebServer, door: Door) -> None:
    """Requests that each take a while overlap."""
    body = bytes(6 * PIECE)
    url = server.add("/w", body, tag="1")
    under_way: list[int] = []
    now = [0]

    def slow(answer: servers.Answer) -> bool:
        now[0] += 1
        under_way.append(now[0])
        time.sleep(0.2)
        now[0] -= 1  # before the client can have its bytes and ask again
        answer.serve(server.resources["/w"])
        return True

    with door.open(Artifact(url=url)) as file:
        server.resources["/w"].faults += [slow] * 6
        file.will_read([(0, len(body))])
        assert file.read(0, len(body)) == body
    assert 2 <= max(under_way) <= CONNECTIONS


@pytest.mark.parametrize("fault", [servers.reset, servers.short(70_000), servers.status(503), servers.ignores_range])
def test_a_fault_in_an_announced_range_is_outlived(server: WebServer, door: Door, fault: servers.Fault) -> None:
    body = random.Random(6).randbytes(2 * MB)
    with door.open(Artifact(url=server.add("/w", body))) as file:
        server.resources["/w"].faults.append(fault)
        file.will_read([(100_000, MB)])
        assert file.read(100_000, MB) == body[100_000 : 100_000 + MB]


def test_a_change_in_an_announced_range_is_reported_when_it_is_read(server: WebServer, door: Door) -> None:
    body = random.Random(7).randbytes(2 * MB)
    with door.open(Artifact(url=server.add("/w", body))) as file:
        server.resources["/w"].faults.append(servers.becomes(body[::-1]))
        file.will_read([(100_000, MB)])
        with pytest.raises(Refused) as caught:
            file.read(100_000, 10)
    assert caught.value.reason is Reason.CHANGED


def test_a_file_that_is_closed_while_it_is_fetched_leaves_nothing(server: WebServer, door: Door) -> None:
    body = bytes(20 * PIECE)
    with door.open(Artifact(url=server.add("/w", body, tag="1"))) as file:
        file.will_read([(0, len(body))])
        file.read(0, 10)
    assert server.sent < len(body)
    assert not any(path.is_file() for path in door.cache.folder.rglob("*"))


def test_byte_ranges_outside_the_file_are_not_asked_for(server: WebServer, door: Door) -> None:
    with door.open(Artifact(url=server.add("/w", bytes(100_000)))) as file:
        file.will_read([(-5, 10), (99_999, 2), (0, 1 << 62)])
    assert len(server.requests) == 1


def test_an_index_needs_no_disk_and_a_failing_disk_is_reported(server: WebServer, tmp_path: Path) -> None:
    """The cache's folder cannot be made: what fits into memory is read all the same."""
    (tmp_path / "cache").write_text("a file")
    body = random.Random(8).randbytes(3 * MB)
    with Door(tmp_path / "cache", allow_private=True) as door, door.open(Artifact(url=server.add("/w", body))) as file:
        assert file.read(2 * MB, 300_000) == body[2 * MB : 2 * MB + 300_000]
        with pytest.raises(Refused) as caught:
            file.will_read([(0, 2 * MB)])
    assert caught.value.reason is Reason.FETCH_FAILED
    assert "cache" in caught.value.detail


class Announced(LocalFile):
    """Notes what it was told."""

    told: list[tuple[int, int]] | None = None

    def will_read(self, byte_ranges) -> None:
        self.told = list(byte_ranges)


@pytest.mark.parametrize(
    ("announced", "taken"),
    [
        ([[0, 10], [50, 20]], True),
        ([[0, 64 << 20], [0, 1]], False),
        ([[0, -1]], None),
        ([[0, 1.5]], None),
        ([[0]], None),
        (["x"], None),
    ],
)
def test_what_the_jail_announces_is_checked(tmp_path: Path, announced: list[Any], *, taken: bool | None) -> None:
    """Too much is not fetched ahead; nonsense ends the child."""
    (tmp_path / "w").write_bytes(bytes(100))
    ours, theirs = socket.socketpair()
    with ours, theirs, Announced(tmp_path / "w") as file, Answers(file, Wire(ours), JailLimits()) as answers:
        question = [announced, None]
        if taken is None:
            with pytest.raises(Refused) as caught:
                answers.give(Message.WILL_READ, question)
            assert caught.value.reason is Reason.CRASHED
        else:
            assert answers.give(Message.WILL_READ, question)
            assert Wire(theirs).receive() == (Message.DATA, b"")
            assert file.told == ([tuple(byte_range) for byte_range in announced] if taken else None)


def test_reads_that_jump_fetch_ahead_less_and_less(server: WebServer, door: Door) -> None:
    body = bytes(60 * MB)
    with door.open(Artifact(url=server.add("/w", body, tag="1"))) as file:
        for offset in range(MB, 60 * MB, MB):
            file.read(offset, 100)
    assert server.sent <= READ_AHEAD + READ_AHEAD_BUDGET + 60 * 100


# What a checkpoint costs


FORMATS = {
    "m.safetensors": (write_safetensors, 5),
    "m.safetensors.index.json": (write_shards, 8),
    "m.pth": (write_zip, 6),
    "legacy.pth": (write_legacy, 7),
    "m.onnx": (write_onnx, 24),
    "m.npz": (write_npz, 24),
}
"""How each is written, and the most requests that are fine.

An ONNX file and an npz have no table of contents. A legacy file's tensors stand in the order of their addresses in
memory when it was written, so its four large matrices part the convolutions into one byte range or up to five.
"""


def read_all(file: RandomAccessFile, name: str, jail: Jail) -> tuple[Index, list[Layer]]:
    index = jail.index(file, name)
    with TensorReader(file) as reader:
        return index, list(normalise(index.convolutions, reader))


def serve(server: WebServer, folder: Path) -> None:
    for path in folder.iterdir():
        server.add(f"/{path.name}", path.read_bytes())


@pytest.mark.parametrize("name", FORMATS)
def test_only_the_index_and_the_wanted_bytes_move(
    server: WebServer, door: Door, jail: Jail, tmp_path: Path, name: str
) -> None:
    write, most_requests = FORMATS[name]
    (tmp_path / "zoo").mkdir()
    write(network(), tmp_path / "zoo" / name)
    serve(server, tmp_path / "zoo")
    with LocalFile(tmp_path / "zoo" / name) as local:
        _, expected = read_all(local, name, jail)
    with door.open(Artifact(url=f"{server.url}/{name}")) as file:
        index, layers = read_all(file, name, jail)
    assert [layer.name for layer in layers] == [layer.name for layer in expected]
    assert [layer.layer_id for layer in layers] == [layer.layer_id for layer in expected]
    assert len(layers) == 9
    wanted = sum(tensor.span.length for tensor in index.convolutions)
    assert wanted > 8 * MB
    assert server.sent <= 1.1 * wanted + MB
    assert server.sent < sum(len(resource.body) for resource in server.resources.values()) / 2
    assert len(server.requests) <= most_requests


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_without_a_convolution_costs_its_header(
    server: WebServer, door: Door, jail: Jail, tmp_path: Path, name: str
) -> None:
    (tmp_path / "zoo").mkdir()
    FORMATS[name][0](network(with_convolutions=False), tmp_path / "zoo" / name)
    serve(server, tmp_path / "zoo")
    with door.open(Artifact(url=f"{server.url}/{name}")) as file:
        index, layers = read_all(file, name, jail)
    assert not layers
    assert index.tensor_count > 1
    assert server.sent < MB


@pytest.mark.parametrize("name", ["m.onnx", "m.npz"])
def test_formats_without_a_table_of_contents_cost_a_request_a_large_array(
    server: WebServer, door: Door, jail: Jail, tmp_path: Path, name: str
) -> None:
    """A hundred matrices, each with small arrays behind it: not one request more, and no long part of a matrix."""
    state = {"stem.conv.weight": torch.randn(64, 3, 7, 7)}
    for number in range(100):
        state[f"{number}.weight"] = torch.randn(170, 170)
        for small in range(3):
            state[f"{number}.bias{small}"] = torch.randn(170)
    FORMATS[name][0](state, tmp_path / name)
    url = server.add(f"/{name}", (tmp_path / name).read_bytes(), tag="1")
    with door.open(Artifact(url=url)) as file:
        assert len(read_all(file, name, jail)[1]) == 1
    assert len(server.requests) <= 110
    assert server.sent <= MB


def test_layers_that_share_weights_cost_them_once(server: WebServer, door: Door, jail: Jail, tmp_path: Path) -> None:
    """One tensor under three names, and two views of one storage that is read as a whole for its CRC."""
    fused = torch.randn(2, 128, 128, 3, 3)
    conv = torch.randn(256, 128, 3, 3)
    state = {"a.weight": conv, "x.weight": fused[0], "b.weight": conv, "y.weight": fused[1], "c.weight": conv}
    torch.save(state, tmp_path / "m.pth")
    url = server.add("/m.pth", (tmp_path / "m.pth").read_bytes())
    with door.open(Artifact(url=url)) as file:
        _, layers = read_all(file, "m.pth", jail)
    assert [layer.weights.tobytes() for layer in layers] == [weight.numpy().tobytes() for weight in state.values()]
    assert server.sent <= len(server.resources["/m.pth"].body)


def test_a_storage_that_came_damaged_is_refused(server: WebServer, door: Door, jail: Jail, tmp_path: Path) -> None:
    state = {"a.weight": torch.randn(256, 128, 3, 3), "fc.weight": torch.randn(1000, 1000)}
    torch.save(state, tmp_path / "m.pth")
    body = bytearray((tmp_path / "m.pth").read_bytes())
    body[body.index(state["a.weight"].numpy().tobytes()) + 500_000] ^= 1
    with door.open(Artifact(url=server.add("/m.pth", bytes(body)))) as file, pytest.raises(Refused) as caught:
        read_all(file, "m.pth", jail)
    assert caught.value.reason is Reason.DAMAGED


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, pytest.param(zipfile.ZIP_DEFLATED, marks=pytest.mark.slow)])
def test_a_model_in_an_archive_comes_once(
    server: WebServer, door: Door, jail: Jail, tmp_path: Path, method: int
) -> None:
    """A member is guarded, or unpacked, as a whole: all of it moves, side by side, and no byte twice."""
    write_zip(network(), tmp_path / "m.pth")
    with zipfile.ZipFile(tmp_path / "zoo.zip", "w", method) as archive:
        archive.write(tmp_path / "m.pth", "zoo/m.pth")
        archive.writestr("zoo/README.md", bytes(5 * MB), zipfile.ZIP_STORED)
    body = (tmp_path / "zoo.zip").read_bytes()
    with (
        door.open(Artifact(url=server.add("/zoo.zip", body))) as whole,
        opened(whole, "zoo.zip", jail, tmp_path / "scratch") as (file, index),
        TensorReader(file) as reader,
    ):
        reader.check(index.containers)
        layers = list(normalise(index.convolutions, reader))
    assert len(layers) == 9
    assert server.sent <= len(body) - 4 * MB
    assert len(server.requests) <= 12


# As a user runs it


def big_safetensors(path: Path) -> None:
    """5 GB on paper: nothing but the header is written."""
    header: dict[str, Any] = {}
    end = 0
    for number in range(300):
        for name, shape in (("conv", [512, 512, 3, 3]), ("bn", [512]), ("fc", [2048, 1024])):
            length = 4 * int(np.prod(shape))
            header[f"{number:03}.{name}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + length]}
            end += length
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def big_torch(path: Path) -> None:
    """5 GB on paper: torch leaves out the storages' bytes."""
    state = {}
    for number in range(300):
        state[f"{number:03}.conv.weight"] = torch.empty(512, 512, 3, 3)
        state[f"{number:03}.fc.weight"] = torch.empty(2048, 1024)
    with torch.serialization.skip_data():
        torch.save(state, path)


@pytest.mark.parametrize(("name", "write"), [("m.safetensors", big_safetensors), ("m.pth", big_torch)])
def test_inspecting_a_remote_file_of_5_gb(server: WebServer, tmp_path: Path, name: str, write) -> None:
    write(tmp_path / name)
    size = (tmp_path / name).stat().st_size
    assert size > 5e9
    with (tmp_path / name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
        url = server.add(f"/{name}", body, tag="1")  # type: ignore[arg-type]  # as much of it as is used
        ran = filterzoo("inspect", url, "--json", "--allow-private", env={"FILTERZOO_CACHE": str(tmp_path / "cache")})
    assert ran.code == 0, ran.out
    assert len(ran.document["layers"]) == 300
    assert ran.document["filters"] == {"3x3": 300 * 512 * 512}
    assert len(server.requests) <= 4
    assert server.sent < MB


PLUGIN = """
from filterzoo import Artifact, Checkpoint, Source, SourceOptions, hookimpl

class Web(Source):
    name = "web"

    class Options(SourceOptions):
        urls: list[str]

    def discover(self):
        for url in self.options.urls:
            name = url.rpartition("/")[2]
            yield Checkpoint(id=name, revision="1", licence="mit", artifacts=(Artifact(url=url, name=name),))

@hookimpl
def filterzoo_sources():
    return [Web]
"""


class Crawl:
    """A crawl of URLs through a plugin file, in a folder of its own."""

    def __init__(self, folder: Path, urls: list[str]) -> None:
        self.folder = folder
        (folder / "web.py").write_text(PLUGIN)
        manifest = {"name": "web", "sources": [{"source": "web", "urls": urls}]}
        (folder / "manifest.yaml").write_text(json.dumps(manifest))

    def run(self):
        arguments = ("crawl", "manifest.yaml", "--plugin", "web.py", "--allow-private", "--workers", 1, "--json")
        return filterzoo(*arguments, cwd=self.folder, env={"FILTERZOO_CACHE": str(self.folder / "cache")})

    def layer_ids(self, checkpoint: str) -> list[str]:
        work = WorkFolder(self.folder / "filterzoo-work")
        with work.existing_journal() as journal:
            done = {done.checkpoint.id: done for done in journal.done()}[checkpoint]
        return [row["layer_id"] for row in work.store().layers(done.layers_fragment).to_pylist()]

    def reasons(self) -> dict[str | None, Reason]:
        with WorkFolder(self.folder / "filterzoo-work").existing_journal() as journal:
            return {entry.id: entry.reason for entry in journal.ledger()}


@pytest.fixture
def layer_ids(jail: Jail, tmp_path: Path) -> list[str]:
    """Of the network, as a local file gives them."""
    write_zip(network(), tmp_path / "reference.pth")
    with LocalFile(tmp_path / "reference.pth") as local:
        return [layer.layer_id for layer in read_all(local, "m.pth", jail)[1]]


@pytest.mark.slow
def test_a_crawl_with_and_without_ranges(server: WebServer, tmp_path: Path, layer_ids: list[str]) -> None:
    """By ranges only the wanted bytes move; without them the file comes once, whole, although it breaks."""
    write_zip(network(), tmp_path / "m.pth")
    body = (tmp_path / "m.pth").read_bytes()
    ranged = server.add("/ranged.pth", body)
    half = servers.short(len(body) // 2)

    def breaks_whole(answer: servers.Answer) -> bool:
        return servers.ignores_range(answer) or half(answer)

    plain = server.add("/plain.pth", body, breaks_whole, servers.ignores_range)
    crawl = Crawl(tmp_path, [ranged, plain])
    ran = crawl.run()
    assert ran.code == 0, ran.err
    assert crawl.layer_ids("ranged.pth") == crawl.layer_ids("plain.pth") == layer_ids
    asked = [wanted for path, wanted, _ in server.requests if path == "/plain.pth"]
    assert asked == ["bytes=0-65535", "bytes=0-65535", f"bytes={len(body) // 2}-"]
    cached = [path for path in (tmp_path / "cache" / "files").rglob("*") if path.is_file()]
    assert [path.stat().st_size for path in cached] == [len(body)]


@pytest.mark.slow
def test_a_file_that_changes_midway_starts_again(server: WebServer, tmp_path: Path, layer_ids: list[str]) -> None:
    """The new version is read from its start, in the same run: no row mixes the two."""
    write_safetensors({name: -tensor for name, tensor in network().items()}, tmp_path / "old")
    write_zip(network(), tmp_path / "new")

    def changes(answer: servers.Answer) -> bool:
        return (answer.headers["range"] or "").startswith("bytes=0-") is False and new(answer)

    new = servers.becomes((tmp_path / "new").read_bytes())
    url = server.add("/m", (tmp_path / "old").read_bytes(), changes, changes)
    crawl = Crawl(tmp_path, [url])
    ran = crawl.run()
    assert ran.code == 0, ran.err
    assert crawl.layer_ids("m") == layer_ids
    assert [wanted for _, wanted, _ in server.requests].count("bytes=0-65535") == 2


@pytest.mark.slow
def test_a_file_that_keeps_changing_is_left_to_the_next_run(
    server: WebServer, tmp_path: Path, layer_ids: list[str]
) -> None:
    write_zip(network(), tmp_path / "m.pth")
    body = (tmp_path / "m.pth").read_bytes()
    url = server.add("/m.pth", body)
    resource = server.resources["/m.pth"]

    def restless(answer: servers.Answer) -> bool:
        resource.tag = str(len(server.requests))
        return False

    resource.faults += [restless] * 50
    crawl = Crawl(tmp_path, [url])
    assert crawl.run().code == 1
    assert crawl.reasons() == {"m.pth": Reason.CHANGED}
    assert [wanted for _, wanted, _ in server.requests].count("bytes=0-65535") == 2
    resource.faults.clear()
    assert crawl.run().code == 0
    assert crawl.layer_ids("m.pth") == layer_ids
    assert not crawl.reasons()
