"""A host that is away costs its own checkpoints and no others; `status` says what is tried again and when."""

from __future__ import annotations

import re

import pytest
from tests.plugins.sources.own_files.test_urls import network
from tests.program import filterzoo
from tests.servers import Resource, WebServer, status

COUNT = 40


class Closed(dict):
    """What a server has that asks everybody for a login."""

    def get(self, path, default=None):
        return Resource(b"", faults=[status(401)])


COMMAND = ("crawl", "zoo.yaml", "--allow-private", "--workers", "1")


@pytest.fixture
def hosts():
    with WebServer() as one, WebServer() as other:
        yield one, other


def write_manifest(folder, urls):
    files = "".join(f"  - {{url: '{url}', name: {name}}}\n" for name, url in urls.items())
    (folder / "zoo.yaml").write_text(
        f"name: zoo\nlicenses: {{unknown: metadata-only}}\nsources:\n- source: urls\n  files:\n{files}"
    )


@pytest.mark.slow
def test_a_host_that_is_down_ends_no_crawl_and_is_reported_in_one_line(hosts, tmp_path):
    away, here = hosts
    body = network()
    urls = {f"a{n:02}": away.add(f"/{n}.pt", body, *[status(503)] * 5) for n in range(COUNT)}
    urls |= {f"b{n}": here.add(f"/{n}.pt", body) for n in range(3)}
    write_manifest(tmp_path, urls)
    environment = {"FILTERZOO_CACHE": str(tmp_path / "cache")}
    first = filterzoo(*COMMAND, cwd=tmp_path, env=environment)
    assert first.code == 1
    assert len(away.requests) == 15
    told = [line for line in first.err.splitlines() if "is unavailable" in line]
    assert len(told) == 1, first.err
    assert f"failed   {COUNT - 4} more, for the same reasons at the same places" in first.err
    assert first.err.count("done     urls/b") == 3
    document = filterzoo("status", "--json", cwd=tmp_path).document
    assert document["tried_again"] == {"total": COUNT, "sources": {"urls": COUNT}, "not_before": {}}
    assert (
        f"tried again when the same `filterzoo crawl` runs next: {COUNT} (urls {COUNT})"
        in filterzoo("status", cwd=tmp_path).out
    )
    for resource in away.resources.values():
        resource.faults.clear()
    second = filterzoo(*COMMAND, "--json", cwd=tmp_path, env=environment)
    assert second.document["checkpoints"] == {"done": COUNT + 3, "skipped": 0, "failed": 0}, second.err
    assert not (tmp_path / "filterzoo-work" / "hosts").exists()


@pytest.mark.slow
def test_status_says_until_when_a_host_asks_to_wait(hosts, tmp_path):
    late, _ = hosts
    urls = {f"a{n}": late.add(f"/{n}.pt", network(), status(429, Retry_After="90000")) for n in range(3)}
    write_manifest(tmp_path, urls)
    ran = filterzoo(*COMMAND, cwd=tmp_path, env={"FILTERZOO_CACHE": str(tmp_path / "cache")})
    assert (ran.code, len(late.requests)) == (1, 1)
    again = filterzoo("status", "--json", cwd=tmp_path).document["tried_again"]
    # The host's answer and what is concluded of it may be a second apart.
    assert sum(again["not_before"].values()) == 3
    until = max(again["not_before"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", until)
    text = filterzoo("status", cwd=tmp_path).out
    assert f"3 of them not before {until}" in text
    assert text.count("; not before 20") == 3


def test_a_dry_run_says_why_a_zoo_is_not_listed_and_what_to_do(tmp_path):
    place = f"http://127.0.0.1:9/{'0' * 40}"
    (tmp_path / "zoo.yaml").write_text(f"name: zoo\nsources:\n- {{source: detectron2, repository: '{place}'}}\n")
    told = filterzoo("crawl", "zoo.yaml", "--dry-run", cwd=tmp_path)
    why = "the address lies inside this machine's networks; if it is yours, allow it with --allow-private"
    assert told.code == 1
    assert f"failed   detectron2: fetch_failed: {why} (at {place}" in told.out
    (failure,) = filterzoo("crawl", "zoo.yaml", "--dry-run", "--json", cwd=tmp_path).document["failures"]
    assert (failure["source"], failure["id"], failure["reason"], failure["detail"]) == (
        "detectron2",
        None,
        "fetch_failed",
        why,
    )


@pytest.mark.slow
def test_a_zoo_whose_login_is_refused_is_a_failure_and_the_next_is_crawled(hosts, tmp_path):
    """An expired token: the Hub answers 401, and all of it would be missing with exit code 0."""
    hub, here = hosts
    url = here.add("/net.pt", network())
    hub.resources = Closed()
    (tmp_path / "zoo.yaml").write_text(
        "name: zoo\nsources:\n- {source: hf_hub, authors: [somebody]}\n"
        f"- {{source: urls, files: [{{url: '{url}', license: mit}}]}}\n"
    )
    environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_expired", "FILTERZOO_CACHE": str(tmp_path / "cache")}
    ran = filterzoo(*COMMAND, "--json", "--metrics", "zoo.prom", cwd=tmp_path, env=environment)
    assert ran.code == 1
    assert ran.document["checkpoints"]["done"] == 1
    assert ran.document["not_listed"] == {"hf_hub": None}
    assert 'filterzoo_source_up{source="hf_hub"} 0.0' in (tmp_path / "zoo.prom").read_text()
    assert "not listed: hf_hub; it never was" in filterzoo("status", cwd=tmp_path).out
