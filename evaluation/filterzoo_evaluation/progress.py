"""Progress of an evaluation: images, and images a second."""

from __future__ import annotations

from rich.progress import ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text


class _Speed(ProgressColumn):
    """Images a second of the last half minute; a dash before there are any."""

    def render(self, task: Task) -> Text:
        return Text(f"{'-' if task.speed is None else f'{task.speed:,.0f}'} images/s")


def progress_columns() -> tuple[ProgressColumn, ...]:
    """What the line of progress shows."""
    return TextColumn("{task.completed:,} images"), _Speed(), TimeElapsedColumn()
