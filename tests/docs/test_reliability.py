"""docs/reliability.md: each test it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`((?:tests/[\w/]+/)?test_\w+\.py)(?:::(test_\w+))?`")
"""A name without folders is in the folder of the one before it."""


def test_each_promise_names_tests_that_are_there() -> None:
    folder, missing, promises = Path(), [], 0
    for line in (ROOT / "docs" / "reliability.md").read_text().splitlines():
        found = NAMED.findall(line)
        if line.startswith("| ") and "---" not in line and line.count("|") == 3 and "tests/" in line:
            promises += 1
        for path, test in found:
            folder = Path(path).parent if "/" in path else folder
            file = ROOT / folder / Path(path).name
            if not file.is_file() or (test and f"def {test}(" not in file.read_text()):
                missing.append(f"{file.relative_to(ROOT)}::{test}")
    assert missing == []
    assert promises > 20
