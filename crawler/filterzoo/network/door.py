"""The only access to the network: opens remote files by ranges, downloads whole files, reads documents.

HTTP libraries are imported with the first request, because a crawl of local files does not need them.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import filterzoo
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile, RandomAccessFile, check_side_name
from filterzoo.network.addresses import AddressPolicy, origin_of, shown
from filterzoo.network.authorisation import checked_headers
from filterzoo.network.decoding import ACCEPTED
from filterzoo.network.files.cache import DEFAULT_BYTES, Cache
from filterzoo.network.health import HostHealth
from filterzoo.network.hosts import rules_of
from filterzoo.network.listings import UnfinishedListings
from filterzoo.network.pace import FilePace, Pace
from filterzoo.network.time_limits import Clocks, Patience
from filterzoo.records import Artifact

if TYPE_CHECKING:
    import httpx

    from filterzoo.network.files.download import Download
    from filterzoo.network.transport import Transport

MAX_DOCUMENT = 64_000_000
USER_AGENT = f"filterzoo/{filterzoo.__version__} (+https://pypi.org/project/filterzoo/)"
"""The default User-Agent, with the project's address; a manifest's `user_agent` replaces it."""
MAX_FILE = 100_000_000_000


@dataclass(frozen=True, slots=True)
class Document:
    """A small, completely read response.

    `url` is the URL after redirects, `following` the next page of a list (RFC 8288).
    """

    url: str
    content_type: str
    body: bytes
    following: str | None = None


class CachedFile(LocalFile):
    """A complete download. Its side files are in the same folder of the server, not in the cache."""

    def __init__(self, path: Path, url: str, sha256: str | None, open_url: Callable[[str], RandomAccessFile]) -> None:
        super().__init__(path, follow_links=False)
        self.verified_sha256 = sha256
        self._url = url
        self._open_url = open_url

    def beside(self, name: str) -> RandomAccessFile:  # type: ignore[override]  # not always a local file
        """The file of that name in the same folder of the server."""
        from filterzoo.network.files.http_file import sibling  # noqa: PLC0415  # see above

        check_side_name(name)
        return self._open_url(sibling(self._url, name))


class _Client:
    """The HTTP client of a door and its copies, created with the first request; thread-safe."""

    def __init__(self, timeout: httpx.Timeout | None) -> None:
        self._timeout = timeout
        self._made: httpx.Client | None = None
        self._making = threading.Lock()

    def get(self) -> httpx.Client:
        import httpx  # noqa: PLC0415  # see above

        from filterzoo.network.connections import GuardedTransport  # noqa: PLC0415  # see above

        with self._making:
            if self._made is None:
                timeout = self._timeout or httpx.Timeout(30.0, connect=10.0, pool=60.0)
                headers = {"User-Agent": USER_AGENT, "Accept-Encoding": ACCEPTED}
                self._made = httpx.Client(timeout=timeout, headers=headers, transport=GuardedTransport())
            return self._made

    def close(self) -> None:
        with self._making:
            if self._made is not None:
                self._made.close()


@dataclass(frozen=True, slots=True)
class _Rules:
    """The settings in which copies of a door differ; the fields are those of `Transport`."""

    policy: AddressPolicy
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    redirects: tuple[str, ...] | None = None
    user_agent: str | None = None


class Door:
    """Fetches files and documents for all sources. Thread-safe; processes share the cache folder.

    cache: the cache's folder (`cache.default_folder`). allow_private: also allow addresses of this machine and its
    networks, for tests and private zoos. hosts: called with a host name, False forbids it. Files above `max_file_bytes`
    are refused as soon as their size is stated. pace: limits the rate of requests to a host, by default for all
    processes that share the cache. health: tracks hosts that are down. on_document: called after each small document.
    Every failure is a `Refused`: fetch_failed, removed, gated, changed, hash_mismatch, too_large.
    """

    def __init__(
        self,
        cache: Path,
        *,
        allow_private: bool = False,
        hosts: Callable[[str], bool] | None = None,
        max_file_bytes: int = MAX_FILE,
        max_cache_bytes: int = DEFAULT_BYTES,
        timeout: httpx.Timeout | None = None,
        clocks: Clocks | None = None,
        patience: Patience | None = None,
        pace: Pace | None = None,
        health: HostHealth | None = None,
        on_document: Callable[[], None] = lambda: None,
    ) -> None:
        self._clocks = clocks or Clocks()
        self.cache = Cache(cache, max_cache_bytes, self._clocks.now)
        self.max_file_bytes = max_file_bytes
        self.listings = UnfinishedListings(cache / "listings", self._clocks.now)
        self._on_document = on_document
        self._client = _Client(timeout)
        self.rules = _Rules(AddressPolicy(allow_private=allow_private, hosts=hosts))
        """The settings of this copy; all copies share one client."""
        self._pace = pace or FilePace(cache / "pace")
        self._patience = patience or Patience()
        self._health = health

    @property
    def transport(self) -> Transport:
        """The transport that sends requests."""
        from filterzoo.network.transport import Transport  # noqa: PLC0415  # see above

        rules = self.rules
        return Transport(
            self._client.get(),
            rules.policy,
            self._clocks,
            rules.headers,
            rules.redirects,
            pace=self._pace,
            user_agent=rules.user_agent,
            patience=self._patience,
            health=self._health,
        )

    def trusting(self, *urls: str) -> Door:
        """The same door for URLs that the user named: their hosts may be on a private network."""
        return self._with(replace(self.rules, policy=self.rules.policy.trusting(*urls)))

    def with_token(self, url: str, token: str | None) -> Door:
        """The same door, which sends a bearer token to the origin of `url` (scheme, host, port) only."""
        return self.with_headers(url, {"Authorization": f"Bearer {token}"} if token else {})

    def with_headers(self, url: str, headers: Mapping[str, str]) -> Door:
        """The same door, which sends these headers to the origin of `url` (scheme, host, port) only.

        Redirects do not forward them to another origin, and no message shows them. A token comes from the environment
        (`filterzoo.secret`), never from a manifest or the code. StartError for an invalid header.
        """
        origin = origin_of(url)
        before = self.rules.headers
        sent = {**before.get(origin, {}), **checked_headers(headers)}
        return self._with(replace(self.rules, headers={**before, origin: sent}))

    def redirecting(self, hosts: tuple[str, ...]) -> Door:
        """The same door for a source that declares these hosts: redirects to others are refused (`network.hosts`)."""
        return self._with(replace(self.rules, redirects=hosts))

    def bounded(self, most: int | None) -> Door:
        """The same door, limited to files of `most` bytes, regardless of the size that their zoo states."""
        other = copy.copy(self)
        other.max_file_bytes = self.max_file_bytes if most is None else min(most, self.max_file_bytes)
        return other

    def called(self, user_agent: str | None) -> Door:
        """The same door with the user's User-Agent; None changes nothing."""
        return self._with(replace(self.rules, user_agent=user_agent or self.rules.user_agent))

    def open(self, artifact: Artifact) -> RandomAccessFile:
        """A remote file: by ranges if the server supports them, otherwise as one download.

        Refused (hash_mismatch) if its size differs from the stated one. A stated hash is checked here only for whole
        downloads, because it cannot verify parts; `published_hashes` compares those of files read by ranges.
        """
        known = (
            self.cache.find(artifact.sha256)
            if artifact.sha256
            else self.cache.recent(artifact.url, rules_of(artifact.url).keeps)
        )
        if known is None:
            from filterzoo.network.files.probing import probed  # noqa: PLC0415  # see above

            download = self._download(artifact.url, artifact.sha256, artifact.size)
            found = probed(artifact, download, self._open_url, self.cache.scratch)
            if isinstance(found, RandomAccessFile):
                return found
            known = found
        path = known or self.download(artifact.url, artifact.sha256, artifact.size)
        return CachedFile(path, artifact.url, artifact.sha256, self._open_url)

    def download(self, url: str, sha256: str | None = None, size: int | None = None) -> Path:
        """Download the whole file into the cache and check it; resumes after an interruption.

        Without a hash the cached file is always revalidated with the server.
        """
        known = self.cache.find(sha256) if sha256 else None
        if known is not None:
            return known
        download = self._download(url, sha256, size)
        with self.cache.lock(download.key):
            return self.transport.retrying(url, download.attempt)

    def _download(self, url: str, sha256: str | None, size: int | None) -> Download:
        from filterzoo.network.files.download import Download  # noqa: PLC0415  # see above

        return Download(self.cache, self.transport, url, sha256, size, self.max_file_bytes)

    def get(self, url: str, *, accept: str = "*/*", limit: int = MAX_DOCUMENT) -> Document:
        """A small document, decoded, of at most `limit` bytes."""
        transport = self.transport

        def attempt() -> Document:
            with transport.get(url, {"Accept": accept}, frozenset({200})) as response:
                body = bytearray()
                for part in transport.body(response):
                    body += part
                    if len(body) > limit:
                        raise Refused(Reason.LIMIT, f"the response is larger than {limit} bytes", shown(url))
                kind, following = response.headers.get("content-type", ""), response.links.get("next", {}).get("url")
                return Document(str(response.url), kind, bytes(body), following)

        document = transport.retrying(url, attempt)
        self._on_document()
        return document

    def get_bytes(self, url: str, *, limit: int = MAX_DOCUMENT) -> bytes:
        """The bytes of a small document."""
        return self.get(url, limit=limit).body

    def get_pinned(self, url: str, *, limit: int = MAX_DOCUMENT) -> bytes:
        """The bytes of a small document whose URL contains a commit or a version: fetched once, then cached."""
        key = f"pinned:{url}"
        entry = self.cache.entry(key)
        path = self.cache.find(entry.sha256) if entry else None
        if path is None:
            path = self.cache.store(key, [self.get_bytes(url, limit=limit)])
        return path.read_bytes()

    def kept(self, key: str, made: Callable[[], list[str]]) -> list[str]:
        """Names derived from an immutable resource, cached; `made` computes them if they are missing."""
        entry = self.cache.entry(key)
        path = self.cache.find(entry.sha256) if entry else None
        if path is None:
            names = made()
            self.cache.store(key, [json.dumps(names).encode()])
            return names
        return [str(name) for name in json.loads(path.read_bytes())]

    def get_json(
        self, url: str, *, accept: str = "application/json", limit: int = MAX_DOCUMENT, pinned: bool = False
    ) -> Any:
        """A small JSON document as plain data. pinned: see `get_pinned`."""
        try:
            body = self.get_pinned(url, limit=limit) if pinned else self.get(url, accept=accept, limit=limit).body
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Refused(Reason.FETCH_FAILED, "the response is not JSON", shown(url)) from error

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        self.listings.close(is_stopped=kind is not None)
        self.close()

    def _open_url(self, url: str) -> RandomAccessFile:
        return self.open(Artifact(url=url))

    def _with(self, rules: _Rules) -> Door:
        other = copy.copy(self)
        other.rules = rules
        return other
