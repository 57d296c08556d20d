"""A crawl of a zoo whose checkpoints are all settled: seconds, no request for weights, no worker process."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from tests.crawler.checkpoints import done, entry
from tests.program import filterzoo
from tests.servers import WebServer

from filterzoo.crawl.discovery import discover, open_sources
from filterzoo.errors import Reason
from filterzoo.network.door import Door
from filterzoo.outcome import LedgerEntry
from filterzoo.plugins import load, references
from filterzoo.store.workfolder import WorkFolder

CHECKPOINTS = 2_000
PLUGIN = """
import atexit, os, sys
from filterzoo import Artifact, Checkpoint, Source, hookimpl

class Listed(Source):
    name = "listed"

    def discover(self):
        for number in range({checkpoints}):
            licence = "proprietary" if number % 4 == 3 else "mit"
            file = Artifact(url=f"{url}/{{number}}.safetensors", size=5)
            yield Checkpoint(id=f"net{{number}}", revision="1", licence=licence, artifacts=(file,))

@hookimpl
def filterzoo_sources():
    return [Listed]

def _tell(when):
    if "TOLD" in os.environ:
        with open(os.environ["TOLD"], "a") as file:
            print(when, os.getpid(), "torch" in sys.modules, file=file)

_tell("start")
atexit.register(_tell, "end")
"""
MANIFEST = """
name: listed
sources:
  - source: listed
licenses: {allow: [mit], unknown: skip}
"""


def settle(folder: Path) -> None:
    """Fill the journal as crawls would have: a quarter left out by its licence, some refused, the rest done."""
    with Door(folder / "cache") as door, WorkFolder(folder / "filterzoo-work").journal() as journal:
        journal._database.execute("PRAGMA synchronous=OFF")
        plugins = load(references([folder / "zoo.py"]))
        for number, found in enumerate(discover(open_sources([folder / "manifest.yaml"], plugins, door))):
            if isinstance(found, LedgerEntry):
                journal.record_ledger(found, "")
            elif number % 10 == 0:
                journal.record_ledger(entry(found.checkpoint, Reason.DAMAGED), found.settings.key)
            else:
                journal.record_done(done(found.checkpoint), found.settings.key)


@pytest.mark.slow
def test_a_weekly_run_with_nothing_new(tmp_path: Path) -> None:
    with WebServer() as server:
        (tmp_path / "zoo.py").write_text(PLUGIN.format(url=server.url, checkpoints=CHECKPOINTS))
        (tmp_path / "manifest.yaml").write_text(MANIFEST)
        settle(tmp_path)
        before = cpu_seconds_of_children()
        command = ("crawl", "manifest.yaml", "--plugin", "zoo.py", "--allow-private")
        ran = filterzoo(*command, cwd=tmp_path, env={"TOLD": str(tmp_path / "told")})
        seconds = cpu_seconds_of_children() - before
        assert ran.code == 0, ran.err
        assert "0 new, 1500 already there" in ran.out
        assert server.requests == []
    assert seconds < 20
    start, end = (line.split() for line in (tmp_path / "told").read_text().splitlines())
    assert start[1] == end[1], "a second process was started"
    assert end[2] == "False", "torch was loaded"


def cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
