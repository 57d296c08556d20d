"""BioImage.IO: networks for microscopy, each described by an `rdf.yaml` with the sha256 of its weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar
from urllib.parse import urljoin, urlsplit

from pydantic import AfterValidator

from filterzoo import Artifact, Checkpoint, Modality, Reason, Refusal, Refused, Source, VisualCategory, hookimpl
from filterzoo.network.addresses import is_http
from filterzoo_plugins.sources.files.documents import bytes_at
from filterzoo_plugins.sources.packages.index import web_address
from filterzoo_plugins.sources.tables.zoo import TableOptions, task_of, text_of, yaml_of

COMMIT = "4c0c1efca0f15527895a290153544e56d12a79a1"
"""Commit of the branch from which the collection's pages were published, June 2024."""
PAGES = "https://bioimage-io.github.io/collection-bioimage-io/"
MAX_COLLECTION, MAX_DESCRIPTION = 64_000_000, 1_000_000
READ = ("onnx", "torchscript", "pytorch_state_dict", "keras_hdf5", "keras_v3")
"""Supported kinds of weights, the preferred first; each holds the same network."""

_ZENODO = re.compile(r"^https://zenodo\.org/api/records/([0-9]+)/files/([^/?#]+)/content$")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BioImageOptions(TableOptions):
    """`collection`: the URL of the collection's JSON; the collection's own pages are read from there, at its commit."""

    collection: Annotated[str, AfterValidator(web_address)] = (
        f"https://raw.githubusercontent.com/bioimage-io/collection-bioimage-io/{COMMIT}/collection.json"
    )


class BioImageSource(Source[BioImageOptions]):
    """Every model that the collection publishes; the id is the collection's, the revision the weights' sha256.

    Its repository describes 33 more (77 in April 2024): 23 of them are blocked, the others are not in its published
    list. A description that cannot be fetched refuses that model only.
    """

    name: ClassVar[str] = "bioimage_io"

    def discover(self) -> Iterator[Checkpoint | Refusal]:
        """See `Source.discover`."""
        try:
            document = json.loads(bytes_at(self.options.collection, self.door, MAX_COLLECTION))
        except (ValueError, RecursionError) as error:
            raise Refused(Reason.MALFORMED, "the collection is not JSON", self.options.collection) from error
        for identity, revision, place in _models(document):
            if self.options.wants(identity):
                try:
                    yield self._checkpoint(identity, place)
                except Refused as refusal:
                    yield Refusal(
                        id=identity, revision=revision, reason=refusal.reason, detail=refusal.detail, url=place
                    )

    def _checkpoint(self, identity: str, place: str) -> Checkpoint:
        own = self.options.collection.rpartition("/")[0] + "/"
        address = own + place.removeprefix(PAGES) if place.startswith(PAGES) else urljoin(own, place)
        content = bytes_at(address, self.door, MAX_DESCRIPTION)
        described = yaml_of(content.decode("utf-8", "replace"), "rdf.yaml")
        weights = described.get("weights") if isinstance(described, dict) else None
        if not isinstance(weights, dict):
            raise Refused(Reason.MALFORMED, "the description names no weights", address)
        kind = next((kind for kind in READ if isinstance(weights.get(kind), dict)), None)
        if kind is None:
            known = ", ".join(sorted(str(name) for name in weights)[:8])
            raise Refused(Reason.UNSUPPORTED, f"its weights are {ascii(known)[:120]}, which are not read", address)
        artifact = _artifact(weights[kind], address)
        tags = [text for tag in described.get("tags") or [] if (text := text_of(tag))]
        is_microscopy = any("microscopy" in tag for tag in tags)
        data = described.get("training_data")
        return Checkpoint(
            id=identity,
            revision=f"sha256:{artifact.sha256[:16]}" if artifact.sha256 else place.rstrip("/").split("/")[-2],
            artifacts=(artifact,),
            url=place,
            licence=text_of(described.get("license")),
            architecture=_architecture(weights),
            task=task_of(*tags, text_of(described.get("description"))),
            training_dataset=text_of(data.get("id")) if isinstance(data, dict) else None,
            visual_category=VisualCategory.MEDICAL_MICROSCOPY.value if is_microscopy else None,
            modality=Modality.MICROSCOPY.value if is_microscopy else None,
            tags=", ".join(tags) or None,
        )


def _models(document: Any) -> Iterator[tuple[str, str, str]]:
    """(id, version, URL of the description) of each model, in either form of the collection."""
    if not isinstance(document, dict):
        raise Refused(Reason.MALFORMED, "not a collection", "collection.json")
    for entry in document.get("collection") or document.get("items") or []:
        match entry:
            case {"type": "model", "id": str(identity), "rdf_source": str(place)}:
                yield identity, place.rstrip("/").split("/")[-2], place
            case {"type": "model", "id": str(identity), "versions": [{"source": str(place), "version": version}, *_]}:
                yield identity, str(version), place


def _artifact(weights: dict[str, Any], address: str) -> Artifact:
    source = weights.get("source")
    url = urljoin(address, source) if isinstance(source, str) else ""
    if not is_http(url):
        raise Refused(Reason.MALFORMED, "the description names no file", address)
    # Zenodo supports range requests at only one of its two URLs of a file.
    url = _ZENODO.sub(r"https://zenodo.org/records/\1/files/\2?download=1", url)
    sha256 = weights.get("sha256")
    known = sha256 if isinstance(sha256, str) and _SHA256.fullmatch(sha256) else None
    return Artifact(url=url, name=urlsplit(url).path.removesuffix("/content").rpartition("/")[2], sha256=known)


def _architecture(weights: dict[str, Any]) -> str | None:
    """`UNet2d` of `https://.../unet.py/content:UNet2d`."""
    match weights.get("pytorch_state_dict"):
        case {"architecture": str(place)} if re.fullmatch(r".*:[\w.]{1,80}", place):
            return place.rpartition(":")[2]
        case {"architecture": {"callable": str(name)}}:
            return text_of(name)
    return None


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [BioImageSource]
