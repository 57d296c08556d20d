"""`takedowns.csv`: the takedown requests. Every publisher reads it and refuses the models that it names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from filterzoo.errors import Reason, Stage, StartError
from filterzoo.reporting.spreadsheet import ESCAPE, escaped
from filterzoo_publish.plan.rows import clean

TAKEDOWNS = "takedowns.csv"
_HEAD = ("kind", "value", "day")


class TakedownKind(StrEnum):
    """The kinds of takedown requests."""

    MODEL = "model"
    """`source/id@revision`, or `source/id`: every revision."""
    REPO = "repo"
    """The beginning of `source/id`, up to a `/` or its end."""
    LICENCE = "licence"
    """A licence as `models.licence` spells it, alone or joined by `and`; or a class of licences."""


@dataclass(frozen=True, slots=True)
class Takedown:
    """One takedown request; day: `YYYY-MM-DD`, when it was applied."""

    kind: TakedownKind
    value: str
    day: str

    def covers(self, model: Mapping[str, Any]) -> bool:
        """Whether it matches a model, given as a row of `models` or some of its columns."""
        name = f"{model['source']}/{model['id']}"
        match self.kind:
            case TakedownKind.MODEL:
                return self.value in {name, f"{name}@{model['revision']}"}
            case TakedownKind.REPO:
                return f"{name}/".startswith(f"{self.value.rstrip('/')}/")
            case TakedownKind.LICENCE:
                return self.value.lower() in {*(model["licence"] or "").split(" and "), model.get("licence_class")}


def is_taken_down(model: Mapping[str, Any], takedowns: Iterable[Takedown]) -> bool:
    """Whether any of the requests matches the model."""
    return any(takedown.covers(model) for takedown in takedowns)


def skipped_row(model: Mapping[str, Any]) -> dict[str, Any]:
    """The row of `skipped` for a removed model, with only its name and licence."""
    kept = {name: clean(model[name]) for name in ("source", "id", "revision", "licence")}
    detail = "its owner asked for its removal, or its licence does not allow it; it is not published again"
    gone = dict.fromkeys(("url", "where", "plugin"))
    return {**kept, **gone, "stage": str(Stage.PUBLISH), "reason": str(Reason.TAKEN_DOWN), "detail": detail}


def read_takedowns(text: str | None) -> tuple[Takedown, ...]:
    """The requests, oldest first. StartError for a malformed file, because no request may be missed."""
    if text is None:
        return ()
    try:
        rows = [tuple(row) for row in csv.reader(io.StringIO(text, newline=""), strict=True)]
        rows.remove(_HEAD)
        return tuple(Takedown(TakedownKind(kind), value.removeprefix(ESCAPE), day) for kind, value, day in rows)
    except (ValueError, csv.Error) as error:
        raise StartError(f"{TAKEDOWNS}: is not as a takedown wrote it ({error}); mend it first") from error


def takedowns_csv(takedowns: Iterable[Takedown]) -> str:
    """The file's text. A value that a spreadsheet would take for a formula, or that begins with `'`, gets a `'`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(_HEAD)
    for takedown in takedowns:
        writer.writerow([takedown.kind, escaped(clean(takedown.value)), takedown.day])
    return text.getvalue()
