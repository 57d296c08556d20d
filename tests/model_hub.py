"""A Hugging Face Hub on loopback, for models: listings page by page, repositories, files on another host."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from tests.servers import Answer, Resource, WebServer, reset, short

TOKEN = "hf_reader"


@dataclass
class Repo:
    """`facts` are fields of the Hub's answer (tags, pipeline_tag, gated, cardData, ...); `files` by path.

    lies: path -> what the Hub says of a file instead of its `size` and its `lfs`.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    lies: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()

    def document(self, name: str, *, blobs: bool) -> dict[str, Any]:
        siblings = [self.sibling(path) if blobs else {"rfilename": path} for path in sorted(self.files)]
        facts = {"gated": False, "private": False, "disabled": False, "downloads": 0, "likes": 0, "tags": []}
        return {"_id": "1", "id": name, "modelId": name, "sha": self.sha, "siblings": siblings} | facts | self.facts

    def sibling(self, path: str) -> dict[str, Any]:
        body = self.files[path]
        sibling = {"rfilename": path, "size": len(body), "blobId": hashlib.sha1(body).hexdigest()}
        if path.endswith((".json", ".md")):
            return sibling
        lfs = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 130}
        return sibling | {"lfs": lfs} | self.lies.get(path, {})


class ModelHub(WebServer):
    """Serves `repos`. Weights lie on another origin (`localhost` for `127.0.0.1`), as on the real Hub."""

    def __init__(self, page_size: int = 2) -> None:
        super().__init__()
        self.repos: dict[str, Repo] = {}
        self.renamed: dict[str, str] = {}
        """Old name -> new one: the Hub redirects those who ask for the old."""
        self.ails: Callable[[int], bool | int] = lambda _: False
        """Whether a request, by its number, is answered with an error, a reset or half a body: in turn, or which."""
        self.page_size = page_size
        self.after: Callable[[int], int] = lambda start: start
        """Where a listing leads instead of the place behind the page."""
        self.forgotten: set[str] = set()
        """Cursors that are refused."""

    @property
    def storage(self) -> str:
        return self.url.replace("127.0.0.1", "localhost")

    def asked(self, prefix: str) -> list[str]:
        """Paths that were asked for."""
        return [path for path, _, _ in self.requests if path.startswith(prefix)]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(HubAnswer):
            owner = hub

        return Handler


class HubAnswer(Answer):
    owner: ModelHub

    def do_GET(self) -> None:  # noqa: N802  # the name the standard library calls
        self.owner.requests.append((self.path, self.headers.get("range"), dict(self.headers)))
        number = len(self.owner.requests)
        ails = self.owner.ails(number)
        if ails is not False and self.fails(number if ails is True else ails):
            return
        parts = urlsplit(self.path)
        path, query = parts.path, parse_qs(parts.query)
        if path == "/api/models":
            self.listing(query)
        elif path.startswith("/api/models/"):
            name, _, revision = unquote(path.removeprefix("/api/models/")).partition("/revision/")
            self.repository(name, revision, blobs=query.get("blobs") == ["true"])
        elif path.startswith("/storage/"):
            self.serve(self.owner.resources[path])
        else:
            self.resolve(unquote(path))

    def fails(self, number: int) -> bool:
        """Does what live hosts do now and then."""
        match number % 4:
            case 0:
                self.send(429, b"slow down", "text/plain", {"Retry-After": "0", "Connection": "close"})
            case 1:
                self.send(503, b"busy", "text/html", {"Connection": "close"})
            case 2:
                return reset(self)
            case _:
                short(20)(self)
                return False
        self.close_connection = True
        return True

    def repository(self, name: str, revision: str, *, blobs: bool) -> None:
        repo = self.owner.repos.get(name)
        if name in self.owner.renamed:
            self.send(307, b"", "text/plain", {"Location": f"/api/models/{self.owner.renamed[name]}?blobs=true"})
        elif repo is None:
            self.refuse(404, "RepoNotFound")
        elif revision not in {"", "main", repo.sha}:
            self.refuse(404, "RevisionNotFound")
        elif repo.facts.get("private") and self.token != TOKEN:
            self.refuse(401, "RepoNotFound")
        else:
            self.json(repo.document(name, blobs=blobs))

    def listing(self, query: dict[str, list[str]]) -> None:
        found = [name for name, repo in sorted(self.owner.repos.items()) if matches(name, repo, query)]
        if query.get("sort") == ["lastModified"]:
            found.sort(key=lambda name: self.owner.repos[name].facts.get("lastModified", ""), reverse=True)
        if query.get("cursor", [""])[0] in self.owner.forgotten:
            self.refuse(400, "BadCursor")
            return
        start, size = int(query.get("cursor", ["0"])[0]), self.owner.page_size
        page = [self.owner.repos[name].document(name, blobs=False) for name in found[start : start + size]]
        headers = {}
        if start + size < len(found):
            following = urlencode(query | {"cursor": [str(self.owner.after(start + size))]}, doseq=True)
            headers["Link"] = f'<{self.owner.url}/api/models?{following}>; rel="next"'
        self.json(page, headers)

    def resolve(self, path: str) -> None:
        name, _, rest = path[1:].partition("/resolve/")
        revision, _, file = rest.partition("/")
        repo = self.owner.repos.get(name)
        if repo is None or revision != repo.sha or file not in repo.files:
            self.refuse(404, "EntryNotFound")
        elif repo.facts.get("gated") and self.token != TOKEN:
            self.refuse(401, "GatedRepo")
        else:
            place = f"/storage/{name}/{file}"
            self.owner.resources[place] = Resource(repo.files[file])
            self.send(302, b"", "text/plain", {"Location": self.owner.storage + place, "X-Repo-Commit": repo.sha})

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def refuse(self, status: int, code: str) -> None:
        self.json({"error": code}, {"X-Error-Code": code, "X-Error-Message": code}, status)

    def json(self, document: Any, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.close_connection = True  # or the client holds it open for longer than a test takes
        self.send(status, json.dumps(document).encode(), "application/json", {"Connection": "close", **(headers or {})})


def matches(name: str, repo: Repo, query: dict[str, list[str]]) -> bool:
    """Whether a listing with this query has the repository in it."""
    author, task = query.get("author", [None])[0], query.get("pipeline_tag", [None])[0]
    return (
        (author is None or name.startswith(f"{author}/"))
        and (task is None or repo.facts.get("pipeline_tag") == task)
        and set(query.get("filter", [])) <= set(repo.facts.get("tags", []))
    )
