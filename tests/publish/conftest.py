"""A data set on the Hub that somebody else may have filled, as the tests of hostile Hubs start from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from tests.hub_server import TOKEN, File, Hub, serve
from tests.publish.work import write_work, zoo

from filterzoo.dataset import published
from filterzoo_publish.release import publish
from filterzoo_publish.targets.hub import HubTarget

REPO = "alice/zoo"


@dataclass(frozen=True)
class ReceivedHub:
    """folder: with a work folder `second` of one model more than the two that the repository `name` holds."""

    hub: Hub
    folder: Path
    name: str = REPO

    @property
    def target(self) -> HubTarget:
        return HubTarget(self.name, endpoint=self.hub.url, token=TOKEN)

    @property
    def commits(self) -> object:
        return self.hub.history(self.name)

    @property
    def files(self) -> dict[str, File]:
        return self.hub.repos[self.name].refs["main"].files

    def push(self, files: dict[str, File]) -> None:
        """All files of the repository, in a commit of somebody else."""
        repo = self.hub.repos[self.name]
        repo.commit("main", "hostile", files, repo.refs["main"])


@pytest.fixture(scope="session")
def sound_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceivedHub]:
    folder = tmp_path_factory.mktemp("received")
    write_work(folder / "second", zoo()[:3])
    with serve() as running:
        received = ReceivedHub(running, folder)
        publish(write_work(folder / "first", zoo()[:2]), received.target)
        yield received


@pytest.fixture
def received_hub(sound_hub: ReceivedHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ReceivedHub:
    """The Hub that every reader asks, in an empty working folder; the next test does not see what is pushed."""
    repo = sound_hub.hub.repos[sound_hub.name]
    monkeypatch.setattr(published, "open_hub", partial(published.open_hub, endpoint=sound_hub.hub.url, token=TOKEN))
    monkeypatch.setattr(repo, "refs", dict(repo.refs))
    monkeypatch.chdir(tmp_path)
    return sound_hub
