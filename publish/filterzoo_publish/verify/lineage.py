"""Checks `lineage`: its rows are those computed from `models` and `layers`."""

from __future__ import annotations

import math
from typing import Any

from filterzoo_publish.lineage.table import CONFIG, LAYER_COLUMNS, MODEL_COLUMNS, lineage_table, row_key
from filterzoo_publish.plan.state import config_tables, read_config
from filterzoo_publish.verify.problems import Examination

_TOLERANCE = 1e-6


def check_lineage(examination: Examination) -> None:
    """Report wrong, missing and unsorted rows. Skipped if other problems were found, since rows depend on them."""
    tables = list(examination.row_groups(CONFIG))
    if examination.problems:
        return
    path = tables[0][0] if tables else f"data/{CONFIG}"
    rows: list[dict[str, Any]] = [row for _, _, table in tables for row in table.to_pylist()]
    if [row_key(row) for row in rows] != sorted({row_key(row) for row in rows}):
        examination.report("order", path, "rows are not in order, or there twice")
    files = examination.files
    models, layers = read_config(files, "models", MODEL_COLUMNS), config_tables(files, "layers", LAYER_COLUMNS)
    expected = {row_key(row): row for row in lineage_table(models, layers).to_pylist()}
    found = {row_key(row): row for row in rows}
    for key in sorted(expected.keys() | found.keys()):
        if wrong := _wrong(found.get(key), expected.get(key)):
            examination.report("lineage", path, f"{ascii(' '.join(key))[:300]} {wrong}")


def _wrong(found: dict[str, Any] | None, expected: dict[str, Any] | None) -> str | None:
    if found is None or expected is None:
        return "is missing" if found is None else "does not follow from models and layers"
    different = [name for name, value in expected.items() if not _is_equal(found[name], value)]
    return f"has another {different[0]} than its layers give" if different else None


def _is_equal(found: Any, expected: Any) -> bool:
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(found == expected)
