"""filterzoo doctor: checks and repairs the work folder."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from filterzoo.commands.options import DEFAULT, JsonOption, WorkdirOption
from filterzoo.reporting.counts import counted
from filterzoo.reporting.terminal import console, printable
from filterzoo.store.workfolder import WorkFolder

if TYPE_CHECKING:
    from filterzoo.store.doctor import Diagnosis

SHOWN = 20
"""Most findings of a kind that are listed."""


def doctor(
    workdir: WorkdirOption = DEFAULT,
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what is found; the next crawl redoes the rest.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the work folder: the journal, and that every fragment is there and holds what it is named after.

    --repair forgets the checkpoints whose fragments are lost and moves what belongs to none to `fragments.aside`; a
    damaged or lost journal is rebuilt from what can be read and from the fragments, and the old one
    kept. A journal that a newer version wrote is left alone. Exit code 0: sound, or all is mended; 1: something is
    wrong; 2: there is no work folder; 3: a crawl is working in it.
    """
    from filterzoo.store.doctor import examine  # noqa: PLC0415  # tools that other commands do not need

    with console(to_stderr=True).status("checking fragments"):
        diagnosis = examine(WorkFolder(workdir), repair=repair)
    if as_json:
        findings = [asdict(finding) for finding in diagnosis.findings]
        counted = {"checkpoints": diagnosis.checkpoints, "fragments": diagnosis.fragments}
        typer.echo(json.dumps({"workdir": str(workdir), **counted, "findings": findings}))
    else:
        _show(diagnosis, printable(str(workdir)), repair=repair)
    if not diagnosis.is_sound:
        raise typer.Exit(1)


def _show(diagnosis: Diagnosis, workdir: str, *, repair: bool) -> None:
    out = console()
    counts: Counter[str] = Counter()
    for finding in diagnosis.findings:
        counts[finding.check] += 1
        if counts[finding.check] <= SHOWN:
            mended = "mended: " if finding.mended else ""
            out.print(f"{mended}{finding.check}: {printable(finding.where)}: {printable(finding.detail, 300)}")
    found = ", ".join(f"{check} {count:,}" for check, count in sorted(counts.items())) or "sound"
    looked_at = f"{counted(diagnosis.checkpoints, 'checkpoint')}, {counted(diagnosis.fragments, 'fragment')}"
    out.print(f"{workdir}: {looked_at}: {found}")
    if not diagnosis.is_sound and not repair:
        out.print("`filterzoo doctor --repair` mends it, and the next crawl does again what is lost")
