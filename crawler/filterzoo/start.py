"""Entry point of `filterzoo`: listens for Ctrl-C before it loads the command line, which takes a moment."""

from __future__ import annotations

from filterzoo import stopping


def main() -> None:
    """Run the command line."""
    stopping.listen()
    try:
        from filterzoo.cli import main as run  # noqa: PLC0415  # see above

        run()
    except stopping.Stopped as stopped:
        stopping.end(stopped)
