"""A Hub that lies about the sizes and contents of a data set's files: a right result, or one line, soon and cheaply."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.hub_server import File
from tests.publish.conftest import ReceivedHub

import filterzoo
from filterzoo.errors import FilterZooError
from filterzoo_publish.merge import merging
from filterzoo_publish.release import publish, publish_work, target_for
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind
from filterzoo_publish.verify.checks import verify

MEMORY = 600 << 10
"""Kilobytes, as getrusage counts."""
SECONDS = 10
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@dataclass(frozen=True)
class Lie(File):
    """A file of which the Hub states another size."""

    size: Any = 0

    def entry(self, path: str) -> dict[str, Any]:
        stated = super().entry(path) | {"size": self.size}
        return stated | ({"lfs": stated["lfs"] | {"size": self.size}} if "lfs" in stated else {})


def said_or_given(read: Callable[[], object]) -> object:
    """What a reader gives, or the line that it ends with."""
    try:
        return read()
    except FilterZooError as error:
        return str(error)


SIZES: dict[str, Callable[[int], Any]] = {
    "huge": lambda _size: 1 << 62,
    "terabytes": lambda _size: 5 << 40,
    "gigabytes": lambda _size: 5 << 30,
    "one more": lambda size: size + 1,
    "one less": lambda size: size - 1,
    "half": lambda size: size // 2,
    "seven": lambda _size: 7,
    "nothing": lambda _size: 0,
    "negative": lambda _size: -1,
    "unstated": lambda _size: None,
    "text": lambda _size: "12",
}


def of_size(state: Callable[[int], Any]) -> Callable[[File], File]:
    return lambda file: Lie(file.content, file.is_lfs, size=state(len(file.content)))


def zeros(file: File) -> File:
    return File(bytes(len(file.content)), file.is_lfs)


def empty(file: File) -> File:
    return File(b"", file.is_lfs)


def shuffled(file: File) -> File:
    """The footer of the file, and its pages in another order."""
    middle = len(file.content) // 2
    return File(file.content[:4] + file.content[4:middle][::-1] + file.content[middle:], file.is_lfs)


CHANGES = {name: of_size(state) for name, state in SIZES.items()}
CHANGES |= {"zeros": zeros, "empty": empty, "shuffled": shuffled}
QUICK = {("data/layers", "huge"), ("data/filters/", "terabytes"), ("data/models", "half"), ("README", "huge")}
CASES = [
    pytest.param(config, lie, marks=() if (config, lie) in QUICK else pytest.mark.slow, id=f"{config}-{lie}")
    for config in ("data/layers", "data/filters/", "data/models", "README", "releases", "cards")
    for lie in CHANGES
]


@pytest.mark.parametrize(("config", "lie"), CASES)
def test_a_lie_costs_little_and_says_so(received_hub: ReceivedHub, config: str, lie: str):
    name, target, change = received_hub.name, received_hub.target, CHANGES[lie]
    honest = filterzoo.load(name), filterzoo.stats(name).count
    files = received_hub.files
    received_hub.push({path: change(file) if path.startswith(config) else file for path, file in files.items()})
    commits = received_hub.commits
    readers: dict[str, Callable[[], object]] = {
        "load": lambda: filterzoo.load(name),
        "stats": lambda: filterzoo.stats(name).count,
        "verify": lambda: verify(name),
        "from": lambda: publish_work(merging.open_datasets([name]), target_for("./merged")),
        "publish": lambda: publish(received_hub.folder / "second", target, dry_run=True),
        "takedown": lambda: take_down(target, [(TakedownKind.MODEL, "pypi/not-there")], in_advance=False),
    }
    found: dict[str, Any] = {}
    for reader, read in readers.items():
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        found[reader] = said_or_given(read)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY, reader
        assert time.process_time() - start < SECONDS, reader
    assert not any("\n" in said for said in found.values() if isinstance(said, str))
    if not isinstance(found["load"], str):
        np.testing.assert_array_equal(found["load"], honest[0])
    assert isinstance(found["stats"], str) or found["stats"] == honest[1]
    assert received_hub.commits == commits
