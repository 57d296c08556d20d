"""An S3 server on loopback that can refuse requests or answer them slowly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class ObjectStore:
    """moto's S3 with one bucket, `zoo`. Each request waits `delay` seconds; `refuse` sets which are refused.

    requests: (method, path) of each request that was not refused.
    """

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self.refused = self._slow_downs = self._first = 0
        self.delay = 0.0
        self.requests: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for s3fs and boto."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def refuse(self, count: int, after: int) -> None:
        """Answer `count` requests with 503 SlowDown, after `after` more successful ones."""
        with self._lock:
            self.refused, self._slow_downs, self._first = 0, count, len(self.requests) + after

    def __enter__(self) -> Self:
        import httpx

        self._thread.start()
        httpx.put(f"{self.url}/zoo").raise_for_status()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        time.sleep(self.delay)
        with self._lock:
            if self._slow_downs and len(self.requests) >= self._first:
                self._slow_downs -= 1
                self.refused += 1
                start("503 Slow Down", [("Content-Type", "application/xml")])
                return [SLOW_DOWN]
            self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        return self._app(environ, start)
