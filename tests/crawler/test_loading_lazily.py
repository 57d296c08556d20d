"""What a process loads: nothing heavy that its work does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

_STARTS = """
import sys
from filterzoo import plugins
loaded = plugins.load(plugins.references())
assert not loaded.failures, loaded.failures
"""


@pytest.mark.parametrize(
    ("start", "not_needed"),
    [
        (_STARTS, {"h5py", "numpy", "pyarrow", "fsspec", "httpx", "torch", "huggingface_hub"}),
        (_STARTS + "import filterzoo.commands.inspect", {"h5py", "pyarrow", "fsspec", "httpx", "torch"}),
        ("import sys, filterzoo.jail.child", {"pydantic", "numpy", "filterzoo.jail.parent", "filterzoo.jail.process"}),
    ],
    ids=["plugins", "inspect", "the jail's child"],
)
def test_what_is_not_needed_is_not_loaded(start: str, not_needed: set[str]) -> None:
    """Every command loads all plugins; the jail's child has but a small share of its memory for itself."""
    code = f"{start}\nprint(*sorted({not_needed!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == []


def test_every_public_name_can_be_imported() -> None:
    import filterzoo

    assert sorted(filterzoo._HOME_OF) == sorted(filterzoo.__all__)
    assert all(getattr(filterzoo, name) is not None for name in filterzoo.__all__)
