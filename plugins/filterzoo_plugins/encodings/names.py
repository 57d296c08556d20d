"""Names from untrusted files, escaped for messages and records."""

from __future__ import annotations


def show(name: str) -> str:
    """At most 120 printable ASCII characters of a name, for a message."""
    return ascii(name[:120])[1:-1][:120]


def without_surrogates(name: str) -> str:
    """The name itself, or, where it is not valid Unicode, with the lone surrogates written out as escapes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode()
    return name
