"""Connections of the door: only to checked addresses, and read within the limits of an exchange."""

from __future__ import annotations

import socket
import ssl
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from filterzoo.network.addresses import uses_proxy
from filterzoo.network.exchange import current

MAX_ADDRESSES = 4
"""Most addresses of a name that are tried, one after the other."""
KEPT_ALIVE = 5.0
"""Seconds for which an idle connection is kept for the next request."""


class GuardedTransport(httpx.BaseTransport):
    """The httpx transport: proxies from the environment, every connection through `CheckedNetwork`."""

    def __init__(self) -> None:
        self._tls = httpx.create_ssl_context()
        self._pools: dict[str | None, httpcore.ConnectionPool] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.BaseTransport`."""
        sent = httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx():
            answer = self._pool(str(request.url)).handle_request(sent)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream), extensions=answer.extensions
        )

    def close(self) -> None:
        """See `httpx.BaseTransport`."""
        for pool in self._pools.values():
            pool.close()

    def _pool(self, url: str) -> httpcore.ConnectionPool:
        proxy = _proxy(url)
        if proxy not in self._pools:
            self._pools[proxy] = self._new_pool(proxy)
        return self._pools[proxy]

    def _new_pool(self, proxy: str | None) -> httpcore.ConnectionPool:
        settings: dict[str, Any] = {
            "ssl_context": self._tls,
            "keepalive_expiry": KEPT_ALIVE,
            "network_backend": CheckedNetwork(),
        }
        if proxy is None:
            return httpcore.ConnectionPool(**settings)
        where = httpx.Proxy(proxy)
        url = httpcore.URL(
            scheme=where.url.raw_scheme, host=where.url.raw_host, port=where.url.port, target=where.url.raw_path
        )
        if where.url.scheme.startswith("socks5"):
            return httpcore.SOCKSProxy(proxy_url=url, proxy_auth=where.raw_auth, **settings)
        return httpcore.HTTPProxy(proxy_url=url, proxy_auth=where.raw_auth, **settings)


class CheckedNetwork(httpcore.NetworkBackend):
    """Resolves a name once, checks the addresses, and connects to exactly those."""

    def __init__(self) -> None:
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """See `httpcore.NetworkBackend`; Refused for an address inside this machine's networks."""
        exchange = current()
        addresses = [host]
        if exchange is not None and exchange.check_address is not None:
            addresses = _resolved(host, port)
            for address in addresses:
                exchange.check_address(address)
        for address in addresses[: MAX_ADDRESSES - 1]:
            try:
                return self._connect(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        return self._connect(addresses[MAX_ADDRESSES - 1], port, timeout, local_address, socket_options)

    def _connect(self, address: str, port: int, *settings: Any) -> httpcore.NetworkStream:
        return _Stream(self._network.connect_tcp(address, port, *settings), (address, port))


class _Stream(httpcore.NetworkStream):
    """A connection whose reads are bounded by the current exchange of the reading thread."""

    def __init__(self, stream: httpcore.NetworkStream, peer: tuple[str, int]) -> None:
        self._stream = stream
        self._peer = peer

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        exchange = current()
        if exchange is None:
            return self._stream.read(max_bytes, timeout)
        return exchange.read(lambda seconds: self._stream.read(max_bytes, seconds), timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._peer)

    def get_extra_info(self, info: str) -> Any:
        if info == "server_addr":
            return self._peer  # after a reset the socket has no peer
        return self._stream.get_extra_info(info)


class _Body(httpx.SyncByteStream):
    """A response's body, whose errors are converted to httpx's."""

    def __init__(self, parts: Any) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._parts

    def close(self) -> None:
        close: Callable[[], None] | None = getattr(self._parts, "close", None)
        if close is not None:
            close()


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Convert httpcore's errors to httpx's, which have the same names."""
    try:
        yield
    except Exception as error:
        kind = getattr(httpx, type(error).__name__, None) if type(error).__module__.startswith("httpcore") else None
        if kind is None:
            raise
        raise kind(str(error)) from error


def _resolved(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"the name cannot be resolved: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for a URL."""
    if not uses_proxy(url):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.partition(":")[0].lower()) or proxies["all"]
    return proxy if "://" in proxy else f"http://{proxy}"
