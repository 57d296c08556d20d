"""`filterzoo retry`: what failed for good is tried again, and only what was named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.program import filterzoo
from tests.zoo import state_dict

from filterzoo.errors import Reason, Stage
from filterzoo.outcome import LedgerEntry
from filterzoo.store.workfolder import WorkFolder

MANIFEST = """
name: retried
sources:
  - {source: local, paths: ["zoo/*"], license: mit}
"""
OTHER = LedgerEntry(
    source="urls",
    id="far",
    revision="1",
    url=None,
    stage=Stage.INDEX,
    reason=Reason.UNSUPPORTED,
    detail="an old variant",
    where=None,
    plugin=None,
)


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """A good file, a text and a torch file that is cut."""
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "text.pth").write_text("not a model")
    torch.save(state_dict(0), tmp_path / "zoo" / "good.pth")
    (tmp_path / "zoo" / "cut.pth").write_bytes((tmp_path / "zoo" / "good.pth").read_bytes()[:3000])
    return tmp_path


@pytest.mark.slow
def test_failures_are_tried_again_by_reason_and_source(zoo: Path) -> None:
    first = filterzoo("crawl", "manifest.yaml", "--json", cwd=zoo)
    assert (first.code, first.err) == (1, "")
    run = first.document["run"]
    assert (run["new"], run["known"], run["failed"], run["failures_left_out"]) == (1, 0, 2, 0)
    assert sorted(entry["id"] for entry in run["failures"]) == ["zoo/cut.pth", "zoo/text.pth"]
    again = filterzoo("crawl", "manifest.yaml", "--json", cwd=zoo)
    assert again.code == 0
    assert (again.document["run"]["known"], again.document["run"]["failed"]) == (3, 0)
    status = filterzoo("status", "--json", cwd=zoo).document
    assert status["ledger"] == sorted(run["failures"], key=lambda entry: entry["id"])
    assert status["ledger_left_out"] == 0

    with WorkFolder(zoo / "filterzoo-work").journal() as journal:
        journal.record_ledger(OTHER, "settings")
    tried = filterzoo("retry", "--source", "urls", "--dry-run", "--json", cwd=zoo)
    assert [entry["id"] for entry in tried.document["tried_again"]] == ["far"]
    assert [entry["id"] for entry in filterzoo("status", "--json", cwd=zoo).document["ledger"]][-1] == "far"

    tried = filterzoo("retry", "--reason", "unknown_format", cwd=zoo)
    assert tried.code == 0, tried.err
    assert "local: unknown_format: 1" in tried.out
    last = filterzoo("crawl", "manifest.yaml", "--json", cwd=zoo).document["run"]
    assert [entry["id"] for entry in last["failures"]] == ["zoo/text.pth"]


def test_nothing_to_try_and_names_that_are_not_there(zoo: Path) -> None:
    assert filterzoo("retry", cwd=zoo).code == 2
    filterzoo("crawl", "manifest.yaml", "--quiet", cwd=zoo)
    wrong = filterzoo("retry", "--source", "locale", cwd=zoo)
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "did you mean 'local'" in wrong.err
    assert filterzoo("retry", "--reason", "colour", cwd=zoo).code == 2
    nothing = filterzoo("retry", "--reason", "gated", cwd=zoo)
    assert nothing.code == 0
    assert "nothing to try again" in nothing.out
