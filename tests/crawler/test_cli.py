"""How the program ends: an error is one line and an exit code; a traceback goes to a file."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from filterzoo import cli
from filterzoo.errors import StartError


def ended(monkeypatch, capsys, tmp_path, error: BaseException, *options: str) -> tuple[int, list[str]]:
    """(exit code, lines on stderr) of a command that raises."""

    def boom() -> None:
        raise error

    monkeypatch.setattr("filterzoo.cli.hooked_commands", lambda: [boom])
    monkeypatch.setattr("sys.argv", ["filterzoo", *options, "boom"])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert isinstance(stop.value.code, int)
    return stop.value.code, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StartError("no such thing"), "no such thing"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/x"), "/full/x: No space left on device"),
        (OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "a/x"), "a/x: Not a directory; name another path and run "),
        # As pyarrow words it.
        (
            OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device"),
            "No space left on device; free space and run the same command again$",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "x\n\x1b[31m"), r"x\\n\\x1b\[31m: Permission denied"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_what_system_or_user_cause_is_one_line_and_2(monkeypatch, capsys, tmp_path, error, said):
    code, lines = ended(monkeypatch, capsys, tmp_path, error)
    assert code == 2
    (line,) = lines
    assert re.match(f"filterzoo: {said}", line)
    assert not list(tmp_path.iterdir())


def test_an_error_that_nobody_can_read_keeps_its_exit_code(tmp_path):
    """A full disk behind `2>`, and standard streams that were closed: files of ours must not take their numbers."""
    program = (
        "import os, sys; from filterzoo import cli, start\n"
        "if sys.argv[1] == 'closed':\n"
        "    os.close(1); sys.stdout = None; os.close(2); sys.stderr = None\n"
        "start._open_streams()\n"
        "assert os.open(os.devnull, os.O_RDONLY) > 2\n"
        "print('heard', flush=sys.argv[1] == 'closed'); cli._end('no such thing', 2)\n"
    )
    for how in ("closed", "full"):
        with Path("/dev/full").open("w") as full, (tmp_path / "out").open("w") as out:
            ran = subprocess.run([sys.executable, "-c", program, how], stdout=out, stderr=full, check=False)
        assert ran.returncode == 2, how


def test_what_nobody_expected_is_70_and_its_traceback_is_kept(monkeypatch, capsys, tmp_path):
    code, lines = ended(monkeypatch, capsys, tmp_path, KeyError("odd\nthing"))
    assert code == cli.UNEXPECTED == 70
    (line,) = lines
    named = re.search(r"its traceback is in (\S+);", line)
    assert line.startswith("filterzoo: unexpected error: KeyError: ")
    assert named
    assert "boom" in Path(named[1]).read_text()


@pytest.mark.parametrize(("error", "code"), [(ValueError("odd"), 70), (StartError("odd"), 2)])
def test_debug_shows_the_traceback(monkeypatch, capsys, tmp_path, error, code):
    found, lines = ended(monkeypatch, capsys, tmp_path, error, "--debug")
    assert found == code
    assert lines[0] == "Traceback (most recent call last):"
    assert "odd" in lines[-1]
