"""Rows of `layers` for all kernel sizes, and means of their columns over models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.layers.layer import Doubles
from filterzoo_analysis.drift.uncertainty import mean_interval
from filterzoo_analysis.tables.statistics import Bools, Ints, depth_decile
from filterzoo_analysis.zoo import Zoo


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Layers of analysed models. table: their rows. model: (n,), index in `models`. decile: (n,), of relative depth."""

    table: pa.Table
    model: Ints
    decile: Ints

    def words(self, column: str) -> Any:
        """(n,) a column of strings."""
        return np.array(self.table[column].to_pylist(), dtype=object)

    def numbers(self, column: str) -> Doubles:
        """(n,) a column of numbers, NaN where it is null."""
        found: Doubles = self.table[column].cast(pa.float64()).to_numpy()
        return found


def rows_of(zoo: Zoo, column: str) -> Rows:
    """The layers of analysed models that have a value in the column."""
    models = zoo.dataset.models
    names = models["model_id"].filter(pa.array(zoo.analysed)).combine_chunks()
    table = zoo.dataset.layers
    table = table.filter(pc.and_(pc.is_valid(table[column]), pc.is_in(table["model_id"], names)))
    place = pc.index_in(table["model_id"], models["model_id"].combine_chunks()).to_numpy().astype(np.int64)
    return Rows(table, place, depth_decile(table["conv_depth_norm"].cast(pa.float64()).to_numpy()))


def over_models(values: Doubles, model: Ints, chosen: Bools, bounds: tuple[float, float]) -> dict[str, Any]:
    """Mean over models of their means over the chosen layers, its interval, and the numbers of models and layers."""
    known = chosen & np.isfinite(values)
    counts = np.bincount(model[known])
    sums = np.bincount(model[known], weights=values[known])
    mean, low, high = mean_interval(sums[counts > 0] / counts[counts > 0], bounds=bounds)
    return {"models": int((counts > 0).sum()), "layers": int(known.sum()), "mean": mean, "low": low, "high": high}
