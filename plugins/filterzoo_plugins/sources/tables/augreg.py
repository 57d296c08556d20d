"""AugReg (arXiv:2106.10270): more than 50,000 vision transformers and hybrids, as their index lists them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from filterzoo import Artifact, Checkpoint, Modality, NetworkTask, Reason, Refused, Source, VisualCategory, hookimpl
from filterzoo_plugins.sources.packages.index import web_address
from filterzoo_plugins.sources.tables.zoo import TableOptions, share_of

MAX_INDEX = 256_000_000
_NAME = re.compile(r"[\w.+-]{1,300}")
_DATA = {"i1k": "imagenet-1k", "i21k": "imagenet-21k", "i21k_30": "imagenet-21k", "imagenet2012": "imagenet-1k"}
_SETTINGS = ("lr", "wd", "aug", "do", "sd", "adapt_lr", "adapt_steps", "adapt_resolution")


class AugRegOptions(TableOptions):
    """`base`: the URL of the files and of `index.csv`. `include`, `exclude`: globs over file names without `.npz`."""

    base: Annotated[str, AfterValidator(web_address)] = "https://storage.googleapis.com/vit_models/augreg"


class AugRegSource(Source[AugRegOptions]):
    """Every pretrained and every fine-tuned file of the index, once; `base_model` of the latter is the former.

    Training settings are in `tags`. Only hybrids (`R26_S_32`, `R_Ti_16`) have convolutions besides the patch embedding.
    The index states no licence, so there is none.
    """

    name: ClassVar[str] = "augreg"

    def discover(self) -> Iterator[Checkpoint]:
        """See `Source.discover`; the index is one document of some ten megabytes."""
        text = self.door.get_bytes(f"{self.options.base}/index.csv", limit=MAX_INDEX).decode("utf-8", "replace")
        seen: set[str] = set()
        for row in _rows(text):
            for column, parent in (("filename", None), ("adapt_filename", row["filename"])):
                name = row.get(column) or ""
                if name not in seen and _NAME.fullmatch(name) and self.options.wants(name):
                    seen.add(name)
                    yield self._checkpoint(name, parent, row)

    def _checkpoint(self, name: str, parent: str | None, row: Mapping[str, str]) -> Checkpoint:
        url = f"{self.options.base}/{name}.npz"
        accuracy = row.get("final_test") if parent is None else row.get("adapt_final_test")
        data = row.get("ds", "") if parent is None else row.get("adapt_ds", "")
        kept = _SETTINGS if parent else _SETTINGS[:5]
        return Checkpoint(
            id=name,
            revision="augreg-2021",
            artifacts=(Artifact(url=url, name=f"{name}.npz"),),
            url=url,
            architecture=row.get("name") or None,
            task=NetworkTask.CLASSIFICATION.value,
            training_dataset=_DATA.get(data, data) or None,
            pretraining_dataset=_DATA.get(row.get("ds", "")) if parent else None,
            visual_category=VisualCategory.NATURAL.value if _DATA.get(data) else None,
            modality=Modality.RGB.value,
            clean_accuracy=_share(accuracy),
            base_model=parent,
            tags=", ".join(f"{key}={row[key]}" for key in kept if row.get(key)) or None,
        )


def _rows(text: str) -> Iterator[dict[str, str]]:
    """The rows of the index; Refused (malformed) if it is not an index of files."""
    reader = csv.DictReader(text.splitlines())
    if not {"filename", "adapt_filename"} <= set(reader.fieldnames or ()):
        raise Refused(Reason.MALFORMED, "not the index of AugReg's files", "index.csv")
    yield from reader


def _share(cell: str | None) -> float | None:
    try:
        return share_of(float(cell or ""))
    except ValueError:
        return None


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [AugRegSource]
