"""Detectron2's model zoo: the table in `model_zoo.py` of its repository, read as data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from filterzoo import Artifact, Checkpoint, Modality, NetworkTask, Reason, Refused, Source, VisualCategory, hookimpl
from filterzoo.licensing.documents import licence_of_address
from filterzoo_plugins.sources.files.documents import bytes_at
from filterzoo_plugins.sources.packages.index import web_address
from filterzoo_plugins.sources.packages.python_tables import assigned, literal, parse
from filterzoo_plugins.sources.tables.zoo import TableOptions

COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"
FILE = "detectron2/model_zoo/model_zoo.py"
_LICENSED = re.compile(r"licensed under the \[[^\]]{3,80}\]\((https?://[^)\s]{3,200})\)", re.IGNORECASE)
_DATA = {"COCO": "coco-2017", "new": "coco-2017", "LVIS": "lvis", "Cityscapes": "cityscapes", "PascalVOC": "pascal-voc"}
_PLACE = re.compile(r"[\w.-]+/[\w.-]+\.pkl")
MAX_FILE = 1_000_000


class Detectron2Options(TableOptions):
    """`repository`: the URL of its raw files at a commit. `files`: another URL of the weights than the table's."""

    repository: Annotated[str, AfterValidator(web_address)] = (
        f"https://raw.githubusercontent.com/facebookresearch/detectron2/{COMMIT}"
    )
    files: Annotated[str | None, AfterValidator(web_address)] = None


class Detectron2Source(Source[Detectron2Options]):
    """Every configuration with weights; the id is the configuration's path, the revision the name of its file.

    The licence is that of MODEL_ZOO.md for all models.
    """

    name: ClassVar[str] = "detectron2"

    def discover(self) -> Iterator[Checkpoint]:
        """See `Source.discover`."""
        tree = parse(self._text(FILE), FILE)
        prefix = self.options.files or literal(assigned(tree, "S3_PREFIX", FILE))
        table = literal(assigned(tree, "CONFIG_PATH_TO_URL_SUFFIX", FILE))
        if not isinstance(prefix, str) or not isinstance(table, dict):
            raise Refused(Reason.MALFORMED, "not the table of Detectron2's models", FILE)
        stated = _LICENSED.search(" ".join(self._text("MODEL_ZOO.md").split()))
        licence = licence_of_address(stated[1]) if stated else None
        for config, place in table.items():
            if isinstance(place, str) and _PLACE.fullmatch(place) and self.options.wants(str(config)):
                yield _checkpoint(str(config), f"{prefix.rstrip('/')}/{config}/{place}", place, licence)

    def _text(self, file: str) -> str:
        return bytes_at(f"{self.options.repository}/{file}", self.door, MAX_FILE).decode("utf-8", "replace")


def _checkpoint(config: str, url: str, place: str, licence: str | None) -> Checkpoint:
    folder, _, name = config.partition("/")
    masks = "mask" in name or "panoptic" in name
    task = NetworkTask.KEYPOINTS if "keypoint" in name else NetworkTask.SEGMENTATION if masks else NetworkTask.DETECTION
    data = next((data for word, data in _DATA.items() if folder.startswith(word)), None)
    return Checkpoint(
        id=config,
        revision=place,
        artifacts=(Artifact(url=url, name=place.rpartition("/")[2]),),
        url=url,
        licence=licence,
        architecture=name,
        task=task.value,
        training_dataset=data,
        visual_category=VisualCategory.NATURAL.value,
        modality=Modality.RGB.value,
    )


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [Detectron2Source]
