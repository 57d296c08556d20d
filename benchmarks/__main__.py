"""Runs every benchmark in turn: `make bench`, or `python -m benchmarks NAME... [OPTION...]` for some of them."""

from __future__ import annotations

import runpy
import sys
from itertools import takewhile
from pathlib import Path


def main() -> None:
    """Run the named benchmarks, or all; options are for each of them."""
    names = list(takewhile(lambda argument: not argument.startswith("-"), sys.argv[1:]))
    options = sys.argv[1 + len(names) :]
    names = names or sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    for name in names:
        print(f"== {name}", flush=True)
        sys.argv = [name, *options]
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
