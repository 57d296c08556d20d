"""`filterzoo confidence`: what it prints, what it keeps, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.crawler.dataset import parquet_files
from tests.evaluation.tables import logits_and_labels, table, write
from typer.testing import CliRunner

from filterzoo.cli import build
from filterzoo.commands.status import status
from filterzoo.errors import FilterZooError, StartError
from filterzoo.store.confidences import CONFIDENCE_SCHEMA, add_rows, read_rows
from filterzoo_evaluation.commands import confidence
from filterzoo_evaluation.confidence import confidence_row
from filterzoo_evaluation.logits import WrongLogits, _opened, read_evaluations


def run(folder: Path, *arguments: str) -> list[dict]:
    ran = CliRunner().invoke(build([confidence, status]), ["confidence", *arguments, "--workdir", str(folder / "w")])
    if ran.exception is not None:
        raise ran.exception
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_each_evaluation_is_a_line(tmp_path: Path) -> None:
    logits, labels = logits_and_labels(0)
    file = write(
        tmp_path / "logits.parquet",
        table("b", logits, labels),
        table("a", logits * 2, labels),
        table("a", -logits, labels, attack="pgd", eps=0.03, steps=10),
        row_group_size=170,  # evaluations cross row groups
    )
    lines = run(tmp_path, str(file), "--json")
    assert [(line["model_id"], line["attack"], line["eps"]) for line in lines] == [
        ("a", "none", None),
        ("a", "pgd", 0.03),
        ("b", "none", None),
    ]
    assert all(line["n"] == 500 and line["classes"] == 7 for line in lines)
    assert lines[0]["over_confidence"] > lines[2]["over_confidence"]
    assert read_rows(tmp_path / "w" / "confidences") == lines


def test_rows_do_not_depend_on_order_or_files(tmp_path: Path) -> None:
    logits, labels = logits_and_labels(1)
    whole = table("m", logits, labels)
    mixed = whole.take(np.random.default_rng(0).permutation(len(whole)))
    one = write(tmp_path / "one.parquet", whole)
    two = [write(tmp_path / "left.parquet", mixed.slice(0, 123)), write(tmp_path / "right.parquet", mixed.slice(123))]
    rows = [[confidence_row(found) for found in read_evaluations(files)] for files in ([one], two)]
    assert rows[0] == rows[1]
    made = [add_rows(tmp_path / name, own).read_bytes() for name, own in zip("xy", rows, strict=True)]
    assert made[0] == made[1]


def test_an_evaluation_measured_again_replaces_its_row(tmp_path: Path) -> None:
    logits, labels = logits_and_labels(2)
    for factor in (1.0, 3.0):
        rows = run(tmp_path, str(write(tmp_path / "l.parquet", table("m", logits * factor, labels))), "--json")
    assert read_rows(tmp_path / "w" / "confidences") == rows


def test_a_dry_run_keeps_nothing(tmp_path: Path) -> None:
    logits, labels = logits_and_labels(2)
    run(tmp_path, str(write(tmp_path / "l.parquet", table("m", logits, labels))), "--json", "--dry-run")
    assert not (tmp_path / "w").exists()


def column(name: str, values: list[Any], kind: pa.DataType | None = None):
    """The table with another column in the place of one."""

    def changed(good: pa.Table) -> pa.Table:
        return good.set_column(good.column_names.index(name), name, pa.array(values, kind))

    return changed


SIX = ["s0", "s1", "s2", "s3", "s4", "s5"]
ROWS = [[1.0, 2.0, 0.0]] * 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda good: good.drop_columns("label"), "the column 'label' is missing"),
        (lambda good: good.drop_columns("attack"), "the column 'attack' is missing"),
        (column("logits", [*ROWS, [1.0, 2.0], [0.0] * 3]), "row 4 .* has 2 logits where the rows before it have 3"),
        (column("logits", [*ROWS, [1.0, float("nan"), 0.0], [0.0] * 3]), "row 4 .* NaN"),
        (column("logits", [*ROWS, [1.0, float("inf"), 0.0], [0.0] * 3]), "row 4 .* infinite"),
        (column("logits", [*ROWS, [1.0, None, 0.0], [0.0] * 3]), "row 4 .* null"),
        (column("logits", [*ROWS, None, [0.0] * 3]), "row 4 .* logits is null"),
        (column("logits", [[1.0]] * 6), "has 1 logits"),
        (column("logits", [[]] * 6, pa.list_(pa.float32())), "has 0 logits"),
        (column("logits", ["text"] * 6), "must be a list of float"),
        (column("label", [0, 1, 2, 0, 3, 0]), "row 4 .* label 3 is outside 0 to 2"),
        (column("label", [0, 1, 2, 0, -1, 0]), "row 4 .* label -1 is outside"),
        (column("label", [0, 1, 2, 0, None, 0]), "row 4 .* label is null"),
        (column("logits", [*ROWS, [1e308, -1e308, 0.0], [0.0] * 3], pa.list_(pa.float64())), "row 4 .* beyond float32"),
        (column("label", ["cat"] * 6), "the column 'label' is of type string"),
        (column("label", [{"\x1b[31m\n": 1}] * 6), r"the column 'label' is of type struct<\\x1b\[31m\\n: int64>"),
        (column("sample_id", ["s0", "s1", "s2", "s3", "s1", "s5"]), "row 4 .* 's1' is there twice"),
        (column("sample_id", ["s0", "s1", "s2", "s3", None, "s5"]), "row 4 .* sample_id is null"),
        (column("model_id", ["m", "m", "m", "m", None, "m"]), "row 4 .* model_id is null"),
        (column("model_id", ["m", "m", "m", "m", "", "m"]), "row 4 .* model_id is empty"),
    ],
)
def test_a_wrong_table_is_refused_with_row_and_reason(tmp_path: Path, change, reason: str) -> None:
    good = table("m", np.array([*ROWS, *ROWS[:2]], np.float32), np.zeros(6, int))
    file = write(tmp_path / "wrong.parquet", change(good))
    with pytest.raises(WrongLogits, match=reason) as refused:
        run(tmp_path, str(file), "--json")
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "w").exists()


def test_an_eps_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    logits, labels = logits_and_labels(0, n=6)
    with pytest.raises(WrongLogits, match=r"row 0 .* eps is not a finite number"):
        run(tmp_path, str(write(tmp_path / "w.parquet", table("m", logits, labels, eps=float("nan")))))


def test_no_parquet_file_and_no_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no Parquet file")
    with pytest.raises(StartError, match="is no Parquet file"):
        run(tmp_path, str(tmp_path / "text.parquet"))
    with pytest.raises(StartError, match="no such file"):
        run(tmp_path, str(tmp_path / "nowhere.parquet"))


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    logits, labels = logits_and_labels(0)
    file = write(tmp_path / "l.parquet", table("m", logits, labels))
    damaged = bytearray(file.read_bytes())
    damaged[50:2000] = b"\xff" * 1950
    file.write_bytes(damaged)
    with pytest.raises(StartError, match="cannot be read"):
        run(tmp_path, str(file))


def test_the_schema_has_every_column_of_a_row(tmp_path: Path) -> None:
    logits, labels = logits_and_labels(0)
    (found,) = read_evaluations([write(tmp_path / "l.parquet", table("m", logits, labels))])
    assert set(confidence_row(found)) == set(CONFIDENCE_SCHEMA.names)
    assert pq.read_table(add_rows(tmp_path / "c", [confidence_row(found)])).schema.equals(CONFIDENCE_SCHEMA)


def lying_page(place: Path) -> None:
    """A page that claims 2^31 - 1 numbers."""
    place.write_bytes(parquet_files.file(parquet_files.data_page((1 << 31) - 1, bytes(64)), 8))


def fifo(place: Path) -> None:
    os.mkfifo(place)


def endless(place: Path) -> None:
    place.symlink_to("/dev/zero")


def equal_rows(place: Path) -> None:
    """A million rows in some kilobytes."""
    logits, labels = logits_and_labels(0, n=1)
    row = table("m", logits, labels)
    places = pa.array(np.zeros(1_000_000, np.int64))
    pq.write_table(row.take(places), place, compression="zstd")


@pytest.mark.parametrize("plant", [lying_page, fifo, endless, equal_rows])
def test_a_hostile_table_of_logits_is_one_line(tmp_path: Path, plant) -> None:
    plant(tmp_path / "x.parquet")
    with pytest.raises(FilterZooError) as refused:
        list(read_evaluations([tmp_path / "x.parquet"]))
    assert "x.parquet" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("plant", [lying_page, fifo, endless])
def test_a_hostile_table_of_confidences_in_a_work_folder_is_one_line(tmp_path: Path, plant) -> None:
    plant(tmp_path / "x.parquet")
    with pytest.raises(FilterZooError) as refused:
        read_rows(tmp_path)
    assert "x.parquet" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_table_of_one_large_row_group_is_read(tmp_path: Path) -> None:
    """As pandas writes the logits of ImageNet's validation set: no file of a release has such a row group."""
    values = pa.array(np.random.default_rng(0).normal(0, 1, 45_000_000).astype(np.float32))
    logits = pa.ListArray.from_arrays(pa.array(np.arange(0, 45_000_001, 900, dtype=np.int32)), values)
    pq.write_table(pa.table({"logits": logits}), tmp_path / "logits.parquet")
    with _opened(tmp_path / "logits.parquet") as parquet:
        assert parquet.num_row_groups == 1
