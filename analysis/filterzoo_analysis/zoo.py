"""The input of all exhibits: the tables, the 3x3 layers as arrays, and their coefficients in a variant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.errors import StartError
from filterzoo_analysis.filters.passes import Watch
from filterzoo_analysis.filters.variants import Coefficients, Variant, coefficients
from filterzoo_analysis.tables.dataset import DataSet
from filterzoo_analysis.tables.dataset import read as read_dataset
from filterzoo_analysis.tables.pairing import times_paired
from filterzoo_analysis.tables.selection import SUSPECTED_RANDOM, left_out, matching
from filterzoo_analysis.tables.statistics import Bools, Layers, layers_of, originals


@dataclass(frozen=True, eq=False)
class Zoo:
    """A data set prepared for analysis. sample: reads `filters_sample` on its first call."""

    dataset: DataSet
    layers: Layers
    coefficients: Coefficients
    sample: Callable[[], pa.Table]
    since: DataSet | None = None
    """An earlier state of the data set, to show its growth."""
    images: tuple[str, ...] = ()
    """Paths of a picture and of its attacked version, for the figure of first layers."""
    grids: tuple[str, ...] = ()
    """Pairs whose filters are drawn. `all` for every pair, empty for the first."""
    master_keys: str = ""
    """Filters with which depthwise filters are compared: `ideal` or a path; empty for no comparison."""
    where: str = ""
    """The expression that selected the models."""
    exclude: tuple[str, ...] = ()
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Kind of `exclude` -> the ids of the models that analyses leave out for it. The overview counts them."""

    @cached_property
    def analysed(self) -> Bools:
        """(models,) which models are neither copies nor left out."""
        gone = {name for names in self.left_out.values() for name in names}
        kept = [name not in gone for name in self.dataset.models["model_id"].to_pylist()]
        found: Bools = originals(self.dataset.models) & np.array(kept, bool)
        return found


def prepare(
    dataset: DataSet,
    variant: Variant | str = Variant.FIXED,
    watch: Watch | None = None,
    since: DataSet | None = None,
    *,
    where: str = "",
    exclude: Sequence[str] = (SUSPECTED_RANDOM,),
) -> Zoo:
    """Prepare a data set for exhibits. All variants but `fixed` read its filters here.

    where: an expression over `models` (`selection.matching`) that selects the models. exclude: kinds of models that
    analyses leave out (`selection.EXCLUDABLE`). StartError for an invalid expression or kind.
    """
    if where:
        dataset = _chosen(dataset, where)
    out = left_out(dataset.models, exclude)
    names = dataset.models["model_id"].to_pylist()
    gone = np.logical_or.reduce([np.zeros(len(names), bool), *out.values()])
    analysed = originals(dataset.models) & ~gone
    layers = layers_of(dataset, analysed)
    fitted = (times_paired(dataset.models, analysed) > 0)[layers.model]
    measured = coefficients(Variant(variant), layers, dataset.files, watch, fitted=fitted)
    named = {kind: tuple(names[i] for i in np.flatnonzero(chosen)) for kind, chosen in out.items() if chosen.any()}
    sample = cache(partial(_sample, dataset, gone))
    return Zoo(dataset, layers, measured, sample, since, where=where, exclude=tuple(exclude), left_out=named)


def read(
    target: str,
    variant: Variant | str = Variant.FIXED,
    since: str | None = None,
    *,
    where: str = "",
    exclude: Sequence[str] = (SUSPECTED_RANDOM,),
) -> Zoo:
    """The prepared data set at TARGET, a folder or `user/name` on the Hub. where, exclude: as in `prepare`."""
    earlier = None if since is None else read_since(target, since)
    return prepare(read_dataset(target), variant, since=earlier, where=where, exclude=exclude)


def _chosen(dataset: DataSet, where: str) -> DataSet:
    """The data set reduced to the models for which the expression holds, and their layers."""
    models = dataset.models.filter(pa.array(matching(dataset.models, where)))
    if not len(models):
        raise StartError(f"--where {where!r}: no model of {dataset.name} fits")
    names = models["model_id"].combine_chunks()
    layers = dataset.layers.filter(pc.is_in(dataset.layers["model_id"], names))
    return replace(dataset, models=models, layers=layers)


def _sample(dataset: DataSet, gone: Bools) -> pa.Table:
    """The sample, without the models in `gone`."""
    sample = dataset.sample()
    names = dataset.models["model_id"].filter(pa.array(~gone)).combine_chunks()
    return sample.filter(pc.is_in(sample["model_id"], names)) if len(sample) else sample


def read_since(target: str, since: str) -> DataSet:
    """An earlier state of TARGET: a folder, a data set on the Hub, or a revision of TARGET itself."""
    from filterzoo.dataset.published import is_hub_name  # noqa: PLC0415  # small, and only here

    if is_hub_name(target) and not is_hub_name(since):
        return replace(read_dataset(target, revision=since), name=since)
    return read_dataset(since)
