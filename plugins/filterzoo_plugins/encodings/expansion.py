"""How much more than its stored bytes a compressed or sparse file may claim to hold."""

from __future__ import annotations

from filterzoo import Reason, Refused

MAX_RATIO = 100
FREE_BYTES = 64 << 20
"""Below this no ratio is asked for: small arrays of zeros are honest and compress a thousandfold."""


def check_expansion(size: int, stored: int, where: str) -> None:
    """Refused (limit) where `size` bytes are to come out of `stored` bytes and that is out of all proportion.

    Trained weights deflate to about nine tenths, heavily pruned ones to a twentieth.
    """
    if size > FREE_BYTES and size > MAX_RATIO * stored:
        raise Refused(Reason.LIMIT, f"{size} bytes are declared, {stored} are stored", where)
