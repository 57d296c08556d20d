"""HTTP GET with retries, Retry-After, redirects, time limits, and refusals with a reason."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import httpx
import tenacity

from filterzoo.errors import Reason, Refused
from filterzoo.network.addresses import AddressPolicy, host_of, is_http, origin_of, shown, uses_proxy
from filterzoo.network.authorisation import Secrets
from filterzoo.network.decoding import decoded
from filterzoo.network.exchange import open_exchange
from filterzoo.network.health import HostHealth, utc
from filterzoo.network.hosts import CODES, Host, matches, rules_of
from filterzoo.network.pace import Pace
from filterzoo.network.time_limits import Clocks, Patience

Result = TypeVar("Result")

ATTEMPTS = 5
MAX_REDIRECTS = 5
MAX_WAIT = 300.0
"""Seconds; a server that requests a longer pause is not retried in this run."""
SLOW_START = 60.0
SLOWEST = 4_096.0
"""Bytes a second, after SLOW_START seconds; a slower response counts as broken."""
BLOCKED = 60.0
"""Seconds without requests after a host rejected unusual traffic."""

MAX_PAGE = 262_144
"""Bytes of an HTML page that are read to recognise it."""

_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_REASONS = {
    401: (Reason.GATED, "the server asks for a login"),
    # The host gives no reason: it may be a missing agreement or a rate limit. A later retry distinguishes them.
    403: (Reason.FETCH_FAILED, "the server does not let us read it now"),
    404: (Reason.REMOVED, "not found"),
    410: (Reason.REMOVED, "gone"),
    412: (Reason.CHANGED, "the file changed on the server"),
    451: (Reason.REMOVED, "withheld for legal reasons"),
}


class Transient(Exception):
    """Raised for a transient failure; `wait` is the pause in seconds that the server requests."""

    def __init__(self, detail: str, wait: float | None = None) -> None:
        super().__init__(detail, wait)
        self.detail = detail
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Transport:
    """Sends GET requests to addresses that its policy allows."""

    client: httpx.Client
    policy: AddressPolicy
    clocks: Clocks
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """Secret headers by the origin (scheme, host and port) that they are sent to; redirects do not forward them."""
    redirects: tuple[str, ...] | None = None
    """Patterns of hosts that may be redirected to, besides the host itself and its storage; None for any."""
    pace: Pace | None = None
    """Limits the rate of requests to a host; None for no limit."""
    user_agent: str | None = None
    """The manifest's User-Agent; None for the project's name and address."""
    patience: Patience = field(default_factory=Patience)
    health: HostHealth | None = None
    """The circuit breaker for hosts; None to do without."""

    def retrying(self, url: str, action: Callable[[], Result]) -> Result:
        """The result of `action`, tried again while it raises `Transient`; then Refused (fetch_failed)."""
        backoff = tenacity.wait_exponential(multiplier=0.5, max=30) + tenacity.wait_random(0, 0.25)
        retries = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Transient),
            stop=lambda state: state.attempt_number >= ATTEMPTS or _asked_wait(state) > MAX_WAIT,
            wait=lambda state: max(_asked_wait(state), backoff(state)),
            sleep=self.clocks.sleep,
            reraise=True,
        )
        try:
            return retries(action)
        except Transient as error:
            if error.wait is None or error.wait <= MAX_WAIT:
                raise Refused(Reason.FETCH_FAILED, error.detail, shown(url)) from error
            detail, until = f"{error.detail}; it asks to wait {error.wait:.0f} s", utc(self.clocks.now() + error.wait)
            raise Refused(Reason.FETCH_FAILED, detail, shown(url), not_before=until) from error

    @contextmanager
    def get(
        self,
        url: str,
        headers: Mapping[str, str],
        ok: frozenset[int],
        on_redirect: Callable[[httpx.Response], None] | None = None,
    ) -> Iterator[httpx.Response]:
        """The response to one GET after redirects, its body not read yet; its status is one of `ok`.

        on_redirect: called with each redirect. Raises Transient or Refused. httpx's own errors while the body is read
        become Transient as well.
        """
        try:
            with self._follow(url, headers, on_redirect) as response:
                if response.status_code not in ok:
                    raise self._failure(response)
                yield response
        except Refused as refusal:
            raise self._secrets.hide(refusal) from refusal.__cause__
        except httpx.TransportError as error:
            raise Transient(self._secrets.hidden(f"the connection failed: {_sentence(error)}")) from error
        except (httpx.InvalidURL, httpx.HTTPError, httpx.StreamError, UnicodeError) as error:
            failed = Refused(Reason.FETCH_FAILED, f"the request failed: {_sentence(error)}", shown(url))
            raise self._secrets.hide(failed) from error

    def body(self, response: httpx.Response, *, raw: bool = False) -> Iterator[bytes]:
        """The body in pieces, decoded unless `raw`; Transient if it arrives too slowly."""
        start, length = self.clocks.monotonic(), 0
        encodings = "" if raw else response.headers.get("content-encoding", "")
        for part in decoded(response.iter_raw(), encodings, shown(str(response.url))):
            length += len(part)
            elapsed = self.clocks.monotonic() - start
            if elapsed > SLOW_START and length / elapsed < SLOWEST:
                raise Transient(f"the server sends less than {SLOWEST / 1024:.0f} KB a second")
            yield part

    @contextmanager
    def _follow(
        self, url: str, headers: Mapping[str, str], on_redirect: Callable[[httpx.Response], None] | None
    ) -> Iterator[httpx.Response]:
        for _ in range(MAX_REDIRECTS + 1):
            self.policy.check(url)
            if self.health is not None:
                self.health.check(url, self.clocks.now())
            self._keep_pace(rules_of(url))
            sent = self._user_agent_header() | dict(headers) | dict(self.headers.get(origin_of(url), {}))
            with (
                open_exchange(shown(url), self.patience, self._address_check(url)) as exchange,
                self._answer(url, sent) as response,
            ):
                exchange.begin_body(stated_length(response))
                self._check_peer(url, response)
                target = self._next(url, response)
                if target is None:
                    yield response
                    return
                if on_redirect is not None:
                    on_redirect(response)
                url = target
        raise Refused(Reason.FETCH_FAILED, f"more than {MAX_REDIRECTS} redirects", shown(url))

    @contextmanager
    def _answer(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """The response of one host, its body not read yet; success and failure count for the host's health."""
        has_head = False
        try:
            with self.client.stream("GET", url, headers=headers, follow_redirects=False) as response:
                has_head = True
                self._note(url, response)
                yield response
        except httpx.TransportError:
            if not has_head and self.health is not None:
                self.health.failed(url, self.clocks.now())
            raise

    def _note(self, url: str, response: httpx.Response) -> None:
        if self.health is None:
            return
        status, rules = response.status_code, rules_of(url)
        if status in rules.blocks or self._is_transient(response):
            self.health.failed(url, self.clocks.now(), self._asked_pause(response), MAX_WAIT)
        else:
            self.health.answered(url)

    def _is_transient(self, response: httpx.Response) -> bool:
        status = response.status_code
        return status in _TRANSIENT_STATUS or rules_of(str(response.url)).is_limit(status, response.headers)

    def _asked_pause(self, response: httpx.Response) -> float | None:
        """The pause in seconds that the response requests."""
        pauses = (
            self._retry_after(response),
            rules_of(str(response.url)).wait(response.headers, self.clocks.now()),
        )
        return max((wait for wait in pauses if wait), default=None)

    def _keep_pace(self, rules: Host) -> None:
        if self.pace is not None and rules.interval:
            self.pace.wait(rules.names[0], rules.interval, self.clocks.now, self.clocks.sleep)

    def _next(self, url: str, response: httpx.Response) -> str | None:
        """The next URL: a redirect's target, or the file that a known page refers to; None for a final response."""
        rules = rules_of(url)
        if response.has_redirect_location:
            target = _target(url, response.headers["location"])
            self._check_redirect(rules, url, target)
            return target
        if not rules.pages or "text/html" not in response.headers.get("content-type", "").lower():
            return None
        address = rules.file_address(url, self._page(response), self.clocks.now())
        if address is None and response.is_success:
            raise Refused(Reason.FETCH_FAILED, "the server sent an HTML page instead of the file", shown(url))
        return address

    def _check_redirect(self, rules: Host, url: str, target: str) -> None:
        """Refused unless it leads to the same host, its storage or a declared host, or starts at a trusted host."""
        host = host_of(target)
        if matches(host, rules.logins):
            raise Refused(Reason.GATED, "the server asks for a login", shown(url))
        if self.redirects is None or host_of(url) in {host, *self.policy.trusted}:
            return
        if not matches(host, (*rules.redirects, *self.redirects)):
            detail = f"redirected to {host}, which is not among the hosts that the source declares"
            raise Refused(Reason.FETCH_FAILED, detail, shown(url))

    def _page(self, response: httpx.Response) -> str:
        page = bytearray()
        for part in self.body(response):
            page += part
            if len(page) > MAX_PAGE:
                break
        return page.decode("utf-8", "replace")

    def _user_agent_header(self) -> dict[str, str]:
        return {"User-Agent": self.user_agent} if self.user_agent else {}

    @property
    def _secrets(self) -> Secrets:
        return Secrets(self.headers)

    def _address_check(self, url: str) -> Callable[[str], None] | None:
        """The check of each IP address before a connection for `url`; None for a proxy, which the user chose."""
        return None if uses_proxy(url) else lambda address: self.policy.check_peer(url, address)

    def _check_peer(self, url: str, response: httpx.Response) -> None:
        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream is not None else None
        if isinstance(peer, tuple):
            self.policy.check_peer(url, str(peer[0]))

    def _failure(self, response: httpx.Response) -> Transient | Refused:
        status, rules = response.status_code, rules_of(str(response.url))
        if status in rules.blocks and self.pace is not None:
            self.pace.hold(rules.names[0], BLOCKED, self.clocks.now)
        if self._is_transient(response):
            return Transient(f"the server answered {status}", self._asked_pause(response))
        stated = CODES.get(response.headers.get("x-error-code", ""))
        reason, detail = stated or _REASONS.get(status, (Reason.FETCH_FAILED, "the server answered"))
        return Refused(reason, f"{detail} ({status})", shown(str(response.url)))

    def _retry_after(self, response: httpx.Response) -> float | None:
        """Seconds of a Retry-After header, in either of its forms (RFC 9110, 10.2.3)."""
        value = response.headers.get("retry-after", "").strip()
        if re.fullmatch(r"[0-9]{1,9}", value):
            return float(value)
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - self.clocks.now())
        except (ValueError, OverflowError):
            return None


def stated_length(response: httpx.Response) -> int | None:
    """The Content-Length of the body, if stated."""
    length = response.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 19 else None


def _asked_wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (error.wait or 0.0) if isinstance(error, Transient) else 0.0


def _target(url: str, location: str) -> str:
    """The target of a redirect; Refused unless it is http(s), and for a redirect from https to http."""
    try:
        target = urljoin(url, location)
    except ValueError:
        target = location
    if not is_http(target):
        raise Refused(Reason.FETCH_FAILED, f"redirected to {shown(target)}, which is no web address", shown(url))
    if urlsplit(url).scheme.lower() == "https" and urlsplit(target).scheme.lower() == "http":
        raise Refused(Reason.FETCH_FAILED, f"redirected from https to {shown(target)}", shown(url))
    return target


def _sentence(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:200]
