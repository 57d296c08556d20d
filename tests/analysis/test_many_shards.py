"""A report over more files than may be open: they are read one after the other."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.analysis import synthetic
from tests.program import PROGRAM

SHARDS = 210
"""Of layers, and as many of filters."""
OPEN = 100
"""Files that the process may have open, those of libraries and pipes included."""


def in_shards(folder: Path) -> Path:
    """A published folder where each layer, and its filters, is a file of its own."""
    rng = np.random.default_rng(0)
    models = [synthetic.random_model(f"m{n:03}", rng, width=4, depth=3) for n in range(SHARDS // 3)]
    data = synthetic.publish(folder, models) / "data"
    (layers,), (filters,) = ([*(data / config).rglob("*.parquet")] for config in ("layers", "filters"))
    blocks = pq.read_table(filters, partitioning=None)
    table = pq.read_table(layers, partitioning=None)
    for number in range(len(table)):
        row = table.slice(number, 1)
        own = blocks.filter(pc.equal(blocks["layer_id"], row["layer_id"][0]))
        place = filters.with_name(f"{number:032x}.parquet")
        pq.write_table(own, place)
        told = {"filters_file": place.relative_to(folder).as_posix(), "filters_first_row": 0, "filters_row_group": 0}
        for name, value in told.items():
            column = row.schema.get_field_index(name)
            row = row.set_column(column, row.schema.field(name), pa.array([value], row.schema.field(name).type))
        pq.write_table(row, layers.with_name(f"{number:032x}.parquet"))
    for path in (layers, filters):
        path.unlink()
    return folder


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN, OPEN))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["report", "load"])
def test_more_shards_than_files_may_be_open(tmp_path: Path, command: str) -> None:
    published = in_shards(tmp_path / "data-set")
    assert len(list(published.rglob("data/filters/**/*.parquet"))) == SHARDS
    argv = [str(PROGRAM), "report", str(published), "-o", str(tmp_path / "report")]
    if command == "load":
        argv = [sys.executable, "-c", f"import filterzoo; print(len(filterzoo.load({str(published)!r})))"]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=500, preexec_fn=limited, check=False)
    assert ran.returncode == 0, ran.stderr[-2_000:]
    assert ran.stdout.strip() in {str(tmp_path / "report/index.html"), str(16 * SHARDS)}
