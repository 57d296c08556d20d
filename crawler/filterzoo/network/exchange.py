"""One request and its response in progress: its deadline, minimum speed, and allowed addresses.

A timeout for the next byte does not bound a response that arrives byte by byte. So the limits are enforced where bytes
are read (`network.connections`): for headers, body, chunk framing and informational responses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpcore

from filterzoo.errors import Reason, Refused
from filterzoo.network.time_limits import Patience

MAX_HEAD = 1 << 20
"""Most bytes of a response's headers, informational responses before it included."""


class Exchange:
    """The limits of one request of this thread, and the progress of its response."""

    def __init__(
        self, shown: str, patience: Patience, check_address: Callable[[str], None] | None, now: Callable[[], float]
    ) -> None:
        self._shown = shown
        self._patience = patience
        self._now = now
        self._end = now() + patience.head
        self._in_head = True
        self._waited = 0.0
        self._bytes = 0
        self.check_address = check_address
        """Refuses forbidden IP addresses; None if a proxy is used."""

    def begin_body(self, length: int | None) -> None:
        """The headers are complete; `length` is their Content-Length."""
        self._in_head = False
        self._waited, self._bytes = 0.0, 0
        self._end = self._now() + self._patience.overall + (length or 0) / self._patience.overall_rate

    def read(self, read: Callable[[float | None], bytes], timeout: float | None) -> bytes:
        """The result of `read` within `timeout` seconds and the limits; raises if a limit is exceeded."""
        deadline = None if timeout is None else self._now() + timeout
        while True:
            begin = self._now()
            left = min(self._end, self._end if deadline is None else deadline) - begin
            if left <= 0:
                raise self._timeout_error() if self._end <= begin else httpcore.ReadTimeout("nothing came for too long")
            if not self._in_head:
                left = min(left, max(0.01, self._patience.window - self._waited))
            data = None
            with suppress(httpcore.ReadTimeout):
                data = read(left)
            self._count(len(data or b""), self._now() - begin)
            if data is not None:
                return data

    def _count(self, length: int, seconds: float) -> None:
        self._waited += seconds
        self._bytes += length
        if self._in_head and self._bytes > MAX_HEAD:
            raise Refused(Reason.FETCH_FAILED, f"the response's head is longer than {MAX_HEAD} bytes", self._shown)
        if not self._in_head and self._waited >= self._patience.window:
            if self._bytes < self._patience.rate * self._waited:
                raise httpcore.ReadTimeout(f"less than {self._patience.rate / 1000:.0f} KB a second came")
            self._waited, self._bytes = 0.0, 0

    def _timeout_error(self) -> Exception:
        """The error for a slow response: transient if it never starts; permanent if it is too slow or endless."""
        if self._in_head and not self._bytes:
            return httpcore.ReadTimeout("no response arrived")
        what = "head of the response" if self._in_head else "response"
        return Refused(Reason.FETCH_FAILED, f"the {what} took too long", self._shown)


_here = threading.local()


def current() -> Exchange | None:
    """The exchange of this thread, if one is in progress."""
    return getattr(_here, "exchange", None)


@contextmanager
def open_exchange(
    shown: str,
    patience: Patience,
    check_address: Callable[[str], None] | None,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Exchange]:
    """An exchange, while its response is read; `shown` is the URL as messages may show it."""
    before = current()
    _here.exchange = exchange = Exchange(shown, patience, check_address, now)
    try:
        yield exchange
    finally:
        _here.exchange = before
