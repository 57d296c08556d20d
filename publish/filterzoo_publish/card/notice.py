"""NOTICE: the networks that the filters come from, with their licences."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa

from filterzoo.reporting.terminal import printable
from filterzoo_publish.plan.rows import rows_of

NOTICE = "NOTICE"
_LONGEST = 500
_HEAD = """\
FilterZoo: attribution

This data set contains convolution filters of the networks below, each under the licence of its own that heads its list.
The filters were taken out of the networks' files, converted to 32-bit floats and put in one order; nothing else was
changed. Names and addresses are as their zoos state them; a character that could not be shown is written as its code.
"""


def notice(models: pa.Table) -> str:
    """The text for the models with published filters, by licence, in the order of their ids."""
    under: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    columns = ("licence", "licence_class", "model_id", "url", "published_filters")
    for row in rows_of(models.select(list(columns))):
        if row["published_filters"]:
            heading = row["licence"] or "licence unknown", row["licence_class"]
            under[heading].append((row["model_id"], row["url"] or ""))
    parts = [_HEAD]
    for (licence, licence_class), own in sorted(under.items()):
        parts.append(f"\n{_shown(licence)} ({_shown(licence_class)})\n\n")
        parts += [f"  {_shown(name)}{_place(url)}\n" for name, url in sorted(own)]
    return "".join(parts)


def _place(url: str) -> str:
    return f"  <{_shown(url)}>" if url else ""


def _shown(text: str) -> str:
    """One line, with line breaks and control characters escaped."""
    return printable(text, _LONGEST)
