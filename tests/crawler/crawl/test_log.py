"""What a crawl tells: for people and machines, in four levels, and nothing that a terminal obeys."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from filterzoo.crawl.executor import Running
from filterzoo.crawl.log import SHOWN_NODES, CrawlLog
from filterzoo.crawl.pipeline import Event
from filterzoo.errors import Reason, Stage
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.records import Artifact, Checkpoint
from filterzoo.reporting.levels import Level, LogFormat

NET = Checkpoint(source="zoo", id="net\x1b[31m", revision="1", artifacts=(Artifact(url="https://a.example/n"),))
DONE = Done(
    checkpoint=NET,
    format="torch",
    framework=None,
    section="",
    sha256=None,
    size=100,
    integrity="none",
    licence=None,
    licence_class="unknown",
    licence_from=None,
    n_tensors=2,
    n_layers=2,
    filters_by_kernel={"3x3": 48, "1x1": 12},
    layers_fragment="layers",
    filters_fragment=None,
    publish_weights=False,
)


def entry(reason: Reason) -> LedgerEntry:
    return LedgerEntry(
        source="zoo",
        id="other",
        revision="1",
        url=None,
        stage=Stage.INDEX,
        reason=reason,
        detail="line\nof\x1b]0;title\x07 theirs",
        where="here",
        plugin="torch",
    )


EVENTS = {
    "done": Event(DONE, is_new=True),
    "failed": Event(entry(Reason.MALFORMED), is_new=True),
    "skipped": Event(entry(Reason.LICENCE), is_new=True),
    "changed": Event(DONE, is_new=False, changed=("task", "robust")),
    "known": Event(DONE, is_new=False),
}


def told(capsys: pytest.CaptureFixture[str], level: Level, form: LogFormat = LogFormat.TEXT) -> list[str]:
    with CrawlLog(level, form) as log:
        for event in EVENTS.values():
            log.show(event)
    assert (log.new, log.known, log.skipped, log.failed) == (1, 2, 1, 1)
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("level", "words"),
    [
        (Level.NOTHING, []),
        (Level.FAILURES, ["failed"]),
        (Level.NEWS, ["done", "failed", "skipped", "changed"]),
        (Level.ALL, ["done", "failed", "skipped", "changed", "known"]),
    ],
)
@pytest.mark.parametrize("form", LogFormat)
def test_each_level_prints_more(capsys, level, form, words):
    lines = told(capsys, level, form)
    if form is LogFormat.JSON:
        assert [json.loads(line)["event"] for line in lines] == words
    else:
        assert [line.split()[1] for line in lines] == words


def test_a_line_is_dated_and_harmless(capsys):
    lines = told(capsys, Level.ALL)
    assert all(
        re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (done|failed|skipped|changed|known) +zoo/", one) for one in lines
    )
    assert not any(character in line for line in lines for character in "\x1b\x07")
    assert lines[0].endswith(": 2 layers, 60 filters")
    assert lines[3].endswith(": task, robust")
    assert "malformed: line\\nof\\x1b]0;title\\x07 theirs (at here)" in lines[1]


def test_an_object_has_all_that_a_machine_needs(capsys):
    done, failed, _skipped, changed, known = map(json.loads, told(capsys, Level.ALL, LogFormat.JSON))
    assert done | {"time": ""} == {
        "time": "",
        "event": "done",
        "source": "zoo",
        "id": NET.id,
        "revision": "1",
        "layers": 2,
        "filters": {"3x3": 48, "1x1": 12},
        "bytes": 100,
    }
    assert (failed["reason"], failed["stage"], failed["plugin"]) == ("malformed", "index", "torch")
    assert failed["detail"] == entry(Reason.MALFORMED).detail
    assert changed["facts"] == ["task", "robust"]
    assert "layers" not in known


RUNNING = Running({f"node{number}\x1b[2J": (f"zoo/net{number}\x1b[2J",) for number in range(12)}, waiting=5)


@pytest.mark.parametrize("form", LogFormat)
def test_running_checkpoints_are_reported_periodically(capsys, monkeypatch, form):
    """On no terminal: a line at each pulse, with the rate and the failures by reason."""
    monkeypatch.setattr("filterzoo.crawl.log.PULSE", -1)
    with CrawlLog(Level.NEWS, form) as log:
        for event in EVENTS.values():
            log.show(event)
        capsys.readouterr()
        log.running(RUNNING)
    (line,) = capsys.readouterr().err.splitlines()
    if form is LogFormat.JSON:
        found = json.loads(line)
        assert (found["event"], found["waiting"], found["reasons"]) == ("running", 5, {"malformed": 1})
        assert len(found["nodes"]) == 12
        assert found["rate"] > 0
    else:
        assert r"running  node0\x1b[2J 1, node1\x1b[2J 1" in line
        assert "2 nodes more; 5 wait; 1 new, 2 known, 1 failed (malformed 1), " in line
        assert "\x1b" not in line


def test_a_terminal_shows_a_line_for_each_node(monkeypatch):
    screen = Console(file=io.StringIO(), force_terminal=True, width=200)
    monkeypatch.setattr("filterzoo.crawl.log.console", lambda **_options: screen)
    with CrawlLog() as log:
        bar = log._bar
        log.running(RUNNING)
        lines = [task.description for task in bar.tasks]
        log.running(Running({"node3": ("zoo/last",)}, waiting=0))
        after = [task.description for task in bar.tasks]
    assert len(lines) == 1 + SHOWN_NODES + 1
    assert lines[1] == r"  node0\x1b[2J: 1 · zoo/net0\x1b[2J"
    assert lines[-1] == "  2 nodes more; 5 checkpoints wait"
    assert after[1:] == ["  node3: 1 · zoo/last", "  0 checkpoints wait"]
