"""Runs all benchmarks, one after the other: `make bench`. For some: `python -m benchmarks NAME... [OPTION...]`."""

from __future__ import annotations

import runpy
import sys
from itertools import takewhile
from pathlib import Path


def main() -> None:
    """Run the named benchmarks, or all. Each gets all options."""
    names = list(takewhile(lambda argument: not argument.startswith("-"), sys.argv[1:]))
    options = sys.argv[1 + len(names) :]
    names = names or sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    for name in names:
        print(f"== {name}", flush=True)
        sys.argv = [name, *options]
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
