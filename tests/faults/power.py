"""What a disk may hold after a power cut: a recorded trace of calls, replayed up to one of them.

The bytes of a file are on the disk when the file was synced, a name when its folder was; of the rest each part may be
there or not, since file systems write in the order they like. A rename is whole: a file that has a name before and
after it is not lost. Sectors have 512 bytes.
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
    """What becomes of what was not synced."""

    LOST = "lost"
    """Names and bytes are as they were at the last sync."""
    TORN = "torn"
    """Names are there; of bytes, the first half of the sectors, and what was there before behind it."""
    MIXED = "mixed"
    """Of some folders names are as at the last sync, of others as they were given since; so with sectors of files."""


@dataclass(eq=False)
class File:
    """now: its bytes as a process reads them; synced: those on the disk."""

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
    """Name -> what it names, as a process sees it and on the disk."""

    now: dict[str, File | Folder] = field(default_factory=dict)
    synced: dict[str, File | Folder] = field(default_factory=dict)


class Disk:
    """A folder of the disk, at first as it is in `start` and synced; `place` is the path that calls have for it."""

    def __init__(self, start: Path, place: Path) -> None:
        self._root = _read(start)
        self._place = f"{place}/"
        self._calls = 0

    def replay(self, calls: Iterable[Call]) -> None:
        """Do again what succeeded; calls for other folders are passed over."""
        for call in calls:
            if f"{call.path}/".startswith(self._place):
                self._calls += 1
                self._do(call)

    def write(self, place: Path, cut: Cut) -> None:
        """Make `place` what the disk holds when the power goes now."""
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
"""What the disk has of a folder."""


def _left(root: Folder, cut: Cut, chance: random.Random) -> Names:
    """The names that are left."""
    kept: set[int] = set()

    def choose(folder: Folder) -> Names:
        is_synced = cut is Cut.LOST or (cut is Cut.MIXED and chance.random() < 0.5)
        names: Names = {}
        for name, what in (folder.synced if is_synced else folder.now).items():
            kept.add(id(what))
            names[name] = choose(what) if isinstance(what, Folder) else what
        return names

    def find_again(folder: Folder, names: Names, before: set[int]) -> None:
        """Put what was renamed from one folder to another, and is in neither, where it is now."""
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
    """Files and folders that have a name on the disk."""
    inside = (_all_synced(what) for what in folder.synced.values() if isinstance(what, Folder))
    return {id(what) for what in folder.synced.values()}.union(*inside)


def _write(names: Names, place: Path, cut: Cut, chance: random.Random) -> None:
    place.mkdir()
    for name, what in names.items():
        if isinstance(what, dict):
            _write(what, place / name, cut, chance)
        else:
            (place / name).write_bytes(what.after(cut, chance))
