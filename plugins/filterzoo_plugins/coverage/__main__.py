"""`python -m filterzoo_plugins.coverage [--offline] [--documents FOLDER] > docs/zoos.md`.

It needs the package index. Documents at a commit come from the download cache once they are fetched; copies
(`documents.py`) come from FOLDER, by default FILTERZOO_CACHE/documents. A zoo that cannot be reached is marked as such,
never counted as empty. --offline: only the package index is requested.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from filterzoo.network.addresses import host_of
from filterzoo.network.files.cache import default_folder
from filterzoo.network.health import HostHealth
from filterzoo_plugins.coverage.documents import DoorWithCopies, read_index
from filterzoo_plugins.coverage.page import page
from filterzoo_plugins.coverage.rows import row, zoos
from filterzoo_plugins.sources.packages.index import configured_index


def main() -> None:
    """Write the page to standard output, and its progress to standard error."""
    parser = argparse.ArgumentParser(prog="python -m filterzoo_plugins.coverage")
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--documents", type=Path, default=default_folder() / "documents")
    arguments = parser.parse_args()
    index = {host_of(configured_index()), "files.pythonhosted.org"}
    hosts = index.__contains__ if arguments.offline else None
    with (
        tempfile.TemporaryDirectory() as notes,
        DoorWithCopies(
            default_folder(), read_index(arguments.documents), hosts=hosts, health=HostHealth(Path(notes))
        ) as door,
    ):
        lines = []
        for zoo in zoos():
            print(zoo.name, file=sys.stderr)  # noqa: T201  # progress of a command
            lines.append(row(zoo, door))
        print(page(lines, door.answered, offline=arguments.offline), end="")  # noqa: T201  # the page


if __name__ == "__main__":
    main()
