"""How the data set is cited: CITATION.cff (https://citation-file-format.github.io) and the BibTeX entry of the card."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from filterzoo.dataset.published import PublishedFiles
from filterzoo.errors import StartError
from filterzoo_publish.plan.releases import Release

CITATION_FILE = "CITATION.cff"
TITLE = "FilterZoo: The Convolution Filters of Published Neural Networks"
AUTHORS = "The FilterZoo authors"
_DOI = re.compile(r"10\.\d{4,9}/[A-Za-z0-9._;()/:-]{1,200}")
"""https://www.crossref.org/blog/dois-and-matching-regular-expressions/"""
_DOI_LINE = re.compile(rf"^doi: ({_DOI.pattern})$", re.MULTILINE)
_PAPER = {
    "type": "conference-paper",
    "title": "CNN Filter DB: An Empirical Investigation of Trained Convolutional Filters",
    "authors": [
        {"family-names": "Gavrikov", "given-names": "Paul"},
        {"family-names": "Keuper", "given-names": "Janis"},
    ],
    "collection-title": "Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)",
    "year": 2022,
    "start": 19066,
    "end": 19076,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Identifiers of the data set, None if there is none. doi: registered by the data set's owner."""

    url: str | None = None
    doi: str | None = None


def checked_doi(doi: str) -> str:
    """The DOI without a resolver's URL; StartError for an invalid DOI."""
    bare = re.sub(r"^(https?://(dx\.)?doi\.org/|doi:)", "", doi, flags=re.IGNORECASE)
    if not _DOI.fullmatch(bare):
        raise StartError(f"--doi: {ascii(doi)[:120]} is no DOI; write it as 10.57967/hf/1234")
    return bare


def former_doi(files: PublishedFiles | None) -> str | None:
    """The DOI of the last release; None if it has none."""
    found = _DOI_LINE.search((files.text(CITATION_FILE) if files else None) or "")
    return found[1] if found else None


def citation(identity: Identity, releases: Sequence[Release]) -> str:
    """CITATION.cff of the data set."""
    document: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": "Please cite this data set, the paper it continues, and the authors of the networks.",
        "type": "dataset",
        "title": TITLE,
        "authors": [{"name": AUTHORS}],
    }
    if releases:
        document |= {"version": releases[-1].name, "date-released": releases[-1].day}
    if identity.url:
        document["url"] = identity.url
    if identity.doi:
        document["doi"] = identity.doi
    document["references"] = [_PAPER]
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=False, width=1000)


def bibtex(identity: Identity, releases: Sequence[Release]) -> str:
    """The data set as a BibTeX entry."""
    release, year = (releases[-1].name, releases[-1].day[:4]) if releases else ("", "")
    fields = {
        "title": f"{{{TITLE}}}",
        "author": f"{{{AUTHORS}}}",
        "year": year,
        "note": f"Data set, release {release}",
        "url": identity.url,
        "doi": identity.doi,
    }
    lines = ",\n".join(f"  {name:6} = {{{value}}}" for name, value in fields.items() if value)
    return f"@misc{{filterzoo,\n{lines}\n}}"
