"""A file that is missing is told of the data set only if it is the data set's."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from filterzoo.dataset.untrusted import reading
from filterzoo.errors import FilterZooError


def missing(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "No such file or directory", path)


@pytest.mark.parametrize("path", ["data/layers/a.parquet", "{zoo}/data/layers/a.parquet"])
def test_an_error_of_a_file_is_reported_as_one_of_the_data_set(tmp_path: Path, path: str) -> None:
    zoo = str(tmp_path / "zoo")
    with pytest.raises(FilterZooError, match=r"zoo: lacks .*a\.parquet, which layers says is there"), reading(zoo):
        raise missing(path.replace("{zoo}", zoo))


def test_an_output_folder_that_cannot_be_made_is_not_the_data_sets(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), reading(str(tmp_path / "zoo")):
        (Path("/proc") / "nothing").mkdir()
