"""A Hugging Face Hub on loopback, for data sets: what huggingface_hub and datasets ask of one to publish and load."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.servers import WebServer

TOKEN = "hf_writer"
USER = "alice"
_PR = "refs/pr/"
_PIECE = 1 << 18
_DATE = "2026-01-01T00:00:00.000Z"
_ROUTES: list[tuple[frozenset[str], re.Pattern[str], Callable[..., Response]]] = []
_API = r"/api/datasets/(?P<repo>[^/]+/[^/]+)"


class FileResponse(Response):
    """Sends its body piece by piece: a server that is handed 30 MB at once copies what the socket does not take yet."""

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body), _PIECE):
            await send({"type": "http.response.body", "body": self.body[start : start + _PIECE], "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class Refusal(Exception):
    """An answer that is an error, as the Hub words one."""

    def __init__(self, status: int, message: str, code: str | None = None, commit: str | None = None) -> None:
        super().__init__(message)
        headers = {"X-Error-Message": message, "X-Error-Code": code, "X-Repo-Commit": commit}
        self.response = JSONResponse({"error": message}, status, {k: v for k, v in headers.items() if v})


@dataclass(frozen=True)
class File:
    """A file of a commit: small text lies in git, anything else in LFS."""

    content: bytes
    is_lfs: bool

    @cached_property
    def git_oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @cached_property
    def oid(self) -> str:
        return hashlib.sha256(self.content).hexdigest() if self.is_lfs else self.git_oid

    def entry(self, path: str) -> dict[str, Any]:
        entry = {"type": "file", "path": path, "oid": self.git_oid, "size": len(self.content)}
        return entry | ({"lfs": {"oid": self.oid, "size": entry["size"], "pointerSize": 134}} if self.is_lfs else {})


@dataclass(frozen=True)
class Commit:
    oid: str
    title: str
    files: dict[str, File]
    parent: Commit | None


@dataclass
class Repo:
    private: bool
    refs: dict[str, Commit] = field(default_factory=dict)
    tags: dict[str, Commit] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def commit(self, ref: str, title: str, files: dict[str, File], parent: Commit | None) -> Commit:
        oid = hashlib.sha1(repr((len(self.commits), title, sorted(files))).encode()).hexdigest()
        self.refs[ref] = self.commits[oid] = Commit(oid, title, files, parent)
        return self.commits[oid]

    def at(self, revision: str) -> Commit:
        for named in (self.refs, self.tags, self.commits):
            if revision in named:
                return named[revision]
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")


@dataclass
class Hub:
    """The server's state. Each of `before_commit` is called once, when a commit arrives; `lose_answers` commits are
    made and answered with 500. `meet` is called with each request's number from 1 and `is_answered`, before
    and after the request is handled, and may raise a Refusal. `scheduled`: (owner, what was asked) of Jobs."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    scheduled: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    before_commit: list[Callable[[], object]] = field(default_factory=list)
    lose_answers: int = 0
    meet: Callable[..., object] | None = None
    storage: WebServer | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a client process needs to talk to this Hub as its user."""
        return {"HF_ENDPOINT": self.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """Path -> content."""
        return {path: file.content for path, file in self.repos[repo].at(revision).files.items()}

    def history(self, repo: str) -> list[str]:
        """Titles of the main branch, newest first."""
        return [commit.title for commit in _ancestors(self.repos[repo].refs["main"])]

    def answer(self, request: Request, body: bytes) -> Response:
        raw = request.scope["raw_path"].decode().split("?")[0]
        self.requests.append(f"{request.method} {raw}")
        number = len(self.requests)
        if self.meet:
            self.meet(number, is_answered=False)
        try:
            return self._handled(raw, request, body)
        finally:
            if self.meet:
                self.meet(number, is_answered=True)

    def _handled(self, raw: str, request: Request, body: bytes) -> Response:
        for methods, pattern, handler in _ROUTES:
            match = pattern.fullmatch(raw)
            if match and request.method in methods:
                return handler(self, request, body, **{k: unquote(v) for k, v in match.groupdict("").items()})
        raise Refusal(404, "Sorry, we can't find the page you are looking for.")

    def repo(self, request: Request, name: str, *, write: bool = False) -> Repo:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        repo = self.repos.get(name)
        if repo is None or (repo.private and token != TOKEN):
            raise Refusal(404 if token else 401, "Repository not found", "RepoNotFound")
        if write and (token != TOKEN or not name.startswith(f"{USER}/")):
            raise Refusal(403, "Forbidden: you must use a write token to upload to a repository.")
        return repo


@contextmanager
def serve(storage: WebServer | None = None) -> Iterator[Hub]:
    """A Hub that runs while the block does; it sends clients to `storage`, if given, for large files."""
    hub = Hub(storage=storage)

    async def answer(request: Request) -> Response:
        body = await request.body()
        try:
            return await run_in_threadpool(hub.answer, request, body)
        except Refusal as refusal:
            return refusal.response

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "HEAD", "POST", "PUT", "DELETE"])])
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    bound = config.bind_socket()
    # Else the body of each answer waits 40 ms for the client to acknowledge its head.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    hub.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def _route(methods: str, pattern: str) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    def register(handler: Callable[..., Response]) -> Callable[..., Response]:
        allowed = set(methods.split()) | ({"HEAD"} if "GET" in methods else set())
        _ROUTES.append((frozenset(allowed), re.compile(pattern), handler))
        return handler

    return register


def _ancestors(commit: Commit | None) -> Iterator[Commit]:
    while commit is not None:
        yield commit
        commit = commit.parent


@_route("GET", "/api/whoami-v2")
def _whoami(hub, request, body):
    return JSONResponse({"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": "write"}}})


@_route("POST", "/api/validate-yaml")
def _validate(hub, request, body):
    return JSONResponse({"errors": [], "warnings": []})


@_route("POST", "/api/repos/create")
def _create(hub, request, body):
    asked = json.loads(body)
    name = f"{asked.get('organization') or USER}/{asked['name']}"
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        raise Refusal(401, "Invalid username or password.")
    if not name.startswith(f"{USER}/"):
        raise Refusal(403, f"You don't have the rights to create a dataset under the namespace {name}")
    answer = {"url": f"{hub.url}/datasets/{name}", "name": name}
    if name in hub.repos:
        return JSONResponse(answer | {"error": "You already created this dataset repo"}, 409)
    hub.repos[name] = Repo(private=asked.get("visibility") == "private")
    hub.repos[name].commit(
        "main", "initial commit", {".gitattributes": File(b"*.parquet filter=lfs\n", is_lfs=False)}, None
    )
    return JSONResponse(answer)


@_route("POST", r"/api/scheduled-jobs/(?P<owner>[^/]+)")
def _schedule(hub, request, body, owner):
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        raise Refusal(401, "Invalid username or password.")
    asked = json.loads(body)
    hub.scheduled.append((owner, asked))
    return JSONResponse(asked | {"id": "687fb701", "owner": {"id": "1", "name": owner, "type": "user"}})


@_route("GET", _API + r"(/revision/(?P<revision>[^/]+))?")
def _info(hub, request, body, repo, revision):
    known = hub.repo(request, repo)
    commit = known.at(revision or "main")
    described = {"id": repo, "author": USER, "sha": commit.oid, "private": known.private, "lastModified": _DATE}
    siblings = [{"rfilename": path} for path in sorted(commit.files)]
    return JSONResponse(described | {"tags": [], "downloads": 0, "likes": 0, "gated": False, "siblings": siblings})


@_route("GET", _API + r"/refs")
def _refs(hub, request, body, repo):
    known = hub.repo(request, repo)

    def listed(named, prefix):
        return [{"name": n, "ref": prefix + n, "targetCommit": c.oid} for n, c in named.items()]

    answer = {"branches": listed({"main": known.refs["main"]}, "refs/heads/"), "converts": []}
    answer["tags"] = listed(known.tags, "refs/tags/")
    if request.query_params.get("include_prs") == "1":
        numbers = {ref.removeprefix(_PR): commit for ref, commit in known.refs.items() if ref.startswith(_PR)}
        answer["pullRequests"] = listed(numbers, _PR)
    return JSONResponse(answer)


@_route("GET", _API + r"/commits/(?P<revision>[^/]+)")
def _commits(hub, request, body, repo, revision):
    found = _ancestors(hub.repo(request, repo).at(revision))
    shared = {"message": "", "date": _DATE, "authors": [{"user": USER}]}
    return JSONResponse([{"id": commit.oid, "title": commit.title} | shared for commit in found])


@_route("POST", _API + r"/tag/(?P<revision>[^/]+)")
def _tag(hub, request, body, repo, revision):
    known, name = hub.repo(request, repo, write=True), json.loads(body)["tag"]
    if name in known.tags:
        raise Refusal(409, "Tag already exists")
    known.tags[name] = known.at(revision)
    return JSONResponse({}, 201)


@_route("GET", _API + r"/tree/(?P<revision>[^/]+)(/(?P<path>.*))?")
def _tree(hub, request, _body, *, repo, revision, path):
    commit = hub.repo(request, repo).at(revision)
    folder = f"{path.strip('/')}/" if path.strip("/") else ""
    recursive = request.query_params.get("recursive", "").lower() == "true"
    folders: dict[str, Any] = {}
    files: list[Any] = []
    for name in sorted(commit.files):
        if not name.startswith(folder):
            continue
        inner = name[len(folder) :].split("/")
        depth = len(inner) - 1 if recursive else min(1, len(inner) - 1)
        folders.update({folder + "/".join(inner[: n + 1]): None for n in range(depth)})
        if recursive or len(inner) == 1:
            files.append(commit.files[name].entry(name))
    if folder and not files and not folders:
        raise Refusal(404, f"{path} does not exist on {revision}", "EntryNotFound", commit.oid)
    entries = [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in folders]
    return JSONResponse(entries + files, headers={"X-Repo-Commit": commit.oid})


@_route("POST", _API + r"/paths-info/(?P<revision>[^/]+)")
def _paths_info(hub, request, body, repo, revision):
    files = hub.repo(request, repo).at(revision).files
    found = []
    for path in parse_qs(body.decode()).get("paths", []):
        if path in files:
            found.append(files[path].entry(path))
        elif any(name.startswith(f"{path}/") for name in files):
            found.append({"type": "directory", "path": path, "oid": "0" * 40, "size": 0})
    return JSONResponse(found)


@_route("POST", _API + r"/preupload/(?P<revision>[^/]+)")
def _preupload(hub, request, body, repo, revision):
    files = hub.repo(request, repo).at(revision).files
    modes = []
    for asked in json.loads(body)["files"]:
        path = asked["path"]
        mode = {"path": path, "uploadMode": "lfs" if path.endswith(".parquet") else "regular", "shouldIgnore": False}
        modes.append(mode | ({"oid": files[path].oid} if path in files else {}))
    return JSONResponse({"files": modes})


@_route("POST", r"/datasets/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch")
def _batch(hub, request, body, repo):
    hub.repo(request, repo)
    objects = []
    for asked in json.loads(body)["objects"]:
        upload = {"upload": {"href": f"{hub.url}/_lfs/{asked['oid']}", "header": {}}}
        objects.append(asked | ({} if asked["oid"] in hub.blobs else {"actions": upload}))
    return JSONResponse({"transfer": "basic", "objects": objects})


@_route("PUT", r"/_lfs/(?P<oid>[0-9a-f]{64})")
def _put(hub, request, body, oid):
    if hashlib.sha256(body).hexdigest() != oid:
        raise Refusal(400, "the bytes do not have this hash")
    hub.blobs[oid] = body
    return Response()


@_route("POST", _API + r"/commit/(?P<revision>[^/]+)")
def _commit(hub, request, body, repo, revision):
    as_request = request.query_params.get("create_pr") == "1"
    known = hub.repo(request, repo, write=not as_request)
    if hub.before_commit:
        hub.before_commit.pop(0)()
    parent = known.at(revision)
    header = json.loads(body.splitlines()[0])["value"]
    if header.get("parentCommit") not in {None, parent.oid}:
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    files = _applied(hub, body, parent.files)
    number = sum(ref.startswith(_PR) for ref in known.refs) + 1
    made = known.commit(f"{_PR}{number}" if as_request else revision, header["summary"], files, parent)
    if hub.lose_answers:
        hub.lose_answers -= 1
        raise Refusal(500, "Internal error, after the commit was made")
    address = f"{hub.url}/datasets/{repo}"
    answer = {"success": True, "commitOid": made.oid, "commitUrl": f"{address}/commit/{made.oid}", "hookOutput": ""}
    return JSONResponse(answer | ({"pullRequestUrl": f"{address}/discussions/{number}"} if as_request else {}))


def _applied(hub: Hub, body: bytes, files: dict[str, File]) -> dict[str, File]:
    """The files after the commit's operations."""
    after = dict(files)
    for line in map(json.loads, body.splitlines()):
        value = line["value"]
        match line["key"]:
            case "file":
                after[value["path"]] = File(base64.b64decode(value["content"]), is_lfs=False)
            case "lfsFile":
                if value["oid"] not in hub.blobs:
                    raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {value['oid']}")
                after[value["path"]] = File(hub.blobs[value["oid"]], is_lfs=True)
            case "deletedFile":
                if after.pop(value["path"], None) is None:
                    raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
    return after


@_route("GET", r"/datasets/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def _resolve(hub, request, _body, *, repo, revision, path):
    commit = hub.repo(request, repo).at(revision)
    file = commit.files.get(path)
    if file is None:
        raise Refusal(404, "Entry not found", "EntryNotFound", commit.oid)
    headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{file.oid}"', "Accept-Ranges": "bytes"}
    if file.is_lfs and hub.storage:
        address = hub.storage.add(f"/{file.oid}", memoryview(file.content), tag=file.oid)
        linked = {"X-Linked-Size": str(len(file.content)), "X-Linked-ETag": headers["ETag"], "Location": address}
        return Response(status_code=302, headers=headers | linked)
    content, status = file.content, 200
    if asked := re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", "")):
        first, last = asked.groups()
        start = int(first) if first else max(0, len(content) - int(last))
        end = min(int(last) + 1 if first and last else len(content), len(content))
        if start >= len(content):
            return Response(status_code=416, headers={"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"], status = f"bytes {start}-{end - 1}/{len(content)}", 206
        content = memoryview(content)[start:end]
    headers["Content-Length"] = str(len(content))
    return FileResponse(b"" if request.method == "HEAD" else content, status, headers, "application/octet-stream")
