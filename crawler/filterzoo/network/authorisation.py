"""Headers for a single server, such as tokens from environment variables: checked, and kept out of messages."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from filterzoo.errors import Refused, StartError

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
"""A header's name (RFC 9110, 5.1)."""
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,8190}[\x21-\x7e])?")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OURS = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "if-match", "if-modified-since"}
    | {"if-none-match", "if-range", "if-unmodified-since", "keep-alive", "range", "trailer"}
    | {"transfer-encoding", "upgrade", "user-agent"}
)
"""Headers that a manifest may not change; the User-Agent is set by its `user_agent`."""
_SHORTEST = 4
"""Shortest value in characters that is searched for in messages; shorter values occur in any text."""


def secret(variable: str) -> str:
    """The value of an environment variable that the user named, such as a token; StartError if it is not set."""
    value = os.environ.get(variable, "").strip()
    if not value:
        raise StartError(f"the environment variable {variable} is not set; it is to hold a secret that a source needs")
    return value


def filled(template: str) -> str:
    """The header value with each `${VARIABLE}` in it replaced by that environment variable; StartError as `secret`."""
    return _VARIABLE.sub(lambda match: secret(match[1]), template)


def names_variable(template: str) -> bool:
    """Whether a header value refers to an environment variable."""
    return _VARIABLE.search(template) is not None


def header_fault(name: str) -> str | None:
    """Why a manifest may not set a header of that name; None if it may."""
    if not _NAME.fullmatch(name):
        return f"{ascii(name)[:80]} is not the name of a header"
    if name.lower() in _OURS:
        return f"{name} is set by FilterZoo for each request"
    return None


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers; StartError for an invalid one. The message shows no value."""
    for name, value in headers.items():
        if fault := header_fault(name):
            raise StartError(f"headers: {fault}")
        if not _VALUE.fullmatch(value):
            raise StartError(
                f"headers: the value of {name} is not one line of printable ASCII characters; is the variable right?"
            )
    return dict(headers)


class Secrets:
    """Texts that messages may not show: values of headers and their words, such as the token after `Bearer`."""

    def __init__(self, headers: Mapping[str, Mapping[str, str]]) -> None:
        values = [value for of_origin in headers.values() for value in of_origin.values()]
        words = {word for value in values for word in (value, *value.split()) if len(word) >= _SHORTEST}
        self._words = sorted(words - {"Bearer", "Basic", "Token"}, key=len, reverse=True)

    def hidden(self, text: str) -> str:
        """The text with the secrets masked."""
        for word in self._words:
            text = text.replace(word, "***")
        return text

    def hide(self, refusal: Refused) -> Refused:
        """The refusal with the secrets masked, since a server may echo what it was sent."""
        detail = self.hidden(refusal.detail)
        where = None if refusal.where is None else self.hidden(refusal.where)
        if (detail, where) == (refusal.detail, refusal.where):
            return refusal
        return Refused(refusal.reason, detail, where, refusal.plugin, refusal.not_before)
