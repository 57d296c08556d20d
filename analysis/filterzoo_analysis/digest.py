"""A report's findings as Markdown: `python -m filterzoo_analysis.digest TARGET --readme README.md --page PAGE.md`.

The page has the report's sentences, figure by figure, and its table of models. README has that table between two
markers. All numbers come from the report's exhibits.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filterzoo.errors import StartError
from filterzoo.reporting.terminal import printable
from filterzoo_analysis.exhibits import Exhibit, Section, shown
from filterzoo_analysis.page.report import SECTIONS
from filterzoo_analysis.sections import each_model
from filterzoo_analysis.zoo import Zoo, read

BEGIN = "<!-- what the report says of the quickstart's networks: written by `make docs-quickstart` -->"
END = "<!-- end of what `make docs-quickstart` writes -->"
_TABLE = "models_at_a_glance"
_LARGEST = 8
"""Number of models in README."""
_ABOUT = """\
Written by `make docs-quickstart` from the tables of `filterzoo report build/quickstart`, on what `make demo` crawls:
networks that come inside Python packages. A test makes this page again and compares. The networks are few and small,
and their packages state no training set: read it as an example of a report, not as a finding.
[papers.md](papers.md) says what each figure is."""


def main() -> None:
    """Write the page and replace the block in README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="a published data set: a folder, or user/name on the Hub")
    parser.add_argument("--readme", type=Path, required=True, help="file that holds the two marks")
    parser.add_argument("--page", type=Path, required=True, help="file to write")
    arguments = parser.parse_args()
    zoo = read(arguments.target)
    arguments.readme.write_text(with_block(arguments.readme.read_text(), "\n".join(block(zoo))))
    arguments.page.write_text("\n".join([*page(zoo), ""]))


def with_block(text: str, lines: str) -> str:
    """`text` with `lines` between the two markers; StartError unless each marker occurs once."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise StartError("the file must hold the two marks of the block once each")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{lines}\n\n{END}{rest.partition(END)[2]}"


def block(zoo: Zoo) -> Iterator[str]:
    """The table of the models with the most filters, and an explanation of its columns."""
    rows = each_model.at_a_glance(zoo).table.to_pylist()
    largest = sorted(rows, key=lambda row: (-row["filters_3x3"], row["model_id"]))[:_LARGEST]
    yield from _models(largest)
    yield ""
    yield f"These are the {len(largest)} with the most 3x3 filters, of {len(rows)} with any."
    yield "Sparsity, variance entropy and orthogonality are means over a network's 3x3 layers; degenerated layers are"
    yield "counted. Drift is from the filters of all the other networks together, in nats; expected is the drift of"
    yield "as many filters drawn from those others, corrected the drift without it: that of few filters is mostly their"
    yield "number."


def page(zoo: Zoo) -> Iterator[str]:
    """All sections of the report: the summaries of their figures, and why figures are missing."""
    yield "# What the report says about the quickstart's networks"
    yield ""
    yield _ABOUT
    for make in SECTIONS:
        section = make(zoo)
        if section.exhibits:
            yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    yield from ("", f"## {_text(section.title)}")
    for exhibit in section.exhibits:
        yield from _exhibit(exhibit)
    for sentence in section.empty:
        yield from ("", _text(sentence))


def _exhibit(exhibit: Exhibit) -> Iterator[str]:
    yield from ("", f"**{_text(exhibit.title)}** (`{exhibit.name}`). {_text(exhibit.summary)}")
    known = [answer for answer in exhibit.answers if answer.ours is not None]
    yield from [""] if known else []
    for answer in known:
        yield f"- {_text(answer.published.what)}: published {answer.published.value}; here {_text(answer.ours or '')}."
    if exhibit.name == _TABLE:
        yield ""
        yield from _models(exhibit.table.to_pylist())


def _models(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        "| network | 3x3 layers | 3x3 filters | sparsity | variance entropy | orthogonality | degenerated | drift | "
        "expected | corrected |"
    )
    yield "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
    for row in rows:
        measures = (shown(row[name]) for name in ("sparsity", "variance_entropy", "orthogonality"))
        counts = (f"{row['layers_3x3']:,}", f"{row['filters_3x3']:,}")
        cells = (_text(_short(row["model_id"])), *counts, *measures)
        drifts = " | ".join(shown(row[name], 2) for name in ("drift", "expected", "corrected"))
        yield f"| {' | '.join(cells)} | {row['degenerated_layers']} | {drifts} |"


def _short(model_id: str) -> str:
    """`pypi/package/a/b/net.pt@1.0` -> `package: net.pt`."""
    parts = model_id.partition("@")[0].split("/")[1:]
    return parts[0] if len(parts) == 1 else f"{parts[0]}: {parts[-1]}"


def _text(text: str) -> str:
    """Untrusted text, with a backslash before each character that Markdown or GitHub interprets."""
    return re.sub(r"([\\`*_\[\]<>|#&~@$])", r"\\\1", printable(text, 4000))


if __name__ == "__main__":
    main()
