"""A publisher to the Hub is killed, or gets status 500, at a request: still one commit and one tag per release.

Each request fails twice: before the Hub handles it, and afterwards, so that the response is lost. Then the same command
runs again.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tests.faults.scenarios import SEED, models
from tests.hub_server import TOKEN, Hub, Refusal, serve
from tests.program import Preloaded, Ran
from tests.publish.work import ledger, write_work

from filterzoo.dataset.published import open_hub
from filterzoo_publish.verify.checks import verify_files

REPO = "alice/zoo"
SAMPLE = 5
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the publisher is a fork of a preloaded process")


@dataclass
class Publisher:
    """`filterzoo publish` of the work folder at `work`, in a process of its own for each run."""

    hub: Hub
    preloaded: Preloaded
    work: Path

    def run(self) -> Ran:
        self.idle = set(self.preloaded.processes())
        command = ["filterzoo", "publish", REPO, "--workdir", str(self.work), "--release", "v2026.01.02"]
        return self.preloaded.run(command, self.work)

    def kill(self) -> None:
        for process in set(self.preloaded.processes()) - self.idle:
            process.kill()
            psutil.wait_procs([process], timeout=0.5)

    def begin(self) -> None:
        self.hub.repos.clear()
        self.hub.blobs.clear()
        self.hub.requests.clear()
        self.hub.meet = None

    def met(self, at: int, *, is_answered: bool, kills: bool) -> str | None:
        """Run with the fault at a request, and again without; says what is not as it should be."""
        self.begin()

        def meet(number: int, **state: bool) -> None:
            if number == at and state["is_answered"] is is_answered:
                if kills:
                    self.kill()
                raise Refusal(500, "Internal error")

        self.hub.meet = meet
        ran = self.run()
        where = f"{'killed' if kills else '500'} {'after' if is_answered else 'before'} {self.hub.requests[at - 1]}"
        if kills != (ran.code == -9) or (not kills and ran.code not in {0, 2}) or "unexpected" in ran.err:
            return f"{where}: ended with {ran.code}: {ran.err[-300:]}"
        self.hub.meet = None
        again = self.run()
        if again.code != 0:
            return f"{where}: the next run ended with {again.code}: {again.err[-300:]}"
        repo = self.hub.repos[REPO]
        history = self.hub.history(REPO)
        if len(history) != 2 or len(repo.tags) != 1:
            return f"{where}: commits {history}, tags {sorted(repo.tags)}"
        if next(iter(repo.tags.values())) is not repo.refs["main"]:
            return f"{where}: the tag is not of the release"
        problems = verify_files(open_hub(REPO, endpoint=self.hub.url, token=TOKEN))
        return f"{where}: {problems[:3]}" if problems else None


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publisher]:
    work = write_work(tmp_path_factory.mktemp("publisher") / "work", models(), ledger())
    with serve() as hub:
        preloaded = Preloaded({**os.environ, **hub.environment})
        try:
            yield Publisher(hub, preloaded, work)
        finally:
            preloaded.end()


@pytest.fixture(scope="module")
def requests(publisher: Publisher) -> list[str]:
    """The requests of an undisturbed release, in order."""
    publisher.begin()
    assert (ran := publisher.run()).code == 0, ran.err
    return list(publisher.hub.requests)


def check(publisher: Publisher, numbers: Iterable[int], *, kills: bool) -> None:
    met = [publisher.met(at, is_answered=after, kills=kills) for at in numbers for after in (False, True)]
    found = [error for error in met if error]
    assert not found, f"{len(found)} of {len(met)}:\n" + "\n".join(found)


def writing(requests: list[str]) -> list[int]:
    return [number for number, line in enumerate(requests, 1) if not line.startswith(("GET", "HEAD"))]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [True, False], ids=["killed", "500"])
def test_a_release_is_made_once(publisher: Publisher, requests: list[str], *, kills: bool) -> None:
    """At the commit, the tag, and a sample of the other requests that change the Hub."""
    numbers = writing(requests)
    decisive = [number for number in numbers if "/commit/" in requests[number - 1] or "/tag/" in requests[number - 1]]
    assert len(decisive) == 2
    others = sorted(set(numbers) - set(decisive))
    sample = random.Random(SEED).sample(others, min(SAMPLE, len(others)))
    check(publisher, sorted({*sample, *decisive}), kills=kills)


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [True, False], ids=["killed", "500"])
def test_a_release_is_made_once_at_every_request(publisher: Publisher, requests: list[str], *, kills: bool) -> None:
    check(publisher, range(1, len(requests) + 1), kills=kills)
