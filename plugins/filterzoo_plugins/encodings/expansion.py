"""Bounds the expansion of compressed and sparse files."""

from __future__ import annotations

from filterzoo import Reason, Refused

MAX_RATIO = 100
FREE_BYTES = 64 << 20
"""No ratio applies below this size: small arrays of zeros are legitimate and compress a thousandfold."""


def check_expansion(size: int, stored: int, where: str) -> None:
    """Refused (limit) if `stored` bytes claim to expand to `size` bytes at an implausible ratio.

    Trained weights deflate to about nine tenths of their size, heavily pruned ones to a twentieth.
    """
    if size > FREE_BYTES and size > MAX_RATIO * stored:
        raise Refused(Reason.LIMIT, f"{size} bytes are declared, {stored} are stored", where)
