"""docs/write-a-plugin.md is done as it stands, block by block, by a user with an environment of their own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kit.fresh_environment import Environment, make_environment

PAGE = Path(__file__).parents[2] / "docs" / "write-a-plugin.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SAVED = re.compile(r"Save this as `([^`]+)`:\s*\Z")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def steps() -> Iterator[tuple[str, str, str | None]]:
    """Language, text, and the file to save it as, of every block; the port is one that is free."""
    page = PAGE.read_text().replace(":8000", f":{(port := free_port())}").replace(" 8000 ", f" {port} ")
    end = 0
    for block in BLOCK.finditer(page):
        saved = SAVED.search(page[end : block.start()])
        yield block[1], block[2], saved[1] if saved else None
        end = block.end()


@contextlib.contextmanager
def in_background(command: str, user: Environment, folder: Path) -> Iterator[None]:
    """A command that ends in `&`, ended with all it started when the page is done."""
    shell = subprocess.Popen(
        ["bash", "-c", f"{command}wait"],
        cwd=folder,
        env=user.variables,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


def squeezed(text: str) -> list[str]:
    """Lines without the blanks that make columns."""
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.mark.slow
def test_the_page_is_executed(tmp_path: Path) -> None:
    user = make_environment(tmp_path / "venv")
    folder = tmp_path / "folder"
    folder.mkdir()
    printed = ""
    done = []
    with contextlib.ExitStack() as background:
        for language, text, name in steps():
            done.append(language)
            if name is not None:
                assert language in {"python", "yaml"}
                (folder / name).write_text(text)
            elif language == "text":
                shown = squeezed(printed)
                for line in squeezed(text):
                    assert any(found.startswith(line) for found in shown), f"{line}\nis not in\n{printed}"
            elif language == "sh" and text.endswith("&\n"):
                background.enter_context(in_background(text, user, folder))
            elif language == "sh":
                printed = user.run(text, folder)
            else:
                assert language == "python"
                (tmp_path / "block.py").write_text(text)
                user.run(f"python {tmp_path / 'block.py'}", folder)
    assert done.count("sh") >= 7
    assert done.count("text") >= 5
