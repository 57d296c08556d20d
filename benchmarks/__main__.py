"""Runs every benchmark in turn: `make bench`, or `python -m benchmarks NAME...` for some of them."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the named benchmarks, or all."""
    names = sys.argv[1:] or sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    for name in names:
        print(f"== {name}", flush=True)
        sys.argv = [name]
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
