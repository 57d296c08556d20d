"""A release: adds the new content of a work folder to a target, atomically."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import tenacity

from filterzoo.dataset.published import is_hub_name
from filterzoo.dataset.untrusted import reading
from filterzoo.errors import StorageFailed, remedy, system_says
from filterzoo.reporting.counts import counted
from filterzoo_publish.card.citation import Identity, former_doi
from filterzoo_publish.card.documents import documents, outdated_figure
from filterzoo_publish.card.figures import LAYER_COLUMNS, by_depth, overview
from filterzoo_publish.card.kept import KEPT_COLUMNS, kept_sizes
from filterzoo_publish.lineage.table import CONFIG as LINEAGE
from filterzoo_publish.lineage.table import LAYER_COLUMNS as LINEAGE_COLUMNS
from filterzoo_publish.lineage.table import lineage_table
from filterzoo_publish.plan.entries import PlanEntry
from filterzoo_publish.plan.plan import Plan, Work, make_plan, open_work
from filterzoo_publish.plan.releases import Release, next_release
from filterzoo_publish.plan.state import PublishedState, read_published
from filterzoo_publish.plan.status import status_table
from filterzoo_publish.plan.tables import models_table
from filterzoo_publish.report import Report
from filterzoo_publish.schema import CONFIGS, arrow_schema
from filterzoo_publish.shards.filters import filter_shards
from filterzoo_publish.shards.parquet import Shard
from filterzoo_publish.shards.room import check_room
from filterzoo_publish.shards.sample import CONFIG as SAMPLE
from filterzoo_publish.shards.sample import quota, sample_shards, thinned_shards
from filterzoo_publish.shards.shards import layer_shards, model_shards, table_shard
from filterzoo_publish.targets.folder import FolderTarget
from filterzoo_publish.targets.target import README, RELEASE, Commit, Conflict, Target

Made = TypeVar("Made")
_JOINED_ROWS = 1 << 16
_JOINED_TABLES = 1 << 10
_ATTEMPTS = 6
"""Attempts at a release. A conflict with another publisher or a lost response causes a new one."""


def target_for(name: str, *, workdir: Path | None = None, create_pr: bool = False, private: bool = False) -> Target:
    """The target that a user names: `user/name` on the Hub, unless such a folder exists; anything else is a folder.

    workdir: the work folder that records releases to folders that have begun, so that they can be finished.
    """
    if not is_hub_name(name):
        return FolderTarget(Path(name), workdir)
    from filterzoo_publish.targets.hub import HubTarget  # noqa: PLC0415  # its import takes half a second

    return HubTarget(name, create_pr=create_pr, private=private)


def publish(
    workdir: Path,
    target: Target,
    *,
    release: str | None = None,
    dry_run: bool = False,
    watch: Callable[[Shard], None] | None = None,
) -> Report:
    """Add what the target lacks. A dry run only reports it. watch: called with each finished file.

    release: its day as `vYYYY.MM.DD`, None for today. StartError if the work folder has no results or the target cannot
    be written to; Conflict if another publisher was faster in every attempt.
    """
    return publish_work(open_work(workdir), target, release=release, dry_run=dry_run, watch=watch)


def publish_work(
    work: Work,
    target: Target,
    *,
    release: str | None = None,
    dry_run: bool = False,
    watch: Callable[[Shard], None] | None = None,
) -> Report:
    """`publish` for content that was read already."""
    with target:
        if dry_run:
            published = read_published(target.read())
            with reading(target.place) if published.files else contextlib.nullcontext():
                plan = _plan(work, published, target, release)
                return _report(target, plan, published, dry_run=True)
        return attempts(lambda: _release(work, target, release, watch or (lambda _shard: None)), target.place)


def attempts(release: Callable[[], Made], place: str) -> Made:
    """The result of `release`, which is retried after a Conflict. place: the target's name in a StorageFailed."""
    retries = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Conflict),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=0.1, max=10) + tenacity.wait_random(0, 0.1),
        reraise=True,
    )
    try:
        return retries(release)
    except OSError as error:
        about = f"{error.filename}: " if error.filename is not None else ""
        advice = f"nothing was published; {remedy(error)} and run the same command again"
        raise StorageFailed(f"{place}: {about}{system_says(error)}; {advice}") from error


def _plan(work: Work, published: PublishedState, target: Target, release: str | None) -> Plan:
    return make_plan(work, published, next_release(release, published.releases, target.tags()))


def _release(work: Work, target: Target, release: str | None, watch: Callable[[Shard], None]) -> Report:
    folder = target.prepare()
    published = read_published(target.read())
    # An error in a new data set is a bug of FilterZoo, and must not be reported as one of the target.
    with reading(target.place) if published.files else contextlib.nullcontext():
        return _release_into(work, target, published, folder, release=release, watch=watch)


def _release_into(
    work: Work,
    target: Target,
    published: PublishedState,
    folder: Path,
    *,
    release: str | None,
    watch: Callable[[Shard], None],
) -> Report:
    plan = _plan(work, published, target, release)
    if not _has_news(plan, published):
        commit = target.settle(published.releases[-1].name) if published.releases else None
        return _report(target, plan, published, commit=commit)
    if not target.takes_links:  # a target that takes links uploads each file and removes it
        check_room(plan, folder, target.place)
    before = {path for config in CONFIGS for path in published.paths(config)}
    models = pa.concat_tables([published.models, models_table(plan.entries, plan.release)])
    outdated: set[str] = set()
    files: dict[str, int] = {}
    # Loading matplotlib takes longer than linking files, so the picture is drawn in parallel.
    with ThreadPoolExecutor(1, "filterzoo-picture") as thread:
        picture = thread.submit(overview, models, by_depth(_depths(plan, published)))
        for shard in _shards(plan, published, models, folder, outdated, as_links=target.takes_links):
            outdated.discard(shard.path)
            if shard.path in before:
                shard.local.unlink()
                continue
            target.add(shard)
            files[shard.path] = shard.size
            watch(shard)
    made = _counted(plan, sample_quota(plan, published))
    releases = (*published.releases, made)
    written = documents(
        target.name,
        models=models,
        kept=kept_sizes(_kept_layers(plan, published)),
        picture=picture.result(),
        skipped=plan.skipped,
        releases=releases,
        takedowns=published.takedowns,
        identity=Identity(target.url, target.doi or former_doi(published.files)),
    )
    removed = tuple(sorted([*outdated, *outdated_figure(published, written)]))
    message = f"{RELEASE} {made.name}: {counted(len(plan.entries), 'new model')}"
    commit = target.commit(written, removed, message, made.name)
    return _report(target, plan, published, files=files, removed=removed, commit=commit)


def _counted(plan: Plan, size: int) -> Release:
    """The release with its counts. size: the quota of its sample."""
    layers = sum(entry.done.n_layers for entry in plan.entries)
    filters = sum(layer.filters for entry in plan.entries for layer in entry.stored)
    return replace(plan.release, models=len(plan.entries), layers=layers, filters=filters, sample_quota=size)


def _rows_by_source(plan: Plan) -> dict[str, dict[str, int]]:
    """Source -> number of new models, new layers, and newly stored filters."""
    rows: dict[str, Counter[str]] = {}
    for entry in plan.entries:
        own = rows.setdefault(entry.done.checkpoint.source, Counter())
        filters = sum(layer.filters for layer in entry.stored)
        own.update({"models": 1, "layers": entry.done.n_layers, "filters": filters})
    return {source: dict(counts) for source, counts in sorted(rows.items())}


def _layers(plan: Plan, published: PublishedState, columns: list[str]) -> Iterator[pa.Table]:
    """Columns of all layers after the release. The first column must be `model_id`."""
    schema = pa.schema([arrow_schema("layers").field(name) for name in columns])
    yield from published.tables("layers", columns)
    yield from _joined(_named_layers(entry, columns[1:]).cast(schema) for entry in plan.entries)


def _named_layers(entry: PlanEntry, columns: list[str]) -> pa.Table:
    own = entry.layers().select(columns)
    return own.add_column(0, "model_id", pa.repeat(entry.model_id, len(own)))


def _depths(plan: Plan, published: PublishedState) -> Iterator[pa.Table]:
    """LAYER_COLUMNS of all layers after the release."""
    yield from published.tables("layers", LAYER_COLUMNS)
    yield from _joined(entry.layers().select(LAYER_COLUMNS) for entry in plan.entries)


def _kept_layers(plan: Plan, published: PublishedState) -> Iterator[pa.Table]:
    """KEPT_COLUMNS of all layers after the release. `filters_file` of a new layer is "" if its filters are stored."""
    yield from published.tables("layers", KEPT_COLUMNS)
    yield from _joined(_kept_layers_of(entry) for entry in plan.entries)


def _kept_layers_of(entry: PlanEntry) -> pa.Table:
    shown = {layer.layer_id for layer in entry.published}
    own = entry.layers().select(["kernel", "n_filters", "layer_id"]).to_pydict()
    columns = [
        [entry.model_id] * len(own["layer_id"]),
        own["layer_id"],
        own["kernel"],
        own["n_filters"],
        ["" if layer_id in shown else None for layer_id in own["layer_id"]],
    ]
    schema = arrow_schema("layers")
    return pa.table(columns, schema=pa.schema([schema.field(name) for name in KEPT_COLUMNS]))


def _joined(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables, in order, joined to tables of many rows, since each table has a fixed cost."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += len(table)
        if rows >= _JOINED_ROWS or len(waiting) >= _JOINED_TABLES:
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def _has_news(plan: Plan, published: PublishedState) -> bool:
    """Whether there is anything to release. New days in `status` alone are no reason for a release."""
    if published.files is None or published.files.text(README) is None or not published.paths("status"):
        return True
    changed = (plan.skipped, published.skipped), (plan.confidences, published.confidences)
    return bool(plan.entries) or not all(now.equals(before) for now, before in changed)


def _shards(
    plan: Plan, published: PublishedState, models: pa.Table, folder: Path, outdated: set[str], *, as_links: bool
) -> Iterator[Shard]:
    """Write every file of the release. The paths of replaced files are added to `outdated` before.

    models: all rows of `models` after the release.
    """
    pointers = plan.pointers
    lineage = lineage_table(models, _layers(plan, published, LINEAGE_COLUMNS))
    written: set[str] = set()
    steps = (
        filter_shards(plan, folder, pointers, as_links=as_links),
        layer_shards(plan, folder, pointers),
        _sample(plan, published, folder, outdated),
        model_shards(plan, folder),
        _replaced("status", status_table(plan, published), published, folder, outdated),
        _replaced("skipped", plan.skipped, published, folder, outdated),
        _replaced("confidences", plan.confidences, published, folder, outdated),
        _replaced(LINEAGE, lineage, published, folder, outdated),
    )
    for step in steps:
        for shard in step:
            written.add(shard.config)
            yield shard
    for config in CONFIGS:
        if config not in written and not published.paths(config):
            yield table_shard(arrow_schema(config).empty_table(), folder, config)


def sample_quota(plan: Plan, published: PublishedState) -> int:
    """The largest number of filters of one checkpoint in the sample after the release. It never grows."""
    present = published.models["published_filters"].to_pylist()
    coming = [sum(layer.filters for layer in entry.published) for entry in plan.entries]
    size = quota([*present, *coming])
    return size if published.sample_quota is None else min(size, published.sample_quota)


def _sample(plan: Plan, published: PublishedState, folder: Path, outdated: set[str]) -> Iterator[Shard]:
    """Write the sample of the new models. If the quota falls, existing files are reduced."""
    size = sample_quota(plan, published)
    if published.sample_quota is not None and size < published.sample_quota:
        outdated.update(path for path in published.paths(SAMPLE) if published.read_file(path).num_rows)
        yield from thinned_shards(published, folder, size)
    yield from sample_shards(plan, folder, size)


def _replaced(
    config: str, table: pa.Table, published: PublishedState, folder: Path, outdated: set[str]
) -> Iterator[Shard]:
    """Write the table, which replaces all files of the config."""
    outdated.update(published.paths(config))
    yield table_shard(table, folder, config)


def _report(
    target: Target,
    plan: Plan,
    published: PublishedState,
    *,
    files: Mapping[str, int] | None = None,
    removed: tuple[str, ...] = (),
    commit: Commit | None = None,
    dry_run: bool = False,
) -> Report:
    has_news = _has_news(plan, published)
    counted = _counted(plan, 0)
    return Report(
        target=target.place,
        release=plan.release.name if has_news else None,
        models=dict(Counter(entry.done.checkpoint.source for entry in plan.entries)),
        licences=dict(Counter(str(entry.done.licence_class) for entry in plan.entries)),
        layers=counted.layers,
        filters=counted.filters,
        rows=_rows_by_source(plan),
        weight_bytes=4 * sum(layer.numbers for entry in plan.entries for layer in entry.stored),
        skipped=len(plan.skipped),
        files=files or {},
        removed=removed,
        dry_run=dry_run,
        url=commit.url if commit else None,
        tag=commit.tag if commit else None,
        is_empty=not has_news,
        changed=plan.changed,
    )
