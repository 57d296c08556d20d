"""Untrusted text reaches a terminal as text, never as commands."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from filterzoo.reporting.terminal import cell, printable, table

HOSTILE = {
    "\x1b[2J\x1b]0;title\x07": r"\x1b[2J\x1b]0;title\x07",
    "a\u202eb": r"a\u202eb",
    "\u2066x\u2069": r"\u2066x\u2069",
    "a\0b": r"a\x00b",
    "line\nbreak\r\t": r"line\nbreak\r\t",
    "\x9b31m": r"\x9b31m",
    "\ud800": r"\ud800",
    "zero\u200bwidth": r"zero\u200bwidth",
    "no\u00a0break": r"no\xa0break",
    "\u2028": r"\u2028",
    "\U000e0001": r"\U000e0001",
    "plain text, Ünïcode 漢字 🙂": "plain text, Ünïcode 漢字 🙂",
    "[red]markup[/red] :smile:": "[red]markup[/red] :smile:",
}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_what_would_move_a_terminal_is_escaped(text):
    assert printable(text) == HOSTILE[text]


def test_long_text_keeps_both_ends():
    shown = printable("begin" + "x" * 100_000 + "end")
    assert len(shown) == 120
    assert shown.startswith("begin")
    assert shown.endswith("end")
    assert "…" in shown


@given(st.text(st.characters()), st.integers(3, 300))
def test_any_text_is_short_and_visible(text, longest):
    shown = printable(text, longest)
    assert len(shown) <= longest
    assert all(character == " " or unicodedata.category(character)[0] not in "CZ" for character in shown)


@pytest.mark.parametrize("text", [*HOSTILE, "x" * 100_000], ids=lambda text: ascii(text)[:30])
def test_a_table_holds_it(text):
    made = table("name", "count", numbers=("count",))
    made.add_row(cell(text), "1")
    out = io.StringIO()
    Console(file=out, width=200, color_system="truecolor", force_terminal=True, legacy_windows=False).print(made)
    body = out.getvalue().splitlines()
    assert len(body) == 2
    assert "\x1b" not in body[1].replace("\x1b[0m", "")
    assert printable(text, 60) in body[1]
