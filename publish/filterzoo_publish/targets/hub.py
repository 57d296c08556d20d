"""A data set on the Hub: files are uploaded as they are written, then one commit that names its parent, then a tag."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, RepoFile, errors
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils.sha import git_hash

from filterzoo.dataset.published import PublishedFiles, first_line, open_hub
from filterzoo.errors import FilterZooError, StartError
from filterzoo_publish.shards.parquet import Shard
from filterzoo_publish.targets.target import README, RELEASE, Commit, Conflict, Target

_HARMLESS = frozenset({README, ".gitattributes", ".gitignore", "LICENSE"})
_TRANSPORT = errors.HTTPError  # type: ignore[attr-defined]  # of httpx or httpx2, whichever the client has
_FAILURES = (_TRANSPORT, ConnectionError, RuntimeError)
"""Exceptions of the client. RuntimeError wraps a failed upload."""


class _Lost(Conflict):
    """Raised if the Hub's response was lost: the request may have been executed."""


class HubTarget(Target):
    """The data set `user/name`. endpoint, token: None for those of huggingface_hub (HF_ENDPOINT, HF_TOKEN).

    create_pr: propose the release as a pull request, without a tag. private: create a missing repository as private.
    """

    takes_links = True

    def __init__(
        self,
        name: str,
        *,
        create_pr: bool = False,
        private: bool = False,
        endpoint: str | None = None,
        token: str | None = None,
    ) -> None:
        self.place = self.name = name
        self.url = f"https://huggingface.co/datasets/{name}"
        self._create_pr = create_pr
        self._private = private
        self._api = HfApi(endpoint=endpoint, token=token)
        self._connection = {"endpoint": endpoint, "token": token}
        self._head: str | None = None
        self._additions: list[CommitOperationAdd] = []
        self._folder: Path | None = None

    def read(self) -> PublishedFiles | None:
        """See `Target.read`. The state is that of the newest commit on the main branch."""
        with self._explained():
            try:
                self._head = self._api.dataset_info(self.name).sha
            except RepositoryNotFoundError:
                return None
            names = self._api.list_repo_files(self.name, repo_type="dataset", revision=self._head)
        others = sorted(set(names) - _HARMLESS)
        if others and not any(name.startswith("data/models/") for name in names):
            raise StartError(f"{self.name}: holds other files ({ascii(others[0])[:80]}) and no data set of ours")
        return open_hub(self.name, self._head, **self._connection)

    def prepare(self) -> Path:
        """See `Target.prepare`."""
        with self._explained():
            if not self._api.repo_exists(self.name, repo_type="dataset"):
                self._api.create_repo(self.name, repo_type="dataset", private=self._private or None, exist_ok=True)
        self.discard()
        self._folder = Path(tempfile.mkdtemp(prefix="filterzoo-publish-"))
        return self._folder

    def add(self, shard: Shard) -> None:
        """See `Target.add`.

        The file is uploaded at once. It is kept locally only if the Hub wants its content in the commit.
        """
        addition = CommitOperationAdd(shard.path, str(shard.local))
        with self._explained():
            self._api.preupload_lfs_files(self.name, [addition], repo_type="dataset", create_pr=self._create_pr)
        if addition.path_or_fileobj == b"":
            shard.local.unlink()
        self._additions.append(addition)

    def commit(self, documents: Mapping[str, bytes], removed: Sequence[str], message: str, release: str) -> Commit:
        """See `Target.commit`."""
        operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
            *self._additions,
            *(CommitOperationAdd(path, content) for path, content in documents.items()),
            *(CommitOperationDelete(path) for path in removed),
        ]
        known = self._pull_requests()
        try:
            with self._explained(lost=_Lost):
                made = self._api.create_commit(
                    self.name,
                    operations,
                    repo_type="dataset",
                    commit_message=message,
                    parent_commit=self._head,
                    create_pr=self._create_pr,
                )
            revision, url = made.oid, str(made.pr_url or made.commit_url)
        except _Lost:
            landed = next((where for where in self._newcomers(known) if self._holds(where[0], documents)), None)
            if landed is None:
                raise
            revision, url = landed
        self.discard()
        if self._create_pr:
            return Commit(url)
        self._head = revision
        with self._explained(lost=Conflict):
            return Commit(url, self._tag(revision, release))

    def tags(self) -> set[str]:
        """See `Target.tags`."""
        if self._head is None:
            return set()
        with self._explained():
            return {tag.name for tag in self._api.list_repo_refs(self.name, repo_type="dataset").tags}

    def settle(self, release: str) -> Commit | None:
        """Tag the newest commit if it is a release without a tag; see `Target.settle`."""
        if self._create_pr or self._head is None:
            return None
        with self._explained():
            newest = self._api.list_repo_commits(self.name, repo_type="dataset", revision=self._head)[0]
            if not newest.title.startswith(RELEASE):
                return None
            tags = self._api.list_repo_refs(self.name, repo_type="dataset").tags
            if any(tag.target_commit == self._head for tag in tags):
                return None
            return Commit(tag=self._tag(self._head, release))

    def discard(self) -> None:
        """See `Target.discard`."""
        self._additions = []
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _pull_requests(self) -> set[str]:
        """Existing pull requests, as `refs/pr/N`. Empty if the release is not proposed as a pull request."""
        if not self._create_pr:
            return set()
        with self._explained():
            refs = self._api.list_repo_refs(self.name, repo_type="dataset", include_pull_requests=True)
        return {ref.ref for ref in refs.pull_requests or ()}

    def _newcomers(self, known: set[str]) -> Iterator[tuple[str, str]]:
        """(revision, URL) of new commits, one of which may be that of this release."""
        page = f"{self._api.endpoint}/datasets/{self.name}"
        for ref in sorted(self._pull_requests() - known):
            yield ref, f"{page}/discussions/{ref.rpartition('/')[2]}"
        if not self._create_pr:
            with self._explained():
                newest = self._api.dataset_info(self.name).sha
            if newest is not None and newest != self._head:
                yield newest, f"{page}/commit/{newest}"

    def _holds(self, revision: str, documents: Mapping[str, bytes]) -> bool:
        """Whether the revision has the documents and the added files."""
        ours = {addition.path_in_repo for addition in self._additions} | set(documents)
        with self._explained():
            found = self._api.get_paths_info(self.name, sorted(ours), repo_type="dataset", revision=revision)
        files = {file.path: file for file in found if isinstance(file, RepoFile)}
        return files.keys() == ours and all(_is(files[path], content) for path, content in documents.items())

    def _tag(self, commit: str, release: str) -> str | None:
        """Tag the commit with the release; None if another commit has that tag."""
        try:
            self._api.create_tag(self.name, tag=release, revision=commit, repo_type="dataset")
        except HfHubHTTPError as error:
            if error.response.status_code != HTTPStatus.CONFLICT:
                raise
            return None
        return release

    @contextmanager
    def _explained(self, lost: type[FilterZooError] = StartError) -> Iterator[None]:
        """Converts errors of the client to errors of one line.

        Conflict if another commit came first or the response was lost, else StartError. lost: what to raise if the Hub
        cannot be reached.
        """
        try:
            yield
        except _FAILURES as error:
            refusal = error if isinstance(error, HfHubHTTPError) else error.__cause__
            if not isinstance(refusal, HfHubHTTPError):
                raise lost(
                    f"{self.name}: the Hub cannot be reached: {first_line(error)}; a folder: ./{self.name}"
                ) from error
            status = refusal.response.status_code
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise _Lost(f"{self.name}: {first_line(refusal)}") from error
            if status == HTTPStatus.PRECONDITION_FAILED:
                raise Conflict(f"{self.name}: {first_line(refusal)}") from error
            raise StartError(f"{self.name}: {first_line(refusal)}; may HF_TOKEN write there?") from error


def _is(file: RepoFile, content: bytes) -> bool:
    """Whether a file on the Hub has this content."""
    if file.lfs is not None:
        return file.lfs.sha256 == hashlib.sha256(content).hexdigest()
    return file.blob_id == git_hash(content)
