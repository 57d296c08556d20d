"""Kills a publisher at each of its steps in the file system, and checks what readers and the next publisher find.

Run with a folder that holds the work folders `first` and `second`, and n to try each n-th step; prints how many kills
there were.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import matplotlib.backends.backend_agg
import matplotlib.figure  # before the forks: each would import it for the card's figure  # noqa: F401

from filterzoo_publish.release import publish, target_for

STEPS = frozenset({"os.rename", "os.remove", "shutil.rmtree"})
KILLED, DONE = 9, 0


def main(folder: Path, stride: int) -> int:
    os.fsync = lambda _descriptor: None  # type: ignore[assignment]  # a process dies here, not the machine, and syncing takes most of the time
    old, new = folder / "old", folder / "new"
    in_child(lambda: publish(folder / "first", target_for(str(old))))
    shutil.copytree(old, new)
    in_child(lambda: publish(folder / "second", target_for(str(new))))
    before, after = tree(old), tree(new)
    for kills, step in enumerate(count(1, stride)):
        place = folder / f"killed-{step}"
        shutil.copytree(old, place)
        ended = in_child(
            partial(publish, folder / "second", target_for(str(place), workdir=folder / "second")),
            die_at=step,
        )
        check_readers(place, before, after)
        if ended == DONE:
            assert tree(place) == after
            return kills
        in_child(partial(publish, folder / "second", target_for(str(place), workdir=folder / "second")))
        assert tree(place) == after, f"step {step}: the next publisher did not mend it"
        shutil.rmtree(place)
    raise AssertionError("not reached: a publication has an end")


def check_readers(place: Path, before: dict[str, str], after: dict[str, str]) -> None:
    """Readers see the old state, the new one, or, once it is decided, files of both."""
    seen = {path: digest for path, digest in tree(place).items() if not path.startswith((".staged", ".decided"))}
    if (place / ".decided").exists():
        assert seen.items() <= before.items() | after.items()
        kept = {path: digest for path, digest in before.items() if path in after and path.startswith("data/")}
        assert kept.items() <= seen.items()
    else:
        assert seen in (before, after)


def in_child(work: Callable[[], object], die_at: int = 0) -> int:
    """Run in a forked process that dies, without any clean-up, before its `die_at`-th step; gives how it ended."""
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, _arguments: object) -> None:
            nonlocal count
            if event in STEPS:
                count += 1
                if count == die_at:
                    os._exit(KILLED)

        sys.addaudithook(hook)
        try:
            work()
            os._exit(DONE)
        finally:
            traceback.print_exc()
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {DONE, KILLED}, f"the publisher failed with {code}"
    return code


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


if __name__ == "__main__":
    sys.stdout.write(str(main(Path(sys.argv[1]), int(sys.argv[2]))))
