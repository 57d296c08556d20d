"""The first stage: lists the checkpoints of the manifests, and skips those excluded by licence or limits."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from pydantic import ConfigDict, TypeAdapter, ValidationError

from filterzoo.crawl.task import Settings, Task
from filterzoo.errors import (
    FilterZooError,
    Reason,
    Refused,
    Stage,
    StartError,
    StorageFailed,
    describe,
    line_of,
    storable,
)
from filterzoo.licensing.licences import Licence
from filterzoo.manifests.manifest import Manifest, load_manifests
from filterzoo.network.authorisation import filled
from filterzoo.network.door import Door
from filterzoo.outcome import LedgerEntry, Refusal
from filterzoo.plugins import Plugins, plugin_failure
from filterzoo.records import Checkpoint
from filterzoo.source import Source, SourceOptions
from filterzoo.temporary import Seen
from filterzoo.vocabularies import wrong_words

_CHECKPOINT = TypeAdapter(Checkpoint)


@cache
def _refusals() -> TypeAdapter[Refusal]:
    """Created on first use, because most sources refuse nothing."""
    return TypeAdapter(Refusal)


@dataclass(frozen=True, slots=True)
class OpenSource:
    """A source with the options of one block of a manifest."""

    source: Source
    limit: int | None
    settings: Settings


def _manifests(paths: Sequence[Path], plugins: Plugins) -> tuple[Manifest, ...]:
    """The manifests; errors name the plugins that failed to load, because they may offer a missing source."""
    try:
        known = _known(plugins)
        return load_manifests(paths, known, plugins.source_names - known.keys())
    except StartError as error:
        broken = [f"plugin {one.plugin} did not load: {one.detail}" for one in plugins.failures]
        places = [f" ({one.where})" if one.where and one.where not in one.detail else "" for one in plugins.failures]
        # First, since a missing source is most often that of a plugin that did not load.
        causes = "".join(f"{text}{place}; " for text, place in zip(broken, places, strict=True))
        raise StartError(f"{causes}{error}") from error


def open_sources(
    manifests: Sequence[Path], plugins: Plugins, door: Door, folders: Sequence[Path] = ()
) -> list[OpenSource]:
    """Every block of every manifest, in order; StartError for an invalid manifest.

    folders: base folders of relative paths in each manifest, if these are not the manifests' own folders.
    """
    known = _known(plugins)
    opened = []
    for number, manifest in enumerate(_manifests(manifests, plugins)):
        folder = folders[number] if folders else manifest.folder
        settings = _settings(manifest)
        for block in manifest.sources:
            kind = known[block.source]
            own_door = door.redirecting(kind.hosts).called(manifest.user_agent).bounded(settings.max_bytes)
            try:
                own_door = _authorised(own_door, block.headers)
            except StartError as error:
                raise StartError(f"{manifest.path}: sources: {block.source}: {error}") from error
            source = _made(kind, block.options, own_door, folder)
            opened.append(OpenSource(source, block.limit, settings))
    return opened


def _made(kind: type[Source], options: SourceOptions, door: Door, folder: Path) -> Source:
    """The source; one whose constructor raises becomes a source that cannot be listed, so that the others go on."""
    try:
        return kind(options, door, folder)
    except FilterZooError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  # as in `_of_source`
        detail = f"its constructor raised {describe(error)}"
        return _unlisted(kind.name, Refused(Reason.PLUGIN_ERROR, detail, _place(error, kind), kind.name))(
            SourceOptions(), door, folder
        )


def _unlisted(source: str, refusal: Refused) -> type[Source]:
    class UnlistedSource(Source):
        name = source

        def discover(self) -> Iterator[Checkpoint]:
            raise refusal

    return UnlistedSource


def _place(error: BaseException, kind: type[Source]) -> str | None:
    """The line of the plugin that raised; of its `discover` where the error is in what that gave."""
    code = getattr(kind.discover, "__code__", None)
    defined = code and f"{Path(code.co_filename).name}, line {code.co_firstlineno}"
    return line_of(error, kind) or defined


def _authorised(door: Door, headers: Mapping[str, Mapping[str, str]]) -> Door:
    """The door with a manifest's headers, with values from the environment, for the servers that the user named."""
    for origin, templates in headers.items():
        sent = {name: filled(template) for name, template in templates.items()}
        door = door.trusting(origin).with_headers(origin, sent)
    return door


def named_sources(manifests: Sequence[Path], plugins: Plugins) -> list[str]:
    """The sources that the manifests name, in order; StartError for an invalid manifest."""
    blocks = (block for manifest in _manifests(manifests, plugins) for block in manifest.sources)
    return list(dict.fromkeys(block.source for block in blocks))


class Ends(Protocol):
    """The interface of watchers of listings."""

    def ended(self, source: str, *, is_listed: bool) -> None:
        """Called once for each block of a manifest."""


def discover(
    sources: Sequence[OpenSource],
    only: str | None = None,
    watch: Ends | None = None,
    *,
    is_alone: bool | None = None,
) -> Iterator[Task | LedgerEntry]:
    """Tasks, and ledger entries for checkpoints excluded by licence, limits or their zoo, and for failing sources.

    Each (source, id, revision) is yielded once, where it is listed first. watch: called for each source, with whether
    it was listed to its end. StartError if the only source cannot start for a reason other than a server; otherwise a
    failure is recorded, and the other sources are listed. is_alone: whether there is only one source, if the caller
    knows.
    """
    chosen = [(number, opened) for number, opened in enumerate(sources) if only in {None, opened.source.name}]
    with Seen() as seen:
        for number, opened in chosen:
            alone = len(chosen) == 1 if is_alone is None else is_alone
            is_listed = yield from _of_source(number, opened, seen, is_alone=alone)
            if watch is not None:
                watch.ended(opened.source.name, is_listed=is_listed)


def _of_source(
    number: int, opened: OpenSource, seen: Seen, *, is_alone: bool
) -> Generator[Task | LedgerEntry, None, bool]:
    """The tasks and entries of one block of a manifest; returns whether it was listed to its end."""
    try:
        for listed in islice(opened.source.discover(), opened.limit):
            found = _task_or_entry(listed, number, opened)
            if seen.is_new(opened.source.name, listed.id, listed.revision):
                yield found
    except StorageFailed:
        raise
    except StartError as error:
        if is_alone and not isinstance(error.__cause__, Refused):
            raise
        yield _not_started(opened.source.name, error)
    except Refused as refusal:
        entry = plugin_failure(opened.source.name, Stage.DISCOVER, refusal)
        yield replace(
            entry, reason=refusal.reason, detail=refusal.detail, where=refusal.where, not_before=refusal.not_before
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a source may raise anything; it is named and the others go on
        where = _place(error, type(opened.source))
        yield plugin_failure(opened.source.name, Stage.DISCOVER, error, where)
    else:
        return True
    return False


def _not_started(source: str, error: StartError) -> LedgerEntry:
    """The entry of a source that cannot start, with the network's reason if that is the cause."""
    entry = plugin_failure(source, Stage.DISCOVER, error)
    cause = error.__cause__
    reason = Reason.FETCH_FAILED if isinstance(cause, Refused) else entry.reason
    not_before = cause.not_before if isinstance(cause, Refused) else None
    return replace(entry, reason=reason, detail=storable(f"it cannot start: {error}"), not_before=not_before)


def _task_or_entry(listed: Checkpoint | Refusal, number: int, opened: OpenSource) -> Task | LedgerEntry:
    if not isinstance(listed, Refusal):
        task = Task(checked(listed, opened.source.name), number, opened.settings)
        if wrong := wrong_words(task.checkpoint):
            # An undefined word in a published table is worse than a missing row.
            return task.ledger_entry(Stage.DISCOVER, Refused(Reason.PLUGIN_ERROR, "; ".join(wrong)))
        return gate(task)
    refusal: Refusal = _storable(_refusals(), listed)
    return LedgerEntry(
        source=opened.source.name,
        id=refusal.id,
        revision=refusal.revision,
        url=refusal.url,
        stage=Stage.DISCOVER,
        reason=refusal.reason,
        detail=refusal.detail,
        where=None,
        plugin=None,
        licence=Licence.parse(refusal.licence).expression,
    )


def gate(task: Task) -> Task | LedgerEntry:
    """Skip a checkpoint before any byte is fetched, if possible.

    If the zoo states no licence, the file may state one, which is read with the index, before the weights.
    """
    stated = task.checkpoint.licence
    if stated and stated.strip():
        decision = task.settings.policy.decide(Licence.parse(stated))
        if decision.reason is not None:
            return task.ledger_entry(Stage.DISCOVER, Refused(decision.reason, decision.detail))
    size = sum(artifact.size or 0 for artifact in task.checkpoint.artifacts)
    if task.settings.max_bytes is not None and size > task.settings.max_bytes:
        detail = f"{size} bytes, the manifest allows {task.settings.max_bytes}"
        return task.ledger_entry(Stage.DISCOVER, Refused(Reason.TOO_LARGE, detail))
    return task


def _storable(adapter: TypeAdapter[Any], listed: Checkpoint | Refusal) -> Any:
    """The record in a storable form; ValueError for fields of wrong types or invalid text."""
    if not isinstance(listed, (Checkpoint, Refusal)):
        raise TypeError(f"discover() gave {ascii(listed)[:80]}, which is no Checkpoint")
    try:
        return adapter.validate_json(json.dumps(listed, default=_fields), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise ValueError(f"{ascii(listed.id)[:200]} cannot be stored: {place} {first['msg']}") from None


def _fields(record: object) -> dict[str, Any]:
    """A dataclass as a JSON object; TypeError for other objects that JSON does not support."""
    if not is_dataclass(record):
        raise TypeError(f"Object of type {type(record).__name__} is not JSON serializable")
    return {field.name: getattr(record, field.name) for field in fields(record)}


def checked(checkpoint: Checkpoint, source: str) -> Checkpoint:
    """The checkpoint with its source's name; ValueError or TypeError for an invalid one."""
    checked: Checkpoint = _storable(_CHECKPOINT, checkpoint)
    if not checked.artifacts:
        raise ValueError(f"the checkpoint {checked.id[:200]!r} has no artifacts")
    if not checked.id or not checked.revision:
        raise ValueError(f"the checkpoint {checked.id[:200]!r} needs an id and a pinned revision")
    return replace(checked, source=source)


def _settings(manifest: Manifest) -> Settings:
    return Settings(
        kernels=frozenset(manifest.kernels),
        policy=manifest.licences,
        max_bytes=manifest.limits.checkpoint_bytes,
        max_filters=manifest.limits.filters_per_checkpoint,
        verify_sha256=manifest.verify_sha256,
        budget=manifest.limits.budget,
    )


def _known(plugins: Plugins) -> dict[str, type[Source]]:
    """Sources by name; those of plugins that did not load list nothing."""
    return {failure.source: _failed(failure.source) for failure in plugins.failures} | plugins.sources


def _failed(plugin: str) -> type[Source]:
    """A placeholder for the source of a plugin that did not load: it accepts any options and lists nothing."""

    class FailedSource(Source):
        name = plugin

        class Options(SourceOptions):
            model_config = ConfigDict(extra="allow")

        def discover(self) -> Iterator[Checkpoint]:
            return iter(())

    return FailedSource
