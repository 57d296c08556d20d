"""Millions of names are told apart in bounded memory."""

from __future__ import annotations

import tracemalloc

from filterzoo.temporary import Seen


def test_a_name_is_new_once_and_its_parts_are_not_mixed() -> None:
    with Seen() as seen:
        assert seen.is_new("hub", "a/b", "1")
        assert not seen.is_new("hub", "a/b", "1")
        assert seen.is_new("hub", "a/b", "2")
        assert seen.is_new("hub", "a", "b1")
        assert seen.is_new("huba/b", "1")
        assert seen.is_new("hub", "\ud800", "\0")


def test_memory_does_not_grow_with_the_names() -> None:
    with Seen() as seen:
        seen.is_new("hub", "first", "1")
        tracemalloc.start()
        for number in range(50_000):
            seen.is_new("hub", f"owner/network-{number}", "main")
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert size < 50_000, "less than a byte each"
        assert not seen.is_new("hub", "owner/network-31415", "main")
