"""Kernel sizes that a data set stores, and the number of filters of these sizes: the denominator of shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

KEPT_COLUMNS = ["model_id", "layer_id", "kernel", "n_filters", "filters_file"]
"""Columns of `layers` that are counted."""


@dataclass(frozen=True, slots=True)
class KeptSizes:
    """kernels: sizes of which `filters` holds any, as in `layers.kernel`. filters: of these sizes, by model_id.

    Layers that a network has twice are counted once, as `models.published_filters` counts them.
    """

    kernels: tuple[str, ...]
    filters: Mapping[str, int]

    def of(self, model_id: str) -> int:
        """The number of filters of kept sizes that the network has, stored or not."""
        return self.filters.get(model_id, 0)


def kept_sizes(layers: pa.Table) -> KeptSizes:
    """Of all layers of a data set: KEPT_COLUMNS, `filters_file` null where a layer's filters are not in `filters`."""
    kernels = pc.unique(layers.filter(pc.field("filters_file").is_valid())["kernel"]).to_pylist()
    of_size = layers.filter(pc.field("kernel").isin(kernels)) if kernels else layers.slice(0, 0)
    once = of_size.group_by(["model_id", "layer_id"]).aggregate([("n_filters", "max")])
    sums = once.group_by("model_id").aggregate([("n_filters_max", "sum")])
    totals = dict(zip(sums["model_id"].to_pylist(), sums["n_filters_max_sum"].to_pylist(), strict=True))
    return KeptSizes(tuple(sorted(kernels, key=lambda kernel: (len(kernel), kernel))), totals)
