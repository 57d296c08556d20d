"""The Hugging Face Hub for sources: listings, repositories at a commit, URLs of their files."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode, urljoin

from filterzoo import NetworkTask, Reason, Refused
from filterzoo.network.addresses import origin_of, shown
from filterzoo.network.listings import KeptPage, UnfinishedListing

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ExpandModelProperty_T, ModelInfo

    from filterzoo import Door

Result = TypeVar("Result")

MAX_PAGE = 256_000_000
"""Most bytes of a response of the Hub: a page has up to a thousand repositories, some with thousands of files."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPO = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")

LISTED: tuple[ExpandModelProperty_T, ...] = (
    "baseModels",
    "cardData",
    "config",
    "disabled",
    "downloads",
    "gated",
    "lastModified",
    "library_name",
    "pipeline_tag",
    "private",
    "safetensors",
    "sha",
    "siblings",
    "tags",
)
"""The fields that listings request for each repository, so that no further request per repository is needed."""

_LONGEST_NAME = 200
"""Most characters of an architecture's name; timm's longest has 39."""

_TAGS_OF_COLUMNS = ("base_model:", "dataset:", "license:", "region:")

_TASKS = {
    "depth-estimation": NetworkTask.DEPTH,
    "image-classification": NetworkTask.CLASSIFICATION,
    "image-feature-extraction": NetworkTask.FEATURE_EXTRACTION,
    "image-segmentation": NetworkTask.SEGMENTATION,
    "image-to-image": NetworkTask.TRANSLATION,
    "keypoint-detection": NetworkTask.KEYPOINTS,
    "mask-generation": NetworkTask.SEGMENTATION,
    "object-detection": NetworkTask.DETECTION,
    "video-classification": NetworkTask.VIDEO,
    "zero-shot-image-classification": NetworkTask.IMAGE_TEXT,
}
"""The Hub's tasks (https://huggingface.co/tasks) -> task; others are unknown."""


class Hub:
    """The Hub that HF_ENDPOINT names, with the token of HF_TOKEN or of a login; the token is sent to no other host."""

    def __init__(self, door: Door) -> None:
        from huggingface_hub import constants, get_token  # noqa: PLC0415  # commands that need no Hub start faster

        chosen = os.environ.get("HF_ENDPOINT", "").rstrip("/")
        self.endpoint = chosen or constants.ENDPOINT
        self.token = get_token()
        trusted = door.trusting(chosen) if chosen else door
        self.door = trusted.with_token(self.endpoint, self.token)

    def repository(self, repo: str, revision: str | None = None) -> ModelInfo:
        """A repository, by default as it is now, with the sizes and hashes of its files; Refused if there is none.

        The description of a commit never changes, so it is requested once by all runs that share the cache.
        """
        if not _REPO.fullmatch(repo) or ".." in repo:
            raise Refused(Reason.REMOVED, "the Hub has no repository of such a name", ascii(repo)[:200])
        at = f"/revision/{quote(revision, safe='')}" if revision else ""
        url = f"{self.endpoint}/api/models/{quote(repo)}{at}?blobs=true"
        is_pinned = _COMMIT.fullmatch(revision or "") is not None
        return _described(repo, _asking(repo, lambda: self.door.get_json(url, limit=MAX_PAGE, pinned=is_pinned)))

    def listing(self, what: str, **query: Any) -> Iterator[ModelInfo]:
        """Every repository that a query of `HfApi.list_models` finds, page by page. what: for refusals.

        A failing page is retried, without the pages before it. The pages of an unfinished listing are read from the
        disk by the next run within a day (`filterzoo.network.listings`). A listing that repeats itself would never end:
        it is refused if a page links to an earlier one, or has the same repositories as another.
        """
        parameters = {key: value for key, value in query.items() if value is not None} | {"expand": list(LISTED)}
        first = f"{self.endpoint}/api/models?{urlencode(parameters, doseq=True)}"
        user = hashlib.sha256((self.token or "").encode()).hexdigest()
        kept = self.door.listings.begin(f"{first} {user}")
        url: str | None = first
        seen: set[str | bytes] = set()
        while url is not None:
            seen.add(url)
            try:
                page, url = _asking(what, partial(self._page, url, kept))
            except Refused:
                if kept.begin_again():
                    # The Hub may no longer know the cursor of an earlier run.
                    url, seen = first, set()
                    continue
                kept.has_failed = True
                raise
            found = [_described(what, document) for document in page]
            names = hashlib.blake2b("\n".join(info.id for info in found).encode(), digest_size=16).digest()
            if (found and names in seen) or url in seen:
                detail = f"its pages repeat themselves: page {len(seen)} came before, or leads back; what came counts"
                raise Refused(Reason.FETCH_FAILED, detail, what)
            seen.add(names)
            yield from found

    def _page(self, url: str, kept: UnfinishedListing) -> tuple[list[Any], str | None]:
        """The entries of one page, and the URL of the next; Refused if that is not on the Hub."""
        known = kept.find(url)
        page = known or self._asked_page(url)
        following = page.following
        if following is not None and origin_of(following) != origin_of(self.endpoint):
            raise Refused(Reason.FETCH_FAILED, "the next page of the listing is on another host", shown(following))
        try:
            entries = json.loads(page.body)
        except (ValueError, RecursionError) as error:
            raise Refused(Reason.FETCH_FAILED, "the response is not JSON", shown(url)) from error
        if known is None:
            kept.keep(url, page)
        return (entries if isinstance(entries, list) else []), following

    def _asked_page(self, url: str) -> KeptPage:
        answer = self.door.get(url, accept="application/json", limit=MAX_PAGE)
        return KeptPage(answer.body, urljoin(url, answer.following) if answer.following else None)

    def address(self, repo: str, revision: str, path: str) -> str:
        """The download URL of a file."""
        return f"{self.endpoint}/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"

    def page(self, repo: str, revision: str = "") -> str:
        """The URL of a repository's web page."""
        return f"{self.endpoint}/{repo}/tree/{quote(revision, safe='')}" if revision else f"{self.endpoint}/{repo}"


def _asking(what: str, question: Callable[[], Result]) -> Result:
    """The Hub's response; a refusal names the request, and explains statuses of the Hub."""
    try:
        return question()
    except Refused as refusal:
        detail = "the Hub has no such repository, or none that this token may see"
        if refusal.reason is Reason.REMOVED and refusal.detail.startswith("not found"):
            raise Refused(Reason.REMOVED, detail, what) from refusal
        raise Refused(refusal.reason, refusal.detail, what) from refusal


def _described(what: str, document: Any) -> ModelInfo:
    """The Hub's description of a repository; Refused if the Hub's client cannot parse it."""
    from huggingface_hub.hf_api import ModelInfo  # noqa: PLC0415  # see above

    try:
        return ModelInfo(**document)  # type: ignore[no-untyped-call]  # the client states no types for it
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise Refused(Reason.FETCH_FAILED, "the Hub describes a repository in an unknown way", what) from error


def is_closed(info: ModelInfo, token: str | None) -> bool:
    """Whether the repository requires an agreement, and there is no token."""
    return bool(info.gated) and token is None


def licence(info: ModelInfo) -> str | None:
    """The licence in the card or the tags; for `other`, the licence name in the card."""
    card: Any = info.card_data or {}
    stated = card.get("license") or _tagged(info, "license:")
    if isinstance(stated, list | tuple):
        stated = stated[0] if len(stated) == 1 else None
    if stated == "other":
        stated = card.get("license_name") or stated
    return stated if isinstance(stated, str) else None


def task(info: ModelInfo) -> str | None:
    """The task of the network, from the vocabulary."""
    found = _TASKS.get(info.pipeline_tag or "")
    return str(found) if found is not None else None


def datasets(info: ModelInfo) -> str | None:
    """The data sets named in the tags, in order."""
    return ", ".join(_tags(info, "dataset:")) or None


def tags(info: ModelInfo) -> str | None:
    """The tags that do not correspond to another column."""
    return ", ".join(tag for tag in info.tags or () if not tag.startswith(_TAGS_OF_COLUMNS)) or None


def base_model(info: ModelInfo) -> str | None:
    """The base model named in the tags, if any."""
    named = [tag for tag in _tags(info, "base_model:") if ":" not in tag]
    return named[0] if len(named) == 1 else None


def architecture(info: ModelInfo) -> str | None:
    """The architecture's name in the configuration, as the Hub lists it."""
    return named_architecture(info.config or {})


def named_architecture(config: Mapping[str, Any]) -> str | None:
    """The architecture's name in a configuration of timm or transformers; None if it is not a short line of text."""
    classes = config.get("architectures")
    named = config.get("architecture") or (classes[0] if isinstance(classes, list) and classes else None)
    is_name = isinstance(named, str) and 0 < len(named) <= _LONGEST_NAME and named.isprintable()
    return named if is_name else None


def _tagged(info: ModelInfo, prefix: str) -> str | None:
    found = list(_tags(info, prefix))
    return found[0] if len(found) == 1 else None


def _tags(info: ModelInfo, prefix: str) -> Iterable[str]:
    return (tag.removeprefix(prefix) for tag in info.tags or () if tag.startswith(prefix))
