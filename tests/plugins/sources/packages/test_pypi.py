import hashlib
import io
import os
import warnings
import zipfile

import pytest
from packaging.version import Version
from pydantic import ValidationError
from tests.plugins.sources.package_files import offer, sdist, wheel
from tests.servers import WebServer, status

from filterzoo.errors import Reason, Refused, StartError
from filterzoo.licensing.licences import Licence
from filterzoo.network.door import Door
from filterzoo.network.files.cache import default_folder
from filterzoo.network.time_limits import Clocks
from filterzoo.outcome import Refusal
from filterzoo_plugins.sources.packages.index import PYPI, PackageIndex, configured_index
from filterzoo_plugins.sources.packages.pypi import PypiOptions, PypiSource

NET = {"zoo/data/net.pt": b"weights", "zoo/data/net.onnx": b"graph", "zoo/data/net.onnx.data": b"side", "zoo/x.py": b""}


@pytest.fixture
def server():
    with WebServer() as running:
        yield running


@pytest.fixture
def door(tmp_path):
    with Door(tmp_path / "cache", clocks=Clocks(sleep=lambda _: None)) as opened:
        yield opened


def source(door, tmp_path, index_url, *packages, **options):
    return PypiSource(PypiOptions(packages=packages, index_url=index_url, **options), door, tmp_path)


def refusal(action, *arguments):
    with pytest.raises(Refused) as caught:
        action(*arguments)
    assert "\n" not in str(caught.value)
    return caught.value


def content(crawled, checkpoint):
    with crawled.open(checkpoint.artifacts[0]) as file:
        return file.read(0, file.size)


def test_facts_about_a_package_are_kept(server, door, tmp_path):
    for name in ("facenet_pytorch", "zoo"):
        url = offer(
            server, name.replace("_", "-"), {f"{name}-1.0-py3-none-any.whl": wheel({f"{name}/x.pt": b"weights"})}
        )
    known, unknown = source(door, tmp_path, url, "Facenet_PyTorch==1.0", "zoo==1.0").discover()
    assert (known.task, known.visual_category, known.modality) == ("face-detection", "faces", "rgb")
    assert (unknown.task, unknown.visual_category, unknown.modality, unknown.training_dataset) == (None,) * 4


@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize("hashes", [False, True])
def test_every_weight_file_of_a_wheel_is_a_checkpoint(server, door, tmp_path, html, hashes):
    archive = wheel(NET)
    url = offer(server, "zoo", {"zoo-1.0-py3-none-any.whl": archive}, html=html, hashes=hashes)
    crawled = source(door, tmp_path, url, "Zoo==1.0")
    onnx, torch = crawled.discover()
    assert (onnx.id, torch.id) == ("zoo/zoo/data/net.onnx", "zoo/zoo/data/net.pt")
    assert torch.revision == f"1.0+sha256:{hashlib.sha256(archive).hexdigest()[:16]}"
    assert torch.url == "https://pypi.org/project/zoo/1.0/"
    assert torch.licence == "MIT"
    (artifact,) = torch.artifacts
    assert (artifact.name, artifact.size, artifact.member) == ("net.pt", 7, "zoo/data/net.pt")
    assert content(crawled, torch) == b"weights"
    with crawled.open(onnx.artifacts[0]) as file:
        assert file.verified_sha256 == (hashlib.sha256(b"graph").hexdigest() if hashes else None)


def test_unlisted_files_that_look_like_weights_are_reported(server, door, tmp_path):
    files = {f"zoo/{name}": b"w" for name in ("a.pth.tar", "b.pth.lz4", "c.caffemodel", "d.bin", "e.npy")}
    url = offer(server, "zoo", {"zoo-1.0-py3-none-any.whl": wheel(files)})
    listed, told = source(door, tmp_path, url, "zoo==1.0").discover()
    assert listed.id == "zoo/zoo/a.pth.tar"
    assert isinstance(told, Refusal)
    assert (told.id, told.reason, told.revision) == ("zoo/zoo/b.pth.lz4", Reason.UNSUPPORTED, listed.revision)
    assert told.detail.endswith(": zoo/b.pth.lz4, zoo/c.caffemodel")
    assert len(list(source(door, tmp_path, url, "zoo==1.0", files=["*.pth.tar"]).discover())) == 1


def test_a_package_without_weights_is_reported(server, door, tmp_path):
    url = offer(server, "zoo", {"zoo-1.0-py3-none-any.whl": wheel({"zoo/x.py": b""})})
    (told,) = source(door, tmp_path, url, "zoo==1.0").discover()
    assert (told.id, told.reason) == ("zoo", Reason.UNKNOWN_FORMAT)


def test_an_artifact_is_opened_without_discovery_and_from_the_cache_without_network(server, door, tmp_path):
    url = offer(server, "zoo", {"zoo-1.0-py3-none-any.whl": wheel(NET)})
    _, torch = source(door, tmp_path, url, "zoo==1.0").discover()
    asked = len(server.requests)
    for _ in range(2):
        assert content(source(door, tmp_path, url, "zoo==1.0"), torch) == b"weights"
    assert len(server.requests) == asked


def test_side_files_are_members_of_the_same_folder(server, door, tmp_path):
    url = offer(server, "zoo", {"zoo-1.0-py3-none-any.whl": wheel(NET)})
    crawled = source(door, tmp_path, url, "zoo==1.0")
    onnx, _ = crawled.discover()
    with crawled.open(onnx.artifacts[0]) as file:
        with file.beside("net.onnx.data") as side:
            assert side.read(0, 4) == b"side"
        assert refusal(file.beside, "missing.data").reason is Reason.MALFORMED
        assert refusal(file.beside, "../x.py").reason is Reason.UNSAFE
        assert refusal(file.beside, hashlib.sha256(b"graph").hexdigest()).reason is Reason.MALFORMED


def test_which_files_may_be_chosen(server, door, tmp_path):
    url = offer(server, "zoo", {"zoo-1.0-py3-none-any.whl": wheel({**NET, "zoo/NET.PTH": b"x"})})
    found = source(door, tmp_path, url, "zoo==1.0", files=("*.pth", "*.data")).discover()
    assert [checkpoint.id for checkpoint in found] == ["zoo/zoo/NET.PTH", "zoo/zoo/data/net.onnx.data"]


def test_a_source_archive_is_read_where_there_is_no_wheel(server, door, tmp_path):
    files = {"src/net.pt": b"weights", "src/net.onnx": b"graph"}
    url = offer(server, "zoo", {"zoo-1.0.tar.gz": sdist(files), "zoo-2.0-py3-none-any.whl": wheel(NET)})
    crawled = source(door, tmp_path, url, "zoo==1.0")
    found = list(crawled.discover())
    assert [checkpoint.id for checkpoint in found] == ["zoo/zoo-1.0/src/net.onnx", "zoo/zoo-1.0/src/net.pt"]
    assert found[0].licence == "MIT"
    assert content(crawled, found[1]) == b"weights"


def test_the_most_portable_archive_is_read_whatever_the_order(server, door):
    names = [
        "zoo-1.0-cp311-cp311-manylinux_2_17_x86_64.whl",
        "zoo-1.0-py2.py3-none-any.whl",
        "zoo-1.0-2-py3-none-any.whl",
        "zoo-1.0-cp311-cp311-any.whl",
        "zoo-1.0-cp310-cp310-win_amd64.whl",
        "zoo-1.0.tar.gz",
        "zoo-1.0.1-py3-none-any.whl",
        "zoo-1.0.exe",
        "nonsense.whl",
    ]
    order = []
    while names[:-3]:
        for reverse in (False, True):
            page = dict.fromkeys(sorted(names, reverse=reverse), b"")
            index = PackageIndex(offer(server, "zoo", page), door)
            archive = index.archive("zoo", Version("1.0.0"))
        order.append(archive.url.split("#")[0].rpartition("/")[2])
        names.remove(order[-1])
    assert order == [
        "zoo-1.0-py2.py3-none-any.whl",
        "zoo-1.0-2-py3-none-any.whl",
        "zoo-1.0-cp311-cp311-any.whl",
        "zoo-1.0-cp310-cp310-win_amd64.whl",
        "zoo-1.0-cp311-cp311-manylinux_2_17_x86_64.whl",
        "zoo-1.0.tar.gz",
    ]


MIT = "Classifier: License :: OSI Approved :: MIT License"


@pytest.mark.parametrize(
    ("more", "expression"),
    [
        ("License-Expression: Apache-2.0 OR MIT\nLicense: weird", "apache-2.0 or mit"),
        ("License: BSD-3-Clause", "bsd-3-clause"),
        (MIT, "mit"),
        (f"License: see LICENSE\n{MIT}", "mit"),
        (f"License: AGPL-3.0\n{MIT}", "agpl-3.0-only"),
        (
            f"License: MIT\n{MIT}\nClassifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
            "gpl-3.0-only and mit",
        ),
        ("License: GNLv3", None),
        ("License: UNKNOWN", None),
        ("Summary: nothing said", None),
        ("License: \x1b[2J\u202e", None),
    ],
)
def test_the_licence_comes_from_the_core_metadata(server, door, tmp_path, more, expression):
    url = offer(server, "zoo", {"zoo-1.0-py3-none-any.whl": wheel(NET, more=more)})
    checkpoint = next(source(door, tmp_path, url, "zoo==1.0").discover())
    assert Licence.parse(checkpoint.licence).expression == expression


def test_a_package_that_is_gone_is_named_and_the_others_go_on(server, door, tmp_path):
    url = offer(server, "zoo", {"zoo-1.0-py3-none-any.whl": wheel(NET)})
    crawled = source(door, tmp_path, url, "missing==1.0", "zoo==9.9", "zoo==1.0")
    missing, version, *rest = crawled.discover()
    assert (missing.id, missing.revision, version.id, version.revision) == ("missing", "1.0", "zoo", "9.9")
    assert len(rest) == 2
    for checkpoint in (missing, version):
        error = refusal(crawled.open, checkpoint.artifacts[0])
        assert error.reason is Reason.REMOVED
        assert checkpoint.id in error.detail


def test_an_index_that_has_none_of_the_packages_is_not_listed(server, door, tmp_path):
    listed = source(door, tmp_path, server.url + "/simple", "one==1.0", "two==1.0").discover()
    assert [next(listed).id, next(listed).id] == ["one", "two"]
    error = refusal(next, listed)
    assert error.reason is Reason.REMOVED
    assert "has none of the packages; check names, index_url" in error.detail


def test_a_package_that_comes_back_meanwhile_is_for_the_next_run(server, door, tmp_path):
    url = offer(server, "zoo", {})
    crawled = source(door, tmp_path, url, "zoo==1.0")
    (broken,) = crawled.discover()
    offer(server, "zoo", {"zoo-1.0-py3-none-any.whl": wheel(NET)})
    assert refusal(crawled.open, broken.artifacts[0]).reason is Reason.CHANGED


def altered(archive: bytes) -> bytes:
    """One bit of a stored member is another."""
    return archive.replace(b"weights", b"weightt", 1)


def stored(*files: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a name given twice
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (altered(stored(("a/net.pt", b"weights"))), Reason.DAMAGED),
        (stored(("a/net.pt", b"1"), ("a/net.pt", b"2")), Reason.UNSAFE),
        (stored(("a/net.pt", b"weights")), None),
        (b"no archive at all", Reason.DAMAGED),
        (b"", Reason.DAMAGED),
        (wheel(NET)[:-30], Reason.DAMAGED),
    ],
)
def test_a_damaged_wheel_is_refused_by_reason(server, door, tmp_path, archive, reason):
    url = offer(server, "zoo", {"zoo-1.0-py3-none-any.whl": archive})
    crawled = source(door, tmp_path, url, "zoo==1.0")
    (checkpoint,) = crawled.discover()
    if reason is None:
        assert content(crawled, checkpoint) == b"weights"
    else:
        assert refusal(crawled.open, checkpoint.artifacts[0]).reason is reason


@pytest.mark.parametrize("cut", [20, 100, -2000])
def test_a_damaged_source_archive_is_refused(server, door, tmp_path, cut):
    url = offer(server, "zoo", {"zoo-1.0.tar.gz": sdist({"net.pt": os.urandom(5000)})[:cut]})
    crawled = source(door, tmp_path, url, "zoo==1.0")
    (checkpoint,) = crawled.discover()
    assert refusal(crawled.open, checkpoint.artifacts[0]).reason is Reason.DAMAGED


def test_an_archive_that_is_not_the_published_one_is_refused(server, door, tmp_path):
    url = offer(server, "zoo", {"zoo-1.0-py3-none-any.whl": wheel(NET)})
    server.resources["/files/zoo-1.0-py3-none-any.whl"].body = wheel({**NET, "x.pt": b"other"})
    crawled = source(door, tmp_path, url, "zoo==1.0")
    (checkpoint,) = crawled.discover()
    assert refusal(crawled.open, checkpoint.artifacts[0]).reason is Reason.HASH_MISMATCH


@pytest.mark.parametrize(
    "name", ["../../../escape.pt", "/abs/x.pt", "C:\\x.pt", "a\nb.pt", "\u202e.pt", "x" * 5000 + ".pt"]
)
def test_a_member_is_never_a_path(server, door, tmp_path, name):
    url = offer(server, "zoo", {"zoo-1.0-py3-none-any.whl": wheel({name: b"weights"})})
    crawled = source(door, tmp_path, url, "zoo==1.0")
    (checkpoint,) = crawled.discover()
    assert content(crawled, checkpoint) == b"weights"
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert all(set(path.removesuffix(".etag")) <= set("0123456789abcdef") for path in names)


def test_an_index_out_of_reach_is_one_line(server, door, tmp_path):
    for number, (url, fault) in enumerate(
        [
            ("http://127.0.0.1:9/simple", None),
            (server.url + "/simple", status(403)),
            (server.url + "/simple", status(500)),
            ("http://user:secret@127.0.0.1:9/simple", None),
        ]
    ):
        if fault:
            server.add(f"/simple/zoo{number}/", b"", *[fault] * 9)
        with pytest.raises(StartError) as caught:
            list(source(door, tmp_path, url, f"zoo{number}==1.0").discover())
        assert "package index" in str(caught.value)
        assert "PIP_INDEX_URL" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", [b"[]", b'{"files": [{}]}', b'{"files": 3}', b"[" * 100_000, b"\xff"])
def test_an_invalid_index_is_one_line(server, door, tmp_path, body):
    server.add("/simple/zoo/", body, content_type="application/vnd.pypi.simple.v1+json")
    with pytest.raises(StartError, match="no package page"):
        list(source(door, tmp_path, server.url + "/simple", "zoo==1.0").discover())


@pytest.mark.parametrize("url", ["file:///opt/simple", "ftp://x/simple", "pypi.org/simple", ""])
def test_an_index_has_a_web_address(url):
    with pytest.raises(ValidationError, match="is not an http or https address"):
        PypiOptions(packages=("a==1",), index_url=url)


def test_the_index_is_the_one_pip_would_use(tmp_path, monkeypatch):
    for name in ("PIP_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("filterzoo_plugins.sources.packages.index._pip_files", lambda: [tmp_path / "a", tmp_path / "b"])
    assert configured_index() == PYPI
    (tmp_path / "a").write_text("[global]\nindex-url = https://a.example/simple\n")
    assert configured_index() == "https://a.example/simple"
    (tmp_path / "b").write_text("[install]\nindex-url = https://b.example/simple\n[global]\ntimeout=3\n")
    assert configured_index() == "https://b.example/simple"
    (tmp_path / "b").write_bytes(b"\xff no configuration")
    assert configured_index() == PYPI
    monkeypatch.setenv("PIP_INDEX_URL", "https://c.example/simple")
    assert configured_index() == "https://c.example/simple"


@pytest.mark.index
def test_the_real_index_has_the_networks_of_facenet(tmp_path):
    with Door(default_folder()) as door:
        crawled = source(door, tmp_path, None, "facenet-pytorch==2.6.0")
        found = list(crawled.discover())
        assert [checkpoint.id for checkpoint in found] == [
            f"facenet-pytorch/facenet_pytorch/data/{name}.pt" for name in ("onet", "pnet", "rnet")
        ]
        assert {Licence.parse(checkpoint.licence).expression for checkpoint in found} == {"mit"}
        assert {checkpoint.revision for checkpoint in found} == {"2.6.0+sha256:ecb82b27beb226d1"}
        assert [len(content(crawled, checkpoint)) for checkpoint in found] == [1_559_269, 28_570, 403_147]
