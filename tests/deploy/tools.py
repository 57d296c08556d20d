"""Programs that check deploy/, found or missed with a reason."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tool(name: str) -> str:
    """The program's path, in this environment or on the machine; the test is skipped where there is none."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def lines_of(path: Path) -> list[str]:
    """Lines that are no comments."""
    return [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
