"""Makes a published folder into one that somebody hostile has sent: each function plants one attack.

`victim` lies outside; an attack that works writes it, removes it or reads it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Attack = Callable[[Path, Path], None]


def link_and_plan(target: Path, victim: Path) -> None:
    """A linked folder, and a decided release that moves a file through it."""
    (target / "extra").symlink_to(victim.parent)
    (target / ".decided/extra").mkdir(parents=True)
    (target / ".decided/extra" / victim.name).write_text("the attacker's\n")


def plan_with_lines(target: Path, victim: Path) -> None:
    """The list of removed files as versions before wrote it."""
    (target / ".decided").mkdir()
    (target / ".decided/removed.txt").write_text(f"../{victim.parent.name}/{victim.name}\n{victim}\n")


def plan_with_json(target: Path, victim: Path) -> None:
    """A plan as this version writes it, with paths outside."""
    (target / ".decided").mkdir()
    removed = [f"../{victim.parent.name}/{victim.name}", str(victim)]
    plan = {"token": "0" * 32, "files": {}, "removed": removed}
    (target / ".decided/plan.json").write_text(json.dumps(plan))


def plan_as_link(target: Path, victim: Path) -> None:
    """`.decided` is a link to a folder of the victim's."""
    (target / ".decided").symlink_to(victim.parent)


def staged_as_link(target: Path, victim: Path) -> None:
    """What a publisher throws away leads to the victim's folder."""
    (target / ".staged").symlink_to(victim.parent)


def newline_in_a_name(target: Path, victim: Path) -> None:
    """A replaced file whose name is two lines, the second one an absolute path."""
    (path,) = (target / "data/skipped").iterdir()
    place = target / "data/skipped" / f"a.parquet\n{victim}"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.mkdir(parents=True)
    shutil.copy(path, place / path.name)


def linked_config(target: Path, victim: Path) -> None:
    """The folder of a config is a link."""
    shutil.move(target / "data/status", victim.parent / "status")
    (target / "data/status").symlink_to(victim.parent / "status")


def linked_data(target: Path, victim: Path) -> None:
    """All data is behind a link."""
    shutil.move(target / "data", victim.parent / "data")
    (target / "data").symlink_to(victim.parent / "data")


def linked_file(target: Path, victim: Path) -> None:
    """A data file is a link."""
    path = next((target / "data/models").rglob("*.parquet"))
    shutil.move(path, victim.parent / path.name)
    path.symlink_to(victim.parent / path.name)


def linked_cards(target: Path, victim: Path) -> None:
    """The folder of the cards, which a release writes to, is a link."""
    shutil.rmtree(target / "cards")
    (target / "cards").symlink_to(victim.parent)


def linked_document(target: Path, victim: Path) -> None:
    """A document that a release replaces, and every reader reads, is a link."""
    (target / "releases.csv").unlink()
    (target / "releases.csv").symlink_to(victim)


def fifo(target: Path, _victim: Path) -> None:
    """A data file is a FIFO."""
    os.mkfifo(target / "data/layers" / f"{0:032x}.parquet")


def endless_file(target: Path, _victim: Path) -> None:
    """A document is a device without end."""
    (target / "takedowns.csv").unlink()
    (target / "takedowns.csv").symlink_to("/dev/zero")


ATTACKS: tuple[Attack, ...] = (
    link_and_plan,
    plan_with_lines,
    plan_with_json,
    plan_as_link,
    staged_as_link,
    newline_in_a_name,
    linked_config,
    linked_data,
    linked_file,
    linked_cards,
    linked_document,
    fifo,
    endless_file,
)


def point_filters_to(target: Path, place: str) -> None:
    """`layers` says that every layer's filters are in the file `place`."""
    for path in (target / "data/layers").rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        cells = pa.array([name and place for name in table["filters_file"].to_pylist()])
        column = table.schema.get_field_index("filters_file")
        pq.write_table(table.set_column(column, "filters_file", cells), path)
