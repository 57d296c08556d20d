"""Each way a source can break the contract is made once, found, and told in words; the sound one passes."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from tests.program import filterzoo
from tests.servers import WebServer

from filterzoo.errors import StartError
from filterzoo.kit import Verdict, check, faults_of
from filterzoo.kit.checking import Request

ZOO = """
from filterzoo import Artifact, Checkpoint, Reason, Refused, Source, SourceOptions, hookimpl


def checkpoint(id="a", revision="v1", url="https://zoo.example.org/a.onnx", **fields):
    size, sha256 = fields.pop("size", None), fields.pop("sha256", None)
    return Checkpoint(id=id, revision=revision, artifacts=(Artifact(url=url, size=size, sha256=sha256),), **fields)


class Zoo(Source):
    name = "zoo"

    class Options(SourceOptions):
        url: str = "https://zoo.example.org"

    def discover(self):
        BODY

MORE

@hookimpl
def filterzoo_sources():
    return [Zoo]
"""
SOUND = "yield checkpoint('a', size=10, task='classification'); yield checkpoint('b', sha256='0' * 64)"
LISTING = "for name in self.door.get_json(self.options.url + '/list.json'): yield checkpoint(name, url={url})"


def write(folder: Path, body: str = SOUND, more: str = "") -> Path:
    path = folder / "zoo.py"
    path.write_text(ZOO.replace("BODY", body.replace("\n", "\n        ")).replace("MORE", more))
    return path


BODIES = {
    "a list": ("return list(map(checkpoint, 'ab'))", "it gave a list; yield the checkpoints one by one"),
    "asks when it is called": (
        "self.door.get_bytes(self.options.url); return iter([checkpoint()])",
        "it asked zoo.example.org while it was only called",
    ),
    "past the door": (
        "import socket\ntry: socket.create_connection(('zoo.invalid', 80))\nexcept OSError: yield checkpoint()",
        "through self.door only, the Hub also through huggingface_hub: zoo.invalid was asked without it",
    ),
    "past the name service": (
        "import socket\nwith socket.socket() as s:\n    s.connect(('192.0.2.1', 80))\nyield checkpoint()",
        "192.0.2.1 was asked without it",
    ),
    "a traceback without a network": (
        "import urllib.request\nyield checkpoint(urllib.request.urlopen('http://zoo.invalid').read())",
        (
            "without a network discover gives a reason (Refused, StartError), no other error and no empty zoo: "
            "it raised URLError: <urlopen error [Errno"
        ),
    ),
    "a swallowed network": (
        "try: self.door.get_bytes(self.options.url)\nexcept Refused: return\nyield checkpoint()",
        "a dead network looks like an empty zoo",
    ),
    "an error in the middle": (
        "yield checkpoint()\nraise KeyError('b')",
        "after 1 checkpoint it raised KeyError: 'b' (zoo.py, line 18); all that follow are lost",
    ),
    "ends Python": ("yield checkpoint()\nraise SystemExit(3)", "it raised SystemExit: 3"),
    "something else": ("yield 'a'; yield checkpoint()", "item 0 is a str"),
    "a number for an id": ("yield checkpoint(7)", "id: Input should be a valid string"),
    "no artifact": (
        "yield Checkpoint(id='a', revision='v1', artifacts=()); yield checkpoint()",
        "at least one artifact",
    ),
    "twice": ("yield checkpoint(); yield checkpoint()", "'a' at 'v1' is listed 2 times"),
    "new ids each time": ("import uuid\nyield checkpoint(uuid.uuid4().hex)", "is not listed again"),
    "a new order each time": (
        "Zoo.runs = getattr(Zoo, 'runs', 0) + 1\nyield from map(checkpoint, 'ab' if Zoo.runs % 2 else 'ba')",
        "the order is another",
    ),
    "a moving revision": ("yield checkpoint(revision='Main')", "the revision 'Main' is whatever is there today"),
    "no revision": ("yield checkpoint(revision='')", "the revision '' is whatever"),
    "a size of nothing": ("yield checkpoint(size=0)", "the size 0; give the bytes, or None where they are unknown"),
    "a size in words": ("yield checkpoint(size='4 MB')", "artifacts.0.size: Input should be a valid integer"),
    "a hash cut short": ("yield checkpoint(sha256='abc')", "the sha256 'abc'; give 64 hex digits"),
    "no address": ("yield checkpoint(url='models/a.onnx')", "'models/a.onnx' is no web address; override open"),
    "a task of its own": ("yield checkpoint(task='Classify')", "task: 'Classify' is none of classification, "),
}
MORES = {
    "any key": (
        "from pydantic import BaseModel\nclass Loose(BaseModel): pass\nZoo.Options = Loose",
        "Options takes any key, so a slip of the pen goes unnoticed; derive it from SourceOptions",
    ),
    "a name in capitals": ("Zoo.name = 'My Zoo'", "'My Zoo' is not made of lower-case letters, digits and _ alone"),
    "a name that is taken": ("Zoo.name = 'timm'", "the plugin 'timm' offers the source timm too"),
    "open that raises": (
        "def fail(self, artifact): raise FileNotFoundError(artifact.url)\nZoo.open = fail",
        "of a file that cannot be had it raised FileNotFoundError: https://zoo.example.org/a.onnx (zoo.py, line 19)",
    ),
    "another API": ("filterzoo_api = 2", "import: WrongVersion: the plugin asks for version 2 of the plugin API"),
    "an import that fails": ("import nothing_of_that_name", "import: ModuleNotFoundError"),
    "no hook of ours": ("@hookimpl\ndef filterzoo_zoos(): return []", "hook: PluginValidationError"),
}


def test_a_sound_source_has_no_faults_and_nothing_is_asked(tmp_path):
    findings = list(check(write(tmp_path)))
    assert {finding.verdict for finding in findings} == {Verdict.HOLDS}, findings
    assert len(findings) >= 15


@pytest.mark.parametrize("case", BODIES)
def test_a_fault_of_discover_is_reported(case, tmp_path):
    body, expected = BODIES[case]
    faults = faults_of(write(tmp_path, body))
    assert any(expected in fault for fault in faults), faults
    assert all(fault.startswith("source zoo: ") and "\n" not in fault for fault in faults)


@pytest.mark.parametrize("case", MORES)
def test_a_fault_of_the_plugin_is_reported(case, tmp_path):
    more, expected = MORES[case]
    faults = faults_of(write(tmp_path, more=more))
    assert len(faults) == 1
    assert expected in faults[0]


def test_the_network_is_off_only_for_the_check(tmp_path):
    before = (socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo, time.sleep)
    assert faults_of(write(tmp_path, BODIES["a traceback without a network"][0]))
    assert before == (socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo, time.sleep)


def served(folder: Path, url: str, server: WebServer) -> Request:
    """A zoo whose list comes from a server, and a manifest that says where it is."""
    write(folder, LISTING.format(url=url))
    manifest = folder / "zoo.yaml"
    manifest.write_text(f"name: zoo\nsources:\n  - {{source: zoo, url: '{server.url}'}}\n")
    return Request(manifest=manifest, allow_private=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FILTERZOO_CACHE", str(tmp_path / "cache"))


def test_a_zoo_behind_a_server_is_listed_twice_and_no_weight_is_fetched(tmp_path):
    with WebServer() as server:
        server.add("/list.json", b'["a", "b"]')
        request = served(tmp_path, "self.options.url + '/' + name", server)
        findings = list(check(tmp_path / "zoo.py", request))
        assert [path for path, _, _ in server.requests] == ["/list.json"] * 2
    assert {finding.verdict for finding in findings} == {Verdict.HOLDS}, findings


def test_a_zoo_that_fetches_weights_to_list_them_is_reported(tmp_path):
    with WebServer() as server:
        server.add("/list.json", b'["a"]')
        request = served(tmp_path, "self.options.url + '/list.json'", server)
        broken = [finding for finding in check(tmp_path / "zoo.py", request) if finding.verdict is Verdict.BROKEN]
        assert [finding.detail for finding in broken] == [f"it fetched {server.url}/list.json"]


def test_a_zoo_that_cannot_be_reached_is_not_called_wrong(tmp_path):
    path = write(tmp_path, LISTING.format(url="name"))
    path.write_text(path.read_text().replace("https://zoo.example.org", "https://zoo.invalid"))
    findings = list(check(path))
    assert not [finding for finding in findings if finding.verdict is Verdict.BROKEN]
    assert "no address is known for zoo.invalid" in findings[-1].detail


def test_of_several_zoos_those_without_an_address_are_named_and_cost_no_time(tmp_path):
    body = f"""{LISTING.format(url="self.options.url + '/' + name")}
import socket, time
for _ in range(2):
    try: self.door.get_bytes("https://zoo.invalid/list")
    except Refused: pass
    try: socket.create_connection(("hub.invalid", 443))
    except OSError: time.sleep(10_000)"""
    with WebServer() as server:
        server.add("/list.json", b'["a", "b"]')
        request = served(tmp_path, "self.options.url + '/' + name", server)
        write(tmp_path, body)
        findings = list(check(tmp_path / "zoo.py", request))
    (told,) = [found for found in findings if found.verdict is Verdict.OPEN]
    assert told.rule == "every zoo that it requests responds"
    assert told.detail == "no address is known for zoo.invalid, hub.invalid"


def test_a_zoo_that_takes_too_long_is_checked_as_far_as_it_was_listed(tmp_path, monkeypatch):
    monkeypatch.setattr("filterzoo.kit.listing.PATIENCE", -1.0)
    with WebServer() as server:
        server.add("/list.json", b'["a", "b"]')
        request = served(tmp_path, "self.options.url + '/' + name", server)
        findings = list(check(tmp_path / "zoo.py", request))
    (told,) = [found for found in findings if found.verdict is Verdict.OPEN]
    assert told.rule == "discover lists to its end without an error"
    assert "it listed 1 in" in told.detail
    assert {found.verdict for found in findings if found is not told} == {Verdict.HOLDS}


def test_options_come_from_a_manifest(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.onnx").write_bytes(b"not yet")
    manifest = tmp_path / "zoo.yaml"
    manifest.write_text("name: zoo\nsources:\n  - {source: local, paths: ['models/*'], license: mit}\n")
    assert faults_of("local", manifest=manifest) == []
    with pytest.raises(StartError, match="the source 'local' needs paths; name a manifest"):
        list(check("local"))
    manifest.write_text("name: zoo\nsources:\n  - {source: pypi, packages: ['a==1']}\n")
    with pytest.raises(StartError, match="no block in it names the source 'local'"):
        list(check("local", Request(manifest=manifest)))


def test_the_command_prints_lines_and_has_an_exit_code(tmp_path):
    write(tmp_path)
    good = filterzoo("check-plugin", "zoo.py", cwd=tmp_path)
    assert (good.code, good.err) == (0, "")
    assert all(line.startswith("ok ") for line in good.out.splitlines())
    write(tmp_path, "yield checkpoint(revision='main')")
    bad = filterzoo("check-plugin", "zoo.py", cwd=tmp_path)
    (line,) = [line for line in bad.out.splitlines() if not line.startswith("ok ")]
    assert bad.code == 1
    assert line.startswith("wrong       source zoo: every revision is pinned: 'a': the revision 'main'")
    ran = filterzoo("check-plugin", "nothing", cwd=tmp_path)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert "no installed plugin is called 'nothing'" in ran.err
    with pytest.raises(StartError, match="there is no such file"):
        list(check("no.py"))
