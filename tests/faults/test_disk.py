"""The model of a disk: what a power cut leaves after a few calls."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.faulty import Call
from tests.faults.power import SECTOR, Cut, Disk


def after(folder: Path, cut: Cut, *calls: tuple[str, str] | tuple[str, str, str] | tuple[str, str, bytes]):
    """Path -> bytes of what is left; calls are (name, path) and the other path or the data, paths below the disk."""
    (folder / "start").mkdir()
    (folder / "start" / "old").write_bytes(b"old")
    disk = Disk(folder / "start", Path("/disk"))
    made = []
    for name, path, *rest in calls:
        data = b"".join(one for one in rest if isinstance(one, bytes))
        other = "".join(f"/disk/{one}" for one in rest if isinstance(one, str))
        made.append(Call(name, 0, f"/disk/{path}".rstrip("/"), other, data))
    disk.replay(made)
    disk.write(folder / "left", cut)
    files = (path for path in (folder / "left").rglob("*") if path.is_file())
    return {path.relative_to(folder / "left").as_posix(): path.read_bytes() for path in files}


WRITTEN = (("open", "new"), ("write", "new", b"12"))
SYNCED = (*WRITTEN, ("fsync", "new"))


@pytest.mark.parametrize(
    ("calls", "lost", "torn"),
    [
        (WRITTEN, {"old": b"old"}, {"old": b"old", "new": b""}),
        (SYNCED, {"old": b"old"}, {"old": b"old", "new": b"12"}),
        ((*WRITTEN, ("fsync", "")), {"old": b"old", "new": b""}, {"old": b"old", "new": b""}),
        ((*SYNCED, ("fsync", "")), {"old": b"old", "new": b"12"}, {"old": b"old", "new": b"12"}),
        ((*SYNCED, ("rename", "new", "old"), ("fsync", "")), {"old": b"12"}, {"old": b"12"}),
        ((*SYNCED, ("rename", "new", "old")), {"old": b"old"}, {"old": b"12"}),
        ((*WRITTEN, ("rename", "new", "old"), ("fsync", "")), {"old": b""}, {"old": b""}),
        ((("unlink", "old"),), {"old": b"old"}, {}),
        ((("unlink", "old"), ("fsync", "")), {}, {}),
        ((("mkdir", "in"), ("open", "in/new"), ("fsync", "in")), {"old": b"old"}, {"old": b"old", "in/new": b""}),
    ],
)
def test_what_is_left(tmp_path: Path, calls, lost: dict[str, bytes], torn: dict[str, bytes]) -> None:
    for cut, expected in ((Cut.LOST, lost), (Cut.TORN, torn)):
        (tmp_path / cut.name).mkdir()
        assert after(tmp_path / cut.name, cut, *calls) == expected


def test_parts_may_be_on_the_disk_in_any_order(tmp_path: Path) -> None:
    """After other calls other parts: of one name that was given and one that was taken, each outcome comes."""
    renamed = (("mkdir", "in"), ("fsync", ""), ("rename", "old", "in/new"))
    found = set()
    for number in range(40):
        (tmp_path / str(number)).mkdir()
        more = [("open", f"x{one}") for one in range(number)]
        left = after(tmp_path / str(number), Cut.MIXED, *renamed, *more)
        found.add(tuple(name for name in left if not name.startswith("x")))
    assert found == {("old",), ("in/new",), ("old", "in/new")}, "a rename never loses the file"


def test_half_of_the_sectors_are_new(tmp_path: Path) -> None:
    left = after(tmp_path, Cut.TORN, ("write", "old", b"x" * 4 * SECTOR))
    assert left == {"old": b"x" * 2 * SECTOR}
