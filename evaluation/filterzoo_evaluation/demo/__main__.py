"""`python -m filterzoo_evaluation.demo FOLDER`. Nothing else is defined here: worker processes cannot import it."""

from __future__ import annotations

import sys
from pathlib import Path

from filterzoo_evaluation.demo.running import main

if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
