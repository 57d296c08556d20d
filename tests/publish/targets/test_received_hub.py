"""Publishing into, and reading from, a repository on the Hub that somebody else has filled."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.hub_server import TOKEN, File, Hub, serve
from tests.publish.folders import tree
from tests.publish.work import write_work, zoo

import filterzoo
from filterzoo.dataset import published
from filterzoo.errors import StartError
from filterzoo_publish.merge import merging
from filterzoo_publish.release import publish, publish_work, target_for
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind
from filterzoo_publish.targets.hub import HubTarget
from filterzoo_publish.verify.checks import verify

REPO = "alice/zoo"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("received")


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[Hub]:
    """With a sound data set of two models; `second` is a work folder with one more."""
    write_work(folder / "second", zoo()[:3])
    with serve() as running:
        publish(write_work(folder / "first", zoo()[:2]), target(running))
        yield running


def target(hub: Hub) -> HubTarget:
    return HubTarget(REPO, endpoint=hub.url, token=TOKEN)


def add(hub: Hub, files: dict[str, bytes]) -> None:
    """What an attacker pushes."""
    repo = hub.repos[REPO]
    head = repo.refs["main"]
    repo.commit("main", "hostile", head.files | {path: File(data, is_lfs=True) for path, data in files.items()}, head)


@pytest.mark.parametrize(
    "path",
    [
        "data/layers/../../../victim.parquet",
        f"data/models/../../{0:032x}.parquet",
        f"data/models/pypi/permissive/{0:032x}.parquet\n/etc/passwd",
        f"data/filters/a/b/c/d/{0:032x}.parquet",
        "data/skipped/removed.txt",
    ],
)
def test_a_path_that_no_release_writes_is_refused_by_every_command(
    hub: Hub, folder: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "open_hub", partial(published.open_hub, endpoint=hub.url, token=TOKEN))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(hub.repos[REPO], "refs", dict(hub.repos[REPO].refs))
    add(hub, {path: b"PAR1"})
    before, commits = outside(folder), hub.history(REPO)
    with pytest.raises(StartError):
        publish(folder / "second", target(hub))
    with pytest.raises(StartError):
        take_down(target(hub), [(TakedownKind.MODEL, zoo()[0].model_id)])
    with pytest.raises(StartError):
        publish_work(merging.open_datasets([REPO]), target_for("./merged"))
    if path.startswith("data/layers/"):
        with pytest.raises(StartError):
            filterzoo.load(REPO)
    assert verify(REPO)
    assert hub.history(REPO) == commits
    assert outside(folder) == before


def outside(folder: Path) -> dict[str, str]:
    """All files beside the work folders."""
    return {path: digest for path, digest in tree(folder).items() if not path.startswith(("first/", "second/"))}
