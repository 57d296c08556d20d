"""A takedown: removes models from the data set, atomically, and blocks them from later releases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from filterzoo.dataset.untrusted import reading
from filterzoo.errors import Reason, StartError
from filterzoo.licensing.licences import Licence
from filterzoo.reporting.counts import counted
from filterzoo_publish.card.citation import Identity, former_doi
from filterzoo_publish.card.documents import documents, outdated_figure
from filterzoo_publish.card.figures import LAYER_COLUMNS, by_depth, overview
from filterzoo_publish.card.kept import KEPT_COLUMNS, kept_sizes
from filterzoo_publish.lineage.table import CONFIG as LINEAGE
from filterzoo_publish.lineage.table import LAYER_COLUMNS as LINEAGE_COLUMNS
from filterzoo_publish.lineage.table import lineage_table
from filterzoo_publish.plan.confidences import confidences_table
from filterzoo_publish.plan.releases import Release, next_release
from filterzoo_publish.plan.rows import rows_of, skipped_key
from filterzoo_publish.plan.state import PublishedState, read_published
from filterzoo_publish.plan.status import finished, former_status, present_rows
from filterzoo_publish.release import attempts
from filterzoo_publish.schema import CONFIGS, arrow_schema
from filterzoo_publish.shards.parquet import Shard
from filterzoo_publish.shards.shards import table_shard
from filterzoo_publish.takedown.inheritance import Inheritance, inherit
from filterzoo_publish.takedown.requests import Request, resolved, withdrawn
from filterzoo_publish.takedown.rewriting import Rewriting
from filterzoo_publish.takedown.takedowns import Takedown, is_taken_down, skipped_row
from filterzoo_publish.targets.target import RELEASE, Commit, Target

_NAMES = ["model_id", "source", "id", "revision", "licence", "licence_class"]
"""Columns of `models` by which models are taken down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakedownReport:
    """The report of a takedown or dry run.

    models: ids of the removed models. withdrawn: withdrawn requests. moved_layers: number of their layers that stay,
    because other models share them. files: path -> bytes of the rewritten files, empty for a dry run. removed: paths of
    the removed files.
    """

    target: str
    release: str | None
    models: tuple[str, ...]
    withdrawn: tuple[str, ...]
    moved_layers: int
    files: Mapping[str, int]
    removed: tuple[str, ...]
    dry_run: bool
    url: str | None
    tag: str | None

    def document(self) -> dict[str, Any]:
        """The report as `takedown --json` prints it."""
        return asdict(self)


def take_down(
    target: Target,
    requests: Sequence[Request],
    *,
    release: str | None = None,
    dry_run: bool = False,
    in_advance: bool = False,
    withdraw: bool = False,
    watch: Callable[[Shard], None] | None = None,
) -> TakedownReport:
    """Remove the models that the requests name, and refuse them from now on.

    Only files with their rows, and tables that point to these files, are rewritten. A shared layer is then owned by the
    first of the remaining models that have it. in_advance: also keep requests without a match. withdraw: cancel former
    requests; the next `publish` may add the models again. StartError if there is no data set, or for a request without
    a match; Conflict as in `publish`.
    """
    wanted = _Wanted(tuple(requests), in_advance=in_advance, withdraw=withdraw)
    with target, reading(target.place):
        if read_published(target.read()).files is None:
            # Checked before `prepare`, which would create a folder or a repository.
            raise StartError(f"{target.place}: holds no data set")
        if dry_run:
            change = _Change.made_for(target, wanted, release)
            return change.report(target, dry_run=True)
        return attempts(lambda: _commit(target, wanted, release, watch or (lambda _shard: None)), target.place)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The arguments of `take_down`."""

    requests: tuple[Request, ...]
    in_advance: bool
    withdraw: bool

    def takedowns(self, published: PublishedState, day: str) -> tuple[Takedown, ...]:
        """All takedown requests after this change."""
        before = published.takedowns
        if self.withdraw:
            cancelled = withdrawn(self.requests, before)
            return tuple(old for old in before if (old.kind, old.value) not in cancelled)
        models = published.models.select(_NAMES).to_pylist()
        requests = resolved(self.requests, models, before, in_advance=self.in_advance)
        known = {(request.kind, request.value) for request in before}
        new = (Takedown(kind, value, day) for kind, value in requests if (kind, value) not in known)
        return (*before, *new)


@dataclass(frozen=True, slots=True)
class _Change:
    published: PublishedState
    release: Release
    takedowns: tuple[Takedown, ...]
    gone: Mapping[str, dict[str, Any]]
    inheritance: Inheritance

    @classmethod
    def made_for(cls, target: Target, wanted: _Wanted, release: str | None) -> _Change:
        published = read_published(target.read())
        made = next_release(release, published.releases, target.tags())
        takedowns = wanted.takedowns(published, made.day)
        rows = rows_of(published.models.select(_NAMES))
        gone = {row["model_id"]: row for row in rows if is_taken_down(row, takedowns)}
        return cls(published, made, takedowns, gone, inherit(published, gone))

    @property
    def withdrawn(self) -> list[Takedown]:
        """The requests that are withdrawn."""
        return [request for request in self.published.takedowns if request not in self.takedowns]

    @property
    def has_news(self) -> bool:
        return bool(self.gone) or self.takedowns != self.published.takedowns

    def report(
        self,
        target: Target,
        *,
        files: Mapping[str, int] | None = None,
        removed: tuple[str, ...] = (),
        commit: Commit | None = None,
        dry_run: bool = False,
    ) -> TakedownReport:
        return TakedownReport(
            target=target.place,
            release=self.release.name if self.has_news else None,
            models=tuple(sorted(self.gone)),
            withdrawn=tuple(f"{request.kind} {request.value}" for request in self.withdrawn),
            moved_layers=len(self.inheritance.owners),
            files=files or {},
            removed=removed,
            dry_run=dry_run,
            url=commit.url if commit else None,
            tag=commit.tag if commit else None,
        )


def _commit(target: Target, wanted: _Wanted, release: str | None, watch: Callable[[Shard], None]) -> TakedownReport:
    folder = target.prepare()
    change = _Change.made_for(target, wanted, release)
    published = change.published
    if not change.has_news:
        return change.report(target, commit=target.settle(published.releases[-1].name) if published.releases else None)
    rewriting = Rewriting(published, change.gone, change.inheritance, folder)
    files: dict[str, int] = {}
    for shard in _shards(change, rewriting, folder):
        if shard.path in rewriting.outdated:
            rewriting.outdated.discard(shard.path)
            shard.local.unlink()
            continue
        target.add(shard)
        files[shard.path] = shard.size
        watch(shard)
    made = replace(change.release, removed=len(change.gone), sample_quota=published.sample_quota or 0)
    models = rewriting.models()
    layers = map(rewriting.staying, published.tables("layers", ["model_id", *LAYER_COLUMNS]))
    written = documents(
        target.name,
        models=models,
        kept=kept_sizes(map(rewriting.staying, published.tables("layers", KEPT_COLUMNS))),
        picture=overview(models, by_depth(layers)),
        skipped=_skipped(change),
        releases=(*published.releases, made),
        takedowns=change.takedowns,
        identity=Identity(target.url, target.doi or former_doi(published.files)),
    )
    removed = tuple(sorted([*rewriting.outdated, *outdated_figure(published, written)]))
    withdrawn, gone = counted(len(change.withdrawn), "takedown"), counted(len(change.gone), "model")
    done = f"{withdrawn} withdrawn" if change.withdrawn else f"{gone} taken down"
    message = f"{RELEASE} {made.name}: {done}"
    commit = target.commit(written, removed, message, made.name)
    return change.report(target, files=files, removed=removed, commit=commit)


def _shards(change: _Change, rewriting: Rewriting, folder: Path) -> Iterator[Shard]:
    """Write the files that replace others. Every config keeps at least one file."""
    kept: set[str] = set()
    for shard in rewriting.shards():
        kept.add(shard.config)
        yield shard
    for config, table in (
        ("status", _status(change)),
        ("skipped", _skipped(change)),
        ("confidences", _confidences(change)),
        (LINEAGE, _lineage(change, rewriting)),
    ):
        rewriting.outdated.update(change.published.paths(config))
        kept.add(config)
        yield table_shard(table, folder, config)
    for config in CONFIGS:
        if config not in kept and set(change.published.paths(config)) <= rewriting.outdated:
            yield table_shard(arrow_schema(config).empty_table(), folder, config)


def _status(change: _Change) -> pa.Table:
    rows = present_rows(change.published, former_status(change.published))
    return finished((row for row in rows if row["model_id"] not in change.gone), change.published.releases)


def _confidences(change: _Change) -> pa.Table:
    staying = set(change.published.models["model_id"].to_pylist()) - set(change.gone)
    return confidences_table(change.published, (), staying)


def _lineage(change: _Change, rewriting: Rewriting) -> pa.Table:
    layers = map(rewriting.staying, change.published.tables("layers", LINEAGE_COLUMNS))
    return lineage_table(rewriting.models(), layers)


def _skipped(change: _Change) -> pa.Table:
    """The ledger: with rows of the new takedowns, without those of withdrawn requests."""
    gone = {tuple(model[name] for name in ("source", "id", "revision")) for model in change.gone.values()}
    kept = (
        row
        for row in change.published.skipped.to_pylist()
        if not _is_back(row, change) and (row["source"], row["id"], row["revision"]) not in gone
    )
    rows = [*kept, *(skipped_row(model) for model in change.gone.values())]
    unique = {skipped_key(row): row for row in rows}
    return pa.Table.from_pylist([unique[key] for key in sorted(unique)], schema=arrow_schema("skipped"))


def _is_back(row: Mapping[str, Any], change: _Change) -> bool:
    if row["reason"] != Reason.TAKEN_DOWN or row["id"] is None:
        return False
    named = {**row, "licence_class": Licence.parse(row["licence"]).licence_class}
    return is_taken_down(named, change.withdrawn) and not is_taken_down(named, change.takedowns)
