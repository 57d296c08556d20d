"""Keras Applications: the tables of weights in the Keras package, read as data."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from filterzoo import (
    Artifact,
    Checkpoint,
    LocalFile,
    Modality,
    NetworkTask,
    RandomAccessFile,
    Reason,
    Refusal,
    Refused,
    Source,
    VisualCategory,
    hookimpl,
)
from filterzoo.network.addresses import is_http
from filterzoo_plugins import facts
from filterzoo_plugins.sources.packages.data import PackageData
from filterzoo_plugins.sources.packages.index import pinned
from filterzoo_plugins.sources.packages.python_tables import assignments, items, literal, parse
from filterzoo_plugins.sources.tables.zoo import TableOptions, unique

PACKAGE = "keras==3.15.1"
_MODULES = r"(^|/)keras/src/applications/\w+\.py$"
_FILE = re.compile(r"[\w.-]{1,200}\.h5")
_MD5 = re.compile(r"[0-9a-f]{32}")
_HASH = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")
"""MD5, or sha256 in newer tables."""


class KerasApplicationsOptions(TableOptions):
    """`package`: another version of Keras."""

    package: Annotated[str, AfterValidator(pinned)] = PACKAGE


class KerasApplicationsSource(Source[KerasApplicationsOptions]):
    """Every file with a classifier that a table of the package names; its hash, if there is one, is checked.

    Files without a classifier have the same convolutions. Names that code composes from numbers (the variants of
    MobileNet 1 and 2) are in no table. The package states no licence for weights.
    """

    name: ClassVar[str] = "keras_applications"
    hosts: ClassVar[tuple[str, ...]] = ("storage.googleapis.com",)

    def discover(self) -> Iterator[Checkpoint | Refusal]:
        """See `Source.discover`; the package is downloaded, two megabytes."""
        yield from unique(self._listed())

    def _listed(self) -> Iterator[Checkpoint]:
        package = PackageData(self.options.package, self.door, self.options.index_url)
        for path, text in package.matching(_MODULES).items():
            module = path.rpartition("/")[2].removesuffix(".py")
            for name, url, digest in sorted(set(_weights(module, parse(text, path)))):
                if self.options.wants(name):
                    yield _checkpoint(name, module, url, digest, package.version)

    def open(self, artifact: Artifact) -> RandomAccessFile:
        """See `Source.open`; the URL ends in the MD5 of the content, which is checked over the whole file."""
        url, _, md5 = artifact.url.partition("#md5=")
        if not _MD5.fullmatch(md5):
            return self.door.open(artifact)
        path = self.door.download(url)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != md5:
            raise Refused(Reason.HASH_MISMATCH, f"md5 is {found}, the package states {md5}", artifact.name)
        opened = LocalFile(path, follow_links=False)
        opened.verified_sha256 = path.name
        return opened


def _weights(module: str, tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """(name, URL, hash or "") of each file with a classifier in a module's tables and constants."""
    texts: dict[str, str] = {}
    hashes: list[tuple[str, str]] = []
    for target, value in assignments(tree):
        if isinstance(target, ast.Name):
            if (text := _text(value, texts)) is not None:
                texts[target.id] = text
            elif target.id == "WEIGHTS_HASHES":
                hashes = [(str(name), digest) for name, pair in items(value) if (digest := _first_hash(literal(pair)))]
    row = facts.table("keras_applications").get(module)
    if row is not None and row["base"] in texts:
        for name, digest in hashes:
            file = (row["with_top"] or "").replace("{name}", name)
            if _FILE.fullmatch(file):
                yield name, texts[str(row["base"])].rstrip("/") + "/" + file, digest
        return
    base = next((text for name, text in texts.items() if name.startswith("BASE_WEIGHT") and is_http(text)), "")
    for text in texts.values():
        url = text if is_http(text) else f"{base.rstrip('/')}/{text}" if base else ""
        file = url.rpartition("/")[2]
        if is_http(url) and _FILE.fullmatch(file) and not re.search(r"no[-_]?top", file):
            name = re.sub(r"_weights.*$", "", file.removesuffix(".h5"))
            yield name, url, ""


def _text(node: ast.expr, known: dict[str, str]) -> str | None:
    """A string constant, or an f-string of previously assigned constants."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            found = [_text(part.value if isinstance(part, ast.FormattedValue) else part, known) for part in parts]
            return None if None in found else "".join(part or "" for part in found)
        case ast.Name(id=name):
            return known.get(name)
    return None


def _first_hash(pair: object) -> str | None:
    first = pair[0] if isinstance(pair, list) and pair else None
    return first if isinstance(first, str) and _HASH.fullmatch(first) else None


def _checkpoint(name: str, module: str, url: str, digest: str, version: str) -> Checkpoint:
    file = url.rpartition("/")[2]
    if _MD5.fullmatch(digest):
        revision, artifact = f"md5:{digest[:16]}", Artifact(url=f"{url}#md5={digest}", name=file)
    else:
        revision = f"sha256:{digest[:16]}" if digest else f"keras-{version}"
        artifact = Artifact(url=url, name=file, sha256=digest or None)
    return Checkpoint(
        id=name,
        revision=revision,
        artifacts=(artifact,),
        url=url,
        architecture=name if not name[:2].isdigit() else module,
        task=NetworkTask.CLASSIFICATION.value,
        training_dataset="imagenet-1k",
        visual_category=VisualCategory.NATURAL.value,
        modality=Modality.RGB.value,
    )


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [KerasApplicationsSource]
