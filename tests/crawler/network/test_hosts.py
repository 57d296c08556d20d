"""The hosts under their own names: the loopback server is the proxy that everything is asked through."""

import random
import subprocess
import sys

import pytest
from tests import servers
from tests.servers import WebServer

from filterzoo.errors import Reason, Refused
from filterzoo.network.door import Door
from filterzoo.network.hosts import HOSTS, PLAIN, matches, rules_of
from filterzoo.network.pace import FilePace
from filterzoo.network.time_limits import Clocks
from filterzoo.records import Artifact

BODY = random.Random(2).randbytes(150_000)
NOW = 1_800_000_000.0
CONFIRM = b"""<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<p>Google Drive can't scan this file for viruses.</p><p>net.pt (98M) is too large. Would you still like to download it?
</p><form id="download-form" action="https://drive.usercontent.google.com/download" method="get">
<input type="hidden" name="id" value="SOMEBODY-ELSES"><input type="hidden" name="confirm" value="t"></form>
</body></html>"""
QUOTA = b"""<html><head><title>Google Drive - Quota exceeded</title></head><body><p>Sorry, you can't view or download
this file at this time.</p><p>Too many users have viewed or downloaded this file recently.</p></body></html>"""
ACCESS = b"<html><head><title>Google Drive: Sign-in</title></head><body>You need access. Request access</body></html>"
DRIVE = "http://drive.google.com/uc?export=download&id=1abcDEF_-23"
CONTENT = "http://drive.usercontent.google.com/download?id=1abcDEF_-23&export=download"


class Watch:
    def __init__(self):
        self.pauses = []

    def clocks(self):
        return Clocks(
            sleep=self.pauses.append, monotonic=lambda: NOW + sum(self.pauses), now=lambda: NOW + sum(self.pauses)
        )


@pytest.fixture
def server(monkeypatch):
    with WebServer() as running:
        monkeypatch.setenv("http_proxy", running.url)
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("NO_PROXY", "")
        yield running


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def door(server, tmp_path, watch):
    with Door(tmp_path / "cache", clocks=watch.clocks()) as opened:
        yield opened.redirecting(())


def offer(server, url, body, *faults, **settings):
    """Put an answer at a whole address, as a proxy is asked for it."""
    server.resources[url] = servers.Resource(body, faults=list(faults), **settings)


def asked(server):
    return [path for path, _, _ in server.requests]


def page(body, status=200):
    def fault(answer):
        answer.send(status, body, "text/html; charset=utf-8")
        return True

    return fault


def refusal(action, *arguments):
    with pytest.raises(Refused) as caught:
        action(*arguments)
    return caught.value


# Google Drive


def test_drives_confirmation_is_given_and_the_file_read_by_ranges(server, door):
    offer(server, DRIVE, b"", servers.status(303, Location=CONTENT))
    offer(server, CONTENT, CONFIRM, content_type="text/html; charset=utf-8")
    offer(server, f"{CONTENT}&confirm=t", BODY)
    with door.open(Artifact(url=DRIVE)) as file:
        assert file.size == len(BODY)
        assert file.read(120_000, 30_000) == BODY[120_000:]
    assert asked(server) == [DRIVE, CONTENT, f"{CONTENT}&confirm=t", f"{CONTENT}&confirm=t"]


FURTHER = b"""<html><title>Google Drive - Virus scan warning</title><form id="download-form" action="https://evil.example/x">
<input type="hidden" name="id" value="SOMEBODY-ELSES"><input type="hidden" name="export" value="evil">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="0a1b-2c3d">
<input type="hidden" name="at" value="APvzH3q:1730"><input type="hidden" name="x" value="a&b=c">
<input name="y" value="1">
</form><form><input type="hidden" name="z" value="2"></form></html>"""


def test_drives_further_hidden_inputs_are_sent_along_and_nothing_else(server, door):
    offer(server, CONTENT, FURTHER, content_type="text/html; charset=utf-8")
    place = f"{CONTENT}&confirm=t&uuid=0a1b-2c3d&at=APvzH3q%3A1730"
    offer(server, place, BODY)
    assert door.download(CONTENT).read_bytes() == BODY
    assert asked(server) == [CONTENT, place]


def test_a_file_of_drive_that_several_entries_name_is_fetched_once(server, door, watch):
    offer(server, DRIVE, BODY, etag=False)
    assert door.download(DRIVE) == door.download(DRIVE)
    with door.open(Artifact(url=DRIVE)) as file:
        assert file.read(0, 5) == BODY[:5]
    assert len(server.requests) == 1
    watch.pauses.append(8 * 86_400)
    door.download(DRIVE)
    assert len(server.requests) == 2


def test_drives_confirmation_is_given_for_a_download_too(server, door):
    offer(server, DRIVE, b"", servers.status(303, Location=CONTENT))
    offer(server, CONTENT, CONFIRM, content_type="text/html; charset=utf-8")
    offer(server, f"{CONTENT}&confirm=t", BODY, ranges=False)
    assert door.download(DRIVE).read_bytes() == BODY


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize("place", [DRIVE, f"{CONTENT}&confirm=t"])
def test_drives_quota_page_is_a_failure_that_says_so(server, door, status, place):
    offer(server, place, b"", *[page(QUOTA, status)] * 9)
    for action in (lambda: door.open(Artifact(url=place)), lambda: door.download(place)):
        error = refusal(action)
        assert error.reason is Reason.FETCH_FAILED
        assert error.reason.is_transient
        assert "quota" in error.detail
    assert not list(door.cache.folder.glob("files/*/*"))


def test_drive_asks_once_for_confirmation_not_for_ever(server, door):
    for place in (CONTENT, f"{CONTENT}&confirm=t"):
        offer(server, place, CONFIRM, content_type="text/html; charset=utf-8")
    assert "confirmation" in refusal(door.download, CONTENT).detail
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [200, 403])
def test_a_file_that_drive_keeps_for_its_owners_friends_is_gated(server, door, status):
    offer(server, DRIVE, b"", page(ACCESS, status))
    assert refusal(door.download, DRIVE).reason is Reason.GATED


def test_a_redirect_to_a_login_is_gated(server, door):
    login = servers.status(302, Location="http://accounts.google.com/ServiceLogin?continue=x")
    offer(server, DRIVE, b"", login)
    assert refusal(door.download, DRIVE).reason is Reason.GATED
    assert asked(server) == [DRIVE]


def test_an_unknown_page_of_drive_is_never_taken_for_the_file(server, door):
    offer(server, DRIVE, b"<p>Something new</p>", content_type="text/html")
    assert "HTML" in refusal(door.download, DRIVE).detail
    offer(server, DRIVE, b"", page(b"<p>Not Found</p>", 404))
    assert refusal(door.download, DRIVE).reason is Reason.REMOVED


@pytest.mark.parametrize("file_id", ["", "a/../b", "x&confirm=t", "%0d%0aHost:evil"])
def test_an_id_that_is_none_is_never_put_into_an_address(server, door, file_id):
    place = f"http://drive.usercontent.google.com/download?export=download&id={file_id}"
    offer(server, place, CONFIRM, content_type="text/html")
    assert refusal(door.download, place).reason is Reason.FETCH_FAILED
    assert len(server.requests) == 1


def test_drive_is_asked_once_a_second(server, door, watch):
    offer(server, DRIVE, b"", servers.status(303, Location=CONTENT))
    offer(server, CONTENT, BODY)
    door.download(DRIVE)
    assert watch.pauses == [pytest.approx(1.0)]


# Zenodo


def test_zenodo_is_asked_slower_than_its_guests_may(server, door, watch):
    for number in range(5):
        offer(server, f"http://zenodo.org/records/7/files/{number}.zip?download=1", BODY)
        door.download(f"http://zenodo.org/records/7/files/{number}.zip?download=1")
    assert sum(watch.pauses) == pytest.approx(4 * 1.8)
    per_hour = 3600 / rules_of("https://zenodo.org/x").interval
    assert per_hour <= 2000
    assert per_hour / 60 <= 60


def test_zenodos_rate_limit_headers_are_obeyed(server, door, watch):
    place = "http://zenodo.org/record/7/files/net.zip?download=1"
    late = servers.status(429, X_RateLimit_Limit="60", X_RateLimit_Remaining="0", X_RateLimit_Reset=f"{NOW + 41:.0f}")
    moved = servers.status(301, Location="/records/7/files/net.zip?download=1")
    offer(server, place, b"", late, moved)
    offer(server, "http://zenodo.org/records/7/files/net.zip?download=1", BODY)
    assert door.download(place).read_bytes() == BODY
    assert 41 <= max(watch.pauses) < 42


# GitHub


def test_a_github_release_lies_in_githubs_storage(server, door):
    release = "http://github.com/user/zoo/releases/download/v1/net.pth"
    for host in ("objects.githubusercontent.com", "release-assets.githubusercontent.com"):
        storage = f"http://{host}/github-production-release-asset/1?sig=secret"
        offer(server, release, b"", servers.status(302, Location=storage))
        offer(server, storage, BODY)
        with door.open(Artifact(url=release)) as file:
            assert file.read(100_000, 5) == BODY[100_000:100_005]


@pytest.mark.parametrize(
    ("headers", "pause"),
    [({"Retry_After": "17"}, 17), ({"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": f"{NOW + 23:.0f}"}, 23)],
)
def test_githubs_limit_is_waited_for_although_it_is_a_403(server, door, watch, headers, pause):
    place = "http://api.github.com/repos/user/zoo/releases"
    offer(server, place, b"[]", servers.status(403, **headers), content_type="application/json")
    assert door.get_json(place) == []
    assert pause <= max(watch.pauses) < pause + 1


def test_a_403_without_a_reason_settles_no_network_for_ever(server, door):
    place = "http://api.github.com/repos/user/secret/releases"
    offer(server, place, b"", servers.status(403, X_RateLimit_Remaining="57", X_RateLimit_Reset=f"{NOW + 9:.0f}"))
    error = refusal(door.get_json, place)
    assert (error.reason, error.reason.is_transient) == (Reason.FETCH_FAILED, True)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("GatedRepo", 403, Reason.GATED),
        ("GatedRepo", 401, Reason.GATED),
        ("RepoNotFound", 401, Reason.REMOVED),
        ("EntryNotFound", 404, Reason.REMOVED),
        ("Unheard-of", 403, Reason.FETCH_FAILED),
    ],
)
def test_the_hubs_error_code_says_what_a_status_means(server, door, code, status, reason):
    place = "http://huggingface.co/user/net/resolve/0/model.safetensors"
    offer(server, place, b"", servers.status(status, X_Error_Code=code))
    assert refusal(door.download, place).reason is reason


@pytest.mark.parametrize("place", ["http://zenodo.org/records/7/files/net.zip?download=1", DRIVE])
def test_unusual_traffic_is_no_agreement_that_is_missing(server, door, watch, place):
    offer(server, place, b"", servers.status(403))
    error = refusal(door.download, place)
    assert (error.reason, len(server.requests)) == (Reason.FETCH_FAILED, 1)
    server.resources[place].body = BODY
    assert door.download(place).read_bytes() == BODY  # the next run
    assert max(watch.pauses) == pytest.approx(60, abs=2)  # and the host had a rest


@pytest.mark.parametrize("place", ["http://zenodo.org/records/7/files/net.zip?download=1", DRIVE])
def test_a_429_is_waited_for_at_the_pace_of_its_host(server, door, watch, place):
    offer(server, place, BODY, servers.status(429))
    assert door.download(place).read_bytes() == BODY
    assert max(watch.pauses) == pytest.approx(60, abs=2)
    assert len(server.requests) == 2


def test_drives_quota_is_over_after_a_day(server, door):
    offer(server, DRIVE, b"", page(QUOTA))
    assert refusal(door.download, DRIVE).not_before == "2027-01-16T08:00:00Z"


def test_a_limit_that_lasts_too_long_ends_the_run_for_this_file(server, door, watch):
    place = "http://api.github.com/repos/user/zoo/releases"
    limit = servers.status(403, X_RateLimit_Remaining="0", X_RateLimit_Reset=f"{NOW + 3000:.0f}")
    offer(server, place, b"", *[limit] * 5)
    error = refusal(door.get_json, place)
    assert error.reason is Reason.FETCH_FAILED
    assert "3000 s" in error.detail
    assert not watch.pauses


# Hugging Face


def test_hugging_faces_window_is_waited_for(server, door, watch):
    place = "http://huggingface.co/user/net/resolve/0123/model.safetensors"
    cdn = "http://cas-bridge.xethub.hf.co/xet-bridge-us/0123?X-Amz-Signature=0"
    limit = servers.status(429, RateLimit='"resolvers";r=0;t=117', RateLimit_Policy='"fixed window";"resolvers";q=3000')
    offer(server, place, b"", limit, servers.status(302, Location=cdn))
    offer(server, cdn, BODY)
    assert door.download(place).read_bytes() == BODY
    assert 117 <= max(watch.pauses) < 118


# Redirects


@pytest.mark.parametrize(
    "case",
    [
        ("http://zoo.example/a.pt", "http://zoo.example/b.pt", (), True),
        ("http://zoo.example/a.pt", "http://zoo.example:8080/b.pt", (), True),
        ("http://zoo.example/a.pt", "http://cdn.zoo.example/b.pt", (), False),
        ("http://zoo.example/a.pt", "http://cdn.zoo.example/b.pt", ("*.zoo.example",), True),
        ("http://zoo.example/a.pt", "http://evil-zoo.example/b.pt", ("*.zoo.example",), False),
        ("http://zoo.example/a.pt", "http://objects.githubusercontent.com/b.pt", (), False),
        ("http://zoo.example/a.pt", "http://anywhere.example/b.pt", ("*",), True),
        ("http://github.com/u/a/releases/download/v1/a.pt", "http://cdn-lfs.hf.co/b.pt", (), False),
        ("http://huggingface.co/u/a/resolve/0/a.pt", "http://hf.co.evil.example/b.pt", (), False),
    ],
)
def test_redirects_lead_only_to_hosts_that_the_source_declares(server, door, case):
    start, target, declared, followed = case
    offer(server, start, b"", servers.status(302, Location=target))
    offer(server, target, BODY)
    if followed:
        assert door.redirecting(declared).download(start).read_bytes() == BODY
    else:
        error = refusal(door.redirecting(declared).download, start)
        assert error.reason is Reason.FETCH_FAILED
        assert "declares" in error.detail
        assert asked(server) == [start]


def test_a_host_the_user_named_may_redirect_to_its_mirror(server, door):
    start, target = "http://index.example/a.whl", "http://mirror.example/a.whl"
    offer(server, start, b"", servers.status(302, Location=target))
    offer(server, target, BODY)
    assert door.trusting(start).download(start).read_bytes() == BODY


def test_a_source_gets_a_door_for_its_hosts(door, tmp_path):
    from filterzoo.crawl.discovery import open_sources
    from filterzoo.plugins import Plugins
    from filterzoo.source import Source

    class Zoo(Source):
        name = "zoo"
        hosts = ("*.zoo.example",)

        def discover(self):
            return iter(())

    class Plain(Zoo):
        name = "plain"
        hosts = ()  # type: ignore[assignment]  # none, where its class has one

    (tmp_path / "m.yaml").write_text("name: m\nsources: [{source: zoo}, {source: plain}]\n")
    opened = open_sources([tmp_path / "m.yaml"], Plugins(sources={"zoo": Zoo, "plain": Plain}), door)
    assert [entry.source.door.transport.redirects for entry in opened] == [("*.zoo.example",), ()]


# The table


def test_every_host_has_rules_of_its_own():
    assert rules_of("https://plain.example/x") is PLAIN
    for number, entry in enumerate(HOSTS):
        for name in entry.names:
            assert "*" not in name
            assert rules_of(f"https://{name.upper()}/x") is entry
            assert not any(matches(name, other.names) for other in HOSTS[:number])


# The pace


def test_requests_of_several_threads_keep_their_distance(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    pauses: list[float] = []
    with ThreadPoolExecutor(4) as pool:
        for _ in range(8):
            pool.submit(FilePace(tmp_path).wait, "zenodo.org", 1.8, lambda: NOW, pauses.append)
    assert sorted(pauses) == pytest.approx([1.8 * number for number in range(1, 8)])


def test_requests_of_several_processes_keep_their_distance(tmp_path):
    code = (
        "import sys, pathlib; from filterzoo.network.pace import FilePace\n"
        "for _ in range(3): FilePace(pathlib.Path(sys.argv[1])).wait('zenodo.org', 1.5, lambda: 0.0, print)"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    pauses = [float(line) for child in children for line in child.communicate()[0].split()]
    assert sorted(pauses) == pytest.approx([1.5 * number for number in range(1, 9)])


@pytest.mark.parametrize("note", ["", "nan", "inf", "x", "-5", f"{NOW * 2}"])
def test_a_note_that_is_wrong_does_not_stop_a_crawl(tmp_path, note):
    (tmp_path / "zenodo.org").write_text(note)
    pauses: list[float] = []
    FilePace(tmp_path).wait("zenodo.org", 1.8, lambda: NOW, pauses.append)
    assert sum(pauses) <= 60


def test_a_host_without_an_interval_is_asked_at_once(tmp_path):
    FilePace(tmp_path / "pace").wait("github.com", 0.0, lambda: NOW, lambda _: pytest.fail("waited"))
    assert not (tmp_path / "pace").exists()
