"""A release: what is new in a work folder goes to a target in one step, or nothing happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import tenacity

from filterzoo.published import is_hub_name
from filterzoo_publish.card import card
from filterzoo_publish.folder import FolderTarget
from filterzoo_publish.parquet import Shard
from filterzoo_publish.plan import Plan, Work, make_plan, open_work
from filterzoo_publish.sample import CONFIG as SAMPLE
from filterzoo_publish.sample import quota, sample_shards, thinned_shards
from filterzoo_publish.schema import CONFIGS, arrow_schema
from filterzoo_publish.shards import filter_shards, layer_shards, model_shards, table_shard
from filterzoo_publish.state import Published, read_published
from filterzoo_publish.tables import models_table
from filterzoo_publish.targets import README, RELEASE, Commit, Conflict, Target

_ATTEMPTS = 6
"""How often a release is planned anew because another publisher was faster or an answer was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a release added, or would add.

    models: by source. licences: models by licence class. filters: stored ones, each unique layer's once. skipped: rows
    of the ledger as it is now. files: path -> bytes, empty for a dry run. url, tag: of the commit, on the Hub.
    """

    target: str
    models: Mapping[str, int]
    licences: Mapping[str, int]
    layers: int
    filters: int
    skipped: int
    files: Mapping[str, int]
    removed: tuple[str, ...]
    dry_run: bool
    url: str | None
    tag: str | None
    is_empty: bool
    """Nothing was, or would be, added or replaced."""

    def document(self) -> dict[str, Any]:
        """The report as `publish --json` prints it."""
        return asdict(self)


def target_for(name: str, *, create_pr: bool = False, private: bool = False) -> Target:
    """The target a user names: `user/name` on the Hub, unless there is such a folder; anything else is a folder."""
    if not is_hub_name(name):
        return FolderTarget(Path(name))
    from filterzoo_publish.hub import HubTarget  # noqa: PLC0415  # half a second that a folder does not need

    return HubTarget(name, create_pr=create_pr, private=private)


def publish(
    workdir: Path, target: Target, *, dry_run: bool = False, watch: Callable[[Shard], None] | None = None
) -> Report:
    """Add what the target lacks; a dry run only tells what that is. `watch` is shown each file as it is finished.

    Raises StartError when there is nothing to publish from, or the target cannot be written to; Conflict when others
    were faster every time.
    """
    work = open_work(workdir)
    with target:
        if dry_run:
            published = read_published(target.read())
            plan = make_plan(work, published)
            return _report(target, plan, published, dry_run=True)
        retries = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Conflict),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=tenacity.wait_exponential(multiplier=0.1, max=10) + tenacity.wait_random(0, 0.1),
            reraise=True,
        )
        return retries(_release, work, target, watch or (lambda _shard: None))


def _release(work: Work, target: Target, watch: Callable[[Shard], None]) -> Report:
    folder = target.prepare()
    published = read_published(target.read())
    plan = make_plan(work, published)
    before = {path for config in CONFIGS for path in published.paths(config)}
    outdated: set[str] = set()
    files: dict[str, int] = {}
    for shard in _shards(plan, work, published, folder, outdated):
        outdated.discard(shard.path)
        if shard.path in before:
            shard.local.unlink()
            continue
        target.add(shard)
        files[shard.path] = shard.size
        watch(shard)
    removed = tuple(sorted(outdated))
    models = pa.concat_tables([published.models, models_table(plan.entries)])
    readme = card(target.name, models, plan.skipped)
    if not files and not removed and published.files and published.files.text(README) == readme:
        commit = target.settle()
    else:
        commit = target.commit(readme.encode(), removed, f"{RELEASE}: {len(plan.entries)} new models")
    return _report(target, plan, published, files=files, removed=removed, commit=commit)


def _shards(plan: Plan, work: Work, published: Published, folder: Path, outdated: set[str]) -> Iterator[Shard]:
    """Every file of the release; files that these replace are put into `outdated` before."""
    pointers = dict(plan.pointers)
    written: set[str] = set()
    steps = (
        filter_shards(plan, work.store, folder, pointers),
        layer_shards(plan, work.store, folder, pointers),
        _sample(plan, work, published, folder, outdated),
        model_shards(plan, folder),
        _skipped(plan, published, folder, outdated),
    )
    for step in steps:
        for shard in step:
            written.add(shard.config)
            yield shard
    for config in CONFIGS:
        if config not in written and not published.paths(config):
            yield table_shard(arrow_schema(config).empty_table(), folder, config)


def _sample(plan: Plan, work: Work, published: Published, folder: Path, outdated: set[str]) -> Iterator[Shard]:
    """The sample of the new models; when they are so many that each gets fewer, the present files are thinned."""
    present = published.models["published_filters"].to_pylist()
    coming = [sum(layer.filters for layer in entry.published) for entry in plan.entries]
    size = quota([*present, *coming])
    if size < quota(present):
        outdated.update(path for path in published.paths(SAMPLE) if published.read_file(path).num_rows)
        yield from thinned_shards(published, folder, size)
    yield from sample_shards(plan, work.store, folder, size)


def _skipped(plan: Plan, published: Published, folder: Path, outdated: set[str]) -> Iterator[Shard]:
    """The ledger as it is now, in place of the one before."""
    if published.paths("skipped") and plan.skipped.equals(published.skipped):
        return
    outdated.update(published.paths("skipped"))
    yield table_shard(plan.skipped, folder, "skipped")


def _report(
    target: Target,
    plan: Plan,
    published: Published,
    *,
    files: Mapping[str, int] | None = None,
    removed: tuple[str, ...] = (),
    commit: Commit | None = None,
    dry_run: bool = False,
) -> Report:
    is_same = not plan.entries and published.files is not None and plan.skipped.equals(published.skipped)
    return Report(
        target=target.place,
        models=dict(Counter(entry.done.checkpoint.source for entry in plan.entries)),
        licences=dict(Counter(str(entry.done.licence_class) for entry in plan.entries)),
        layers=sum(entry.done.n_layers for entry in plan.entries),
        filters=sum(layer.filters for entry in plan.entries for layer in entry.stored),
        skipped=len(plan.skipped),
        files=files or {},
        removed=removed,
        dry_run=dry_run,
        url=commit.url if commit else None,
        tag=commit.tag if commit else None,
        is_empty=is_same and not files and not removed,
    )
