"""The tables of a report as CSV: a spreadsheet that opens one executes nothing."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pyarrow.csv as pc_csv
import pytest

from filterzoo.reporting.spreadsheet import escaped
from filterzoo_analysis.page.rendering import _flat


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1"])
def test_cells_that_begin_like_a_formula_are_text(cell):
    table = pa.table(
        {"name": [cell, "plain"], "tags": [[cell, "b"], []], "drift": [-1.5, 2.0], "mean": [[-1.0], [2.0]]}
    )
    written = io.BytesIO()
    pc_csv.write_csv(_flat(table), written)
    head, row, other = csv.reader(io.StringIO(written.getvalue().decode(), newline=""))
    assert head == ["name", "tags", "drift", "mean"]
    assert row == [f"'{cell}", f"'{cell} b", "-1.5", "-1.0"], "numbers stay numbers"
    assert other == ["plain", "", "2", "2.0"]
    assert escaped(cell)[1:] == cell
