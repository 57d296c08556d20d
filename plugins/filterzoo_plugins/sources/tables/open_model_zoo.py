"""OpenVINO's Open Model Zoo: the `model.yml` files in its package; networks are fetched from their authors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from filterzoo import Artifact, Checkpoint, Reason, Refusal, Refused, Source, hookimpl
from filterzoo.licensing.documents import MAX_TEXT, licence_of_address, licence_of_text
from filterzoo.licensing.statements import UNRECOGNISED, LicenceOrigin
from filterzoo.network.addresses import is_http
from filterzoo_plugins.sources.files.drive import download_address
from filterzoo_plugins.sources.packages.data import PackageData
from filterzoo_plugins.sources.packages.index import pinned
from filterzoo_plugins.sources.tables.zoo import TableOptions, task_of, text_of, yaml_of

PACKAGE = "openvino-dev==2024.6.0"
_FILES = r"(^|/)omz_tools/models/.*/model\.yml$"
_READ = (
    *(".onnx", ".pth", ".pt", ".pth.tar", ".ckpt", ".safetensors", ".h5", ".hdf5", ".keras", ".tflite", ".npz"),
    *(".caffemodel", ".pb"),
)
_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
_INPUT = re.compile(r"--(input_model|saved_model_dir)=\$dl_dir/([\w.-]+(?:/[\w.-]+)*)")
"""The file that OpenVINO's converter reads, among the unpacked files of a model."""
_SAVED_MODEL = "/saved_model.pb"
_NETWORK, _NUMBERS = ".xml", ".bin"
"""OpenVINO's own files: the network, and its weights."""
_GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)/blob/([^?#]+)")
_DRIVE_ID = re.compile(r"[A-Za-z0-9_-]{10,200}")


class OpenModelZooOptions(TableOptions):
    """`package`: another version of the zoo's package."""

    package: Annotated[str, AfterValidator(pinned)] = PACKAGE


class OpenModelZooSource(Source[OpenModelZooOptions]):
    """Every model with a supported file; others go to the ledger. The revision is the package's version.

    A model's licence is a URL: its text is read once for all models that share it.
    """

    name: ClassVar[str] = "open_model_zoo"
    hosts: ClassVar[tuple[str, ...]] = ("*",)

    def discover(self) -> Iterator[Checkpoint | Refusal]:
        """See `Source.discover`; the package is downloaded, five megabytes."""
        package = PackageData(self.options.package, self.door, self.options.index_url)
        texts: dict[str, str | Refused | None] = {}
        for path, text in package.matching(_FILES).items():
            identity = path.partition("omz_tools/models/")[2].removesuffix("/model.yml")
            if self.options.wants(identity):
                try:
                    yield self._checkpoint(identity, package.version, yaml_of(text, path), texts)
                except Refused as refusal:
                    yield Refusal(id=identity, revision=package.version, reason=refusal.reason, detail=refusal.detail)

    def _checkpoint(
        self, identity: str, version: str, model: Any, texts: dict[str, str | Refused | None]
    ) -> Checkpoint:
        if not isinstance(model, dict):
            raise Refused(Reason.MALFORMED, "not a description of a model")
        files = [entry for entry in model.get("files") or [] if isinstance(entry, dict)]
        artifact = next((found for entry in files if (found := _artifact(entry)) is not None), None)
        artifacts = (artifact,) if artifact is not None else _packed(model, files) or _converted(files)
        if not artifacts:
            raise Refused(Reason.UNSUPPORTED, f"no file of it is read: {text_of(model.get('framework'))!a}")
        place = text_of(model.get("license"))
        licence = self._licence(place, texts) if place else None
        return Checkpoint(
            id=identity,
            revision=f"omz-{version}",
            artifacts=artifacts,
            url=f"https://github.com/openvinotoolkit/open_model_zoo/tree/master/models/{identity}",
            licence=licence,
            licence_from=LicenceOrigin.LICENCE_LINK.value if licence else None,
            architecture=identity.rpartition("/")[2],
            task=task_of(text_of(model.get("task_type"))),
        )

    def _licence(self, place: str, texts: dict[str, str | Refused | None]) -> str | None:
        """The licence whose text is at a URL; `UNRECOGNISED` for an unknown text, or none.

        Each URL is requested once; Refused, for all of its models, if it cannot be fetched now.
        """
        if place not in texts:
            try:
                texts[place] = licence_of_address(place) or self._text(place)
            except Refused as refusal:
                texts[place] = refusal
        found = texts[place]
        if isinstance(found, Refused):
            raise found
        return found

    def _text(self, place: str) -> str:
        if not is_http(place):
            return UNRECOGNISED
        address = _GITHUB.sub(r"https://raw.githubusercontent.com/\1/\2", place)
        try:
            content = self.door.get_bytes(address, limit=MAX_TEXT)
        except Refused as refusal:
            if refusal.reason.is_transient:
                raise
            return UNRECOGNISED
        return licence_of_text(content.decode("utf-8", "replace")) or UNRECOGNISED


def _packed(model: dict[str, Any], files: list[dict[str, Any]]) -> tuple[Artifact, ...]:
    """The single archive of a model, with the member that is converted."""
    arguments = model.get("model_optimizer_args")
    named = [found for each in arguments or () if isinstance(each, str) and (found := _INPUT.fullmatch(each))]
    packed = [artifact for entry in files if (artifact := _artifact(entry, _ARCHIVES)) is not None]
    if len(named) != 1 or len(packed) != 1:
        return ()
    member = named[0][2] + (_SAVED_MODEL if named[0][1] == "saved_model_dir" else "")
    if not member.lower().endswith(_READ) or ".." in member.split("/"):
        return ()
    return (replace(packed[0], member=member),)


def _converted(files: list[dict[str, Any]]) -> tuple[Artifact, ...]:
    """The first listed network in OpenVINO's format, and its weights."""
    found = [artifact for entry in files if (artifact := _artifact(entry, (_NETWORK, _NUMBERS))) is not None]
    for network in found:
        weights = network.url.removesuffix(_NETWORK) + _NUMBERS
        side = next((artifact for artifact in found if artifact.url == weights), None)
        if network.url.endswith(_NETWORK) and side is not None:
            return network, side
    return ()


def _artifact(entry: dict[str, Any], endings: tuple[str, ...] = _READ) -> Artifact | None:
    """The file at its authors' URL, if its format is supported."""
    name, size = text_of(entry.get("name")) or "", entry.get("size")
    place = entry.get("original_source") or entry.get("source")
    match place:
        case {"$type": "google_drive", "id": str(file_id)} if _DRIVE_ID.fullmatch(file_id):
            place = download_address(file_id)
        case {"$type": "http", "url": str(url)}:
            place = url
    if not isinstance(place, str) or not is_http(place) or not name.lower().endswith(endings):
        return None
    return Artifact(url=place, name=name.rpartition("/")[2], size=size if isinstance(size, int) and size > 0 else None)


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [OpenModelZooSource]
