"""Loads plugins one by one: a failing plugin is recorded, and the others are used.

A plugin whose entry points declare its offers is imported only if one of them is used.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pluggy

import filterzoo
from filterzoo import hooks
from filterzoo.errors import Reason, Stage, StartError, describe
from filterzoo.manifests.naming import may_name
from filterzoo.outcome import LedgerEntry
from filterzoo.references import PluginReference

if TYPE_CHECKING:
    from filterzoo.archive import Archive
    from filterzoo.crawl.executor import Executor
    from filterzoo.format import Format
    from filterzoo.source import Source


OFFERS = "filterzoo.offers"
"""Entry points `KIND.NAME = "MODULE"` declare the offers of the plugin of the same module and distribution; KIND is
source, format, archive or executor. They must declare all offers of the module.
"""
BUILT_IN = {"executor:local": hooks.PROJECT}
"""Offers of the core itself, in the form of `Plugins.provided_by`."""


@dataclass(slots=True)
class Plugins:
    """The offers of plugins. `failures` are ledger entries of plugins that did not load."""

    sources: dict[str, type[Source]] = field(default_factory=dict)
    formats: dict[str, Format] = field(default_factory=dict)
    archives: dict[str, Archive] = field(default_factory=dict)
    executors: dict[str, type[Executor]] = field(default_factory=dict)
    commands: list[Callable[..., None]] = field(default_factory=list)
    failures: list[LedgerEntry] = field(default_factory=list)
    provided_by: dict[str, str] = field(default_factory=dict)
    """`source:NAME`, `format:NAME`, `archive:NAME`, `executor:NAME`, `command:NAME` -> the plugin that offers it.

    Plugins that are not imported are included.
    """
    format_references: list[PluginReference] = field(default_factory=list)
    """The plugins with formats or archives, which the jail loads too."""

    @property
    def source_names(self) -> frozenset[str]:
        """The names of all sources, including those that are not imported."""
        return self._names("source:")

    @property
    def executor_names(self) -> frozenset[str]:
        """The names of all executors, including those that are not imported."""
        return self._names("executor:")

    def _names(self, kind: str) -> frozenset[str]:
        return frozenset(key.removeprefix(kind) for key in self.provided_by if key.startswith(kind))


def references(files: Sequence[Path] = ()) -> list[PluginReference]:
    """Installed plugins, by name, then the given files; StartError for a missing file."""
    entry_points = importlib.metadata.entry_points(group=hooks.PROJECT)
    offers = _offers()
    found = [
        PluginReference(point.name, module=point.module, offers=offers.get((_distribution(point), point.module)))
        for point in sorted(entry_points, key=lambda point: point.name)
    ]
    for file in files:
        if not file.is_file():
            raise StartError(f"--plugin {file}: there is no such file; give the path of a Python file")
        found.append(PluginReference(file.stem, file=str(file.resolve())))
    return found


def _offers() -> dict[tuple[str, str], tuple[str, ...]]:
    """(distribution, module) -> offers declared by the entry points `KIND.NAME` in `OFFERS`."""
    found: dict[tuple[str, str], list[str]] = {}
    for point in importlib.metadata.entry_points(group=OFFERS):
        kind, _, name = point.name.partition(".")
        found.setdefault((_distribution(point), point.module), []).append(f"{kind}:{name}")
    return {place: tuple(sorted(offered)) for place, offered in found.items()}


def _distribution(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else ""


def only_formats(offer: str) -> bool:
    """Whether an offer is used for reading files without a zoo: the jail loads formats and archives."""
    del offer
    return False


def named_in(manifests: Sequence[Path], executor: str | None = None) -> Callable[[str], bool]:
    """Whether an offer is used by a crawl of these manifests with that executor."""
    named = may_name(manifests)
    return lambda offer: (
        offer == f"executor:{executor}" or (offer.startswith("source:") and named(offer.removeprefix("source:")))
    )


def load(plugin_references: Iterable[PluginReference], is_used: Callable[[str], bool] | None = None) -> Plugins:
    """Import every plugin and call its hooks. StartError if two offers have the same name.

    is_used: called with offers such as `source:NAME`; plugins are imported only if one of their declared offers is
    used. None: all are imported.
    """
    plugins = Plugins()
    for reference in plugin_references:
        if is_used is not None and reference.offers is not None and not any(map(is_used, reference.offers)):
            _leave(plugins, reference, reference.offers)
            continue
        stage = Stage.IMPORT
        try:
            module = reference.load()
            _check_version(module)
            stage = Stage.HOOK
            offer = _ask(reference, module)
            _check_offer(reference, offer)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin may raise anything; the run names it and goes on
            plugins.failures.append(plugin_failure(reference.name, stage, error, _error_line(reference, error)))
        else:
            _take(plugins, reference, offer)
    return plugins


class WrongOffer(Exception):
    """Raised for a plugin whose offers differ from its entry points; recorded as the plugin's ledger entry."""


class WrongVersion(Exception):
    """Raised for a plugin that requires another version of the plugin API; recorded as the plugin's ledger entry."""


def _check_version(module: ModuleType) -> None:
    asked = getattr(module, "filterzoo_api", hooks.API_VERSION)
    if asked != hooks.API_VERSION:
        raise WrongVersion(
            f"the plugin asks for version {asked!r} of the plugin API (filterzoo_api), and this is FilterZoo "
            f"{filterzoo.__version__} with version {hooks.API_VERSION}; install a fitting release of one of the two"
        )


def _error_line(reference: PluginReference, error: BaseException) -> str | None:
    """The line of an error in a file of `--plugin`.

    Only the file's name is given, because the text may be published.
    """
    if not reference.file:
        return None
    name = Path(reference.file).name
    if isinstance(error, SyntaxError) and error.filename == reference.file:
        return f"{name}, line {error.lineno}"
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == reference.file]
    return f"{name}, line {lines[-1]}" if lines else name


def plugin_failure(plugin: str, stage: Stage, error: BaseException, where: str | None = None) -> LedgerEntry:
    """The ledger entry of a plugin that raised before it listed a checkpoint."""
    return LedgerEntry(
        source=plugin,
        id=None,
        revision=None,
        url=None,
        stage=stage,
        reason=Reason.PLUGIN_ERROR,
        detail=describe(error),
        where=where,
        plugin=plugin,
    )


@dataclass(frozen=True, slots=True)
class _Offer:
    """The offers of one plugin's hooks, by name."""

    sources: list[tuple[str, type[Source]]]
    formats: list[tuple[str, Format]]
    archives: list[tuple[str, Archive]]
    executors: list[tuple[str, type[Executor]]]
    commands: list[tuple[str, Callable[..., None]]]

    def provided(self) -> list[str]:
        """The offers in the form of `Plugins.provided_by`."""
        offered: dict[str, Sequence[tuple[str, object]]] = {
            "source": self.sources,
            "format": self.formats,
            "archive": self.archives,
            "executor": self.executors,
            "command": self.commands,
        }
        return [f"{what}:{name}" for what, named in offered.items() for name, _ in named]


def _ask(reference: PluginReference, module: ModuleType) -> _Offer:
    """Call every hook; raises whatever the plugin raises."""
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    manager.register(module, reference.name)
    manager.check_pending()
    commands = [command for group in manager.hook.filterzoo_commands() for command in group]
    for command in commands:
        # Typer evaluates the annotations of all commands at once: a failing one would break every command.
        inspect.signature(command, eval_str=True)
    return _Offer(
        sources=[(source.name, source) for group in manager.hook.filterzoo_sources() for source in group],
        formats=[(format_.name, format_) for group in manager.hook.filterzoo_formats() for format_ in group],
        archives=[(archive.name, archive) for group in manager.hook.filterzoo_archives() for archive in group],
        executors=[(executor.name, executor) for group in manager.hook.filterzoo_executors() for executor in group],
        commands=[(command.__name__, command) for command in commands],
    )


def _check_offer(reference: PluginReference, offer: _Offer) -> None:
    if reference.file and not offer.provided():
        raise WrongOffer("it offers nothing: no function in it is a hook, such as filterzoo_sources under @hookimpl")
    if reference.offers is None:
        return
    found = tuple(sorted(key for key in offer.provided() if not key.startswith("command:")))
    if found != reference.offers:
        raise WrongOffer(
            f"its entry points in {OFFERS} name {', '.join(reference.offers)}, and its hooks offer "
            f"{', '.join(found) or 'nothing'}; correct the entry points, and install it again"
        )


def _leave(plugins: Plugins, reference: PluginReference, offers: tuple[str, ...]) -> None:
    """Record the declared offers of a plugin, without importing it."""
    for key in offers:
        _reserve(plugins, reference, key)
    if any(key.startswith(("format:", "archive:")) for key in offers):
        plugins.format_references.append(reference)


def _take(plugins: Plugins, reference: PluginReference, offer: _Offer) -> None:
    for key in offer.provided():
        _reserve(plugins, reference, key)
    plugins.sources |= dict(offer.sources)
    plugins.formats |= dict(offer.formats)
    plugins.archives |= dict(offer.archives)
    plugins.executors |= dict(offer.executors)
    plugins.commands += [command for _, command in offer.commands]
    if offer.formats or offer.archives:
        plugins.format_references.append(reference)


def _reserve(plugins: Plugins, reference: PluginReference, key: str) -> None:
    other = (BUILT_IN | plugins.provided_by).get(key)
    if other is not None:
        what, _, name = key.partition(":")
        raise StartError(f"the plugins {other!r} and {reference.name!r} both offer the {what} {name!r}; remove one")
    plugins.provided_by[key] = reference.name
