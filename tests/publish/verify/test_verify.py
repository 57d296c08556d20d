"""Each kind of damage is made and found."""

from __future__ import annotations

import hashlib
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.publish.folders import Edit, file_of, publish_models, rewrite, rows
from tests.publish.work import ledger, zoo

from filterzoo.errors import StartError
from filterzoo_publish.verify.checks import verify


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    publish_models(folder / "work", folder / "out", zoo(), ledger())
    return folder / "out"


@pytest.fixture
def out(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "out"))


def swapped(first: int, second: int) -> Edit:
    def edit(table: pa.Table) -> pa.Table:
        order = list(range(len(table)))
        order[first], order[second] = order[second], order[first]
        return table.take(order)

    return edit


def with_cell(column: str, row: int, value: object) -> Edit:
    def edit(table: pa.Table) -> pa.Table:
        cells = table[column].to_pylist()
        cells[row] = value
        place = table.schema.get_field_index(column)
        return table.set_column(place, table.schema.field(column), pa.array(cells, table.schema.field(column).type))

    return edit


def checks(out: Path) -> set[str]:
    return {problem.check for problem in verify(str(out))}


def nulled(column: str) -> Edit:
    def edit(table: pa.Table) -> pa.Table:
        field = table.schema.field(column)
        return table.set_column(table.schema.get_field_index(column), field, pa.nulls(len(table), field.type))

    return edit


@pytest.mark.parametrize("column", ["raw_mean", "raw_m2", "scaled_mean", "scaled_m2", "dct_histogram"])
def test_statistics_that_are_gone_are_found(out, column):
    rewrite(file_of(out, "layers"), nulled(column))
    assert checks(out) == {"statistics"}


@pytest.mark.parametrize(
    "change",
    [lambda _cell: None, lambda cell: cell[1:], lambda cell: [None, *cell[1:]], lambda cell: [math.nan, *cell[1:]]],
)
def test_statistics_that_are_not_whole_are_found_in_every_row(out, change):
    """Of layers that are not in the sample, too, whose filters nobody measures again."""

    def edit(table: pa.Table) -> pa.Table:
        place = next(n for n, kernel in enumerate(table["kernel"].to_pylist()) if kernel == "3x3")
        return with_cell("raw_m2", place, change(table["raw_m2"][place].as_py()))(table)

    rewrite(file_of(out, "layers"), edit)
    assert "raw_m2 of a 3x3 layer is not 45 finite numbers" in [problem.detail for problem in verify(str(out))]


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("raw_mean", lambda cell: [cell[0] + 0.01, *cell[1:]]),
        ("scaled_m2", lambda cell: [2 * cell[0], *cell[1:]]),
        ("dct_histogram", lambda cell: cell[1:] + cell[:1]),
        ("l1_norm", lambda cell: cell * 1.001),
        ("variance_entropy", lambda cell: cell / 2),
    ],
)
def test_statistics_of_other_filters_are_found(out, column, change):
    path = file_of(out, "layers")
    table = pq.read_table(path, partitioning=None)
    row = next(n for n, cell in enumerate(table[column].to_pylist()) if cell and table["filters_file"][n].is_valid)
    rewrite(path, with_cell(column, row, change(table[column][row].as_py())))
    found = verify(str(out), full=True)
    assert {problem.check for problem in found} == {"statistics"}
    assert column in found[0].detail


def test_a_sample_of_the_statistics_is_measured_again(out):
    path = file_of(out, "layers")
    rewrite(path, lambda table: with_column(table, "l2_norm", [1.0] * len(table)))
    assert len(verify(str(out), full=True)) > len(verify(str(out)))


def with_column(table: pa.Table, column: str, cells: list[float]) -> pa.Table:
    field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), field, pa.array(cells, field.type))


COUNTED = """
import atexit, os, sys
import numpy, pyarrow.parquet
pyarrow.array([1])
threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
atexit.register(lambda: print("threads more:", threads() - before))
from filterzoo.cli import main
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_no_thread_of_arrow_is_left_with_a_file_of_python(sound):
    """One that lets go of it when Python has ended aborts the process, once in some hundred times."""
    command = [sys.executable, "-c", COUNTED, "verify", str(sound)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{sound}: sound\nthreads more: 0\n"


@pytest.mark.parametrize("config", ["models", "layers", "filters", "filters_sample", "skipped"])
@pytest.mark.parametrize("where", [0.1, 0.5, 0.999])
def test_a_flipped_bit_is_found(out, config, where):
    path = file_of(out, config)
    content = bytearray(path.read_bytes())
    content[int(len(content) * where)] ^= 1
    path.write_bytes(content)
    problems = verify(str(out))
    assert problems[0].check == "hash" or "hash" in {problem.check for problem in problems}
    assert path.relative_to(out).as_posix() in {problem.where for problem in problems if problem.check == "hash"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("models", "model"),
        ("layers", "count"),
        ("filters", "filters"),
        ("filters_sample", "sample"),
        ("skipped", "missing"),
    ],
)
def test_a_missing_file_is_found(out, config, expected):
    file_of(out, config).unlink()
    assert expected in checks(out)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("models", "order"),
        ("layers", "order"),
        ("filters", "pointer"),
        ("filters_sample", "sample"),
        ("skipped", "order"),
    ],
)
def test_a_swapped_row_is_found(out, config, expected):
    path = file_of(out, config)
    rewrite(path, swapped(0, 1))
    assert expected in checks(out)


def test_swapped_weights_are_found(out):
    path = file_of(out, "filters")
    table = pq.read_table(path, partitioning=None)
    sizes = table["n_filters"].to_pylist()
    first, second = next((i, j) for i in range(len(sizes)) for j in range(i) if sizes[i] == sizes[j])

    def edit(table: pa.Table) -> pa.Table:
        cells = table["weights"].to_pylist()
        cells[first], cells[second] = cells[second], cells[first]
        return table.set_column(
            table.schema.get_field_index("weights"), "weights", pa.array(cells, table["weights"].type)
        )

    rewrite(path, edit)
    assert {"layer_id", "sample"} <= checks(out)


@pytest.mark.parametrize(
    ("config", "edit", "expected"),
    [
        ("models", with_cell("n_layers", 0, 3), "count"),
        ("models", with_cell("n_filters", 0, 3), "count"),
        ("models", with_cell("filters_3x3", 0, 3), "count"),
        ("models", with_cell("published_filters", 0, 3), "count"),
        ("models", with_cell("stored_filters", 0, 3), "count"),
        ("models", with_cell("weights_id", 0, "f" * 64), "count"),
        ("models", with_cell("suspected_random", 0, value=True), "count"),
        ("models", with_cell("spatial_dims", 0, 3), "count"),
        ("models", with_cell("duplicate_of", 1, "pypi/a-net@1"), "duplicate"),
        ("models", with_cell("duplicate_of", 2, None), "duplicate"),
        ("models", with_cell("id", 0, "a"), "id"),
        ("models", with_cell("licence_class", 0, "share-alike"), "folder"),
        ("models", with_cell("source", 0, None), "null"),
        ("models", lambda table: pa.concat_tables([table.slice(0, 1), table]), "unique"),
        ("models", lambda table: table.drop_columns(["robust"]), "schema"),
        ("layers", with_cell("layer_id", 0, "f" * 64), "count"),
        ("layers", with_cell("n_filters", 0, 3), "value"),
        ("layers", with_cell("kernel", 0, "5x5"), "value"),
        ("layers", with_cell("task", 0, "detection"), "value"),
        ("layers", with_cell("filters_first_row", 0, 1), "pointer"),
        ("layers", with_cell("filters_row_group", 0, 1), "pointer"),
        ("layers", with_cell("filters_rows", 0, 2), "pointer"),
        ("layers", with_cell("filters_file", 0, None), "count"),
        ("layers", lambda table: table.slice(1), "count"),
        ("layers", lambda table: pa.concat_tables([table, table.slice(0, 4)]), "unique"),
        ("filters", with_cell("n_filters", 0, 3), "filters"),
        ("filters", with_cell("first_filter", 0, 3), "filters"),
        ("filters", with_cell("weights", 0, [0.0] * 9), "filters"),
        ("filters", with_cell("conv_depth_norm", 0, 0.7), "value"),
        ("filters", with_cell("task", 0, "x"), "value"),
        ("filters", with_cell("model_id", 0, "pypi/b-net@1"), "model"),
        ("filters", lambda table: table.slice(1), "filters"),
        ("filters", lambda table: pa.concat_tables([table, table.slice(0, 1)]), "unique"),
        ("filters_sample", with_cell("weights", 0, [0.0] * 9), "sample"),
        ("filters_sample", with_cell("filter_index", 0, 1), "sample"),
        ("filters_sample", lambda table: table.slice(1), "sample"),
        ("skipped", with_cell("reason", 0, "bad_luck"), "value"),
    ],
)
def test_rows_that_contradict_each_other_are_found(out, config, edit, expected):
    path = file_of(out, config)
    rewrite(path, edit)
    assert expected in checks(out)


def test_a_twin_of_a_layer_in_another_place_is_found(out):
    """A second row of a shared layer that points elsewhere, though each row for itself would do."""
    path = file_of(out, "layers", licence_class="share-alike")
    rewrite(path, with_cell("filters_first_row", 1, 0))
    assert "pointer" in checks(out)


def test_a_readme_that_does_not_fit_is_found(out):
    readme = out / "README.md"
    _, header, page = readme.read_text().split("---\n", 2)
    changed = yaml.safe_load(header)
    changed["dataset_info"][1]["features"][0]["dtype"] = "int32"
    readme.write_text(f"---\n{yaml.safe_dump(changed)}---\n{page}")
    assert checks(out) == {"readme"}
    readme.write_text("# no YAML")
    assert checks(out) == {"readme"}
    readme.unlink()
    assert checks(out) == {"readme"}


def test_strange_files_are_found(out):
    (out / "data/models/notes.txt").write_text("?")
    assert "name" in checks(out)
    (out / "data/models/notes.txt").unlink()
    not_parquet = out / "data/models" / f"{hashlib.sha256(b'?').hexdigest()[:32]}.parquet"
    not_parquet.write_bytes(b"?")
    assert checks(out) == {"schema"}


def test_an_interrupted_release_is_reported(out):
    (out / ".decided").mkdir()
    (problem,) = verify(str(out))
    assert problem.check == "interrupted"
    assert "the --workdir of that release, or look at plan.json in it and remove it" in problem.detail


def test_nothing_there_is_no_data_set(tmp_path):
    with pytest.raises(StartError, match="no such folder"):
        verify(str(tmp_path / "nothing"))


def test_the_sample_is_of_the_filters(sound):
    """An independent look: each sampled row equals the numbers of its filter."""
    stored: dict[str, Any] = {}
    for row in rows(sound, "filters").to_pylist():
        stored.setdefault(row["layer_id"], []).append(np.array(row["weights"], np.float32).reshape(-1, 9))
    whole = {layer: np.concatenate(parts) for layer, parts in stored.items()}
    sample = rows(sound, "filters_sample")
    for row in sample.take(list(range(0, len(sample), 7))).to_pylist():
        assert whole[row["layer_id"]][row["filter_index"]].tolist() == row["weights"]
