"""Finds a plugin by name or file and checks everything it offers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from filterzoo import plugins as plugin_loading
from filterzoo.archive import Archive
from filterzoo.errors import StartError
from filterzoo.format import Format
from filterzoo.kit.archive_contract import archive_findings
from filterzoo.kit.findings import Finding, Verdict, finding, unchecked
from filterzoo.kit.format_contract import claims, format_findings
from filterzoo.kit.listing import Setting
from filterzoo.kit.source_contract import LIMIT, source_findings
from filterzoo.manifests.manifest import load_manifest
from filterzoo.plugins import Plugins
from filterzoo.references import PluginReference
from filterzoo.source import Source, SourceOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of a check.

    manifest: with the options of its sources. samples: valid files of its formats. limit: most checkpoints of a source
    that are checked. allow_private: zoos may be on this machine and its networks.
    """

    manifest: Path | None = None
    samples: Sequence[Path] = ()
    limit: int = LIMIT
    allow_private: bool = False


def check(target: str | Path, request: Request | None = None) -> Iterator[Finding]:
    """Every rule for every source, format and archive of a plugin, given by its name or as a Python file.

    StartError if the plugin does not exist, or the manifest lacks required options of its source.
    """
    request = request or Request()
    reference = _reference(target)
    loaded = plugin_loading.load([reference])
    subject = f"plugin {reference.name}"
    failures = [f"{failure.stage}: {failure.detail}" for failure in loaded.failures]
    yield finding(subject, "it can be loaded, and its hooks can be called", failures)
    if failures:
        return
    others = plugin_loading.load(other for other in plugin_loading.references() if not _is_same(other, reference))
    yield finding(subject, "its names are its own", _name_conflicts(loaded, others))
    if not loaded.sources and not loaded.formats and not loaded.archives:
        yield unchecked(subject, "what it offers is right", "it offers no source, no format and no archive")
    for kind in loaded.sources.values():
        known = others.sources | loaded.sources
        for options, folder in _blocks(kind, request.manifest, known):
            yield from source_findings(
                Setting(
                    kind=kind,
                    options=options,
                    folder=folder,
                    allow_private=request.allow_private,
                    limit=request.limit,
                )
            )
    readers: list[Format | Archive] = [*loaded.formats.values(), *loaded.archives.values()]
    if request.samples:
        unclaimed = [path.name for path in request.samples if not any(claims(reader, path) for reader in readers)]
        yield finding(subject, "its formats and archives accept the samples", unclaimed)
    for reader in readers:
        own = [path for path in request.samples if claims(reader, path)]
        if isinstance(reader, Format):
            yield from format_findings(reference, reader, own)
        else:
            yield from archive_findings(reader, [reference, *others.format_references], own)


def faults_of(
    target: str | Path, *, manifest: Path | None = None, samples: Sequence[Path] = (), allow_private: bool = False
) -> list[str]:
    """Violations of the contract, one line each; empty for a correct plugin. For the plugin's own tests."""
    request = Request(manifest=manifest, samples=samples, allow_private=allow_private)
    broken = [found for found in check(target, request) if found.verdict is Verdict.BROKEN]
    return [f"{found.subject}: {found.rule}: {found.detail}" for found in broken]


def _reference(target: str | Path) -> PluginReference:
    """The installed plugin of that name, or with an offer of that name; or the plugin in that file."""
    name = str(target)
    if isinstance(target, Path) or name.endswith(".py") or "/" in name:
        return plugin_loading.references([Path(target)])[-1]
    installed = plugin_loading.references()
    named = {reference.name: reference for reference in installed}
    if name not in named:
        offered = plugin_loading.load(installed, plugin_loading.only_formats).provided_by
        found = (offered.get(f"{what}:{name}") for what in ("source", "format", "archive"))
        name = next(filter(None, found), name)
    if name not in named:
        raise StartError(f"no installed plugin is called {name!r}; known: {', '.join(named)}; or give a Python file")
    return named[name]


def _is_same(first: PluginReference, other: PluginReference) -> bool:
    """Whether they are the same plugin, installed and given as a file."""
    if not other.file:
        return first == other
    return Path(other.file).stem == first.module.rpartition(".")[2]


def _name_conflicts(loaded: Plugins, others: Plugins) -> list[str]:
    taken = loaded.provided_by.keys() & others.provided_by.keys()
    return [f"the plugin {others.provided_by[key]!r} offers the {key.replace(':', ' ')} too" for key in sorted(taken)]


def _blocks(
    kind: type[Source], manifest: Path | None, known: dict[str, type[Source]]
) -> list[tuple[SourceOptions, Path]]:
    """The options of the source, and the base folder of relative paths in them."""
    if manifest is not None:
        read = load_manifest(manifest, known)
        blocks = [(block.options, read.folder) for block in read.sources if block.source == kind.name]
        if not blocks:
            raise StartError(f"{manifest}: no block in it names the source {kind.name!r}")
        return blocks
    try:
        return [(kind.options_type().model_validate({}), Path.cwd())]
    except ValidationError as error:
        needed = ", ".join(str(entry["loc"][0]) for entry in error.errors() if entry["loc"])
        raise StartError(
            f"the source {kind.name!r} needs {needed or 'options'}; name a manifest that has them with --manifest FILE"
        ) from error
