"""What every exhibit is made from: the tables, the 3x3 layers as arrays, and their coefficients in a variant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from filterzoo_analysis.dataset import DataSet
from filterzoo_analysis.dataset import read as read_dataset
from filterzoo_analysis.passes import Watch
from filterzoo_analysis.statistics import Layers, layers_of
from filterzoo_analysis.variants import Coefficients, Variant, coefficients


@dataclass(frozen=True, slots=True, eq=False)
class Zoo:
    """A data set made ready. `sample` reads `filters_sample` when it is first called."""

    dataset: DataSet
    layers: Layers
    coefficients: Coefficients
    sample: Callable[[], pa.Table]
    since: DataSet | None = None
    """An earlier state of the data set, for what has grown."""
    images: tuple[str, ...] = ()
    """Paths of a picture and its attacked twin, for first layers."""

    def own_models(self) -> pa.Table:
        """The models that are no copies of others."""
        models = self.dataset.models
        return models.filter(pc.is_null(models["duplicate_of"]))


def prepare(
    dataset: DataSet, variant: Variant | str = Variant.FIXED, watch: Watch | None = None, since: DataSet | None = None
) -> Zoo:
    """Make a data set ready for exhibits; all variants but `fixed` read its filters here."""
    layers = layers_of(dataset)
    measured = coefficients(Variant(variant), layers, dataset.files, watch)
    return Zoo(dataset, layers, measured, cache(dataset.sample), since)


def read(target: str, variant: Variant | str = Variant.FIXED, since: str | None = None) -> Zoo:
    """The data set at TARGET, a folder or `user/name` on the Hub, made ready."""
    return prepare(read_dataset(target), variant, since=None if since is None else read_since(target, since))


def read_since(target: str, since: str) -> DataSet:
    """An earlier state of TARGET: a folder, a data set on the Hub, or a revision of TARGET itself."""
    from filterzoo.dataset.published import is_hub_name  # noqa: PLC0415  # small, and only here

    if is_hub_name(target) and not is_hub_name(since):
        return replace(read_dataset(target, revision=since), name=since)
    return read_dataset(since)
