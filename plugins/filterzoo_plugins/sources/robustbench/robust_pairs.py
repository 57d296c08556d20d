"""The pairs of arXiv:2204.02481 and 2210.05938: RobustBench networks, each with a normally trained one.

The pairs are in a table of a package, read as data. For CIFAR the authors trained the normal networks themselves, one
per architecture: these are on Zenodo, in archives of Lightning checkpoints. For ImageNet they used timm's
(`manifests/facts/pairs.csv`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filterzoo import Artifact, Checkpoint, Reason, Refusal, Refused

if TYPE_CHECKING:
    from filterzoo import Door
    from filterzoo_plugins.sources.robustbench.tables import LeaderboardEntry

PACKAGE = "robustvsnormalzoo==1.0.4"
TABLE = "robustvsnormalzoo/model_mappings.csv"
RECORD = "7097538"
LICENCE = "cc-by-sa-4.0"
"""The licence of the authors' own networks, unless the record states another."""
OF_TIMM = "imagenet"

_NAME = re.compile(r"[\w-]{1,80}")


@dataclass(frozen=True, slots=True)
class Pair:
    """A robust network by its name in RobustBench (all Linf), and the normal network by its authors' name."""

    dataset: str
    robust: str
    normal: str
    architecture: str

    @property
    def id(self) -> str:
        """The id shared by all pairs with this normal network."""
        return f"{self.dataset}/{self.normal}"


def pairs(text: str) -> list[Pair]:
    """The rows of the table; Refused (malformed) if it lacks the columns, or a name is invalid."""
    try:
        rows = [
            Pair(row["Dataset"], row["Robust"], row["Normal"], row["Arch"]) for row in csv.DictReader(text.splitlines())
        ]
    except (KeyError, csv.Error) as error:
        raise Refused(Reason.MALFORMED, f"not the table of pairs: {error!r}", TABLE) from error
    if not all(_NAME.fullmatch(name or "") for row in rows for name in (row.dataset, row.robust, row.normal)):
        raise Refused(Reason.MALFORMED, "a network without a name", TABLE)
    return rows


def clean_accuracies(text: str, share: Callable[[str | None], float | None]) -> dict[tuple[str, str], float]:
    """(data set, network) -> clean accuracy of the normal networks in the paper's `meta.csv`.

    share: converts per cent to a number in [0, 1]. Refused (malformed) if the table lacks its columns.
    """
    try:
        reader = csv.DictReader(text.splitlines())
        _ = [(reader.fieldnames or []).index(column) for column in ("Network", "Robust", "Clean Accuracy")]
        rows = [
            (row["Training-Dataset"], row["Network"], share(row["Clean Accuracy"]))
            for row in reader
            if row["Robust"] == "False"
        ]
    except (KeyError, ValueError, csv.Error) as error:
        raise Refused(Reason.MALFORMED, f"not the table of networks: {error!r}", "meta.csv") from error
    return {(dataset, name): accuracy for dataset, name, accuracy in rows if accuracy is not None}


def paired(listed: Iterable[LeaderboardEntry], of_papers: Iterable[Pair]) -> dict[str, str]:
    """Entry -> its pair, if the pair has a robust and a normal network.

    Pairs are a paper's for networks of the Linf table; otherwise the zoo's own networks of the same architecture. A
    normal network that several tables list counts once.
    """
    papers = {(pair.dataset, pair.robust): pair.id for pair in of_papers}
    groups: dict[str, list[LeaderboardEntry]] = {}
    found: dict[str, str] = {}
    for entry in listed:
        own = papers.get((entry.dataset, entry.name)) if entry.threat_model == "Linf" else None
        if own is not None:
            found[entry.id] = own
        elif entry.network and len(entry.drive_ids) <= 1:
            groups.setdefault(f"{entry.dataset}/{entry.network}", []).append(entry)
    for name, group in groups.items():
        normal = {entry.file: entry for entry in reversed(group) if entry.normal}
        robust = [entry for entry in group if not entry.normal and entry.threat_model != "corruptions"]
        if normal and robust:
            found |= {entry.id: name for entry in (*normal.values(), *robust)}
    return found


def normal_networks(listed: list[Pair], door: Door, zenodo: str) -> Iterator[Checkpoint | Refusal]:
    """Each of the authors' own networks once, in table order, with its size, licence and pair."""
    own = {pair.id: pair for pair in listed if pair.dataset != OF_TIMM}
    if not own:
        return
    try:
        record = door.get_json(f"{zenodo}/api/records/{RECORD}")
    except Refused as refusal:
        detail = f"cannot list the normal networks: {refusal.detail}"
        yield Refusal(id="normal", revision=f"zenodo:{RECORD}", reason=refusal.reason, detail=detail)
        return
    sizes, licence = _sizes(record), _licence(record)
    page = f"https://zenodo.org/records/{RECORD}"
    for pair in own.values():
        file, name = f"{pair.dataset}_normal_robustbench_{pair.normal}.tar", f"{pair.dataset}/normal/{pair.normal}"
        if file not in sizes:
            detail = "the record has no file of it"
            yield Refusal(id=name, revision=f"zenodo:{RECORD}", reason=Reason.REMOVED, detail=detail, url=page)
            continue
        url = f"{zenodo}/records/{RECORD}/files/{file}?download=1"
        yield Checkpoint(
            id=name,
            revision=f"zenodo:{RECORD}",
            artifacts=(Artifact(url=url, name=file, size=sizes[file]),),
            url=page,
            licence=licence,
            architecture=pair.architecture or None,
            robust=False,
            pair_id=pair.id,
        )


def _sizes(record: Any) -> dict[str, int | None]:
    """File -> size in bytes, None if the record does not state it."""
    files = record.get("files") if isinstance(record, dict) else None
    found: dict[str, int | None] = {}
    for entry in files if isinstance(files, list) else []:
        match entry:
            case {"key": str(file), "size": int(size)} if size > 0:
                found[file] = size
            case {"key": str(file)}:
                found[file] = None
    return found


def _licence(record: Any) -> str:
    match record:
        case {"metadata": {"license": {"id": str(licence)}}}:
            return licence
    return LICENCE
