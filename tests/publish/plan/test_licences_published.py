"""From a manifest's `licenses` to the folders of a data set: what may be shown, where, and what is left out."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file
from tests.program import filterzoo
from tests.publish.folders import rows

from filterzoo_publish.verify.checks import verify

pytestmark = pytest.mark.slow

LICENCES = {
    "mit": ("mit", "permissive"),
    "credit": ("cc-by-4.0", "attribution"),
    "copyleft": ("gpl-3.0-only", "share-alike"),
    "non-commercial": ("cc-by-nc-4.0", "non-commercial"),
    "no-derivatives": ("cc-by-nd-4.0", "no-redistribution"),
    "silent": (None, "unknown"),
}
ALLOW = {"default": None, "some": ["mit", "cc-by-nc-4.0", "cc-by-nd-4.0"], "none": []}
DENY = {"nothing": None, "mit": ["mit", "cc-by-nc-4.0"]}
UNKNOWN = ("publish", "metadata-only", "skip")
COMBINATIONS = list(itertools.product(ALLOW, DENY, UNKNOWN))
MET_BY_DEFAULT = {"mit", "cc-by-4.0"}


@dataclass(frozen=True)
class Published:
    models: dict[str, dict]
    skipped: dict[str, str]
    folders: dict[str, set[str]]
    """id -> folders of `filters` with its rows."""


def write_net(path: Path, seed: int, licence: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = np.random.default_rng(seed).standard_normal((4, 2, 3, 3), np.float32)
    save_file({"conv.weight": weights}, path, metadata={"license": licence} if licence else None)


def crawl(folder: Path, manifests: dict[str, dict]) -> Path:
    for name, manifest in manifests.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **manifest}))
    ran = filterzoo("crawl", *(f"{name}.yaml" for name in manifests), cwd=folder)
    assert ran.code == 0, ran.err
    assert filterzoo("publish", "out", cwd=folder).code == 0
    assert verify(str(folder / "out")) == []
    return folder / "out"


def read(out: Path) -> Published:
    folders: dict[str, set[str]] = {}
    for row in rows(out, "filters").to_pylist():
        folders.setdefault(row["model_id"], set()).add(f"{row['source']}/{row['licence_class']}")
    models = {row["id"]: row for row in rows(out, "models").to_pylist()}
    return Published(
        models,
        {row["id"]: row["reason"] for row in rows(out, "skipped").to_pylist()},
        {row["id"]: folders.get(row["model_id"], set()) for row in models.values()},
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Published:
    """Six networks for each combination of a manifest's three keys, crawled and published at once."""
    folder = tmp_path_factory.mktemp("licences")
    manifests = {}
    for number, (allow, deny, unknown) in enumerate(COMBINATIONS):
        name = f"{allow}-{deny}-{unknown}"
        sources = []
        for place, (kind, (licence, _)) in enumerate(LICENCES.items()):
            write_net(folder / name / f"{kind}.safetensors", 10 * number + place, None)
            stated = {} if licence is None else {"license": licence}
            sources.append({"source": "local", "paths": [f"{name}/{kind}.*"], **stated})
        rules = {"allow": ALLOW[allow], "deny": DENY[deny], "unknown": unknown}
        manifests[name] = {
            "sources": sources,
            "licenses": {key: value for key, value in rules.items() if value is not None},
        }
    return read(crawl(folder, manifests))


@pytest.mark.parametrize(("allow", "deny", "unknown"), COMBINATIONS)
@pytest.mark.parametrize("kind", LICENCES)
def test_each_combination_of_allow_deny_and_unknown(published, kind, allow, deny, unknown):
    name = f"{allow}-{deny}-{unknown}/{kind}.safetensors"
    licence, licence_class = LICENCES[kind]
    if licence is None:
        expected = {"publish": "weights", "metadata-only": "rows", "skip": "licence_unknown"}[unknown]
    else:
        allowed = MET_BY_DEFAULT if ALLOW[allow] is None else set(ALLOW[allow])
        expected = "weights" if licence in allowed - set(DENY[deny] or ()) else "licence"
    if expected in {"licence", "licence_unknown"}:
        assert published.skipped[name] == expected
        assert name not in published.models
        return
    row = published.models[name]
    assert (row["licence"], row["licence_class"]) == (licence, licence_class)
    assert row["n_layers"] == 1
    assert published.folders[name] == ({f"local/{licence_class}"} if expected == "weights" else set())
    assert row["published_filters"] == (8 if expected == "weights" else 0)


ZOO_AND_FILE = [
    ("mit", "agpl-3.0-only", "agpl-3.0-only", "share-alike", "zoo+file"),
    ("agpl-3.0-only", "mit", "agpl-3.0-only", "share-alike", "zoo+file"),
    ("mit", None, "mit", "permissive", "zoo"),
    (None, "mit", "mit", "permissive", "file"),
    ("mit", "apache-2.0", "apache-2.0 and mit", "permissive", "zoo+file"),
    ("mit", "ask me first", None, "unknown", "zoo+file"),
    ("mit", "cc-by-nd-4.0", "cc-by-nd-4.0", "no-redistribution", "zoo+file"),
    (None, None, None, "unknown", None),
]


@pytest.fixture(scope="module")
def stated_twice(tmp_path_factory) -> Published:
    folder = tmp_path_factory.mktemp("stated")
    sources = []
    for number, (zoo, file, *_rest) in enumerate(ZOO_AND_FILE):
        write_net(folder / f"net{number}.safetensors", number, file)
        sources.append({"source": "local", "paths": [f"net{number}.*"], **({"license": zoo} if zoo else {})})
    allow = ["mit", "apache-2.0", "agpl-3.0-only", "cc-by-nd-4.0"]
    return read(crawl(folder, {"all": {"sources": sources, "licenses": {"allow": allow}}}))


@pytest.mark.parametrize("number", range(len(ZOO_AND_FILE)))
def test_of_zoo_and_file_the_stricter_governs_and_the_row_says_so(stated_twice, number):
    _zoo, _file, licence, licence_class, licence_from = ZOO_AND_FILE[number]
    row = stated_twice.models[f"net{number}.safetensors"]
    assert (row["licence"], row["licence_class"], row["licence_from"]) == (licence, licence_class, licence_from)
    assert stated_twice.folders[row["id"]] == (set() if licence is None else {f"local/{licence_class}"})


def test_where_unknown_ones_are_skipped_the_file_of_a_silent_zoo_is_asked(tmp_path):
    """A text that nobody recognises is an unknown licence; only silence leaves it to the file."""
    sources = []
    for number, (zoo, file) in enumerate(
        [(None, "mit"), (None, None), (None, "ask me first"), ("mit", "ask me first")]
    ):
        write_net(tmp_path / f"net{number}.safetensors", number, file)
        sources.append({"source": "local", "paths": [f"net{number}.*"], **({"license": zoo} if zoo else {})})
    found = read(crawl(tmp_path, {"all": {"sources": sources, "licenses": {"unknown": "skip"}}}))
    assert found.skipped == {f"net{number}.safetensors": "licence_unknown" for number in (1, 2, 3)}
    assert found.models["net0.safetensors"]["licence_from"] == "file"
    assert found.folders == {"net0.safetensors": {"local/permissive"}}
