"""Manifests: the sources, kernels, licences and limits of a crawl; read from YAML and checked."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Union
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    create_model,
)

from filterzoo.crawl.budget import LAYER_BYTES, LAYERS, MOST_LAYERS, STORED_BYTES, Budget
from filterzoo.errors import StartError
from filterzoo.files import text_of
from filterzoo.licensing.licences import Licence, LicenceClass, Policy, Unknown
from filterzoo.manifests.manifest_yaml import YamlDocument, YamlError, dotted, parse_yaml
from filterzoo.manifests.naming import MAX_BYTES
from filterzoo.manifests.quantities import parse_count, parse_size
from filterzoo.network.addresses import is_http, origin_of
from filterzoo.network.authorisation import header_fault, names_variable
from filterzoo.source import Source, SourceOptions


def _licence(value: Any) -> Any:
    """A licence of an `allow` or `deny` list, as `Licence.expression` spells it."""
    if not isinstance(value, str):
        return value
    licence = Licence.parse(value)
    if not licence.is_single:
        raise ValueError(f"{value!r} is not one SPDX licence; allowed: identifiers of https://spdx.org/licenses")
    if licence.licence_class is LicenceClass.UNKNOWN:
        raise ValueError(f"{value!r} stands for unknown licences; say what to do with them in licenses.unknown")
    return licence.expression


_SIZE_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "examples": ["8GB"]}]}
_COUNT_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "examples": ["60M"]}]}
Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema(_SIZE_SCHEMA)]
Count = Annotated[int, BeforeValidator(parse_count), WithJsonSchema(_COUNT_SCHEMA)]
Kernel = Annotated[str, Field(pattern=r"^[1-9][0-9]*(x[1-9][0-9]*){0,2}$", examples=["3x3"])]
LicenceName = Annotated[str, BeforeValidator(_licence)]
_USER_AGENT = Field(pattern=r"^[\x21-\x7e]([\x20-\x7e]{0,198}[\x21-\x7e])?$", examples=["my-crawl (me@example.org)"])
UserAgent = Annotated[str, _USER_AGENT]
Limit = Annotated[int, Field(strict=True, gt=0)]


def _origin(url: str) -> str:
    if not is_http(url) or urlsplit(url).path not in {"", "/"} or "@" in url or "?" in url or "#" in url:
        raise ValueError("write the address of a server alone, such as https://zoo.example.org")
    return origin_of(url)


def _header_name(name: str) -> str:
    if fault := header_fault(name):
        raise ValueError(fault)
    return name


def _template(value: str) -> str:
    if not names_variable(value):
        raise ValueError("a secret has no place in a manifest; name an environment variable, as in Bearer ${MY_TOKEN}")
    return value


Origin = Annotated[str, AfterValidator(_origin)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderTemplate = Annotated[str, AfterValidator(_template), Field(examples=["Bearer ${MY_TOKEN}"])]
Headers = dict[Origin, dict[HeaderName, HeaderTemplate]]
"""Server -> headers that are sent only to it; `${VARIABLE}` in a value stands for that environment variable."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Model):
    """Limits of a checkpoint: bytes of its files, and filters (out * in/groups, all kernels).

    The others bound the cost of reading it (docs/security.md). layer_bytes: of a layer in float32, which bounds the
    memory. stored_bytes: of the filters that are stored. cpu_seconds: for normalising, measuring and storing; by
    default 60, and 240 for each GB of weights. layers_per_checkpoint: at most 32,768, which are one row group as
    they are published.
    """

    checkpoint_bytes: Size = 8_000_000_000
    filters_per_checkpoint: Count = 60_000_000
    layers_per_checkpoint: Annotated[Count, Field(le=MOST_LAYERS)] = LAYERS
    layer_bytes: Size = LAYER_BYTES
    stored_bytes: Size = STORED_BYTES
    cpu_seconds: Limit | None = None

    @property
    def budget(self) -> Budget:
        """The limits on the cost of a checkpoint."""
        return Budget(
            seconds=self.cpu_seconds,
            layer_bytes=self.layer_bytes,
            layers=self.layers_per_checkpoint,
            stored_bytes=self.stored_bytes,
        )


class Licenses(_Model):
    """Which licences may be published; without `allow`, those that require no more than notice and credit.

    unknown: what to do if neither the zoo nor the file states a recognised licence. If the zoo states none, the head of
    the file is read for it, even if such checkpoints are then skipped.
    """

    allow: tuple[LicenceName, ...] | None = None
    deny: tuple[LicenceName, ...] = ()
    unknown: Unknown = Unknown.METADATA_ONLY


class VerifySha256(StrEnum):
    """Which remote files are downloaded whole, so that the zoo's sha256 can be compared.

    `when-cheap`: those where this costs few additional bytes (docs/ranges.md); `always`: all that have one.
    """

    WHEN_CHEAP = "when-cheap"
    ALWAYS = "always"


class _Header(_Model):
    """The keys of a manifest, except those of sources, which their plugins check."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")]
    sources: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)]
    kernels: tuple[Kernel, ...] = ("3x3",)
    licenses: Licenses = Licenses()
    limits: Limits = Limits()
    verify_sha256: VerifySha256 = VerifySha256.WHEN_CHEAP
    user_agent: UserAgent | None = None


class _Block(_Model):
    """The common keys of all sources' blocks."""

    model_config = ConfigDict(extra="ignore")
    source: str
    limit: Limit | None = None
    headers: Headers = {}


_COMMON = tuple(_Block.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceBlock:
    """One entry of `sources`: at most `limit` checkpoints of `source`, as `options` say.

    headers: for each server (scheme, host, port) the headers it is sent, with `${VARIABLE}` still in them.
    """

    source: str
    limit: int | None
    options: SourceOptions
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A checked manifest. `path` is its file; relative paths in it are relative to `folder`."""

    path: Path
    name: str
    sources: tuple[SourceBlock, ...]
    kernels: tuple[str, ...]
    licences: Policy
    limits: Limits
    verify_sha256: VerifySha256
    user_agent: str | None = None
    """The User-Agent of its requests; None for the project's name and address."""

    @property
    def folder(self) -> Path:
        """The manifest's folder."""
        return self.path.parent


def load_manifests(
    paths: Iterable[Path], sources: Mapping[str, type[Source]], others: Collection[str] = ()
) -> tuple[Manifest, ...]:
    """Read manifests; StartError with one line `file:line: key: what` for each error in any of them.

    others: names of sources that were not imported, because no manifest can name them (`naming.may_name`).
    """
    manifests, faults = [], []
    for path in paths:
        try:
            manifests.append(load_manifest(path, sources, others))
        except StartError as error:
            faults.append(str(error))
    if faults:
        raise StartError("\n".join(faults))
    return tuple(manifests)


def load_manifest(path: Path, sources: Mapping[str, type[Source]], others: Collection[str] = ()) -> Manifest:
    """Read one manifest; `sources` maps the names it may use to their classes. See `load_manifests`."""
    try:
        document = parse_yaml(text_of(path, "a manifest", MAX_BYTES))
    except YamlError as error:
        raise StartError(_line(path, error.line, error.key, error.detail)) from error
    if document.data is None:
        raise StartError(_line(path, 1, "", f"the manifest is empty; needed: {', '.join(_required(_Header))}"))
    if not isinstance(document.data, dict):
        raise StartError(_line(path, 1, "", "a manifest is a map of keys: name, sources, ..."))
    header, faults = _header(document)
    blocks: list[SourceBlock] = []
    for place, block in enumerate(document.data.get("sources") or ()):
        if isinstance(block, dict):
            found, wrong = _block(block, place, sources, others)
            faults += wrong
            blocks += found
    if header is None or faults:
        lines = [(document.line(loc), dotted(loc), detail) for loc, detail in faults]
        raise StartError("\n".join(_line(path, *line) for line in sorted(lines)))
    return _manifest(path.resolve(), header, tuple(blocks))


def manifest_schema(sources: Mapping[str, type[Source]]) -> dict[str, Any]:
    """The JSON Schema of manifests that use these sources, for editors."""
    blocks = tuple(_block_model(name, source) for name, source in sorted(sources.items()))
    union: Any = Union[blocks] if blocks else dict[str, Any]  # noqa: UP007  # the members are known at run time only
    entries: Any = (Annotated[tuple[union, ...], Field(min_length=1)], ...)
    model = create_model("FilterZoo manifest", __base__=_Header, sources=entries)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}


def _block_model(name: str, source: type[Source]) -> type[BaseModel]:
    """The keys of a source's block: its options, and the common ones."""
    key: Any = (Literal[name], ...)
    limit: Any = (Union[Limit, None], None)  # noqa: UP007  # not every type checker takes `|` after an alias
    headers: Any = (Headers, {})
    return create_model(
        f"{name} source",
        __base__=source.options_type(),
        __doc__=(source.__doc__ or "").strip(),
        source=key,
        limit=limit,
        headers=headers,
    )


_Fault = tuple[tuple[str | int, ...], str]


def _manifest(path: Path, header: _Header, blocks: tuple[SourceBlock, ...]) -> Manifest:
    rules = header.licenses
    return Manifest(
        path=path,
        name=header.name,
        sources=blocks,
        kernels=header.kernels,
        licences=Policy(
            allow=None if rules.allow is None else frozenset(rules.allow),
            deny=frozenset(rules.deny),
            unknown=rules.unknown,
        ),
        limits=header.limits,
        verify_sha256=header.verify_sha256,
        user_agent=header.user_agent,
    )


def _header(document: YamlDocument) -> tuple[_Header | None, list[_Fault]]:
    try:
        return _Header.model_validate(document.data), []
    except ValidationError as error:
        return None, list(_faults(error, _Header))


def _block(
    block: dict[str, Any], place: int, sources: Mapping[str, type[Source]], others: Collection[str]
) -> tuple[list[SourceBlock], list[_Fault]]:
    loc = ("sources", place)
    try:
        common = _Block.model_validate(block)
    except ValidationError as error:
        return [], list(_faults(error, _Block, loc))
    if common.source in others:
        return [], [((*loc, "source"), f"write the source's name as it is spelled: {common.source}")]
    if common.source not in sources:
        names = sorted({*sources, *others})
        known = ", ".join(names) or "none"
        return [], [
            (
                (*loc, "source"),
                f"no source is called {common.source!r}{_suggestion(common.source, names)}; known: {known}",
            )
        ]
    options_type = sources[common.source].options_type()
    try:
        options = options_type.model_validate({k: v for k, v in block.items() if k not in _COMMON})
    except ValidationError as error:
        return [], list(_faults(error, options_type, loc, also=_COMMON))
    except Exception as error:  # noqa: BLE001  # a plugin's own validator may raise anything
        return [], [(loc, f"the source {common.source!r} could not check its options: {error!r}")]
    block_ = SourceBlock(source=common.source, limit=common.limit, options=options, headers=common.headers)
    return [block_], []


def _faults(
    error: ValidationError, model: type[BaseModel], prefix: tuple[str | int, ...] = (), *, also: tuple[str, ...] = ()
) -> Iterator[_Fault]:
    """Pydantic's findings as (path, sentence); `also` are keys allowed besides the model's."""
    for entry in error.errors(include_url=False, include_context=False):
        loc = entry["loc"]
        if entry["type"] == "too_short" and entry["input"]:
            # Invalid entries are reported one by one; pydantic then counts no entries.
            continue
        if entry["type"] == "extra_forbidden":
            allowed = [*(also if len(loc) == 1 else ()), *_keys(model, loc[:-1])]
            detail = f"unknown key{_suggestion(str(loc[-1]), allowed)}; allowed: {', '.join(allowed)}"
        elif entry["type"] == "missing":
            detail = "is missing"
        else:
            sentence = entry["msg"].removeprefix("Value error, ")
            detail = sentence if entry["type"] == "value_error" else f"{sentence} (got {ascii(entry['input'])[:60]})"
        yield (*prefix, *loc), detail


def _keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys allowed at a path inside a model, by its annotations."""
    for part in loc:
        field = model.model_fields.get(str(part))
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return [field.alias or name for name, field in model.model_fields.items()]


def _required(model: type[BaseModel]) -> list[str]:
    return [name for name, field in model.model_fields.items() if field.is_required()]


def _suggestion(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _line(path: Path, line: int, key: str, detail: str) -> str:
    """The message on one line, for any content of the manifest."""
    where = f"{path}:{line}: {key}: " if key else f"{path}:{line}: "
    return (
        (where + detail).encode("unicode_escape").decode("ascii")
        if not (where + detail).isprintable()
        else where + detail
    )
