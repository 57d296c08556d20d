"""Where layers are measured."""

from __future__ import annotations

from typing import Literal

Device = Literal["auto", "cpu", "cuda"]
"""auto uses a GPU if there is one."""
