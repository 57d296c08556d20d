"""The source `urls`: files that the user lists, crawled over loopback."""

from __future__ import annotations

import hashlib
import io

import pytest
import torch
from pydantic import ValidationError
from tests.program import filterzoo
from tests.servers import WebServer, status

from filterzoo.errors import Reason, Refused, StartError
from filterzoo.network.door import Door
from filterzoo.store.workfolder import WorkFolder
from filterzoo_plugins.sources.own_files.urls import UrlsOptions, UrlsSource


def network():
    buffer = io.BytesIO()
    torch.save({"conv.weight": torch.arange(54.0).reshape(2, 3, 3, 3)}, buffer)
    return buffer.getvalue()


@pytest.fixture
def server():
    with WebServer() as running:
        yield running


@pytest.fixture
def source(tmp_path):
    with Door(tmp_path / "cache") as door:
        yield lambda **options: UrlsSource(UrlsOptions(**options), door, tmp_path)


def test_a_listed_file_is_a_checkpoint_with_what_is_said_of_it(source, tmp_path):
    sha256 = "ab" * 32
    (tmp_path / "files.csv").write_text(
        "url,name,sha256,license,task,robust\n"
        f"https://zoo.example/a.pt,mine/a,{sha256},mit,segmentation,true\n"
        "https://zoo.example/unet-0123abcd.pt,,,,,\n"
    )
    (tmp_path / "facts.csv").write_text("name,anatomy\nmine/*,brain\n")
    listed = {"url": "https://other.example/w.pth?dl=1", "license": "apache-2.0", "architecture": "resnet18"}
    one, a, unet = source(files=[listed], table="files.csv", facts="facts.csv").discover()
    assert (a.id, a.revision, a.licence, a.task, a.robust, a.anatomy) == (
        "mine/a", f"sha256:{sha256[:16]}", "mit", "segmentation", True, "brain"
    )  # fmt: skip
    assert (unet.id, unet.revision) == ("zoo.example/unet-0123abcd.pt", "sha256:0123abcd")
    assert (one.id, one.artifacts[0].name, one.architecture) == ("other.example/w.pth", "w.pth", "resnet18")
    assert one.revision.startswith("url:")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("ftp://zoo.example/a.pt,,,", "files.csv:2: url: 'ftp"),
        ("https://a.example/a.pt,abc,,", "files.csv:2: sha256"),
        ("https://a.example/a.pt,,my own,", "files.csv:2: license"),
        ("https://a.example/a.pt,,,cutting", "files.csv:2: row: task: 'cutting' is no task; allowed: classification"),
        ("https://a.example/a.pt,,,\nhttps://a.example/a.pt,,,", "listed twice"),
    ],
)
def test_a_row_that_is_wrong_stops_the_start(source, tmp_path, row, words):
    (tmp_path / "files.csv").write_text(f"url,sha256,license,task\n{row}\n")
    with pytest.raises(StartError) as caught:
        list(source(table="files.csv").discover())
    assert words in str(caught.value)


def test_a_manifest_without_files_or_with_unknown_columns_is_refused():
    for options in (
        {},
        {"files": [{"url": "https://a.example/x", "tasx": "x"}]},
        {"files": [{"url": "file:///etc/passwd"}]},
    ):
        with pytest.raises(ValidationError):
            UrlsOptions(**options)  # type: ignore[arg-type]  # fields by name, of several types


def test_a_hash_that_is_stated_is_what_the_bytes_must_have(source, server):
    url = server.add("/a.pt", network(), ranges=False)
    (found,) = source(files=[{"url": url, "sha256": "0" * 64}]).discover()
    with pytest.raises(Refused) as caught:
        source(files=[{"url": url}]).open(found.artifacts[0])
    assert caught.value.reason is Reason.HASH_MISMATCH


@pytest.mark.slow
def test_files_are_crawled_and_the_next_run_tries_refused_ones(server, tmp_path):
    body = network()
    good = server.add("/good.pt", body)
    shy = server.add("/shy.pt", body + b"", status(403))
    lines = [
        f"  - {{url: '{good}', license: mit, sha256: {hashlib.sha256(body).hexdigest()}}}",
        f"  - {{url: '{shy}'}}",
    ]
    lines = ["    " + line.strip() for line in lines]
    (tmp_path / "urls.yaml").write_text("name: urls\nsources:\n- source: urls\n  files:\n" + "\n".join(lines) + "\n")
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = ("crawl", "urls.yaml", "--allow-private", "--json", "--workers", "1")
    first = filterzoo(*command, cwd=tmp_path, env=environment)
    assert first.document["checkpoints"] == {"done": 1, "skipped": 0, "failed": 1}, first.err
    assert first.document["reasons"] == {"fetch_failed": 1}
    second = filterzoo(*command, cwd=tmp_path, env=environment)
    assert second.document["checkpoints"] == {"done": 2, "skipped": 0, "failed": 0}, second.err
    with WorkFolder(tmp_path / "filterzoo-work").existing_journal() as journal:
        assert {done.filters_by_kernel["3x3"] for done in journal.done()} == {6}
