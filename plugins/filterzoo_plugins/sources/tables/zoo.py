"""Shared by sources that read a zoo's tables: globs over ids, names of tasks, a repository's licence file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator

from filterzoo import Checkpoint, NetworkTask, Reason, Refusal, Refused, SourceOptions
from filterzoo.licensing.documents import licence_of_text
from filterzoo.licensing.statements import UNRECOGNISED, LicenceOrigin, Statement
from filterzoo_plugins.sources.packages.data import PackageData
from filterzoo_plugins.sources.packages.index import web_address

TASKS = (
    ("image-text", NetworkTask.IMAGE_TEXT),
    ("text recognition", NetworkTask.TEXT_RECOGNITION),
    ("text detection", NetworkTask.TEXT_RECOGNITION),
    ("optical character", NetworkTask.TEXT_RECOGNITION),
    ("face recognition", NetworkTask.FACE_RECOGNITION),
    ("face detection", NetworkTask.FACE_DETECTION),
    ("keypoint", NetworkTask.KEYPOINTS),
    ("pose estimation", NetworkTask.KEYPOINTS),
    ("landmark", NetworkTask.KEYPOINTS),
    ("action recognition", NetworkTask.VIDEO),
    ("video classification", NetworkTask.VIDEO),
    ("action detection", NetworkTask.VIDEO),
    ("segmentation", NetworkTask.SEGMENTATION),
    ("matting", NetworkTask.SEGMENTATION),
    ("depth estimation", NetworkTask.DEPTH),
    ("monocular depth", NetworkTask.DEPTH),
    ("super resolution", NetworkTask.SUPER_RESOLUTION),
    ("style transfer", NetworkTask.STYLE),
    ("denoising", NetworkTask.RESTORATION),
    ("deblurring", NetworkTask.RESTORATION),
    ("restoration", NetworkTask.RESTORATION),
    ("inpainting", NetworkTask.RESTORATION),
    ("image to image", NetworkTask.TRANSLATION),
    ("image translation", NetworkTask.TRANSLATION),
    ("colorization", NetworkTask.TRANSLATION),
    ("registration", NetworkTask.REGISTRATION),
    ("synthesis", NetworkTask.GENERATOR),
    ("gans", NetworkTask.GENERATOR),
    ("object detection", NetworkTask.DETECTION),
    ("detection", NetworkTask.DETECTION),
    ("self supervised", NetworkTask.FEATURE_EXTRACTION),
    ("feature extraction", NetworkTask.FEATURE_EXTRACTION),
    ("classification", NetworkTask.CLASSIFICATION),
)
"""Words for tasks in zoos -> task, the narrower words first."""


def task_of(*texts: str | None) -> str | None:
    """The task that a zoo's words name; None if they name none."""
    for text in texts:
        words = " ".join(re.split(r"[\W_]+", (text or "").lower()))
        found = next((task for word, task in TASKS if word.replace("-", " ") in words), None)
        if found is not None:
            return found.value
    return None


def not_listed(refusal: Refused) -> Reason:
    """The reason why a part of a zoo could not be listed: always a failure, even if the document was removed."""
    return Reason.FETCH_FAILED if refusal.reason.is_skip else refusal.reason


class TableOptions(SourceOptions):
    """`include`, `exclude`: globs over ids. `index_url`: another package index."""

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    index_url: Annotated[str | None, AfterValidator(web_address)] = None

    def wants(self, identity: str) -> bool:
        """Whether the globs select an id."""
        included = any(fnmatchcase(identity, pattern) for pattern in self.include)
        return included and not any(fnmatchcase(identity, pattern) for pattern in self.exclude)


def unique(found: Iterable[Checkpoint | Refusal]) -> Iterator[Checkpoint | Refusal]:
    """The same, each file once, with `#2`, `#3`, ... appended to repeated ids.

    A second name for a file goes to the ledger as a duplicate.
    """
    seen: Counter[str] = Counter()
    files: dict[str, str] = {}
    for one in found:
        seen[one.id] += 1
        named = one if seen[one.id] == 1 else replace(one, id=f"{one.id}#{seen[one.id]}")
        if isinstance(named, Checkpoint):
            first = files.setdefault(named.artifacts[0].url, named.id)
            if first != named.id:
                detail = f"the zoo's second name for the file of {first}"
                yield Refusal(
                    id=named.id, revision=named.revision, reason=Reason.DUPLICATE, detail=detail, url=named.url
                )
                continue
        yield named


def package_licence(package: PackageData) -> Statement | None:
    """The licence file of a package; None if it has none."""
    try:
        text = package.texts(["LICENSE"])["LICENSE"]
    except Refused as refusal:
        if refusal.reason.is_transient:
            raise
        return None
    return Statement(licence_of_text(text) or UNRECOGNISED, LicenceOrigin.LICENCE_FILE)


def yaml_of(text: str, name: str) -> Any:
    """A YAML document as plain data; Refused (malformed) if it is invalid. Tags create only plain data."""
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both are safe loaders
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refused(Reason.MALFORMED, f"not YAML: {type(error).__name__}", name) from error


def text_of(value: Any) -> str | None:
    """A short line of text; a list's entries joined; None for anything else."""
    if isinstance(value, list | tuple):
        parts = [text for part in value if (text := text_of(part))]
        value = ", ".join(parts)
    text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    return text if 0 < len(text) <= 300 and text.isprintable() and text != "-" else None


def share_of(value: Any) -> float | None:
    """Per cent, or a share, as a share; None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    share = value / 100 if value > 1 else float(value)
    return round(share, 6) if 0 <= share <= 1 else None
