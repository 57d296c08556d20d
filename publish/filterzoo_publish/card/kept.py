"""The kernel sizes that a data set stores, and the number of filters of these sizes: the denominator of shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from filterzoo_publish.plan.rows import rows_of

KEPT_COLUMNS = ["model_id", "layer_id", "kernel", "n_filters", "filters_file"]
"""Columns of `layers` that `kept_sizes` needs."""


@dataclass(frozen=True, slots=True)
class KeptSizes:
    """kernels: the kernel sizes in `filters`, as in `layers.kernel`. filters: model_id -> number of these sizes.

    A layer that a network has twice is counted once, as in `models.published_filters`.
    """

    kernels: tuple[str, ...]
    filters: Mapping[str, int]

    def of(self, model_id: str) -> int:
        """The number of filters of kept sizes that the network has, stored or not."""
        return self.filters.get(model_id, 0)


def kept_sizes(layers: Iterable[pa.Table]) -> KeptSizes:
    """The kept sizes of a data set.

    layers: tables with KEPT_COLUMNS of all layers, all layers of a model in the same table. `filters_file` is null if
    the layer's filters are not stored.
    """
    kernels: set[str] = set()
    counted = []
    for table in layers:
        kernels.update(pc.unique(table.filter(pc.field("filters_file").is_valid())["kernel"]).to_pylist())
        once = table.group_by(["model_id", "kernel", "layer_id"]).aggregate([("n_filters", "max")])
        counted.append(once.group_by(["model_id", "kernel"]).aggregate([("n_filters_max", "sum")]))
    totals: Counter[str] = Counter()
    for table in counted:
        for row in rows_of(table):
            if row["kernel"] in kernels:
                totals[row["model_id"]] += row["n_filters_max_sum"]
    return KeptSizes(tuple(sorted(kernels, key=lambda kernel: (len(kernel), kernel))), totals)
