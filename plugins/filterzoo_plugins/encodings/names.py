"""Names from untrusted files, escaped for messages and records."""

from __future__ import annotations


def show(name: str) -> str:
    """At most 120 printable ASCII characters of a name, for a message."""
    return ascii(name[:120])[1:-1][:120]


def without_surrogates(name: str) -> str:
    """The name itself, with lone surrogates escaped if it is not valid Unicode."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode()
    return name
