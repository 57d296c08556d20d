"""Which addresses the crawler may request: http(s) only, and no private address unless the user named it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from filterzoo.errors import Reason, Refused

# Not `ipaddress.is_global`: it also excludes documentation and benchmark ranges, which belong to no machine.
_INSIDE = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
        "::/127",
        "64:ff9b::/96",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)


PRIVATE = "the address lies inside this machine's networks; if it is yours, allow it with --allow-private"


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Decides for every URL, redirects included, whether it may be requested.

    allow_private: also allow addresses of this machine and its networks. trusted: host names from the user, or from an
    index the user trusts; they may be on a private network. hosts: called with a host name, False forbids it.
    """

    allow_private: bool = False
    trusted: frozenset[str] = field(default_factory=frozenset)
    hosts: Callable[[str], bool] | None = None

    def trusting(self, *urls: str) -> AddressPolicy:
        """The same policy, with the hosts of these URLs trusted."""
        return replace(self, trusted=self.trusted | {host_of(url) for url in urls})

    def check(self, url: str) -> None:
        """Refused (fetch_failed) for an address that must not be requested."""
        if not is_http(url):
            raise Refused(Reason.FETCH_FAILED, "only http and https addresses are fetched", shown(url))
        host = host_of(url)
        if self.hosts is not None and not self.hosts(host):
            raise Refused(Reason.FETCH_FAILED, "the host is not among the allowed ones", shown(url))
        if not self._may_be_private(host) and any(is_inside(address) for address in _addresses(url, host)):
            raise Refused(Reason.FETCH_FAILED, PRIVATE, shown(url))

    def check_peer(self, url: str, peer: str) -> None:
        """Refused if the connection's address `peer` is not allowed: a name may resolve differently after `check`."""
        if not self._may_be_private(host_of(url)) and not uses_proxy(url) and is_inside(peer):
            raise Refused(Reason.FETCH_FAILED, PRIVATE, shown(url))

    def _may_be_private(self, host: str) -> bool:
        return self.allow_private or host in self.trusted


def is_http(url: str) -> bool:
    """Whether it is an http or https address with a host."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for an invalid port
        return parts.scheme.lower() in {"http", "https"} and _is_host(parts.hostname or "") and url.isprintable()
    except ValueError:
        return False


def _is_host(name: str) -> bool:
    """Whether it may be the name or the address of a host (RFC 1123, 2.1), in any script."""
    labels = name.rstrip(".").split(".")
    return bool(name) and len(name) <= 253 and all(0 < len(label) <= 63 for label in labels)


def host_of(url: str) -> str:
    """The host's name in lower case, without a port."""
    return (urlsplit(url).hostname or "").rstrip(".").lower()


def origin_of(url: str) -> str:
    """Scheme, host and port, as in `https://huggingface.co:443`."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return f"{scheme}://{host_of(url)}:{parts.port or {'http': 80, 'https': 443}.get(scheme, 0)}"


def shown(url: str) -> str:
    """A URL as messages may show it: no password, no signed query, one line, at most 200 characters."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        text = f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
    except ValueError:
        text = url.split("?", maxsplit=1)[0].rpartition("@")[2]
    return ascii(text)[1:-1][:200]


def is_inside(address: str) -> bool:
    """Whether it is a loopback, link-local, private or multicast IP address; False for names."""
    try:
        ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return any(ip.version == network.version and ip in network for network in _INSIDE)


def uses_proxy(url: str) -> bool:
    """Whether the environment sends this URL through a proxy, which then resolves the name."""
    import urllib.request  # noqa: PLC0415  # with TLS and more, for requests only

    scheme = urlsplit(url).scheme.lower()
    proxies = urllib.request.getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not urllib.request.proxy_bypass(host_of(url))


def _addresses(url: str, host: str) -> list[str]:
    """The IP addresses of a URL's host; none if a proxy resolves it, or it does not resolve."""
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    if uses_proxy(url):
        return []
    try:
        # Also turns spellings such as 2130706433 or 0x7f.1 into addresses, as the connection would.
        return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []
