import hashlib
import os

import pytest
from pydantic import ValidationError

from filterzoo.errors import Reason, Refused, StartError
from filterzoo.files import LocalFile
from filterzoo.network.door import Door
from filterzoo.outcome import Refusal
from filterzoo_plugins.sources.own_files.local import LocalOptions, LocalSource


@pytest.fixture
def zoo(tmp_path):
    folder = tmp_path / "manifests"
    for name, content in (("a.onnx", b"a"), ("deep/er/b.onnx", b"b"), ("deep/b.data", b"side"), ("c.pt", b"c")):
        (folder / "zoo" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "zoo" / name).write_bytes(content)
    return folder


def source(folder, *paths, **options):
    with Door(folder / "cache") as door:
        return LocalSource(LocalOptions(paths=paths, **options), door, folder)


def ids(folder, *paths):
    return [checkpoint.id for checkpoint in source(folder, *paths).discover()]


def test_globs_start_at_the_manifest(zoo):
    assert ids(zoo, "zoo/**/*.onnx") == ["zoo/a.onnx", "zoo/deep/er/b.onnx"]
    assert ids(zoo, "zoo/*") == ["zoo/a.onnx", "zoo/c.pt"]
    assert ids(zoo / "zoo" / "deep", "../*.pt") == ["../c.pt"]
    assert ids(zoo, str(zoo / "zoo" / "*.pt"), "zoo/c.*") == ["zoo/c.pt"]


def test_files_beyond_the_end_of_a_pattern_are_reported(zoo):
    for name in ("c.pt.lz4", "d.pt.tar", "e.pth", "notes.pt.txt"):
        (zoo / "zoo" / name).write_bytes(b"x")
    listed, told = source(zoo, "zoo/*.pt").discover()
    assert listed.id == "zoo/c.pt"
    assert isinstance(told, Refusal)
    assert (told.id, told.reason) == ("zoo/c.pt.lz4", Reason.UNSUPPORTED)
    assert told.detail.endswith(": c.pt.lz4, d.pt.tar")


def test_a_checkpoint_says_what_is_known_of_a_file(zoo):
    (checkpoint,) = source(zoo, "zoo/a.onnx", license="MIT").discover()
    sha256 = hashlib.sha256(b"a").hexdigest()
    assert checkpoint.revision == f"sha256:{sha256[:16]}"
    assert checkpoint.licence == "MIT"
    assert checkpoint.url is None
    (artifact,) = checkpoint.artifacts
    assert (artifact.name, artifact.size, artifact.sha256) == ("a.onnx", 1, sha256)
    assert str(zoo) not in artifact.url


def test_a_changed_file_is_a_new_revision(zoo):
    (before,) = source(zoo, "zoo/a.onnx").discover()
    (zoo / "zoo" / "a.onnx").write_bytes(b"A")
    (after,) = source(zoo, "zoo/a.onnx").discover()
    assert before.id == after.id
    assert before.revision != after.revision


@pytest.mark.parametrize("pattern", ["zoo/*.h5", "elsewhere/**/*.pt", "zoo/deep", "zoo/\0"])
def test_a_pattern_that_matches_no_file_is_named(zoo, pattern):
    with pytest.raises(StartError) as caught:
        ids(zoo, "zoo/*.onnx", pattern)
    assert repr(pattern) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_licence_must_be_one():
    assert LocalOptions(paths=("x",), license="Apache License 2.0").license == "Apache License 2.0"
    with pytest.raises(ValidationError, match="is not an SPDX licence"):
        LocalOptions(paths=("x",), license="apche")
    with pytest.raises(ValidationError):
        LocalOptions(paths=())
    with pytest.raises(ValidationError):
        LocalOptions(paths=("",))


def test_links_are_followed_and_what_is_no_file_is_refused_when_opened(zoo):
    folder = zoo / "zoo"
    (folder / "link.pt").symlink_to(folder / "c.pt")
    (folder / "broken.pt").symlink_to(folder / "nothing")
    os.mkfifo(folder / "pipe.pt")
    crawled = source(zoo, "zoo/*.pt")
    found = {checkpoint.id: checkpoint for checkpoint in crawled.discover()}
    assert set(found) == {"zoo/c.pt", "zoo/link.pt", "zoo/broken.pt", "zoo/pipe.pt"}
    assert found["zoo/link.pt"].revision == found["zoo/c.pt"].revision
    for name, reason in (("broken", Reason.FETCH_FAILED), ("pipe", Reason.UNSAFE)):
        checkpoint = found[f"zoo/{name}.pt"]
        assert checkpoint.revision == "unreadable"
        with pytest.raises(Refused) as caught:
            crawled.open(checkpoint.artifacts[0])
        assert caught.value.reason is reason


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
@pytest.mark.parametrize("name", ["a b%20#?.pt", "tür.pt", "\x1b[2J\n.pt", "\u202etp.pt", os.fsdecode(b"\xff\xfe.pt")])
def test_any_file_name_can_be_opened_and_its_id_is_text(zoo, name):
    (zoo / "zoo" / name).write_bytes(b"it")
    crawled = source(zoo, "zoo/*.pt")
    (checkpoint,) = [found for found in crawled.discover() if found.id != "zoo/c.pt"]
    checkpoint.id.encode("utf-8")
    checkpoint.artifacts[0].url.encode("ascii")
    with crawled.open(checkpoint.artifacts[0]) as file:
        assert isinstance(file, LocalFile)
        assert file.read(0, file.size) == b"it"


def test_side_files_lie_beside(zoo):
    crawled = source(zoo, "zoo/a.onnx")
    (zoo / "zoo" / "a.data").write_bytes(b"side")
    (checkpoint,) = crawled.discover()
    with crawled.open(checkpoint.artifacts[0]) as file, file.beside("a.data") as side:
        assert side.read(0, 4) == b"side"


def test_the_source_is_found_like_a_third_partys():
    from filterzoo_plugins.sources.own_files import local
    from filterzoo_plugins.sources.packages import pypi

    assert [entry.name for entry in (*local.filterzoo_sources(), *pypi.filterzoo_sources())] == ["local", "pypi"]
