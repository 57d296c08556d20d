"""The 3x3 layers of a data set, with their statistics as NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.layers.layer import Doubles
from filterzoo.measures.dct import DCT_BINS
from filterzoo.measures.statistics import FILTER_SIZE, Moments, merge_moments, unpack
from filterzoo_analysis.tables.dataset import DataSet

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DECILES = tuple(
    "[0, .1]" if not number else f"(.{number}, {'1' if number == 9 else f'.{number + 1}'}]" for number in range(10)
)
"""Names of the deciles of relative depth (docs/measures.md, 2). Only the first is closed on both sides."""


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """The 3x3 layers with statistics, of models that are no copies. Row i of every field belongs to layer i.

    table: rows of `layers` without the statistics. model: index of the layer's model in `models`. count: number of
    finite filters. scaled_mean, raw_mean: (n, 9). scaled_m2, raw_m2: (n, 9, 9), sums, not divided by count. histogram:
    uint32 (n, 9, 70).
    """

    models: pa.Table
    table: pa.Table
    model: Ints
    count: Ints
    raw_mean: Doubles
    raw_m2: Doubles
    scaled_mean: Doubles
    scaled_m2: Doubles
    histogram: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        """The number of layers."""
        return len(self.model)

    def numbers(self, column: str) -> Doubles:
        """A column of numbers, NaN where it is null."""
        values: Doubles = self.table[column].cast(pa.float64()).to_numpy()
        return values

    def out_channels(self) -> Doubles:
        """(n,) the output channels of each layer."""
        found: Doubles = pc.list_element(self.table["shape"], 0).to_numpy().astype(np.float64)
        return found

    def take(self, rows: Bools) -> Layers:
        """The layers where `rows` is true."""
        return Layers(
            models=self.models,
            table=self.table.filter(pa.array(rows)),
            model=self.model[rows],
            count=self.count[rows],
            raw_mean=self.raw_mean[rows],
            raw_m2=self.raw_m2[rows],
            scaled_mean=self.scaled_mean[rows],
            scaled_m2=self.scaled_m2[rows],
            histogram=self.histogram[rows],
        )

    def scaled(self) -> Moments:
        """Moments of all scaled filters."""
        return merge_moments(self.count, self.scaled_mean, self.scaled_m2)


_STATISTICS = ("raw_mean", "raw_m2", "scaled_mean", "scaled_m2", "dct_histogram")


def originals(models: pa.Table) -> Bools:
    """(models,) which models are no copies. A copy is not an independent observation."""
    found: Bools = pc.is_null(models["duplicate_of"]).to_numpy()
    return found


def layers_of(dataset: DataSet, analysed: Bools | None = None) -> Layers:
    """The layers that analyses use: those of the models in `analysed`; None for all models that are no copies."""
    models = dataset.models
    own = models.filter(pa.array(originals(models) if analysed is None else analysed))["model_id"]
    table = dataset.layers
    wanted = pc.and_(pc.is_valid(table["dct_histogram"]), pc.equal(table["kernel"], "3x3"))
    wanted = pc.and_(wanted, pc.is_in(table["model_id"], own.combine_chunks()))
    table = table.filter(pc.and_(wanted, pc.greater(table["n_finite"], 0)))
    return Layers(
        models=models,
        table=table.drop_columns(list(_STATISTICS)),
        model=pc.index_in(table["model_id"], models["model_id"].combine_chunks()).to_numpy().astype(np.int64),
        count=table["n_finite"].to_numpy(),
        raw_mean=_lists(table, "raw_mean", FILTER_SIZE),
        raw_m2=unpack(_lists(table, "raw_m2", 45)),
        scaled_mean=_lists(table, "scaled_mean", FILTER_SIZE),
        scaled_m2=unpack(_lists(table, "scaled_m2", 45)),
        histogram=_lists(table, "dct_histogram", FILTER_SIZE * DCT_BINS).reshape(-1, FILTER_SIZE, DCT_BINS),
    )


def _lists(table: pa.Table, column: str, length: int) -> Any:
    """A column of lists of `length` numbers each as an array (n, length)."""
    return table[column].combine_chunks().flatten().to_numpy().reshape(-1, length)


def depth_decile(depth: Doubles) -> Ints:
    """The index of each depth's decile, 0 to 9: [0, .1], (.1, .2], ... (.9, 1] (docs/measures.md, 2)."""
    edges = np.arange(1, 10) / 10
    return np.searchsorted(edges, depth, side="left").astype(np.int64)
