"""Selects layers of a published data set: the conditions that `load`, `stats` and `layers` share."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.dataset.bounds import Bounds, check_bounds, check_depth
from filterzoo.dataset.published import PublishedFiles
from filterzoo.dataset.scan import CHOOSING, NEEDED, all_of, read_layers
from filterzoo.dataset.words import Names, listed, matching, unknown_word, unmatched, words_of
from filterzoo.licensing.licences import LicenceClass
from filterzoo.records import Kind
from filterzoo.vocabularies import NetworkTask

_KERNEL = re.compile(r"[0-9]{1,4}(x[0-9]{1,4}){0,2}")
_EXACT = ("source", "task", "kind")
"""Keywords whose words must be values of the column of that name."""
_VOCABULARIES: dict[str, type[NetworkTask | Kind]] = {"task": NetworkTask, "kind": Kind}
_PUBLISHED = pc.field("filters_file").is_valid()


class LayerKeywords(Bounds, total=False):
    """The keywords of `load`, `stats` and `layers` that select layers and the revision of the data set."""

    models: Names | None
    source: Names | None
    task: Names | None
    licence: Names | None
    layers: Names | None
    name: Names | None
    depth: tuple[float, float] | None
    kind: Names | None
    where: pc.Expression | None
    unique: bool
    revision: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerQuery:
    """A selection of rows of `layers`; a condition that is None holds for every row.

    models: ids or globs. licence: classes (`permissive`), or SPDX expressions of `models` or globs of them.
    layers: ids, or globs of names. name: globs of names. depth: lowest and highest conv_depth_norm, both included.
    bounds: `min_<column>` and `max_<column>` of numeric columns, both inclusive. where: any other condition on the
    columns of `layers`. unique: only the first of equal layers. published: only layers whose filters are published.

    TypeError or ValueError for an invalid value.
    """

    models: Names | None = None
    source: Names | None = None
    task: Names | None = None
    licence: Names | None = None
    layers: Names | None = None
    name: Names | None = None
    depth: tuple[float, float] | None = None
    kind: Names | None = None
    kernel: Names | None = "3x3"
    bounds: Mapping[str, float | None] = field(default_factory=lambda: MappingProxyType({}))
    where: pc.Expression | None = None
    unique: bool = False
    published: bool = False

    def __post_init__(self) -> None:
        for keyword in ("models", "licence", "layers", "name", "kernel", *_EXACT):
            words_of(keyword, getattr(self, keyword))
        for kernel in self.kernels:
            if not _KERNEL.fullmatch(kernel):
                raise ValueError(f"kernel: {ascii(kernel)[:80]} is no size such as '3x3', '5' or '3x3x3'")
        check_depth(self.depth)
        if not isinstance(self.unique, (bool, np.bool_)):
            raise TypeError(f"unique: takes True or False, not {ascii(self.unique)[:80]}")
        names = {entry.name for entry in fields(self)} - {"bounds", "published"}
        check_bounds(self.bounds, sorted(names | {"revision"}))
        if self.where is not None and not isinstance(self.where, pc.Expression):
            raise TypeError(
                f"where: takes an expression such as pc.field('sparsity') < 0.1, not {ascii(self.where)[:80]}"
            )

    @property
    def kernels(self) -> list[str]:
        """The kernels that the query names."""
        return words_of("kernel", self.kernel) or []

    def rows(self, files: PublishedFiles, columns: Sequence[str] | None, *, without: Collection[str] = ()) -> pa.Table:
        """The selected rows, sorted by model id and layer index, with (at least) the columns.

        columns: None for all but `without`. ValueError for a word, a kernel or a column that the data set does not
        have. Without rows, a warning is issued.
        """
        table = self.matches(files, columns, without)
        self._check_words(files, table)
        self._check_kernels(files, table)
        if not len(table):
            self._warn(files)
        table = table.sort_by([("model_id", "ascending"), ("layer_index", "ascending")])
        return table.take(_first_places(table["layer_id"])) if self.unique else table

    def check_filters(self) -> None:
        """TypeError without a kernel: filters of different sizes do not form one array. A warning for an empty list."""
        if self.kernel is None:
            raise TypeError("kernel: takes a size such as '3x3', or a list of sizes, not None")
        if not self.kernels:
            warnings.warn("kernel: the list is empty, so nothing is loaded", EmptyQuery, stacklevel=_level())

    def matches(self, files: PublishedFiles, columns: Sequence[str] | None, without: Collection[str] = ()) -> pa.Table:
        """The rows under all conditions, in the order of the files. See `rows` for the columns."""
        licensed = self._licensed(files)
        given = {"kernel": self.kernel, "licence_class": self.licence} | {name: getattr(self, name) for name in _EXACT}
        own = (*NEEDED, *(column for column in CHOOSING if given[column] is not None))
        names = None if columns is None else list(dict.fromkeys((*own, *columns)))
        table = read_layers(files, names, self._condition, bounds=self.bounds, without=without)
        table = _matching(_matching(table, self.models, "model_id"), self.layers, "name", "layer_id")
        table = _matching(table, self.name, "name")
        if self.licence is None:
            return table
        words = words_of("licence", self.licence) or []
        in_class = pc.is_in(table["licence_class"], pa.array(words, pa.string()))
        return table.filter(pc.or_(in_class, pc.is_in(table["model_id"], pa.array(licensed, pa.string()))))

    @property
    def _condition(self) -> pc.Expression | None:
        conditions = [] if self.where is None else [self.where]
        for column in ("kernel", *_EXACT):
            words = words_of(column, getattr(self, column))
            if words is not None:
                conditions.append(pc.field(column).isin(pa.array(words, pa.string())))
        if self.depth is not None:
            lowest, highest = self.depth
            conditions.append((pc.field("conv_depth_norm") >= lowest) & (pc.field("conv_depth_norm") <= highest))
        if self.published:
            conditions.append(_PUBLISHED)
        return all_of(conditions)

    def _licensed(self, files: PublishedFiles) -> list[str]:
        """Ids of the models whose licence matches a word other than a class; ValueError for a word without a match."""
        classes = set(map(str, LicenceClass))
        words = [word for word in words_of("licence", self.licence) or () if word not in classes]
        if not words:
            return []
        table = read_layers(files, ["model_id", "licence"], None, config="models")
        known = set(pc.unique(table["licence"]).drop_null().to_pylist())
        for word in unmatched(words, known):
            raise unknown_word("licence", word, known | classes, "model")
        chosen = pa.array(matching(known, words), pa.string())
        return list(table.filter(pc.is_in(table["licence"], chosen))["model_id"].to_pylist())

    def _check_words(self, files: PublishedFiles, table: pa.Table) -> None:
        """ValueError for a word that no layer of the data set has, regardless of the other conditions.

        All layers are read only for words without a match in the result.
        """
        columns = {"models": ["model_id"], "layers": ["name", "layer_id"], "name": ["name"]}
        for keyword, places in (columns | {name: [name] for name in _EXACT}).items():
            words = words_of(keyword, getattr(self, keyword))
            if not words:
                continue
            known: set[str] = set()
            missing = unmatched(words, _values(table, places))
            if missing:
                known = _values(read_layers(files, places, None), places) | set(
                    map(str, _VOCABULARIES.get(keyword, ()))
                )
                missing = _absent(keyword, missing, known)
            if missing and keyword == "models":  # a model without convolutions has no layers
                known |= _values(read_layers(files, places, None, config="models"), places)
                missing = unmatched(missing, known)
            if missing:
                raise unknown_word(keyword, missing[0], known, "model" if keyword == "models" else "layer")

    def _check_kernels(self, files: PublishedFiles, table: pa.Table) -> None:
        """ValueError for a kernel that no layer has, or, if filters are wanted, no layer with published filters."""
        missing = unmatched(self.kernels, _values(table, ["kernel"])) if self.kernels else []
        if not missing:
            return
        every = read_layers(files, ["kernel"], None)
        stored = read_layers(files, ["kernel"], _PUBLISHED) if self.published else every
        known, there = _values(every, ["kernel"]), _values(stored, ["kernel"])
        for kernel in missing:
            if kernel not in known:
                raise unknown_word("kernel", kernel, there)
            if kernel not in there:
                count = pc.sum(pc.equal(every["kernel"], kernel)).as_py()
                stored_here = listed(sorted(there)) or "none"
                raise ValueError(
                    f"kernel: {kernel} has {count} layers, measured only; stored are {stored_here}: others are not "
                    "among the `kernels` of the crawl's manifest, or a licence forbids to pass them on; "
                    "filterzoo.layers gives their measures"
                )

    def _warn(self, files: PublishedFiles) -> None:
        given = [entry.name for entry in fields(self) if entry.name not in {"bounds", "unique", "published"}]
        shown = [f"{name}={ascii(getattr(self, name))[:60]}" for name in given if getattr(self, name) is not None]
        shown += [f"{name}={value}" for name, value in self.bounds.items() if value is not None]
        why = ""
        if self.published:
            hidden = len(replace(self, published=False).matches(files, NEEDED))
            why = f"; {hidden} would, but their filters are not published" if hidden else ""
        warnings.warn(f"no layer fulfils all of these: {', '.join(shown)}{why}", EmptyQuery, stacklevel=_level())


class EmptyQuery(UserWarning):
    """The warning for a valid query that no layer fulfils."""


def _level() -> int:
    """The stack level of the user's code, for a warning that points to it."""
    level, frame = 0, inspect.currentframe()
    while frame and frame.f_globals.get("__name__", "").split(".")[0] == "filterzoo":
        level, frame = level + 1, frame.f_back
    return level


def _values(table: pa.Table, columns: Sequence[str]) -> set[str]:
    return {value for column in columns for value in pc.unique(table[column]).drop_null().to_pylist()}


def _absent(keyword: str, words: Sequence[str], known: set[str]) -> list[str]:
    """The unknown words; words of an exact keyword are not globs."""
    return [word for word in words if word not in known] if keyword in _EXACT else unmatched(words, known)


def _matching(table: pa.Table, patterns: Names | None, *columns: str) -> pa.Table:
    """Rows in which one of the columns equals one of the patterns, or matches it as a glob."""
    words = words_of("a condition", patterns)
    if words is None:
        return table
    masks = []
    for column in columns:
        values = pc.unique(table[column]).drop_null().to_pylist()
        masks.append(pc.is_in(table[column], pa.array(matching(values, words), pa.string())))
    mask = masks[0] if len(masks) == 1 else pc.or_(*masks)
    return table.filter(mask)


def _first_places(ids: pa.ChunkedArray) -> pa.Array:
    """The first row of each id, in order."""
    table = pa.table({"id": ids, "row": np.arange(len(ids))})
    return table.group_by("id").aggregate([("row", "min")])["row_min"].combine_chunks().sort()
