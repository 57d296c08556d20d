from __future__ import annotations

import shutil
from functools import partial

import pytest
from tests.analysis import synthetic
from tests.shared import made_once

from filterzoo_analysis import zoo
from filterzoo_analysis.page import rendering, report

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """The machine's Chromium; nothing is installed or downloaded."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=chromium,
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 900},
            permissions=["clipboard-read", "clipboard-write"],
        )
        yield context
        context.close()


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    """A published folder with everything a report shows, hostile names included. It is only read."""

    def make(folder):
        synthetic.publish(folder, synthetic.mixed_zoo(), synthetic.SKIPPED)

    return made_once(tmp_path_factory, "mixed", make)


@pytest.fixture(scope="session")
def report_of_mixed(mixed, tmp_path_factory):
    """The folder of the report of `mixed`, with all figures. It is only read."""
    return made_once(tmp_path_factory, "report", partial(report.write, zoo.read(str(mixed))))


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are empty pictures, for tests of words and tables: drawing takes most of the time of a report."""

    def empty(exhibit, path):
        path.write_text("<svg></svg>")
        path.with_suffix(".png").write_bytes(b"")

    monkeypatch.setattr(rendering, "_draw", empty)
