"""Updates the metadata of finished checkpoints from their zoos and tables of facts; no weight is read."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from filterzoo.crawl.discovery import OpenSource
from filterzoo.crawl.task import Task
from filterzoo.outcome import Done
from filterzoo.records import Checkpoint
from filterzoo.source import Source
from filterzoo.store.journal import Journal

_KEPT = frozenset({"id", "revision", "source", "artifacts"})
"""Fields that identify the files that were read; all others are facts about the network."""
FACTS = tuple(field.name for field in fields(Checkpoint) if field.name not in _KEPT)


@dataclass(frozen=True, slots=True)
class Settled:
    """A checkpoint that needs no work. changed: the facts that changed in the journal."""

    task: Task
    changed: tuple[str, ...] = ()


def settled(journal: Journal, task: Task, opened: OpenSource) -> Settled | None:
    """The settled task, with its new facts recorded; None if its file has to be read again.

    That is required for facts that affect layers: another licence, or an architecture that the source can build.
    """
    key = task.settings.key
    if not journal.is_settled(task.checkpoint, key):
        return None
    done = journal.done_of(task.checkpoint)
    if done is None:
        return Settled(task)  # it failed permanently
    listed = _with_found_name(task.checkpoint, done)
    changed = tuple(name for name in FACTS if getattr(listed, name) != getattr(done.checkpoint, name))
    if "licence" in changed or ("architecture" in changed and _builds(opened)):
        return None
    if changed:
        facts = {name: getattr(listed, name) for name in changed}
        journal.record_done(replace(done, checkpoint=replace(done.checkpoint, **facts)), key)
    return Settled(task, changed)


def _with_found_name(listed: Checkpoint, done: Done) -> Checkpoint:
    """The checkpoint with the architecture's name from its files, if the listing has none."""
    if listed.architecture is None and done.architecture_found is not False:
        return replace(listed, architecture=done.checkpoint.architecture)
    return listed


def _builds(opened: OpenSource) -> bool:
    return type(opened.source).architectures is not Source.architectures
