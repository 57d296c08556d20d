"""The repositories of timm's weights on the Hub: their commits, and the file to read in each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from filterzoo import Artifact, Checkpoint, Reason, Refusal, Refused
from filterzoo.licensing.statements import LicenceOrigin, Statement
from filterzoo_plugins.sources.hub import api, licences
from filterzoo_plugins.sources.hub.api import Hub
from filterzoo_plugins.sources.hub.hf_hub import artifact

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

RepositoryLookup: TypeAlias = "Callable[[str], ModelInfo | Refused]"
"""Returns the Hub's description of a repository, named as in timm: `user/name`, or `user/name@revision`."""

FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
"""Names of the weights in timm's repositories, the preferred first."""

UNPINNED = "unpinned"
"""The revision of a network that was listed while the Hub was unreachable: it serves plans and cannot be read."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


def repositories(hub: Hub, named: Iterable[str], few: float) -> RepositoryLookup | None:
    """A look-up of repositories; None if the Hub does not respond at all. Refused if it stops responding.

    few: for an author with more repositories than this, all are listed at once; others, and those at a revision, are
    requested one by one.
    """
    repos = list(dict.fromkeys(named))
    first = _repository(hub, repos[0]) if repos else None
    if isinstance(first, Refused) and first.reason is Reason.FETCH_FAILED:
        return None
    of_author = Counter(repo.partition("/")[0] for repo in repos)
    many = [author for author, count in of_author.items() if count > few]
    known = {info.id: info for author in many for info in hub.listing(f"the models of {author}", author=author)}

    @cache
    def look_up(repo: str) -> ModelInfo | Refused:
        if repo.partition("/")[0] in many and "@" not in repo:
            # A renamed repository is listed under its new name only, but a request for its old name is redirected.
            return known.get(repo) or _repository(hub, repo)
        return first if first is not None and repo == repos[0] else _repository(hub, repo)

    return look_up


def located(
    described: Checkpoint, named: str, file: str | None, hub: Hub, look_up: RepositoryLookup | None
) -> Checkpoint | Refusal:
    """The checkpoint in its repository, or a refusal. file: the one that timm names, if any."""
    repo, page = named.partition("@")[0], hub.page(named.partition("@")[0])
    wanted = (file,) if file else FILES
    if look_up is None:
        guessed = Artifact(url=hub.address(repo, UNPINNED, wanted[0]), name=wanted[0])
        return replace(described, revision=UNPINNED, artifacts=(guessed,), url=page)
    info = look_up(named)
    if isinstance(info, Refused):
        return refused(described, page, info.reason, info.detail)
    commit = info.sha or ""
    if not _COMMIT.fullmatch(commit):
        return refused(described, page, Reason.FETCH_FAILED, "the Hub names no commit")
    described = replace(described, revision=commit, url=hub.page(repo, commit))
    if api.is_closed(info, hub.token):
        return refused(described, page, Reason.GATED, "the Hub asks for an agreement first")
    files = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    chosen = next((files[name] for name in wanted if name in files), None)
    if chosen is None:
        detail = f"the repository has none of {', '.join(wanted)}"
        return refused(described, page, Reason.UNKNOWN_FORMAT, detail)
    own = Statement(described.licence, LicenceOrigin.ZOO) if described.licence else None
    try:
        licence, licence_from = licences.stated(hub, info, chosen.rfilename, own)
    except Refused as refusal:
        return refused(described, page, refusal.reason, refusal.detail)
    found = artifact(hub, repo, commit, chosen)
    return replace(described, artifacts=(found,), licence=licence, licence_from=licence_from)


def refused(described: Checkpoint, page: str | None, reason: Reason, detail: str) -> Refusal:
    """The ledger entry of a checkpoint that cannot be fetched."""
    return Refusal(
        id=described.id,
        revision=described.revision,
        reason=reason,
        detail=detail,
        url=page,
        licence=described.licence,
    )


def _repository(hub: Hub, named: str) -> ModelInfo | Refused:
    repo, _, revision = named.partition("@")
    try:
        return hub.repository(repo, revision or None)
    except Refused as refusal:
        return refusal
