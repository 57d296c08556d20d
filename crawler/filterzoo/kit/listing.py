"""Runs a source's discovery and records what it listed, how it ended, and which hosts it contacted and when."""

from __future__ import annotations

import contextlib
import errno
import math
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import httpx

from filterzoo.errors import describe, line_of
from filterzoo.kit.findings import SHOWN
from filterzoo.network.addresses import uses_proxy
from filterzoo.network.door import Door
from filterzoo.network.files.cache import default_folder
from filterzoo.source import Source, SourceOptions

_MISSING = object()
PATIENCE = 120.0
"""Longest listing with the network, in seconds; later checkpoints are not checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A source with its options. limit: most checkpoints to list."""

    kind: type[Source]
    options: SourceOptions
    folder: Path
    allow_private: bool
    limit: int


@dataclass(slots=True)
class DiscoveryTrial:
    """The record of one run of `discover`."""

    items: list[object] = field(default_factory=list)
    error: BaseException | None = None
    """The exception that ended it early."""
    returned: str = ""
    """What `discover` returned, if that was no iterator."""
    asked: list[str] = field(default_factory=list)
    """Addresses requested through the door; only hosts, if the network was off."""
    asked_early: list[str] = field(default_factory=list)
    """... before the first checkpoint was requested."""
    past_the_door: list[str] = field(default_factory=list)
    """Hosts contacted without the door; recorded only with the network off."""
    unknown_hosts: list[str] = field(default_factory=list)
    """Hosts that do not resolve here; their listings are missing."""
    is_cut: bool = False
    """Whether it took longer than `PATIENCE`, and more may follow."""


def run_offline(setting: Setting) -> DiscoveryTrial:
    """Discovery with an empty cache and without a network: the door refuses, all other access raises an OSError."""
    listing = DiscoveryTrial()
    with offline_source(setting, listing) as source:
        _list(source, setting.limit, listing)
    return listing


def run_online(setting: Setting) -> DiscoveryTrial:
    """Discovery as in a crawl, with the user's cache; hosts that do not resolve are requested once."""
    listing = DiscoveryTrial()

    def has_address(host: str) -> bool:
        return host not in listing.unknown_hosts and _is_reachable(host)

    with (
        _no_patience_without_address(listing.unknown_hosts),
        Door(default_folder(), allow_private=setting.allow_private, hosts=has_address) as door,
    ):

        def remember(request: httpx.Request) -> None:
            listing.asked.append(str(request.url))

        door.transport.client.event_hooks = {"request": [remember]}
        _list(lambda: _created(setting, door), setting.limit, listing, PATIENCE)
    return listing


@contextlib.contextmanager
def offline_source(setting: Setting, listing: DiscoveryTrial | None = None) -> Iterator[Callable[[], Source]]:
    """Makes the source without a network; its requests are recorded in `listing`."""
    watched = DiscoveryTrial() if listing is None else listing

    def refuse_host(host: str) -> bool:
        watched.asked.append(host)
        return False

    with (
        tempfile.TemporaryDirectory(prefix="filterzoo-check-") as cache,
        _no_network(watched.past_the_door),
        Door(Path(cache), hosts=refuse_host) as door,
    ):
        yield lambda: _created(setting, door)


def out_of_reach(listing: DiscoveryTrial) -> str:
    """Why a zoo on these hosts cannot be listed from here; empty if it might be."""
    hosts = list(dict.fromkeys([*listing.asked, *listing.past_the_door]))
    return "" if any(map(_is_reachable, hosts)) else no_address(hosts)


def no_address(hosts: Sequence[str]) -> str:
    """The message that these hosts are unreachable."""
    more = f" and {len(hosts) - SHOWN} more" if len(hosts) > SHOWN else ""
    return f"no address is known for {', '.join(hosts[:SHOWN])}{more}"


def _is_reachable(host: str) -> bool:
    if uses_proxy(f"https://{host}"):
        return True
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def error_with_line(error: BaseException, kind: type[Source]) -> str:
    """The exception, and the innermost line of its traceback in the plugin."""
    where = line_of(error, kind)
    return describe(error) + (f" ({where})" if where else "")


def _created(setting: Setting, door: Door) -> Source:
    return setting.kind(setting.options, door.redirecting(setting.kind.hosts), setting.folder)


def _list(make: Callable[[], Source], limit: int, listing: DiscoveryTrial, patience: float = math.inf) -> None:
    end = time.monotonic() + patience
    try:
        try:
            found: Any = make().discover()
        finally:
            listing.asked_early = [*listing.asked, *listing.past_the_door]
        if not isinstance(found, Iterator):
            listing.returned = type(found).__name__
        for item in islice(found, limit):
            listing.items.append(item)
            if time.monotonic() > end:
                listing.is_cut = True
                break
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a source may raise anything; it is reported
        listing.error = error


@contextlib.contextmanager
def _no_patience_without_address(unknown: list[str]) -> Iterator[None]:
    """Hosts that do not resolve are added to `unknown`, and libraries retry without a pause."""
    resolve, sleep, is_lost = socket.getaddrinfo, time.sleep, False

    def resolved(host: Any, *rest: Any, **named: Any) -> Any:
        nonlocal is_lost
        is_lost = False
        try:
            return resolve(host, *rest, **named)
        except socket.gaierror:
            is_lost = True
            if str(host) not in unknown:
                unknown.append(str(host))
            raise

    def slept(seconds: float) -> None:
        if not is_lost:
            sleep(seconds)

    with _replaced(socket, "getaddrinfo", resolved), _replaced(time, "sleep", slept):
        yield


@contextlib.contextmanager
def _no_network(tried: list[str]) -> Iterator[None]:
    """Sockets of this process behave as on a machine without a network, for every library."""

    def connect(_self: socket.socket, address: object, *_rest: object) -> NoReturn:
        tried.append(str(address[0] if isinstance(address, tuple) else address))
        raise OSError(errno.ENETUNREACH, "the network is off for this check")

    def resolve(host: object, *_rest: object, **_named: object) -> NoReturn:
        tried.append(str(host))
        raise socket.gaierror(socket.EAI_AGAIN, "the network is off for this check")

    # The calls that all Python libraries use, and the pauses between retries; all are restored at the end.
    with (
        _replaced(time, "sleep", lambda _seconds: None),
        _replaced(socket.socket, "connect", connect),
        _replaced(socket.socket, "connect_ex", connect),
        _replaced(socket, "getaddrinfo", resolve),
    ):
        yield


@contextlib.contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """The attribute has another value while the block runs."""
    own = vars(owner).get(name, _MISSING)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is _MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
