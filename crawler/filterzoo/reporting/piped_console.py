"""Rich's console for a command whose output may be piped to `head`."""

from __future__ import annotations

from rich.console import Console


class PipedConsole(Console):
    """A console that leaves the decision to the command if the pipe is closed."""

    def on_broken_pipe(self) -> None:
        """Raise instead of exiting with code 1 without a message, as Rich does."""
        raise BrokenPipeError
