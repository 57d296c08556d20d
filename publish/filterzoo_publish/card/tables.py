"""The tables and lists of the card, as Markdown: numbers, fixed text, and `plain` untrusted words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from filterzoo.reporting.counts import counted
from filterzoo_publish.card.kept import KeptSizes
from filterzoo_publish.card.plain import NOT_STATED, OTHER, plain, plain_licence
from filterzoo_publish.plan.releases import RELEASES, Release
from filterzoo_publish.plan.rows import rows_of
from filterzoo_publish.schema import COLUMNS

_LONGEST = 40
"""Largest number of rows of a table. The smallest groups are summed in one row."""
_NUMBERS = ("n_layers", "n_filters", "filters_3x3", "stored_filters", "published_filters")
_BIASES = """\
- Zoos offer what is popular. Many networks are fine-tuned from a few, so that rows are not independent: sample by
  architecture, by `weights_id`, or by zoo, not by filter.
- Large networks have most of the filters: a mean over filters is a mean over few networks.
- Tasks, data sets, accuracies and licences are what the zoos state. Nothing is guessed: what they leave out is null.
- Networks that are trained badly, on random labels or not at all are in zoos as well, and therefore here.
  `suspected_random` marks those whose 3x3 filters look as if they were never trained.
- Depth is exact where `layers.context` says `graph` or `architecture`; `declared` is the order in the file.
"""


def models_by(models: pa.Table, column: str, kept: KeptSizes) -> str:
    """Models, layers and filters by the values of a column, and the published share of filters of kept kernel sizes."""
    word = plain_licence if column == "licence" else plain
    totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows_of(models.select([column, "model_id", *_NUMBERS])):
        numbers = {number: row[number] for number in _NUMBERS}
        totals[word(row[column])].update({"models": 1, "kept": kept.of(row["model_id"])} | numbers)
    largest = sorted(totals, key=lambda key: (-totals[key]["models"], key))
    for key in largest[_LONGEST:]:
        if key != OTHER:
            totals[OTHER].update(totals.pop(key))
    shares = {key: {"share": share(total["published_filters"], total["kept"])} for key, total in totals.items()}
    head = ("models", "layers", "filters", "3x3 filters", "stored filters", "of sizes kept", "of these here")
    shown = ("models", "n_layers", "n_filters", "filters_3x3", "stored_filters", "kept", "share")
    return _table(
        (column.replace("_", " "), *head), {key: {**total, **shares[key]} for key, total in totals.items()}, shown
    )


def share(part: int, whole: int) -> str:
    """A percentage such as `57 %`. Only the whole is 100 %, only nothing is 0 %. A dash if `whole` is 0."""
    if not whole:
        return "-"
    hundredths = 100 * part / whole
    if 0 < hundredths < 1:
        return "under 1 %"
    return f"{min(99, round(hundredths)) if part < whole else 100} %"


def coverage(models: pa.Table) -> str:
    """The number of models with a value in each column that may be unknown."""
    names = [column.name for column in COLUMNS["models"] if column.may_be_unknown]
    totals = {name: {"known": len(models) - models[name].null_count} for name in names}
    lines = [("column", "networks", "share"), ("---", "---:", "---:")]
    for name, total in totals.items():
        lines.append((f"`{name}`", f"{total['known']:,}", share(total["known"], len(models))))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def biases(models: pa.Table) -> str:
    """Known biases, with the numbers of this release."""
    found = [_BIASES]
    for column, what in (("source", "zoo"), ("task", "task"), ("visual_category", "kind of images")):
        counts = Counter(plain(text) for text in models[column].to_pylist() if text is not None)
        if counts:
            word, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
            of = share(count, counts.total())
            found.append(f"- Most frequent {what}: `{word}`, {of} of the networks of which it is known.\n")
    untrained = models["suspected_random"].to_pylist().count(True)
    look = counted(untrained, "network looks as if it was", "networks look as if they were")
    found.append(f"- {look} never trained (`suspected_random`).\n")
    have = counted(len(models) - models["duplicate_of"].null_count, "network has", "networks have")
    found.append(f"- {have} exactly the convolutions of another one (`duplicate_of`).\n")
    return "".join(found)


def skipped_by_reason(skipped: pa.Table) -> str:
    """Entries of the ledger by reason."""
    totals = {plain(reason): {"n": count} for reason, count in Counter(skipped["reason"].to_pylist()).items()}
    return _table(("reason", "entries"), totals, ("n",)) if totals else "Nothing.\n"


def changelog(releases: Sequence[Release]) -> str:
    """What each release added and removed, the newest first."""
    lines = [("release", "new models", "new layers", "new filters", "taken down"), ("---", *["---:"] * 4)]
    for release in reversed(releases[-_LONGEST:]):
        numbers = (release.models, release.layers, release.filters, release.removed)
        lines.append((plain(release.name), *(f"{number:,}" for number in numbers)))
    rest = f"\n`{RELEASES}` lists the older ones.\n" if len(releases) > _LONGEST else ""
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + rest


def _table(head: Iterable[str], totals: Mapping[str, Mapping[str, Any]], numbers: Iterable[str]) -> str:
    columns, names = list(head), list(numbers)
    lines = [columns, ["---", *("---:" for _ in names)]]
    order = sorted(totals, key=lambda key: (key in {NOT_STATED, OTHER}, key))
    lines += [[key, *(_cell(totals[key][name]) for name in names)] for key in order]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: int | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"
