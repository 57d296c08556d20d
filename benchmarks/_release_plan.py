"""`python -m benchmarks._release_plan MODELS LAYERS [lineage]`: the real planner for MODELS synthetic checkpoints.

Each has LAYERS layers and shares a tenth of them with another one; a hundred each have the shapes of one network. After
the plan, it computes the rows of `models` and `status`, the tables of the card, the data of its picture and, if asked
for, the table `lineage`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from filterzoo.outcome import Done
from filterzoo.records import Artifact, Checkpoint
from filterzoo.store.fragments import LAYER_SCHEMA
from filterzoo.store.sample import Sampled
from filterzoo_publish.card.figures import by_depth
from filterzoo_publish.card.kept import kept_sizes
from filterzoo_publish.card.tables import models_by
from filterzoo_publish.lineage.table import LAYER_COLUMNS as LINEAGE_COLUMNS
from filterzoo_publish.lineage.table import lineage_table
from filterzoo_publish.plan.candidates import spooled
from filterzoo_publish.plan.origins import FilterFragment, PublishableCheckpoint, StoredLayer
from filterzoo_publish.plan.plan import Work, make_plan
from filterzoo_publish.plan.releases import Release
from filterzoo_publish.plan.state import read_published
from filterzoo_publish.plan.status import status_table
from filterzoo_publish.plan.tables import models_table
from filterzoo_publish.release import _depths, _kept_layers, _layers
from filterzoo_publish.targets.folder import FolderTarget


class SyntheticOrigin:
    """An origin whose layers are computed from the number of the checkpoint."""

    def __init__(self, layers: int) -> None:
        self.count = layers

    def names(self, done: Done) -> list[str]:
        number = int(done.checkpoint.revision)
        shared = self.count // 10
        first = [f"{number // 2:032x}{place:032x}" for place in range(shared)]
        return first + [f"{number + (1 << 60):032x}{place:032x}" for place in range(self.count - shared)]

    def layers(self, done: Done) -> pa.Table:
        names = self.names(done)
        count = len(names)
        width = 8 + int(done.checkpoint.revision) // 100
        columns = {
            "layer_id": names,
            "shape": [[width, width, 3, 3]] * count,
            "l2_norm": [1.0] * count,
            "n_finite": [width * width] * count,
            "probe": [[place % 7 - 3.0] * 16 + [1.0] * 16 for place in range(count)],
            "layer_index": list(range(count)),
            "kernel": ["3x3"] * count,
            "n_filters": [4096] * count,
            "conv_depth_norm": [place / count for place in range(count)],
            "variance_entropy": [1.0 - place / count for place in range(count)],
        }
        arrays = [
            pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(len(names), field.type)
            for field in LAYER_SCHEMA
        ]
        return pa.Table.from_arrays(arrays, schema=LAYER_SCHEMA)

    def stored(self, done: Done) -> tuple[StoredLayer, ...]:
        return tuple(StoredLayer(name, "3x3", 4096, 36_864) for name in self.names(done))

    def filters(self, done: Done, wanted: frozenset[str]) -> Iterator[pa.Table]:
        raise NotImplementedError("a plan reads no filters")

    def take_file(self, done: Done, place: Path, *, as_link: bool) -> FilterFragment | None:
        raise NotImplementedError("a plan takes no files")

    def sample(self, done: Done) -> dict[str, Sampled] | None:
        raise NotImplementedError("a plan draws no sample")


def done(number: int, layers: int) -> Done:
    file = Artifact(url=f"https://zoo.example.org/{number}.safetensors", size=100_000_000)
    checkpoint = Checkpoint(
        id=f"user/net{number:08}", revision=str(number), licence="apache-2.0", artifacts=(file,), source="hf_hub"
    )
    return Done(
        checkpoint=checkpoint,
        format="safetensors",
        framework="torch",
        section="",
        sha256=f"{number:064x}",
        size=100_000_000,
        integrity="sha256",
        licence="apache-2.0",
        licence_class="permissive",
        licence_from="zoo",
        n_tensors=3 * layers,
        n_layers=layers,
        filters_by_kernel={"3x3": 4096 * layers},
        layers_fragment=f"{number:064x}",
        filters_fragment=f"{number + 1:064x}",
        publish_weights=True,
    )


def main() -> None:
    models, layers = map(int, sys.argv[1:3])
    origin = SyntheticOrigin(layers)
    candidates = spooled(PublishableCheckpoint(done(number, layers), origin) for number in range(models))
    published = read_published(FolderTarget(Path("no-such-folder")).read())
    plan = make_plan(
        Work(candidates, (), {}, frozenset({"hf_hub"})), published, Release(name="v2026.01.01", day="2026-01-01")
    )
    owned = sum(len(entry.owned) for entry in plan.entries)
    models_rows = models_table(plan.entries, plan.release)
    kept = kept_sizes(_kept_layers(plan, published))
    depths = by_depth(_depths(plan, published))
    tables = [models_by(models_rows, column, kept) for column in ("licence", "source", "task")]
    rows = len(status_table(plan, published))
    if sys.argv[3:] == ["lineage"]:
        related = lineage_table(models_rows, _layers(plan, published, LINEAGE_COLUMNS))
        print(f"{len(related):,} rows of lineage")
    print(
        f"{len(plan.entries):,} new checkpoints, {owned:,} layers of their own, {rows:,} rows of status, "
        f"{len(tables)} tables, {sum(map(len, depths.values())):,} layers in the picture"
    )


if __name__ == "__main__":
    main()
