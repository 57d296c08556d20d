"""Files at URLs that the user lists in the manifest or in a table: torch.hub repositories, any web page."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from filterzoo import (
    Artifact,
    Checkpoint,
    Licence,
    Operation,
    RandomAccessFile,
    Source,
    SourceOptions,
    StartError,
    hookimpl,
)
from filterzoo.files import text_of
from filterzoo.network.addresses import is_http
from filterzoo_plugins.sources.files.hash_prefix import hash_prefix, open_checked, revision
from filterzoo_plugins.sources.libraries.architectures import Architectures
from filterzoo_plugins.sources.own_files.facts_table import (
    FACTS,
    MAX_TABLE,
    checked_cells,
    from_csv,
    read_table,
)

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _address(url: str) -> str:
    if not is_http(url):
        raise ValueError(f"{url!r} is not an http or https address")
    return url


def _licence(stated: str | None) -> str | None:
    if stated is not None and Licence.parse(stated).expression is None:
        raise ValueError(f"{stated!r} is not an SPDX licence, such as apache-2.0; leave it out if it is unknown")
    return stated


class UrlFile(BaseModel):
    """One file. `name`: its id, by default the URL without its scheme. `member`: the model in an archive."""

    model_config = ConfigDict(extra="allow", frozen=True)
    url: Annotated[str, AfterValidator(_address)]
    name: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    sha256: Sha256 | None = None
    size: Annotated[int, Field(gt=0)] | None = None
    license: Annotated[str | None, AfterValidator(_licence)] = None
    page: Annotated[str, AfterValidator(_address)] | None = None
    member: str | None = None

    @model_validator(mode="after")
    def _facts_are_known(self) -> UrlFile:
        _, faults = checked_cells(self.model_extra or {}, FACTS)
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def id(self) -> str:
        """The id in the data set."""
        parts = urlsplit(self.url)
        return self.name or unquote(f"{parts.hostname}{parts.path}")

    @property
    def facts(self) -> dict[str, Any]:
        """The columns of `models` that are given with it."""
        return checked_cells(self.model_extra or {}, FACTS)[0]


class UrlsOptions(SourceOptions):
    """`files`: URLs, each with `name`, `sha256`, `size`, `license`, `page`, `member` and columns of `models`.

    `table`: a CSV file with these columns, relative to the manifest. `facts`: a table of further columns by id or glob.
    """

    files: tuple[UrlFile, ...] = ()
    table: str | None = None
    facts: str | None = None

    @model_validator(mode="after")
    def _names_files(self) -> UrlsOptions:
        if not self.files and self.table is None:
            raise ValueError("name files, or a table of files")
        return self


class UrlsSource(Source[UrlsOptions]):
    """Every listed file is a checkpoint; its revision is its sha256 if it is stated, or its first digits in the name.

    Otherwise the URL identifies the content: a change of the file is detected only while it is read.
    """

    name: ClassVar[str] = "urls"
    hosts: ClassVar[tuple[str, ...]] = ("*",)
    opens_in_threads: ClassVar[bool] = True

    def discover(self) -> Iterator[Checkpoint]:
        """See `Source.discover`; StartError for a table that is wrong."""
        facts = read_table(self.options.facts, self.folder, licences=True)
        files = [*self.options.files, *self._listed()]
        twice = [name for name, count in Counter(file.id for file in files).items() if count > 1]
        if twice:
            raise StartError(f"urls: {ascii(twice[0])[:200]} is listed twice; give each file a name of its own")
        for file in files:
            yield facts.with_facts(_checkpoint(file))

    def open(self, artifact: Artifact) -> RandomAccessFile:
        """See `Source.open`; digits of a hash in the name are checked, unless the whole hash is known."""
        door = self.door.trusting(artifact.url)
        if artifact.sha256 is None and hash_prefix(artifact.url):
            return open_checked(door, artifact)
        return door.open(artifact)

    @property
    def may_build_architectures(self) -> bool:
        """Whether a file or a table may state an architecture; see `Source.may_build_architectures`."""
        has_table = self.options.table is not None or self.options.facts is not None
        return has_table or any("architecture" in (file.model_extra or {}) for file in self.options.files)

    def architectures(self, checkpoint: Checkpoint) -> Iterator[Mapping[str, Operation]]:
        """See `Source.architectures`: timm's or torchvision's network of the name that the user gave."""
        return Architectures().of(checkpoint.architecture)

    def _listed(self) -> Iterator[UrlFile]:
        """The rows of the table; StartError with file and line for an invalid one."""
        if self.options.table is None:
            return
        path = self.folder / self.options.table
        for url, line, cells in from_csv(path, text_of(path, "a table", MAX_TABLE), "url"):
            try:
                yield UrlFile(url=url, **cells)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                place = ".".join(map(str, first["loc"])) or "row"
                detail = first["msg"].removeprefix("Value error, ")
                raise StartError(f"{path}:{line}: {place}: {detail}") from None


def _checkpoint(file: UrlFile) -> Checkpoint:
    name = re.sub(r"[?#].*", "", file.url).rpartition("/")[2]
    pinned = f"sha256:{file.sha256[:16]}" if file.sha256 else revision(file.url)
    return Checkpoint(
        id=file.id,
        revision=pinned or f"url:{hashlib.sha256(file.url.encode()).hexdigest()[:16]}",
        artifacts=(Artifact(url=file.url, name=name, size=file.size, sha256=file.sha256, member=file.member),),
        url=file.page or file.url,
        licence=file.license,
        **file.facts,
    )


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [UrlsSource]
