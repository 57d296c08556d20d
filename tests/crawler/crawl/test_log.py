"""What a crawl tells: for people and machines, in four levels, and nothing that a terminal obeys."""

from __future__ import annotations

import json
import re

import pytest

from filterzoo.crawl.log import CrawlLog
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
def test_each_level_tells_more(capsys, level, form, words):
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
