"""What a plan holds in temporary files: records, owners and places of layers; the same rows as lists gave."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from filterzoo.errors import StorageFailed
from filterzoo_publish.plan import places
from filterzoo_publish.plan.places import LayerPlaces
from filterzoo_publish.plan.rows import skipped_key, skipped_table
from filterzoo_publish.plan.spool import Spool
from filterzoo_publish.plan.state import Pointer


def test_records_are_read_as_often_as_wanted_sorted_and_by_threads() -> None:
    numbers = [(5 * n) % 1009 for n in range(1009)]
    found: Spool[int] = Spool(iter(numbers), json.dumps, json.loads)
    assert (len(found), list(found), list(found)) == (1009, numbers, numbers)
    found.sort(lambda number: number)
    assert list(found) == sorted(numbers)
    found.sort(lambda number: -number)
    assert list(found) == sorted(numbers, reverse=True)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(found.__getitem__, range(1009))) == sorted(numbers, reverse=True)
    assert 7 in found
    assert not Spool([], json.dumps, json.loads)


def test_a_full_temporary_folder_is_reported(monkeypatch) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("filterzoo_publish.plan.spool.os.write", full)
    with pytest.raises(StorageFailed, match="name another folder in TMPDIR"):
        Spool(["x"], json.dumps, json.loads)


@pytest.mark.parametrize("few", [2, 100])
def test_a_layer_is_new_once_and_keeps_the_place_it_has(monkeypatch, few) -> None:
    """Whether their names are few enough for memory or not."""
    monkeypatch.setattr(places, "_FEW", few)
    layers = LayerPlaces()
    assert layers.add_new(["a", "b", "a\ud800"]) == [True, True, True]
    assert layers.add_new(["c", "b"]) == [True, False]
    assert (layers.few is None) == (few == 2)
    assert layers.place_known([("b", Pointer("old", 0, 1, 2)), ("elsewhere", Pointer("old", 0, 3, 4))]) == 1
    assert [name in layers for name in ("a", "b", "elsewhere")] == [False, True, False]
    layers.update({"a": Pointer("new", 1, 0, 9), "d": Pointer("old", 2, 0, 9)})
    assert [layers[name] for name in ("a", "b", "d")] == [("new", 1, 0, 9), ("old", 0, 1, 2), ("old", 2, 0, 9)]
    with pytest.raises(KeyError):
        layers["c"]


def test_skipped_rows_come_once_with_nulls_first() -> None:
    names = ("source", "id", "revision", "url", "stage", "reason", "detail", "where", "plugin", "licence")
    full = dict.fromkeys(names, "m")
    rows = [full | {name: value} for name in ("id", "url", "where", "licence") for value in (None, "", "é", "z", "m")]
    table = skipped_table([], frozenset(), [*rows, *rows[::-1]])
    unique = {skipped_key(row): row for row in rows}
    assert table.to_pylist() == [unique[key] for key in sorted(unique)]
    assert len(table) == 17
