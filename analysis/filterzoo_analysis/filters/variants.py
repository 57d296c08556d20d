"""The four named definitions of drift (docs/measures.md, 5). Each defines a basis, weights and histograms of layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from filterzoo.dataset.published import PublishedFiles
from filterzoo.errors import StartError
from filterzoo.layers.layer import Counts, Doubles, Floats
from filterzoo.measures.dct import DCT_BINS, DCT_LIMIT, dct_basis, dct_edges
from filterzoo.measures.entropy import PrincipalComponents, principal_components, variance_entropy
from filterzoo.measures.statistics import FILTER_SIZE, Moments, dct_variance, merge_moments
from filterzoo_analysis.filters.kept import KEPT_BYTES, Kept
from filterzoo_analysis.filters.passes import Watch, run
from filterzoo_analysis.filters.projection import Extremes, Precision, extent_of, filter_moments, histogram_of
from filterzoo_analysis.filters.steps import ReadingStep, reading_steps
from filterzoo_analysis.tables.statistics import Bools, Ints, Layers


class Variant(StrEnum):
    """A definition of drift, named after the paper that used it. `fixed` is FilterZoo's and needs no filters."""

    FIXED = "fixed"
    CVPR22 = "cvpr22"
    ROBUST22 = "robust22"
    MEDICAL22 = "medical22"


@dataclass(frozen=True, slots=True, eq=False)
class Coefficients:
    """The distributions of coefficients of each layer's filters, in a common basis.

    histogram: integers (n, 9, 70), row i for layer i; zeros if a layer's filters are not published. weights: (9,),
    those of the components in the drift. edges: (71,), the edges of the bins of every component. mean, basis: a
    coefficient is basis[i] @ (scaled filter - mean). entropy: (n,), variance entropy as the variant defines it.
    sparse: (n,), number of sparse filters as the variant defines them; NaN where `robust22` lacks the filters.
    counts, means, m2: (n,), (n, 9), (n, 9, 9), moments of the scaled filters that the variant uses: all finite ones,
    in `cvpr22` rounded first, in `robust22` without sparse ones. Zeros where a variant lacks the filters.
    """

    variant: Variant
    histogram: Counts
    weights: Doubles
    edges: Doubles
    mean: Doubles
    basis: Doubles
    entropy: Doubles
    sparse: Doubles
    counts: Ints
    means: Doubles
    m2: Doubles

    def moments(self, rows: Bools) -> Moments:
        """Moments of the filters of the layers where `rows` is true."""
        return merge_moments(self.counts[rows], self.means[rows], self.m2[rows])

    @property
    def bin_width(self) -> float:
        """The width of every bin."""
        return float(self.edges[-1] - self.edges[0]) / DCT_BINS


def fixed(layers: Layers) -> Coefficients:
    """The default variant: the DCT basis. It needs only the table of layers."""
    variance = dct_variance(layers.scaled())
    total = 0.0 if variance is None else float(variance.sum())
    return Coefficients(
        variant=Variant.FIXED,
        histogram=layers.histogram,
        weights=np.zeros(FILTER_SIZE) if variance is None or total == 0 else variance / total,
        edges=dct_edges(),
        mean=np.zeros(FILTER_SIZE),
        basis=dct_basis(),
        entropy=layers.numbers("variance_entropy"),
        sparse=layers.numbers("sparse_count"),
        counts=layers.count,
        means=layers.scaled_mean,
        m2=layers.scaled_m2,
    )


def coefficients(
    variant: Variant,
    layers: Layers,
    files: PublishedFiles | None,
    watch: Watch | None = None,
    *,
    keep: int = KEPT_BYTES,
    fitted: Bools | None = None,
) -> Coefficients:
    """The variant's coefficients of `layers`. All variants but `fixed` read the filters from `files`.

    The basis, the weights and the range are computed from all layers together. A layer that occurs in several models
    counts once for each. `robust22` fits basis and weights to the layers in `fitted` (the networks of its pairs), if
    there are any. watch: see `passes.Watch`. keep: bytes of memory for decoded filters, which the second pass uses
    again. StartError if none of the layers' filters are published.
    """
    if variant is Variant.FIXED:
        return fixed(layers)
    steps = reading_steps(files, layers.table) if files else []
    if files is None or not steps:
        raise StartError(f"--variant {variant} reads filters, and none of these layers' are published; use fixed")
    kept = Kept(keep if passes_of(variant) > 1 else 0)
    return _Measured(variant, layers, files, steps, kept=kept, watch=watch, fitted=fitted).coefficients()


def passes_of(variant: Variant) -> int:
    """The number of passes over the filters, for a progress bar."""
    return {Variant.FIXED: 0, Variant.MEDICAL22: 1}.get(variant, 2)


class _Measured:
    """The passes of one variant over the filters."""

    def __init__(
        self,
        variant: Variant,
        layers: Layers,
        files: PublishedFiles,
        steps: list[ReadingStep],
        *,
        kept: Kept,
        watch: Watch | None,
        fitted: Bools | None = None,
    ) -> None:
        self._variant, self._layers, self._files, self._steps = variant, layers, files, steps
        self._kept, self._watch = kept, watch
        self._precision = Precision.HALF if variant is Variant.CVPR22 else Precision.SINGLE
        ids = layers.table["layer_id"].to_pylist()
        stored = sorted({layer.layer_id for step in steps for layer in step.layers})
        place = {layer_id: number for number, layer_id in enumerate(stored)}
        self._stored = np.array([place.get(layer_id, -1) for layer_id in ids], np.int64)
        self._place = place
        everything = np.ones(len(layers), bool)
        self._fitted = everything
        if variant is Variant.ROBUST22 and fitted is not None and (fitted & (self._stored >= 0)).any():
            self._fitted = fitted

    def coefficients(self) -> Coefficients:
        """Compute the histograms, and before them the moments, unless the table of layers has the right ones."""
        entropy = self._layers.numbers("variance_entropy")
        sparse = self._layers.numbers("sparse_count")
        counts, means, m2 = self._layers.count, self._layers.scaled_mean, self._layers.scaled_m2
        if self._variant is Variant.MEDICAL22:
            known = self._stored >= 0
            components = _needed(principal_components(self._layers.take(known).scaled()))
            weights, low, high = np.full(FILTER_SIZE, 1 / FILTER_SIZE), -DCT_LIMIT, DCT_LIMIT
        else:
            parts, extremes = self._moments()
            merged = self._merged(parts)
            components = _needed(principal_components(merged))
            weights = components.ratio
            low, high = extremes.range(components) or self._range(components)
            every = [*parts, Moments.empty()]
            counts = np.array([part.count for part in every], np.int64)[self._stored]
            means, m2 = (np.stack(found)[self._stored] for found in zip(*((p.mean, p.m2) for p in every), strict=True))
            if self._variant is Variant.ROBUST22:
                entropy = self._taken([_or_nan(variance_entropy(part)) for part in parts])
                sparse = self._layers.count - self._taken([float(part.count) for part in parts])
        edges = np.linspace(low, high, DCT_BINS + 1)
        return Coefficients(
            self._variant,
            self._histograms(components, low, high),
            weights,
            edges,
            components.mean,
            components.components,
            entropy,
            sparse,
            counts,
            means,
            m2,
        )

    def _moments(self) -> tuple[list[Moments], Extremes]:
        """Moments of every stored layer's scaled filters (`robust22`: without sparse ones), and their extremes."""
        extremes = Extremes()
        without_sparse = self._variant is Variant.ROBUST22
        parts = [Moments.empty()] * len(self._place)

        def work(pieces: Iterator[Floats]) -> Moments:
            return filter_moments(pieces, self._precision, extremes, without_sparse=without_sparse)

        for layer_id, moments in run(self._files, self._steps, work, self._kept, self._watch):
            parts[self._place[layer_id]] = moments
        return parts, extremes

    def _merged(self, parts: list[Moments]) -> Moments:
        """Moments of the layers that the basis is fitted to. A layer counts once for each occurrence."""
        times = self._occurrences()
        return merge_moments(
            times * np.array([part.count for part in parts], np.int64),
            np.stack([part.mean for part in parts]),
            np.stack([part.m2 for part in parts]) * times[:, None, None],
        )

    def _occurrences(self) -> Ints:
        chosen = self._stored[(self._stored >= 0) & self._fitted]
        return np.bincount(chosen, minlength=len(self._place)).astype(np.int64)

    def _taken(self, values: list[float]) -> Doubles:
        """Values of the stored layers, repeated for each occurrence; NaN for layers that are not stored."""
        taken: Doubles = np.array([*values, np.nan])[self._stored]
        return taken

    def _range(self, components: PrincipalComponents) -> tuple[float, float]:
        """Smallest and largest coefficient by an additional pass. Needed only if the kept filters cannot prove them."""

        def work(pieces: Iterator[Floats]) -> tuple[float, float]:
            return extent_of(pieces, self._precision, components)

        found = [bounds for _, bounds in run(self._files, self._steps, work, self._kept)]
        return min(low for low, _ in found), max(high for _, high in found)

    def _histograms(self, components: PrincipalComponents, low: float, high: float) -> Counts:
        stored = np.zeros((len(self._place) + 1, FILTER_SIZE, DCT_BINS), np.uint32)
        without_sparse = self._variant is Variant.ROBUST22

        def work(pieces: Iterator[Floats]) -> Ints:
            return histogram_of(pieces, self._precision, components, low, high, without_sparse=without_sparse)

        for layer_id, counts in run(self._files, self._steps, work, self._kept, self._watch):
            stored[self._place[layer_id]] = counts
        taken: Counts = stored[self._stored]
        return taken


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _needed(components: PrincipalComponents | None) -> PrincipalComponents:
    if components is None:
        raise StartError("fewer than two filters: there is no principal component")
    return components
