"""A model of a disk after a power cut: a recorded trace of calls is replayed up to one of them.

The bytes of a file are durable after its fsync, a name after the fsync of its folder. Anything else may be on the disk
or not, since file systems write in any order. A rename is atomic: a file that has a name before and after it is not
lost. Sectors have 512 bytes.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tests.faults.faulty import Call

SECTOR = 512
SEED = int(os.environ.get("FILTERZOO_FAULTS_SEED", "0"))


class Cut(Enum):
    """What happens to names and bytes that were not synced."""

    LOST = "lost"
    """Names and bytes are those of the last sync."""
    TORN = "torn"
    """New names are on the disk; files have the first half of their new sectors, then the synced bytes."""
    MIXED = "mixed"
    """Each folder has, at random, the synced or the current names; each sector the synced or the current bytes."""


@dataclass(eq=False)
class File:
    """now: the bytes that a process reads; synced: the bytes that are durable."""

    now: bytearray
    synced: bytes

    def after(self, cut: Cut, chance: random.Random) -> bytes:
        if cut is Cut.LOST or self.now == self.synced:
            return self.synced
        if cut is Cut.MIXED:
            longest = max(len(self.now), len(self.synced))
            sectors = [
                chance.choice((self.now, self.synced))[begin : begin + SECTOR] for begin in range(0, longest, SECTOR)
            ]
            return b"".join(bytes(sector) for sector in sectors)
        whole = len(self.now) // SECTOR // 2 * SECTOR
        return bytes(self.now[:whole]) + self.synced[whole:]


@dataclass(eq=False)
class Folder:
    """Name -> file or folder. now: as a process sees it; synced: as it is durable."""

    now: dict[str, File | Folder] = field(default_factory=dict)
    synced: dict[str, File | Folder] = field(default_factory=dict)


class Disk:
    """A folder of the disk. start: its initial, synced content; place: its path in the recorded calls."""

    def __init__(self, start: Path, place: Path) -> None:
        self._root = _read(start)
        self._place = f"{place}/"
        self._calls = 0

    def replay(self, calls: Iterable[Call]) -> None:
        """Apply the recorded calls; those for other folders are ignored."""
        for call in calls:
            if f"{call.path}/".startswith(self._place):
                self._calls += 1
                self._do(call)

    def write(self, place: Path, cut: Cut) -> None:
        """Write to `place` what the disk holds after a power cut at this point."""
        shutil.rmtree(place, ignore_errors=True)
        chance = random.Random(f"{SEED} {self._calls}")
        _write(_left(self._root, cut, chance), place, cut, chance)

    def _do(self, call: Call) -> None:
        match call.name:
            case "open":
                folder, name = self._find(call.path)
                if name in folder.now:
                    folder.now[name].now.clear()
                else:
                    folder.now[name] = File(bytearray(), b"")
            case "mkdir":
                folder, name = self._find(call.path)
                folder.now[name] = Folder()
            case "write":
                file = self._at(call.path)
                file.now.extend(bytes(max(0, call.offset - len(file.now))))  # type: ignore[union-attr]  # another type ends the test here
                file.now[call.offset : call.offset + len(call.data)] = call.data  # type: ignore[assignment, index]  # another type on purpose
            case "truncate":
                file, length = self._at(call.path), int(call.other)
                del file.now[length:]  # type: ignore[arg-type]  # of a type that the test knows
                file.now.extend(bytes(length - len(file.now)))  # type: ignore[union-attr]  # another type ends the test here
            case "fsync":
                synced = self._at(call.path)
                synced.synced = dict(synced.now) if isinstance(synced, Folder) else bytes(synced.now)
            case "rename" | "link":
                folder, name = self._find(call.path)
                target, new = self._find(call.other)
                target.now[new] = folder.now[name]
                if call.name == "rename":
                    del folder.now[name]
            case "unlink":
                folder, name = self._find(call.path)
                del folder.now[name]
            case _:
                raise AssertionError(f"{call} is no call that succeeded")

    def _find(self, path: str) -> tuple[Folder, str]:
        *folders, name = path.removeprefix(self._place).split("/")
        here = self._root
        for folder in folders:
            here = here.now[folder]  # type: ignore[assignment]  # another type on purpose
        return here, name

    def _at(self, path: str) -> File | Folder:
        if f"{path}/" == self._place:
            return self._root
        folder, name = self._find(path)
        return folder.now[name]


def _read(place: Path) -> Folder:
    found: dict[str, File | Folder] = {}
    for path in place.iterdir():
        content = b"" if path.is_dir() else path.read_bytes()
        found[path.name] = _read(path) if path.is_dir() else File(bytearray(content), content)
    return Folder(found, dict(found))


Names = dict[str, "File | Names"]
"""The content of a folder on the disk after the cut."""


def _left(root: Folder, cut: Cut, chance: random.Random) -> Names:
    """The names that survive the cut."""
    kept: set[int] = set()

    def choose(folder: Folder) -> Names:
        is_synced = cut is Cut.LOST or (cut is Cut.MIXED and chance.random() < 0.5)
        names: Names = {}
        for name, what in (folder.synced if is_synced else folder.now).items():
            kept.add(id(what))
            names[name] = choose(what) if isinstance(what, Folder) else what
        return names

    def find_again(folder: Folder, names: Names, before: set[int]) -> None:
        """Restore a durable file that was renamed between folders and survived in neither: it gets its current name."""
        for name, what in folder.now.items():
            if id(what) not in kept and id(what) in before:
                kept.add(id(what))
                names[name] = choose(what) if isinstance(what, Folder) else what
            elif isinstance(what, Folder) and isinstance(inside := names.get(name), dict):
                find_again(what, inside, before)

    left = choose(root)
    if cut is Cut.MIXED:
        find_again(root, left, _all_synced(root))
    return left


def _all_synced(folder: Folder) -> set[int]:
    """The ids of all files and folders that have a durable name."""
    inside = (_all_synced(what) for what in folder.synced.values() if isinstance(what, Folder))
    return {id(what) for what in folder.synced.values()}.union(*inside)


def _write(names: Names, place: Path, cut: Cut, chance: random.Random) -> None:
    place.mkdir()
    for name, what in names.items():
        if isinstance(what, dict):
            _write(what, place / name, cut, chance)
        else:
            (place / name).write_bytes(what.after(cut, chance))
