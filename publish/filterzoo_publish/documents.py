"""The small files beside the tables, written anew for each release from the tables alone."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from filterzoo_publish.card import card
from filterzoo_publish.releases import RELEASES, Release, releases_csv
from filterzoo_publish.takedowns import TAKEDOWNS, Takedown, takedowns_csv
from filterzoo_publish.targets import README


def documents(
    name: str, models: pa.Table, skipped: pa.Table, releases: Sequence[Release], takedowns: Sequence[Takedown]
) -> dict[str, bytes]:
    """Path -> content: the same for the same rows in any order. `name`: what readers call the data set."""
    made = {
        README: card(name, models, skipped),
        RELEASES: releases_csv(releases),
        TAKEDOWNS: takedowns_csv(takedowns),
    }
    return {path: text.encode() for path, text in made.items()}
