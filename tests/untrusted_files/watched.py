"""Reads files under an audit hook that notes every event of running, importing, starting, connecting or writing.

`python watched.py FOLDER SEED SECONDS COUNT`: every file below FOLDER, then COUNT mutated ones of FOLDER/small, or as
many as SECONDS allow. Prints JSON. Started in a process of its own, since a hook cannot be taken away. It imports what
the jail's child imports before its first file, and what the parent reads the weights with, and nothing afterwards.
"""

from __future__ import annotations

import ast
import codecs
import json
import os
import random
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from mutation import mutated_inside
from reading import BytesFile, index, indexer, layers, read

from filterzoo.errors import Refused
from filterzoo.files import LocalFile
from filterzoo.jail.child import ENCODINGS

WATCHED = {
    "exec", "compile", "import", "code.__new__", "function.__new__", "pickle.find_class", "marshal.load",
    "marshal.loads", "pty.spawn", "webbrowser.open", "sys.addaudithook", "sys.settrace", "sys.setprofile",
}  # fmt: skip
STARTING = (
    "subprocess.",
    "socket.",
    "shutil.",
    "ctypes.",
    "urllib.",
    "ftplib.",
    "smtplib.",
    "http.",
    "sqlite3.",
    "tempfile.",
)
HARMLESS = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.getxattr", "os.listxattr"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Notes events while `armed`."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.armed = False

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.armed and self.is_forbidden(event, arguments):
            self.events.append(f"{event} {arguments!r}"[:300])

    def is_forbidden(self, event: str, arguments: tuple) -> bool:
        if event == "open":
            _, mode, flags = arguments
            return bool(flags & WRITING) or any(letter in (mode or "") for letter in "wax+")
        if event.startswith("os."):
            return event not in HARMLESS
        if event == "compile" and sys._getframe(2).f_code is ast.parse.__code__:
            return False  # code of TorchScript archives: `ast.parse` makes a tree, never code; running one is `exec`
        return event in WATCHED or event.startswith(STARTING)


def read_all(folder: Path) -> dict[str, int]:
    """Every file below, weights and all."""
    outcomes = {"read": 0, "refused": 0}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        try:
            with LocalFile(path) as file:
                layers(file, index(file, path.name))
            outcomes["read"] += 1
        except Refused:
            outcomes["refused"] += 1
    return outcomes


def read_mutated(folder: Path, seed: int, seconds: float, count: int, faults: list[Exception]) -> dict[str, float]:
    """Mutations of small files in memory; the slowest one's CPU time with them, and errors that are no refusals."""
    groups = [
        (name, (folder / label / name).read_bytes(), {p.name: p.read_bytes() for p in (folder / label).glob("*.bin")})
        for label, name in json.loads((folder / "names.json").read_bytes())
    ]
    outcomes: dict[str, float] = {"read": 0, "refused": 0, "slowest": 0.0}
    until = time.monotonic() + seconds
    dice = random.Random(seed)
    for number in range(count):
        name, content, sides = groups[number % len(groups)]
        file = BytesFile(mutated_inside(content, dice), sides)
        started = time.process_time()
        try:
            read(file, name)
            outcomes["read"] += 1
        except Refused as refusal:
            outcomes["refused"] += 1
            if refusal.plugin is not None:
                faults.append(refusal)
        outcomes["slowest"] = max(outcomes["slowest"], time.process_time() - started)
        if time.monotonic() > until:
            break
    return outcomes


def main() -> None:
    folder, seed, seconds, count = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    indexer()
    for encoding in ENCODINGS:
        codecs.lookup(encoding)
    watch = Watch()
    sys.addaudithook(watch)
    watch.armed = True
    files = read_all(folder) if seed == 0 else {}
    faults: list[Exception] = []
    mutations = read_mutated(folder / "small", seed, seconds, count, faults)
    watch.armed = False
    told = ["".join(traceback.format_exception(fault))[:3000] for fault in faults]
    print(json.dumps({"events": watch.events, "files": files, "mutations": mutations, "faults": told}))  # noqa: T201  # its answer


if __name__ == "__main__":
    main()
