"""The small files of a data set. Each release generates them from the tables alone."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from filterzoo_publish.card.card import card
from filterzoo_publish.card.citation import CITATION_FILE, Identity, citation
from filterzoo_publish.card.croissant import CROISSANT, croissant
from filterzoo_publish.card.figures import FIGURE
from filterzoo_publish.card.kept import KeptSizes
from filterzoo_publish.card.notice import NOTICE, notice
from filterzoo_publish.plan.releases import RELEASES, Release, releases_csv
from filterzoo_publish.plan.state import PublishedState
from filterzoo_publish.takedown.takedowns import TAKEDOWNS, Takedown, takedowns_csv
from filterzoo_publish.targets.target import README


def documents(
    name: str,
    *,
    models: pa.Table,
    kept: KeptSizes,
    picture: bytes | None,
    skipped: pa.Table,
    releases: Sequence[Release],
    takedowns: Sequence[Takedown],
    identity: Identity,
) -> dict[str, bytes]:
    """Path -> content. The same rows give the same content, in any order. name: what `load_dataset` takes.

    picture: from `filterzoo_publish.card.figures.overview`.
    """
    texts = {
        README: card(
            name,
            models,
            skipped,
            releases,
            len(takedowns),
            kept=kept,
            identity=identity,
            has_picture=picture is not None,
        ),
        CITATION_FILE: citation(identity, releases),
        NOTICE: notice(models),
        CROISSANT: croissant(name, models, releases),
        RELEASES: releases_csv(releases),
        TAKEDOWNS: takedowns_csv(takedowns),
    }
    made = {path: text.encode() for path, text in texts.items()}
    return made if picture is None else made | {FIGURE: picture}


def outdated_figure(published: PublishedState, written: dict[str, bytes]) -> list[str]:
    """The path of an earlier release's figure, if this release has no figure."""
    files = published.files
    if files is None or FIGURE in written or not files.exists(FIGURE):
        return []
    return [FIGURE]
