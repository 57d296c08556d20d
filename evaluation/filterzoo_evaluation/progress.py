"""Progress of an evaluation: images, and images per second."""

from __future__ import annotations

from rich.progress import ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text


class _Speed(ProgressColumn):
    """Images per second in the last half minute; a dash before the first."""

    def render(self, task: Task) -> Text:
        return Text(f"{'-' if task.speed is None else f'{task.speed:,.0f}'} images/s")


def progress_columns() -> tuple[ProgressColumn, ...]:
    """The columns of the progress line."""
    return TextColumn("{task.completed:,} images"), _Speed(), TimeElapsedColumn()
