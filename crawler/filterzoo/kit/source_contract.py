"""The contract of sources, rule by rule, each checked on a real run."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace

from pydantic import TypeAdapter, ValidationError

from filterzoo.errors import Refused, StartError, describe
from filterzoo.kit.findings import Finding, finding, name_faults, unchecked
from filterzoo.kit.listing import (
    PATIENCE,
    DiscoveryTrial,
    Setting,
    error_with_line,
    no_address,
    offline_source,
    out_of_reach,
    run_offline,
    run_online,
)
from filterzoo.network.addresses import host_of, is_http
from filterzoo.outcome import Refusal
from filterzoo.records import Artifact, Checkpoint
from filterzoo.reporting.counts import counted
from filterzoo.source import Source
from filterzoo.vocabularies import COLUMNS

LIMIT = 1000
"""Checkpoints that are checked."""
MOVING = frozenset({"", "main", "master", "head", "trunk", "develop", "dev", "latest", "current", "stable", "nightly"})
"""Revisions that are not pinned."""

_CHECKPOINT = TypeAdapter(Checkpoint)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_STRANGE_KEY = "no_source_has_this_key"

LAZY = "discover is lazy: it asks for nothing before the first checkpoint is wanted"
DOOR = "the network is reached through self.door only, the Hub also through huggingface_hub"
OFFLINE = "without a network discover gives a reason (Refused, StartError), no other error and no empty zoo"
ENDS = "discover lists to its end without an error"
STABLE = "a second run lists the same checkpoints in the same order"
NO_WEIGHTS = "discover fetches no weights"
OPENS = "open gives a file, or refuses with a reason"


def source_findings(setting: Setting) -> Iterator[Finding]:
    """Every rule in turn. The network is used only if the source lists nothing without it."""
    subject = f"source {setting.kind.name}"
    offline = run_offline(setting)
    needs_network = bool(offline.asked or offline.past_the_door)
    yield finding(subject, "its name is made of [a-z0-9_]", name_faults(setting.kind.name))
    yield finding(subject, "an unknown key in a manifest is refused", _option_faults(setting.kind))
    yield finding(subject, LAZY, _lazy_faults(offline))
    yield finding(subject, DOOR, _door_faults(offline))
    yield finding(subject, OFFLINE, _offline_faults(offline, setting.kind) if needs_network else ())
    why = out_of_reach(offline) if needs_network else ""
    is_online = needs_network and not why
    first = run_online(setting) if is_online else offline
    if not first.items and (why or isinstance(first.error, Refused | StartError)):
        yield unchecked(subject, ENDS, f"the zoo cannot be listed from here: {why or first.error}")
        return
    if first.unknown_hosts:
        yield unchecked(subject, "every zoo that it requests responds", no_address(first.unknown_hosts))
    if first.is_cut:
        cut = f"it listed {len(first.items)} in {PATIENCE:.0f} s, the rest was not looked at; try a smaller --limit"
        yield unchecked(subject, ENDS, cut)
    else:
        yield finding(subject, ENDS, _end_faults(first, setting.kind))
    again = replace(setting, limit=len(first.items)) if first.is_cut else setting
    second = run_online(again) if is_online else run_offline(again)
    yield from _listing_findings(subject, setting, first, second)


def _listing_findings(
    subject: str, setting: Setting, first: DiscoveryTrial, second: DiscoveryTrial
) -> Iterator[Finding]:
    checkpoints = [item for item in first.items if isinstance(item, Checkpoint) and not _storage_faults(item)]
    yield finding(subject, "every item is a Checkpoint or a Refusal that can be stored", _type_faults(first.items))
    if not checkpoints:
        yield unchecked(subject, "checkpoints are as they should be", "no sound checkpoint was listed")
        return
    yield finding(subject, "id and revision are given to one checkpoint only", _repeated(checkpoints))
    if second.is_cut and len(second.items) < len(first.items):
        yield unchecked(subject, STABLE, f"the second run listed {len(second.items)} in {PATIENCE:.0f} s")
    else:
        yield finding(subject, STABLE, _stability_faults(first, second))
    yield finding(subject, "every revision is pinned", _revision_faults(checkpoints))
    is_web = setting.kind.open is Source.open
    rule = "every artifact has an address, and a size and a hash that are right or None"
    yield finding(subject, rule, [fault for c in checkpoints for fault in _artifact_faults(c, is_web=is_web)])
    yield finding(subject, "facts are words of the vocabularies, or None", _word_faults(checkpoints))
    yield finding(subject, NO_WEIGHTS, _weight_faults(checkpoints, first.asked))
    yield finding(subject, OPENS, _open_faults(setting, checkpoints[0].artifacts))


def _option_faults(kind: type[Source]) -> list[str]:
    try:
        kind.options_type().model_validate({_STRANGE_KEY: 1})
    except ValidationError as error:
        if any(_STRANGE_KEY in entry["loc"] for entry in error.errors()):
            return []
    except Exception as error:  # noqa: BLE001  # a plugin's own validator may raise anything
        return [f"Options raised {describe(error)}, not a ValidationError"]
    return ["Options takes any key, so a slip of the pen goes unnoticed; derive it from SourceOptions"]


def _lazy_faults(offline: DiscoveryTrial) -> list[str]:
    faults = [f"it asked {host} while it was only called" for host in dict.fromkeys(offline.asked_early)]
    if offline.returned:
        faults.append(f"it gave a {offline.returned}; yield the checkpoints one by one")
    return faults


def _door_faults(offline: DiscoveryTrial) -> list[str]:
    hub = host_of(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    return _each("{} was asked without it", dict.fromkeys(host for host in offline.past_the_door if host != hub))


def _offline_faults(offline: DiscoveryTrial, kind: type[Source]) -> list[str]:
    if offline.error is None and not offline.items:
        return ["it listed nothing and raised nothing, so a dead network looks like an empty zoo"]
    if offline.error is None or isinstance(offline.error, Refused | StartError):
        return []
    return [f"it raised {error_with_line(offline.error, kind)}"]


def _end_faults(listing: DiscoveryTrial, kind: type[Source]) -> list[str]:
    if listing.error is None:
        return []
    listed = counted(len(listing.items), "checkpoint")
    return [f"after {listed} it raised {error_with_line(listing.error, kind)}; all that follow are lost"]


def _type_faults(items: Sequence[object]) -> list[str]:
    faults = []
    for number, item in enumerate(items):
        if isinstance(item, Checkpoint):
            faults += [f"{_shown(item)}: {fault}" for fault in _storage_faults(item)]
        elif not isinstance(item, Refusal):
            faults.append(f"item {number} is a {type(item).__name__}")
    return faults


def _storage_faults(checkpoint: Checkpoint) -> list[str]:
    try:
        _CHECKPOINT.validate_json(json.dumps(asdict(checkpoint)), strict=True)
    except ValidationError as error:
        return [f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors()[:1]]
    except (TypeError, ValueError) as error:
        return [describe(error)]
    return [] if checkpoint.id and checkpoint.artifacts else ["it needs an id and at least one artifact"]


def _repeated(checkpoints: Sequence[Checkpoint]) -> list[str]:
    counts = Counter((c.id, c.revision) for c in checkpoints)
    return [f"{id_!r} at {revision!r} is listed {n} times" for (id_, revision), n in counts.items() if n > 1]


def _stability_faults(first: DiscoveryTrial, second: DiscoveryTrial) -> list[str]:
    before, after = ([_identity(item) for item in listing.items] for listing in (first, second))
    if before == after:
        return []
    removed, new = (
        dict.fromkeys(a for a in one if a not in set(other)) for one, other in ((before, after), (after, before))
    )
    faults = [*_each("{} is not listed again", removed), *_each("{} is new", new)]
    return faults or ["the order is another, so that `limit` takes others each time; sort them"]


def _identity(item: object) -> str:
    return f"{item.id!r} at {item.revision!r}" if isinstance(item, Checkpoint | Refusal) else repr(type(item))


def _revision_faults(checkpoints: Sequence[Checkpoint]) -> list[str]:
    moving = [c for c in checkpoints if c.revision.strip().lower() in MOVING]
    advice = "name what never changes: a commit, a version, a date, the start of a sha256"
    return [f"{_shown(c)}: the revision {c.revision!r} is whatever is there today; {advice}" for c in moving]


def _artifact_faults(checkpoint: Checkpoint, *, is_web: bool) -> Iterator[str]:
    for artifact in checkpoint.artifacts:
        where = _shown(checkpoint)
        if not artifact.url or (is_web and not is_http(artifact.url)):
            yield f"{where}: {artifact.url!r} is no web address; override open to read from elsewhere"
        if artifact.size is not None and artifact.size <= 0:
            yield f"{where}: the size {artifact.size!r}; give the bytes, or None where they are unknown"
        if artifact.sha256 is not None and not _SHA256.fullmatch(artifact.sha256):
            yield f"{where}: the sha256 {artifact.sha256!r}; give 64 hex digits in lower case, or None"


def _word_faults(checkpoints: Sequence[Checkpoint]) -> list[str]:
    return [
        f"{column}: {value!r} is none of {', '.join(words)}"
        for column, words in COLUMNS.items()
        for value in dict.fromkeys(getattr(checkpoint, column) for checkpoint in checkpoints)
        if value is not None and value not in set(words)
    ]


def _weight_faults(checkpoints: Sequence[Checkpoint], asked: Sequence[str]) -> list[str]:
    # The contents of an archive are known only after reading its table.
    weights = {artifact.url for c in checkpoints for artifact in c.artifacts if artifact.member is None}
    return _each("it fetched {}", dict.fromkeys(url for url in asked if url in weights))


def _open_faults(setting: Setting, artifacts: Sequence[Artifact]) -> list[str]:
    """Opening the first file without a network, and a file that does not exist."""
    faults = []
    for artifact in (
        artifacts[0],
        replace(artifacts[0], url=f"{artifacts[0].url}.is-not-there", size=None, sha256=None),
    ):
        with offline_source(setting) as make:
            faults += _raised(lambda: make().open(artifact).close(), setting.kind)  # noqa: B023  # called at once
    return list(dict.fromkeys(faults))


def _raised(action: Callable[[], None], kind: type[Source]) -> list[str]:
    try:
        action()
    except Refused:
        return []
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a source may raise anything; it is reported
        return [f"of a file that cannot be had it raised {error_with_line(error, kind)}, not Refused"]
    return []


def _shown(checkpoint: Checkpoint) -> str:
    return repr(checkpoint.id)[:100]


def _each(sentence: str, items: Iterator[str] | dict[str, None]) -> list[str]:
    return [sentence.format(item) for item in items]
