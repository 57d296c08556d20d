from __future__ import annotations

import pytest
from tests.analysis import synthetic


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    """A published folder with everything a report shows, hostile names included."""
    return synthetic.publish(tmp_path_factory.mktemp("mixed") / "zoo", synthetic.mixed_zoo(), synthetic.SKIPPED)
