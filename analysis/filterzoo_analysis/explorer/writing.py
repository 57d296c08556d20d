"""Writes the explorer: a static page that queries a data set's Parquet files."""

from __future__ import annotations

import base64
import hashlib
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

import filterzoo
from filterzoo.dataset.published import PublishedFiles, open_published
from filterzoo.dataset.untrusted import reading
from filterzoo.durable import whole_files
from filterzoo.errors import StartError
from filterzoo.network.addresses import origin_of
from filterzoo.reporting.terminal import printable
from filterzoo_analysis.page import model_pictures, rendering
from filterzoo_analysis.page.embedding import embedded

PAGE = "index.html"
CONFIGS = ("layers", "filters_sample")
"""The configs that the page reads."""
_HUB = "https://huggingface.co"
_STORAGE = f"{_HUB} https://*.huggingface.co https://*.hf.co"
"""The Hub, and the hosts that it redirects downloads to."""


def write(target: str, folder: Path) -> Path:
    """Write the page of the data set at TARGET, and the card of a Space, into `folder`; returns the page's path.

    The page of a data set on the Hub reads it there, at the current commit. The page of a folder reads copies of the
    files of `CONFIGS` next to it. StartError if there is no data set, or a library of the extra `report` is missing.
    """
    rendering.require_libraries()
    published = open_published(target)
    with reading(target):
        if not published.paths("layers"):
            raise StartError(f"{target}: no data/layers in it: not a published data set")
        with whole_files(folder) as draft:
            places = {config: _places(published, config, target, draft) for config in CONFIGS}
            (draft / PAGE).write_text(_page(target, published, places), encoding="utf-8")
            (draft / "README.md").write_text(_card(target, published), encoding="utf-8")
    return folder / PAGE


def _places(published: PublishedFiles, config: str, target: str, folder: Path) -> list[tuple[str, int]]:
    """(URL, length in bytes) of each file of a config, with the URL that the page requests."""
    if published.is_local:
        return [(quote(path), _copy(published, path, folder / path)) for path in published.paths(config)]
    start = f"{_endpoint(published)}/datasets/{quote(target)}/resolve/{published.revision}"
    sizes = {path: published.filesystem.info(f"{published.root}/{path}")["size"] for path in published.paths(config)}
    return [(f"{start}/{quote(path)}", int(size)) for path, size in sizes.items()]


def _copy(published: PublishedFiles, path: str, to: Path) -> int:
    to.parent.mkdir(parents=True, exist_ok=True)
    with published.open(path) as source, to.open("wb") as copy:
        shutil.copyfileobj(source, copy)
        return copy.tell()


def _endpoint(published: PublishedFiles) -> str:
    return str(getattr(published.filesystem, "endpoint", None) or _HUB).rstrip("/")


def _connect(published: PublishedFiles) -> str:
    """The servers that the page may connect to: its own, or the Hub."""
    if published.is_local:
        return "'self'"
    endpoint = _endpoint(published)
    return _STORAGE if endpoint == _HUB else origin_of(endpoint)


def _page(target: str, published: PublishedFiles, places: dict[str, list[tuple[str, int]]]) -> str:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415  # an extra
    from markupsafe import Markup  # noqa: PLC0415  # as above

    ours = files("filterzoo_analysis") / "explorer"
    style, script = ((ours / name).read_text("utf-8") for name in ("page.css", "page.js"))
    library = (ours / "vendor" / "hyparquet.js").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((ours / "page.html.j2").read_text("utf-8"))
    dataset = {
        "target": target,
        "revision": published.revision,
        "files": places,
        "colours": model_pictures.colours().tolist(),
    }
    return template.render(
        name=printable(target, 200),
        revision=published.revision,
        version=filterzoo.__version__,
        connect=Markup(_connect(published)),  # noqa: S704  # made above, of a scheme, a host and a port
        script_hashes=Markup(" ".join(f"'{_digest(text)}'" for text in (library, script))),  # noqa: S704  # base64
        style_hash=_digest(style),
        licences=(ours / "vendor" / "LICENSES.txt").read_text("utf-8"),
        # Files of this package, and JSON in which no character can end its element.
        style=Markup(style),  # noqa: S704  # see above
        library=Markup(library),  # noqa: S704
        script=Markup(script),  # noqa: S704
        dataset=Markup(embedded(dataset)),  # noqa: S704
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _card(target: str, published: PublishedFiles) -> str:
    """README.md of a static Space, which serves the page unchanged."""
    facts: dict[str, Any] = {"title": "FilterZoo explorer", "sdk": "static", "pinned": False}
    if not published.is_local:
        facts["datasets"] = [target]
    head = yaml.safe_dump(facts, sort_keys=False, allow_unicode=False)
    text = "A page that queries a FilterZoo data set in the browser, made by `filterzoo report --explorer`."
    return f"---\n{head}---\n\n{text}\n"
