"""A host that is away costs its own checkpoints and no others; `status` says what is tried again and when."""

from __future__ import annotations

import re

import pytest
from tests.plugins.sources.test_urls import network
from tests.program import filterzoo
from tests.servers import WebServer, status

COUNT = 40
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
def test_a_host_that_is_away_ends_no_crawl_and_is_told_in_one_line(hosts, tmp_path):
    away, here = hosts
    body = network()
    urls = {f"a{n:02}": away.add(f"/{n}.pt", body, *[status(503)] * 5) for n in range(COUNT)}
    urls |= {f"b{n}": here.add(f"/{n}.pt", body) for n in range(3)}
    write_manifest(tmp_path, urls)
    environment = {"FILTERZOO_CACHE": str(tmp_path / "cache")}
    first = filterzoo(*COMMAND, cwd=tmp_path, env=environment)
    assert first.code == 1
    assert len(away.requests) == 15
    told = [line for line in first.err.splitlines() if "is away" in line]
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
    (until,) = again["not_before"]
    assert again["not_before"] == {until: 3}
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", until)
    text = filterzoo("status", cwd=tmp_path).out
    assert f"3 of them in vain before {until}" in text
    assert text.count(f"; not before {until}") == 3
