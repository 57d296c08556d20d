"""What a schedule reads after a run: metrics as Prometheus parses them, a summary as Markdown readers render it."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from prometheus_client.parser import text_string_to_metric_families
from tests.crawler.checkpoints import entry
from tests.program import filterzoo
from tests.zoo import MANIFEST, write_bad, write_good

from filterzoo.crawl.executor import Running
from filterzoo.errors import Reason, StorageFailed
from filterzoo.reporting import metrics, step_summary
from filterzoo.reporting.summary import CrawlRun, SourceCounts, Summary

HOSTILE = [
    "a|b | c",
    "</code><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    "https://evil.example www.evil.example a@evil.example @somebody #1",
    "`` ` ``` `",
    "line\nbreak\r\n\n# Heading\n- item",
    "\u202egnp.exe \u2066x\u2069",
    "\x1b[2J\x1b]0;title\x07",
    "::set-output name=x::y",
    "&lt;b&gt; &amp; <!-- x",
    "**bold** __x__ ~~y~~ $z$",
    "{{ 7*7 }} ${{ secrets.X }}",
    "\\| \\",
    "x" * 100_000,
    "\ud800",
    "🙂",
]


def run(**fields: Any) -> CrawlRun:
    plain = {"started": 1_000.0, "seconds": 61.5, "new": 3, "known": 4, "skipped": 0, "failed": 1}
    return CrawlRun(**(plain | fields))


def samples(file: Path) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(file.read_bytes().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_metrics_are_what_the_summary_says(tmp_path: Path) -> None:
    summary = Summary({"a": SourceCounts(2, 1, 0, 9), "b": SourceCounts(1, 0, 3, 1)}, Counter({"3x3": 8, "1x1": 2}))
    summary.reasons["licence"] = 1
    summary.layers = 5
    metrics.write(tmp_path / "x.prom", summary, run())
    found = samples(tmp_path / "x.prom")
    assert {
        dict(labels)["state"]: value for (name, labels), value in found.items() if name == "filterzoo_checkpoints"
    } == {
        "done": 3,
        "skipped": 1,
        "failed": 3,
    }
    assert found["filterzoo_filters", (("kernel", "3x3"),)] == 8
    assert found["filterzoo_left_out", (("reason", "licence"),)] == 1
    assert found["filterzoo_source_checkpoints", (("source", "b"), ("state", "failed"))] == 3
    assert found["filterzoo_run_checkpoints", (("outcome", "known"),)] == 4
    assert found["filterzoo_layers", ()] == 5
    assert found["filterzoo_run_duration_seconds", ()] == 61.5
    assert found["filterzoo_last_run_timestamp_seconds", ()] == 1061.5
    assert [path.name for path in tmp_path.iterdir()] == ["x.prom"]


@pytest.mark.parametrize(
    "name", [text for text in HOSTILE if text.isprintable() or "\n" in text], ids=lambda t: ascii(t)[:20]
)
def test_hostile_labels_come_back_equal(name: str, tmp_path: Path) -> None:
    metrics.write(tmp_path / "x.prom", Summary({name: SourceCounts(done=7)}), run())
    assert samples(tmp_path / "x.prom")["filterzoo_source_checkpoints", (("source", name), ("state", "done"))] == 7


def test_a_file_with_a_thousand_kernel_sizes_makes_few_series(tmp_path: Path) -> None:
    filters = Counter({f"{n}x1": n for n in range(1, 1001)})
    metrics.write(tmp_path / "x.prom", Summary(filters=filters), run())
    found = {
        dict(labels)["kernel"]: v
        for (name, labels), v in samples(tmp_path / "x.prom").items()
        if name == "filterzoo_filters"
    }
    assert len(found) == metrics.MOST_KERNELS + 1
    assert sum(found.values()) == sum(filters.values())


def test_metrics_that_cannot_be_written_leave_the_old_ones(tmp_path: Path) -> None:
    (tmp_path / "x.prom").mkdir()
    with pytest.raises(StorageFailed, match="the crawl is done"):
        metrics.write(tmp_path / "x.prom", Summary(), run())
    assert [path.name for path in tmp_path.iterdir()] == ["x.prom"]


def test_a_zoo_that_could_not_be_listed_is_in_metrics_and_summary(tmp_path: Path) -> None:
    summary = Summary({"zoo": SourceCounts(1, 0, 1, 9)})
    summary.listed["up"] = "2026-12-01T00:00:00Z"
    summary.not_listed |= {"zoo": "2026-11-24T00:00:00Z", "new|zoo": None}
    metrics.write(tmp_path / "x.prom", summary, run())
    found = samples(tmp_path / "x.prom")
    up = {dict(labels)["source"]: value for (name, labels), value in found.items() if name == "filterzoo_source_up"}
    assert up == {"up": 1.0, "zoo": 0.0, "new|zoo": 0.0}
    last = {
        dict(labels)["source"]: v for (name, labels), v in found.items() if name.startswith("filterzoo_source_listed")
    }
    assert last == {"up": 1_796_083_200.0, "zoo": 1_795_478_400.0}
    step_summary.append(tmp_path / "summary.md", summary, run())
    written = (tmp_path / "summary.md").read_text()
    assert "**Not listed:** <code>zoo</code>; it last was at 2026-11-24T00:00:00Z" in written
    assert "**Not listed:** <code>new\\|zoo</code>; it never was" in written


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[Any] = []
        self.cells: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        if tag == "td":
            self.cells.append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "td"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


def rendered(markdown: str) -> Tags:
    page = Tags()
    page.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))
    return page


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_untrusted_names_are_text_in_the_summary(text: str, tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    failure = entry(id=text, detail=text, reason=Reason.MALFORMED)
    step_summary.append(file, Summary({"zoo": SourceCounts(failed=1)}), run(failures=(failure,)))
    written = file.read_text(encoding="utf-8")
    assert len(written) < 3_000
    assert {character for character in written if not character.isprintable()} == {"\n"}
    page = rendered(written)
    assert set(page.tags) <= {"h2", "p", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert page.attributes == []
    assert page.tags["td"] == 5 + 4
    name, stage, reason, detail = page.cells[-4:]
    assert (stage.strip(), reason.strip()) == ("index", "malformed")
    if text.isprintable() and len(text) < 100:
        assert (name, detail) == (f"zoo/{text}", text)
    assert "://" not in written
    assert "www." not in written


def test_a_summary_is_added_to_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    file.write_text("before\n\n")
    many = tuple(entry(id=str(n)) for n in range(step_summary.SHOWN))
    step_summary.append(file, Summary(), run(failed=step_summary.SHOWN + 7, failures=many))
    assert file.read_text().startswith("before\n\n## FilterZoo: 3 new, 4 already there, 0 skipped, 57 failed\n")
    assert "and 7 more" in file.read_text()
    with pytest.raises(StorageFailed, match="summary cannot be written"):
        step_summary.append(tmp_path / "nowhere" / "file", Summary(), run())


@pytest.mark.slow
def test_a_crawl_writes_both(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    write_good(tmp_path / "zoo")
    write_bad(tmp_path / "zoo")
    env = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    command = ("crawl", "manifest.yaml", "--metrics", "filterzoo.prom", "--json")
    ran = filterzoo(*command, cwd=tmp_path, env=env)
    assert ran.code == 1
    found = samples(tmp_path / "filterzoo.prom")
    assert found["filterzoo_checkpoints", (("state", "done"),)] == ran.document["checkpoints"]["done"] == 5
    assert found["filterzoo_run_checkpoints", (("outcome", "failed"),)] == 4
    assert rendered((tmp_path / "summary.md").read_text()).tags["h2"] == 1
    assert filterzoo(*command, cwd=tmp_path, env=env).code == 0
    assert samples(tmp_path / "filterzoo.prom")["filterzoo_run_checkpoints", (("outcome", "known"),)] == 9
    assert rendered((tmp_path / "summary.md").read_text()).tags["h2"] == 2


@pytest.mark.parametrize("file", ["nowhere/filterzoo.prom", "."])
def test_metrics_that_could_not_be_written_are_reported_before_the_crawl(file: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    ran = filterzoo("crawl", "manifest.yaml", "--metrics", file, cwd=tmp_path)
    assert ran.code == 2
    assert ran.err.startswith(f"filterzoo: --metrics {file}: ")
    assert not (tmp_path / "filterzoo-work").exists()


def test_metrics_of_a_running_crawl_are_in_a_file_that_is_removed_at_its_end(tmp_path: Path) -> None:
    now = [0.0]
    live = metrics.RunningMetrics(tmp_path / "x.prom", lambda: now[0])
    live.update(run(reasons={"limit": 1}), Running({"a": ("zoo/1", "zoo/2"), "b": ("zoo/3",)}, waiting=7))
    live.update(run(new=9), Running({"a": (), "b": ()}))
    found = samples(tmp_path / "x.running.prom")
    assert found["filterzoo_running_checkpoints", (("node", "a"),)] == 2
    assert found["filterzoo_running_failures", (("reason", "limit"),)] == 1
    assert found["filterzoo_running_waiting", ()] == 7
    assert found["filterzoo_running_checkpoints_per_second", ()] == pytest.approx(4 / 61.5)
    assert found["filterzoo_running_outcomes", (("outcome", "new"),)] == 3, "not more often than every PERIOD seconds"
    now[0] += metrics.PERIOD
    live.update(run(new=9), Running({"a": (), "b": ()}))
    assert samples(tmp_path / "x.running.prom")["filterzoo_running_outcomes", (("outcome", "new"),)] == 9
    live.update(run(new=10), Running({"a": ("zoo/4",)}))
    assert ("filterzoo_running_checkpoints", (("node", "b"),)) not in samples(tmp_path / "x.running.prom")
    live.end()
    assert list(tmp_path.iterdir()) == []
