from __future__ import annotations

import pytest
from tests.analysis import synthetic

from filterzoo_analysis.page import rendering


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    """A published folder with everything a report shows, hostile names included."""
    return synthetic.publish(tmp_path_factory.mktemp("mixed") / "zoo", synthetic.mixed_zoo(), synthetic.SKIPPED)


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are empty pictures, for tests of words and tables: drawing takes most of the time of a report."""

    def empty(exhibit, path):
        path.write_text("<svg></svg>")
        path.with_suffix(".png").write_bytes(b"")

    monkeypatch.setattr(rendering, "_draw", empty)
