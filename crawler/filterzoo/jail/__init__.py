"""The jail: a child process that parses untrusted bytes and returns only a table of byte spans.

`Jail` is the parent's side. `child` runs the format plugins under `confinement`; `messages` defines the protocol
between parent and child, and `validation` checks the tables that the parent receives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filterzoo.jail.parent import Jail

__all__ = ["Jail"]


def __getattr__(name: str) -> Any:
    """Import on first use: the child loads this package too, without the parent's side."""
    if name != "Jail":
        raise AttributeError(f"module 'filterzoo.jail' has no attribute {name!r}")
    from filterzoo.jail.parent import Jail  # noqa: PLC0415  # see above

    return Jail
