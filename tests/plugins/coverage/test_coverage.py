"""docs/zoos.md: rows of a zoo on loopback, documents from copies, and what cannot be had is said to be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.plugins.sources.package_files import offer, wheel
from tests.plugins.sources.tables.test_table_zoos import APACHE
from tests.servers import WebServer, status

from filterzoo import StartError
from filterzoo.network.time_limits import Clocks
from filterzoo_plugins.coverage.documents import DoorWithCopies, read_index
from filterzoo_plugins.coverage.page import page
from filterzoo_plugins.coverage.rows import CountedZoo, commit_of, row
from filterzoo_plugins.sources.tables.open_model_zoo import OpenModelZooSource

MODEL = """\
framework: pytorch
task_type: classification
files: [{{name: net.pth, size: 10, source: "https://zoo.example/{name}.pth"}}]
license: {licence}
"""


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture
def zoo(server: WebServer) -> CountedZoo:
    """Three models of an Open Model Zoo, whose licences stand at three addresses: there, in a copy, out of reach."""
    places = {
        "there": server.add("/LICENSE", APACHE),
        "copied": f"{server.url}/copied",
        "away": server.add("/away", b"", *[status(503)] * 50),
    }
    files = {
        f"omz_tools/models/public/{name}/model.yml": MODEL.format(name=name, licence=licence).encode()
        for name, licence in places.items()
    }
    index = offer(server, "openvino-dev", {"openvino_dev-1.0-py3-none-any.whl": wheel(files, "openvino_dev")})
    options = {"package": "openvino-dev==1.0", "index_url": index}
    return CountedZoo("omz", "openvino-dev==1.0", OpenModelZooSource, options, "`model.yml`", lambda _: len(files))


def write_copies(folder: Path, address: str, file: str = "licence") -> Path:
    folder.mkdir()
    (folder / "licence").write_bytes(APACHE)
    (folder / "index.csv").write_text(f"address,revision,file\n{address},{'8' * 40},{file}\n")
    return folder


def test_a_row_has_the_revision_and_what_could_not_be_fetched(
    server: WebServer, zoo: CountedZoo, tmp_path: Path
) -> None:
    copies = read_index(write_copies(tmp_path / "documents", f"{server.url}/copied"))
    clocks = Clocks(sleep=lambda _: None)
    with DoorWithCopies(tmp_path / "cache", copies, allow_private=True, clocks=clocks) as door:
        line = row(zoo, door)
    assert line == "| omz | openvino-dev==1.0 | 3 | `model.yml` | 2 | 2 | 2 | 0 | 0 | 1 fetch_failed |"
    assert "/copied" not in [path for path, _, _ in server.requests]
    assert f"| {server.url}/copied | {'8' * 40} |" in page([line], door.answered, offline=True)
    assert "## Copies" not in page([line], {}, offline=False)


def test_a_zoo_out_of_reach_is_no_empty_zoo(server: WebServer, zoo: CountedZoo, tmp_path: Path) -> None:
    clocks = Clocks(sleep=lambda _: None)
    server.resources.clear()
    with DoorWithCopies(tmp_path / "cache", {}, allow_private=True, clocks=clocks) as door:
        line = row(zoo, door)
    assert "| out of reach |" in line
    assert "cannot read the package index" in line or "openvino-dev" in line


@pytest.mark.parametrize("file", ["../licence", "", "/etc/passwd"])
def test_a_copy_lies_beside_its_index(tmp_path: Path, file: str) -> None:
    with pytest.raises(StartError, match=r"index\.csv"):
        read_index(write_copies(tmp_path / "documents", "https://a.example/b", file))
    assert read_index(tmp_path) == {}


def test_a_commit_is_shown_by_its_first_digits() -> None:
    assert commit_of(f"https://raw.example/a/b/{'4c' * 20}/collection.json") == "4c4c4c4c4c4c"
    assert commit_of("https://a.example/main/x") == "https://a.example/main/x"
