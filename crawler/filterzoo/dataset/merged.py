"""`filterzoo.stats`: the statistics of a query's filters, merged from the table of layers; no weight is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self, Unpack, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.dataset.published import Target, open_published
from filterzoo.dataset.query import LayerKeywords, LayerQuery
from filterzoo.dataset.untrusted import reading
from filterzoo.dataset.words import Names, words_of
from filterzoo.layers.layer import Doubles
from filterzoo.measures.dct import DCT_BINS
from filterzoo.measures.drift import fixed_drift
from filterzoo.measures.entropy import PrincipalComponents, principal_components, variance_entropy
from filterzoo.measures.statistics import FILTER_SIZE, PACKED_SIZE, FilterStatistics, Moments, merge_moments, unpack

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 10
"""Most groups that `repr` shows."""
_READ = (
    "n_finite",
    "raw_mean",
    "raw_m2",
    "scaled_mean",
    "scaled_m2",
    "sparse_count",
    "l1_norm",
    "l2_norm",
    "dct_histogram",
)


@dataclass(frozen=True, slots=True, eq=False)
class GroupStatistics:
    """The 3x3 filters of a set of layers. Scaled: each filter divided by its largest absolute number.

    key: the group's value in each column that `stats` grouped by. layers: the number of merged layers.
    """

    key: dict[str, Any]
    layers: int
    statistics: FilterStatistics

    def drift(self) -> NoReturn:
        """TypeError: a single group has no drift."""
        raise TypeError("drift is between groups; ask for them by stats(..., by='task') or another column")

    @property
    def count(self) -> int:
        """Number of finite filters, the n of all statistics here."""
        return self.statistics.n_finite

    @property
    def raw(self) -> Moments:
        """Count, mean filter (9,) and scatter (9, 9) of the raw filters."""
        return self.statistics.raw

    @property
    def scaled(self) -> Moments:
        """The same for the scaled filters."""
        return self.statistics.scaled

    @property
    def principal_components(self) -> PrincipalComponents | None:
        """The PCA of the scaled filters, with its explained variance ratios; None below two filters."""
        return principal_components(self.scaled)

    @property
    def variance_entropy(self) -> float | None:
        """Of the raw filters, 0 to log10(9); None below two filters."""
        return variance_entropy(self.raw)

    @property
    def sparsity(self) -> float | None:
        """Share of filters that are sparse in their layer; None without filters."""
        return self.statistics.sparsity

    @property
    def histogram(self) -> npt.NDArray[np.int64]:
        """(9, 70): the DCT coefficients of the scaled filters, in the bins of `filterzoo.measures.dct.dct_edges`."""
        return self.statistics.histogram

    def __repr__(self) -> str:
        key = "".join(f"{name}={value!a}, " for name, value in self.key.items())
        return (
            f"GroupStatistics({key}layers={self.layers:,}, filters={self.count:,}, "
            f"sparsity={_short(self.sparsity)}, variance_entropy={_short(self.variance_entropy)})"
        )

    def to_pandas(self) -> pd.DataFrame:
        """One row: the key's columns and the scalar statistics. `table` has the arrays too."""
        return _scalars(self.table())

    def table(self) -> pa.Table:
        """One row: the key's columns, the measures, and the statistics as `layers` stores them."""
        return pa.Table.from_pylist([self._row()])

    def _row(self) -> dict[str, Any]:
        components = self.principal_components
        return self.key | {
            "layers": self.layers,
            "n_finite": self.count,
            "sparse_count": self.statistics.sparse_count,
            "sparsity": self.sparsity,
            "variance_entropy": self.variance_entropy,
            "explained_variance_ratio": None if components is None else components.ratio,
            "components": None if components is None else components.components.reshape(-1),
            "l1_norm": self.statistics.l1_norm,
            "l2_norm": self.statistics.l2_norm,
            "raw_mean": self.raw.mean,
            "raw_m2": self.raw.packed,
            "scaled_mean": self.scaled.mean,
            "scaled_m2": self.scaled.packed,
            "dct_histogram": self.histogram.reshape(-1),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The groups of a query, sorted by their values, null last."""

    by: tuple[str, ...]
    groups: tuple[GroupStatistics, ...]

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[GroupStatistics]:
        return iter(self.groups)

    def __getitem__(self, values: Any) -> GroupStatistics:
        """The group of a value, or of a tuple of values for several columns; KeyError if there is none."""
        wanted = values if isinstance(values, tuple) else (values,)
        for group in self.groups:
            if tuple(group.key.values()) == wanted:
                return group
        raise KeyError(f"{values!a}: no such group; `labels` lists the {len(self.groups)} there are")

    def __repr__(self) -> str:
        rest = [f"... {len(self.groups) - _SHOWN} more"] if len(self.groups) > _SHOWN else []
        head = f"Groups by {', '.join(self.by)}: {len(self.groups)}"
        return "\n  ".join([head, *map(repr, self.groups[:_SHOWN]), *rest])

    @property
    def labels(self) -> tuple[Any, ...]:
        """The value of each group; a tuple of values for several columns."""
        return tuple(next(iter(g.key.values())) if len(self.by) == 1 else tuple(g.key.values()) for g in self.groups)

    def to_pandas(self) -> pd.DataFrame:
        """A row for each group: its values and the scalar statistics. `table` has the arrays too."""
        return _scalars(self.table())

    def table(self) -> pa.Table:
        """A row for each group, as `GroupStatistics.table` gives it; no columns without groups."""
        return pa.Table.from_pylist([group._row() for group in self.groups])  # noqa: SLF001  # of this module

    def drift(self) -> Drift:
        """(groups, groups): the drift between each two in the fixed basis; ValueError for a group without filters.

        The array has `labels`, the groups' values; `to_pandas` uses them as index and columns.
        """
        return Drift(fixed_drift([group.statistics for group in self.groups]), self.labels)


class Drift(np.ndarray[Any, np.dtype[np.float64]]):
    """The drift between groups. labels: of its rows and columns; results computed from it have none."""

    labels: tuple[Any, ...]

    def __new__(cls, matrix: Doubles, labels: tuple[Any, ...]) -> Self:
        """(n, n) and n labels."""
        drift = np.asarray(matrix).view(cls)
        drift.labels = labels
        return drift

    def __array_finalize__(self, obj: object) -> None:
        """Called by NumPy for each view and result, whose rows may be in another order: drops the labels."""
        self.labels = ()

    def to_pandas(self) -> pd.DataFrame:
        """A data frame with the labels as index and columns; ValueError for a result computed from a drift."""
        import pandas as pd  # noqa: PLC0415  # a third of a second that a query does not need

        if len(self.labels) != len(self):
            raise ValueError("only what drift() gives has labels, not what is computed from it")
        index = pd.Index(self.labels, tupleize_cols=False)
        return pd.DataFrame(np.asarray(self), index=index, columns=index)


def _short(number: float | None) -> str:
    return "None" if number is None else f"{number:.4g}"


def _scalars(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.select([f.name for f in table.schema if not pa.types.is_list(f.type)]).to_pandas()
    return frame


@overload
def stats(target: Target, *, by: None = ..., kernel: str = ..., **query: Unpack[LayerKeywords]) -> GroupStatistics: ...
@overload
def stats(target: Target, *, by: Names, kernel: str = ..., **query: Unpack[LayerKeywords]) -> Groups: ...
def stats(
    target: Target,
    *,
    by: Names | None = None,
    models: Names | None = None,
    source: Names | None = None,
    task: Names | None = None,
    licence: Names | None = None,
    layers: Names | None = None,
    name: Names | None = None,
    depth: tuple[float, float] | None = None,
    kind: Names | None = None,
    kernel: str = "3x3",
    where: pc.Expression | None = None,
    unique: bool = False,
    revision: str | None = None,
    **bounds: float | None,
) -> GroupStatistics | Groups:
    """The merged statistics of all 3x3 filters of a query, or of each group of them, from `layers` alone.

    The conditions mean what they mean in `load`. Layers whose weights are not published are included; exclude them with
    `where=pc.field("filters_file").is_valid()`. A layer that several models share counts once for each of them; with
    `unique`, once, in the group of the first.

    by: a column of `layers`, or several. kernel: 3x3 is the only one with statistics that merge; `filterzoo.layers`
    gives the measures of others. Raises StartError if there is no such data set, ValueError as `load` does.
    """
    query = LayerQuery(
        models=models,
        source=source,
        task=task,
        licence=licence,
        layers=layers,
        name=name,
        depth=depth,
        kind=kind,
        kernel=kernel,
        bounds=bounds,
        where=where,
        unique=unique,
    )
    if query.kernels != ["3x3"]:
        raise ValueError(
            f"kernel: statistics that merge are kept of 3x3 filters only, not of {', '.join(query.kernels)}; "
            "filterzoo.layers(..., kernel=...) gives the measures of each layer"
        )
    columns = tuple(words_of("by", by) or ())
    # Rounded sums depend on the order of layers: sorting them by id gives the same bytes for the same set.
    files = open_published(target, revision)
    rows = query.rows(files, (*_READ, *columns)).sort_by("layer_id")
    with reading(files.root):
        _check_statistics(rows)
        if by is None:
            return GroupStatistics({}, len(rows), _merged(rows))
        return Groups(columns, tuple(_group(rows, columns, places) for places in _row_indices(rows, columns)))


def _check_statistics(rows: pa.Table) -> None:
    """ValueError if numbers are missing or impossible, or their count differs from a 3x3 layer's."""
    widths = {"raw": (FILTER_SIZE, PACKED_SIZE), "scaled": (FILTER_SIZE, PACKED_SIZE)}
    lists = {
        f"{which}_{part}": width
        for which, own in widths.items()
        for part, width in zip(("mean", "m2"), own, strict=True)
    }
    for name, width in (lists | {"dct_histogram": FILTER_SIZE * DCT_BINS}).items():
        if rows[name].null_count or pc.all(pc.equal(pc.list_value_length(rows[name]), width)).as_py() is False:
            raise ValueError(f"{name} of a layer is missing, or has not {width} numbers")
    for name in ("n_finite", "sparse_count", "l1_norm", "l2_norm"):
        lowest = pc.min(rows[name]).as_py()
        if rows[name].null_count or (lowest is not None and not lowest >= 0):
            raise ValueError(f"{name} of a layer is missing or negative")
    if (pc.max(rows["n_finite"]).as_py() or 0) * max(1, len(rows)) >= 1 << 62:
        raise ValueError("n_finite of a layer is too large to be counted")


def _row_indices(rows: pa.Table, columns: Sequence[str]) -> list[pa.Array]:
    """The rows of each group."""
    numbered = rows.select(columns).append_column("row", pa.array(np.arange(len(rows))))
    grouped = numbered.group_by(list(columns), use_threads=False).aggregate([("row", "list")])
    lists = grouped.sort_by([(name, "ascending") for name in columns])["row_list"]
    return [places.values for places in lists]  # noqa: PD011  # lists of Arrow, not of pandas


def _group(rows: pa.Table, columns: Sequence[str], places: pa.Array) -> GroupStatistics:
    key = {name: rows[name][places[0].as_py()].as_py() for name in columns}
    return GroupStatistics(key, len(places), _merged(rows.take(places)))


def _merged(rows: pa.Table) -> FilterStatistics:
    counts = rows["n_finite"].to_numpy()
    return FilterStatistics(
        raw=_moments(rows, counts, "raw"),
        scaled=_moments(rows, counts, "scaled"),
        histogram=_numbers(rows, "dct_histogram", FILTER_SIZE * DCT_BINS)
        .sum(axis=0, dtype=np.int64)
        .reshape(FILTER_SIZE, DCT_BINS),
        sparse_count=int(rows["sparse_count"].to_numpy().sum()),
        l1_norm=float(rows["l1_norm"].to_numpy().sum()),
        l2_norm=float(np.sqrt(np.square(rows["l2_norm"].to_numpy()).sum())),
    )


def _moments(rows: pa.Table, counts: npt.NDArray[np.int64], which: str) -> Moments:
    if not len(rows):
        return Moments.empty()
    means, packed = _numbers(rows, f"{which}_mean", FILTER_SIZE), _numbers(rows, f"{which}_m2", PACKED_SIZE)
    return merge_moments(counts, means, unpack(packed))


def _numbers(rows: pa.Table, name: str, width: int) -> npt.NDArray[Any]:
    """(rows, width): a column of lists, which are never null for 3x3."""
    return np.asarray(rows[name].combine_chunks().flatten().to_numpy().reshape(len(rows), width))
