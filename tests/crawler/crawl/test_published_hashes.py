"""What a zoo publishes as a file's sha256 is compared with every byte that is used, where that costs little."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tests import servers
from tests.crawler.network import networks
from tests.crawler.network.networks import network
from tests.program import PROGRAM, filterzoo
from tests.publish.folders import rows
from tests.servers import WebServer
from tests.tiers import fast_only

from filterzoo.crawl.discovery import discover, open_sources
from filterzoo.crawl.task import Task, WorkerSetup
from filterzoo.crawl.worker.worker import Worker
from filterzoo.errors import Reason
from filterzoo.network.door import Door
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.plugins import load, references
from filterzoo.records import Artifact
from filterzoo.store.workfolder import WorkFolder

MB = 1_000_000
FORMATS = {
    "m.safetensors": (networks.write_safetensors, "sha256"),
    "m.safetensors.index.json": (networks.write_shards, "sha256"),
    "m.pth": (networks.write_zip, "sha256+crc32"),
    "legacy.pth": (networks.write_legacy, "sha256"),
    "m.onnx": (networks.write_onnx, "sha256"),
    "m.npz": (networks.write_npz, "sha256+crc32"),
}

FAST = {"m.safetensors", "m.pth"}
"""A format without checksums and one with them."""
PLUGIN = '''
from pathlib import Path
from filterzoo import Artifact, Checkpoint, LocalFile, Source, SourceOptions, hookimpl


class Shelf(Source):
    """Checkpoints as a manifest lists their files: on the web, or in a folder."""

    name = "shelf"

    class Options(SourceOptions):
        checkpoints: list[list[dict]]

    def discover(self):
        for place, files in enumerate(self.options.checkpoints):
            artifacts = tuple(Artifact(**file) for file in files)
            yield Checkpoint(id=f"{place}/{artifacts[0].name}", revision="1", licence="mit", artifacts=artifacts)

    def open(self, artifact):
        return self.door.open(artifact) if artifact.url.startswith("http") else LocalFile(Path(artifact.url))


@hookimpl
def filterzoo_sources():
    return [Shelf]
'''


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


class Shelf:
    """A worker for checkpoints of given files, one after another."""

    def __init__(self, folder: Path, *checkpoints: list[Artifact], verify: str | None = None) -> None:
        self.folder = folder
        listed = [[asdict(artifact) for artifact in files] for files in checkpoints]
        manifest = {"name": "shelf", "sources": [{"source": "shelf", "checkpoints": listed}]}
        if verify is not None:
            manifest["verify_sha256"] = verify
        (folder / "shelf.py").write_text(PLUGIN)
        (folder / "shelf.yaml").write_text(json.dumps(manifest))

    def take(self) -> list[Done | LedgerEntry]:
        """What becomes of each checkpoint."""
        plugins, cache = tuple(references([self.folder / "shelf.py"])), self.folder / "cache"
        manifests = (self.folder / "shelf.yaml",)
        with WorkFolder(self.folder / "work") as work, work.journal(), Door(cache, allow_private=True) as door:
            setup = WorkerSetup(
                manifests=manifests,
                plugins=plugins,
                fragments_url=work.fragments_url,
                scratch=work.scratch,
                cache=cache,
                device="cpu",
                allow_private=True,
            )
            tasks = [t for t in discover(open_sources(manifests, load(plugins), door)) if isinstance(t, Task)]
            worker = Worker(setup)
            try:
                return [worker.take(task) for task in tasks]
            finally:
                worker.close()

    def fragments(self) -> list[Path]:
        return [path for path in (self.folder / "work" / "fragments").rglob("*") if path.is_file()]


def published(server: WebServer, folder: Path, name: str, *, all_but: str = "") -> list[Artifact]:
    """Every file of a folder on the server, the named one first, each with its size and hash."""
    paths = sorted(folder.iterdir(), key=lambda path: (path.name != name, path.name))
    return [
        Artifact(
            url=server.add(f"/{path.name}", path.read_bytes()),
            name=path.name,
            size=path.stat().st_size,
            sha256=None if path.name == all_but else hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in paths
    ]


def stated(path: Path, sha256: str | None = None) -> Artifact:
    """A local file."""
    return Artifact(url=str(path), name=path.name, sha256=sha256 or hashlib.sha256(path.read_bytes()).hexdigest())


def written(tmp_path: Path, name: str, state: dict[str, torch.Tensor]) -> Path:
    (tmp_path / "zoo").mkdir()
    FORMATS[name][0](state, tmp_path / "zoo" / name)
    return tmp_path / "zoo"


def flipped(body: bytes, part: torch.Tensor) -> bytes:
    """One bit of a tensor's bytes is another; there is no CRC that tells, or the tensor is none that is read."""
    damaged = bytearray(body)
    damaged[body.index(part.numpy().tobytes()) + part.nbytes // 2] ^= 1
    return bytes(damaged)


def only(outcomes: list[Done | LedgerEntry]) -> Done | LedgerEntry:
    (outcome,) = outcomes
    return outcome


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_hardly_more_than_convolutions_comes_whole_and_is_compared(
    server: WebServer, tmp_path: Path, name: str
) -> None:
    """Every byte once, so never more than 1.1 times what is wanted and 1 MB."""
    state = network(with_matrices=False)
    folder = written(tmp_path, name, state)
    done = only(Shelf(tmp_path, published(server, folder, name, all_but="m.safetensors.index.json")).take())
    assert isinstance(done, Done), done
    assert done.integrity == FORMATS[name][1]
    wanted = sum(tensor.nbytes for tensor in state.values() if tensor.ndim == 4)
    assert server.sent == sum(path.stat().st_size for path in folder.iterdir()) <= 1.1 * wanted + MB


@pytest.mark.parametrize("name", fast_only(FAST, FORMATS))
def test_a_flipped_bit_that_no_checksum_of_the_format_covers_is_noticed(
    server: WebServer, tmp_path: Path, name: str
) -> None:
    """Nothing is stored, the ledger says why, and the next run takes what the server has by then."""
    state = network(with_matrices=False)
    files = published(server, written(tmp_path, name, state), name)
    has_crc = "crc32" in FORMATS[name][1]
    part = state["head.weight" if has_crc else "stage5.conv.weight"]
    path = next(path for path, found in server.resources.items() if part.numpy().tobytes() in found.body)
    honest = server.resources[path].body
    server.resources[path].body = flipped(honest, part)
    shelf = Shelf(tmp_path, files)
    refused = only(shelf.take())
    assert isinstance(refused, LedgerEntry)
    assert refused.reason is Reason.HASH_MISMATCH
    assert hashlib.sha256(honest).hexdigest() in refused.detail
    assert not shelf.fragments()
    server.resources[path].body = honest
    assert isinstance(only(shelf.take()), Done)


@pytest.mark.parametrize("name", fast_only(FAST, FORMATS))
def test_of_a_file_with_much_else_only_the_convolutions_move(server: WebServer, tmp_path: Path, name: str) -> None:
    state = network()
    folder = written(tmp_path, name, state)
    done = only(Shelf(tmp_path, published(server, folder, name)).take())
    assert isinstance(done, Done), done
    assert done.integrity == ("crc32" if "crc32" in FORMATS[name][1] else "none")
    wanted = sum(tensor.nbytes for tensor in state.values() if tensor.ndim == 4)
    assert server.sent <= 1.1 * wanted + MB


@pytest.mark.parametrize("name", fast_only({"m.safetensors"}, ["m.safetensors", "m.safetensors.index.json", "m.pth"]))
def test_a_manifest_can_ask_for_every_hash(server: WebServer, tmp_path: Path, name: str) -> None:
    """Then all files come whole, and what was never read as a weight is compared too."""
    state = network()
    folder = written(tmp_path, name, state)
    files = published(server, folder, name, all_but="m.safetensors.index.json")
    shelf = Shelf(tmp_path, files, verify="always")
    done = only(shelf.take())
    assert isinstance(done, Done), done
    assert done.integrity == FORMATS[name][1]
    assert server.sent == sum(path.stat().st_size for path in folder.iterdir())
    part = state["head.weight"]
    for resource in server.resources.values():
        if part.numpy().tobytes() in resource.body:
            resource.body = flipped(resource.body, part)
    refused = only(shelf.take())
    assert isinstance(refused, LedgerEntry)
    assert refused.reason is Reason.HASH_MISMATCH


def test_without_a_published_hash_nothing_but_ranges_move(server: WebServer, tmp_path: Path) -> None:
    folder = written(tmp_path, "m.safetensors", network())
    url = server.add("/m.safetensors", (folder / "m.safetensors").read_bytes())
    done = only(Shelf(tmp_path, [Artifact(url=url, name="m.safetensors")], verify="always").take())
    assert isinstance(done, Done)
    assert done.integrity == "none"
    assert server.sent < (folder / "m.safetensors").stat().st_size / 2


def test_a_hash_that_the_server_states_where_it_redirects_is_compared(server: WebServer, tmp_path: Path) -> None:
    """As the Hub does for every LFS file, of which its listings say nothing."""
    folder = written(tmp_path, "m.safetensors", network(with_matrices=False))
    body = (folder / "m.safetensors").read_bytes()
    storage = server.add("/storage", body)
    sha256 = hashlib.sha256(body).hexdigest()

    def redirect(stated: str) -> servers.Fault:
        def fault(answer: servers.Answer) -> bool:
            answer.send(302, b"", "text/plain", {"Location": storage, "X-Linked-Etag": f'"{stated}"'})
            return True

        return fault

    urls = [server.add(f"/{n}", b"", redirect(stated)) for n, stated in enumerate((sha256, "0" * 64, "0" * 40))]
    done, refused, unstated = Shelf(tmp_path, *([Artifact(url=url, name="m")] for url in urls)).take()
    assert isinstance(done, Done)
    assert (done.integrity, done.sha256) == ("sha256", sha256)
    assert isinstance(refused, LedgerEntry)
    assert refused.reason is Reason.HASH_MISMATCH
    assert isinstance(unstated, Done)
    assert (unstated.integrity, unstated.sha256) == ("none", None)


def test_a_shard_without_a_hash_leaves_the_layers_uncovered(server: WebServer, tmp_path: Path) -> None:
    name = "m.safetensors.index.json"
    folder = written(tmp_path, name, network(with_matrices=False))
    done = only(Shelf(tmp_path, published(server, folder, name, all_but="m-1.safetensors")).take())
    assert isinstance(done, Done)
    assert done.integrity == "none"


def test_a_file_without_convolutions_is_compared_where_it_is_small(server: WebServer, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "large").mkdir()
    networks.write_safetensors({"fc.weight": torch.randn(100, 100)}, tmp_path / "small" / "small.safetensors")
    networks.write_safetensors(network(with_convolutions=False), tmp_path / "large" / "large.safetensors")
    small = published(server, tmp_path / "small", "small.safetensors")
    large = published(server, tmp_path / "large", "large.safetensors")
    outcomes = Shelf(tmp_path, small, large).take()
    assert [outcome.integrity for outcome in outcomes if isinstance(outcome, Done)] == ["sha256", "none"]
    assert server.sent < MB


def packed(kind: str, model: Path) -> bytes:
    """An archive of a model and little else."""
    buffer = io.BytesIO()
    if kind == "tar.gz":
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
            tar.add(model, "net/m.safetensors")
    else:
        method = zipfile.ZIP_STORED if kind == "stored.zip" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
            archive.write(model, "net/m.safetensors")
            archive.writestr("README", b"a network " * 1000, zipfile.ZIP_STORED)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "also"), [("tar.gz", ""), ("stored.zip", "+crc32"), ("deflated.zip", "")])
def test_an_archive_is_compared_as_the_file_it_is(server: WebServer, tmp_path: Path, kind: str, also: str) -> None:
    folder = written(tmp_path, "m.safetensors", network(with_matrices=False))
    body = packed(kind, folder / "m.safetensors")
    sha256 = hashlib.sha256(body).hexdigest()
    url = server.add(f"/{kind}", body)
    good = Artifact(url=url, name=kind, size=len(body), sha256=sha256)
    bad = Artifact(url=url, name=f"bad {kind}", size=len(body), sha256="0" * 64)
    done, refused = Shelf(tmp_path, [good], [bad]).take()
    assert isinstance(done, Done), done
    assert (done.integrity, done.sha256) == (f"sha256{also}", sha256)
    assert isinstance(refused, LedgerEntry)
    assert refused.reason is Reason.HASH_MISMATCH
    assert server.sent == 2 * len(body)


# On this machine


def test_a_local_file_is_compared_with_what_its_source_states(tmp_path: Path) -> None:
    folder = written(tmp_path, "m.safetensors", network())
    path = folder / "m.safetensors"
    done, refused = Shelf(tmp_path, [stated(path)], [stated(path, "0" * 64)]).take()
    assert isinstance(done, Done)
    assert done.integrity == "sha256"
    assert isinstance(refused, LedgerEntry)
    assert refused.reason is Reason.HASH_MISMATCH


def test_a_local_side_file_is_compared_too(tmp_path: Path) -> None:
    name = "m.safetensors.index.json"
    folder = written(tmp_path, name, network())
    shards = [stated(path) for path in sorted(folder.glob("m-*"))]
    good = [stated(folder / name), *shards]
    bad = [stated(folder / name), shards[0], stated(folder / shards[1].name, "0" * 64)]
    done, refused = Shelf(tmp_path, good, bad).take()
    assert isinstance(done, Done)
    assert done.integrity == "sha256"
    assert isinstance(refused, LedgerEntry)
    assert (refused.reason, refused.where) == (Reason.HASH_MISMATCH, "'m-1.safetensors'")


def test_a_copy_in_the_cache_that_went_bad_is_fetched_again(server: WebServer, tmp_path: Path) -> None:
    """The cache names files by their content; the name counts only if the bytes still have that hash."""
    state = network(with_matrices=False)
    files = published(server, written(tmp_path, "m.safetensors", state), "m.safetensors")
    server.resources["/m.safetensors"].ranges = False
    shelf = Shelf(tmp_path, files)
    assert isinstance(only(shelf.take()), Done)
    copy = tmp_path / "cache" / "files" / (files[0].sha256 or "")[:2] / (files[0].sha256 or "")
    copy.write_bytes(flipped(copy.read_bytes(), state["stage5.conv.weight"]))
    refused = only(shelf.take())
    assert isinstance(refused, LedgerEntry)
    assert refused.reason is Reason.HASH_MISMATCH
    done = only(shelf.take())
    assert isinstance(done, Done)
    assert done.integrity == "sha256"


# As a user runs it


@pytest.mark.slow
def test_the_published_row_says_what_was_compared(server: WebServer, tmp_path: Path) -> None:
    for kind, state in (("slim", network(with_matrices=False)), ("fat", network())):
        (tmp_path / kind).mkdir()
        networks.write_safetensors(state, tmp_path / kind / f"{kind}.safetensors")
    slim = published(server, tmp_path / "slim", "slim.safetensors")
    fat = published(server, tmp_path / "fat", "fat.safetensors")
    bad = [Artifact(url=slim[0].url, name="bad.safetensors", sha256="0" * 64)]
    Shelf(tmp_path, slim, fat, bad)
    environment = {"FILTERZOO_CACHE": str(tmp_path / "cache")}
    arguments = ("shelf.yaml", "--plugin", "shelf.py", "--allow-private", "--workers", 1, "--json")
    ran = filterzoo("crawl", *arguments, cwd=tmp_path, env=environment)
    assert ran.code == 1
    assert ran.document["reasons"] == {"hash_mismatch": 1}
    assert filterzoo("publish", "out", cwd=tmp_path, env=environment).code == 0
    models = {row["model_id"]: row["integrity"] for row in rows(tmp_path / "out", "models").to_pylist()}
    assert {name.rpartition("/")[2].partition("@")[0]: found for name, found in models.items()} == {
        "slim.safetensors": "sha256",
        "fat.safetensors": "none",
    }


@pytest.mark.slow
def test_a_crawl_that_is_killed_before_the_last_byte_starts_the_checkpoint_again(
    server: WebServer, tmp_path: Path
) -> None:
    """SIGKILL while a range that only the hash needs is under way: nothing is stored, and nothing lies about."""
    state = network(with_matrices=False)
    files = published(server, written(tmp_path, "m.safetensors", state), "m.safetensors")
    Shelf(tmp_path, files)
    stalled, killed = threading.Event(), threading.Event()

    def stall(answer: servers.Answer) -> bool:
        if (answer.headers["range"] or "").startswith("bytes=0-"):
            server.resources["/m.safetensors"].faults.append(stall)
            return False
        stalled.set()
        killed.wait(30)
        answer.close_connection = True
        return True

    server.resources["/m.safetensors"].faults.append(stall)
    command = [PROGRAM, "crawl", "shelf.yaml", "--plugin", "shelf.py", "--allow-private", "--workers", "1", "--json"]
    environment = os.environ | {"FILTERZOO_CACHE": str(tmp_path / "cache")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **quiet)  # type: ignore[call-overload]  # the argument is one of several words
    assert stalled.wait(60)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    killed.set()
    server.resources["/m.safetensors"].faults.clear()
    ran = filterzoo(*command[1:], cwd=tmp_path, env=environment)
    assert ran.code == 0, ran.err
    assert ran.document["checkpoints"]["done"] == 1
    with WorkFolder(tmp_path / "filterzoo-work").existing_journal() as journal:
        assert [done.integrity for done in journal.done()] == ["sha256"]
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
