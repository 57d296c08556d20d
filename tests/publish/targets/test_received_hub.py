"""Publishing into, and reading from, a repository on the Hub that somebody else has filled."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.hub_server import File
from tests.publish.conftest import ReceivedHub
from tests.publish.folders import tree
from tests.publish.work import zoo

import filterzoo
from filterzoo.errors import StartError
from filterzoo_publish.merge import merging
from filterzoo_publish.release import publish, publish_work, target_for
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind
from filterzoo_publish.verify.checks import verify

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.mark.parametrize(
    "path",
    [
        "data/layers/../../../victim.parquet",
        f"data/models/../../{0:032x}.parquet",
        f"data/models/pypi/permissive/{0:032x}.parquet\n/etc/passwd",
        f"data/filters/a/b/c/d/{0:032x}.parquet",
        "data/skipped/removed.txt",
    ],
)
def test_a_path_that_no_release_writes_is_refused_by_every_command(received_hub: ReceivedHub, path: str) -> None:
    name, second = received_hub.name, received_hub.folder / "second"
    received_hub.push(received_hub.files | {path: File(b"PAR1", is_lfs=True)})
    before, commits = outside(received_hub.folder), received_hub.commits
    with pytest.raises(StartError):
        publish(second, received_hub.target)
    with pytest.raises(StartError):
        take_down(received_hub.target, [(TakedownKind.MODEL, zoo()[0].model_id)])
    with pytest.raises(StartError):
        publish_work(merging.open_datasets([name]), target_for("./merged"))
    if path.startswith("data/layers/"):
        with pytest.raises(StartError):
            filterzoo.load(name)
    assert verify(name)
    assert received_hub.commits == commits
    assert outside(received_hub.folder) == before
    assert not tree(Path())


def outside(folder: Path) -> dict[str, str]:
    """All files beside the work folders."""
    return {path: digest for path, digest in tree(folder).items() if not path.startswith(("first/", "second/"))}
