"""Folders of files that appear together: what a killed or failed run leaves is replaced by the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from filterzoo.durable import whole_files


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_what_a_killed_run_left_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    killed = whole_files(folder)
    draft = killed.__enter__()
    (draft / "figures").mkdir()
    (draft / "figures/old.png").write_text("half")
    left = [draft.name, f"{draft.name}/figures", f"{draft.name}/figures/old.png"]
    assert names(folder) == left
    killed.gen.close()  # type: ignore[attr-defined]  # releases the lock, as a kill does
    (draft / "figures").mkdir(parents=True)
    (draft / "figures/old.png").write_text("half")
    (draft / "link").symlink_to(tmp_path)
    with whole_files(folder) as again:
        assert names(again) == []
        (again / "page.html").write_text("whole")
    assert names(folder) == ["page.html"]


def fail_after(page: Path) -> None:
    page.write_text("half")
    raise OSError("no space")


def test_an_error_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/page.html").write_text("old")
    for folder in ("out", "new/deeper"):
        with pytest.raises(OSError, match="no space"), whole_files(tmp_path / folder) as draft:
            fail_after(draft / "page.html")
    assert names(tmp_path) == ["out", "out/page.html"]
    assert (tmp_path / "out/page.html").read_text() == "old"


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with whole_files(tmp_path) as draft:
        (draft / "a").write_text("first")
        with pytest.raises(BlockingIOError, match="another process is writing it"), whole_files(tmp_path):
            pass
    assert names(tmp_path) == ["a"]


def test_a_link_in_place_of_the_draft_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/kept").write_text("kept")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.filterzoo.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"\.filterzoo\.part"), whole_files(tmp_path / "out"):
        pass
    assert (tmp_path / "elsewhere/kept").read_text() == "kept"
