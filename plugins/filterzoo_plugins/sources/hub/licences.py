"""The licence of weights on the Hub: stated in the card, the tags, a linked text or a LICENSE file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from filterzoo import Reason, Refused
from filterzoo.licensing.documents import MAX_TEXT, beside, licence_of_address, licence_of_text
from filterzoo.licensing.licences import Licence
from filterzoo.licensing.statements import UNRECOGNISED, LicenceOrigin, Statement, governing
from filterzoo_plugins.sources.hub import api

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

    from filterzoo_plugins.sources.hub.api import Hub

_VIEWS = ("blob", "raw", "resolve")


def stated(hub: Hub, info: ModelInfo, weights: str, *others: Statement | None) -> tuple[str | None, str | None]:
    """(licence, where it was read) of one file of a repository; `others`: statements from elsewhere.

    A licence file with an unrecognised text is an unknown licence. Refused if a listed one cannot be fetched.
    """
    paths = [sibling.rfilename for sibling in info.siblings or ()]
    file = beside(paths, weights)
    link = _link(info)
    linked = _path_of(hub, info, link, paths)
    from_file = Statement(_text_at(hub, info, file), LicenceOrigin.LICENCE_FILE) if file else None
    if linked is not None and linked != file:
        from_link: Statement | None = Statement(_text_at(hub, info, linked), LicenceOrigin.LICENCE_LINK)
    else:
        known = licence_of_address(link) if link and linked is None else None
        from_link = Statement(known, LicenceOrigin.LICENCE_LINK) if known else None
    card = api.licence(info)
    if card is not None and Licence.parse(card).expression is None and _is_pointer(info) and (from_file or from_link):
        card = None  # "other" and the name next to it only refer to the text
    return governing(*others, Statement(card, LicenceOrigin.ZOO) if card else None, from_link, from_file)


def _is_pointer(info: ModelInfo) -> bool:
    card: Any = info.card_data or {}
    return card.get("license") in {"other", None} and "license:other" in (info.tags or ("license:other",))


def _link(info: ModelInfo) -> str | None:
    card: Any = info.card_data or {}
    link = card.get("license_link")
    return link.strip() if isinstance(link, str) and link.strip() else None


def _path_of(hub: Hub, info: ModelInfo, link: str | None, paths: list[str]) -> str | None:
    """The file of the same repository that a link leads to: a path, or its URL on the Hub at any revision."""
    if link is None:
        return None
    path = link.removeprefix("./")
    parts = urlsplit(link)
    if parts.scheme and f"{parts.scheme}://{parts.netloc}" in {hub.endpoint, "https://huggingface.co"}:
        own = f"/{info.id}/"
        view, _, rest = parts.path.removeprefix(own).partition("/")
        if parts.path.startswith(own) and view in _VIEWS:
            path = unquote(rest.partition("/")[2])
    return path if path in paths else None


def _text_at(hub: Hub, info: ModelInfo, path: str) -> str:
    """The licence in a file at the repository's commit; `UNRECOGNISED` for an unknown text."""
    try:
        content = hub.door.get_pinned(hub.address(info.id, info.sha or "main", path), limit=MAX_TEXT)
    except Refused as refusal:
        if refusal.reason.is_transient:
            raise Refused(Reason.FETCH_FAILED, f"its licence file cannot be had: {refusal.detail}", path) from refusal
        return UNRECOGNISED
    return licence_of_text(content.decode("utf-8", "replace")) or UNRECOGNISED
