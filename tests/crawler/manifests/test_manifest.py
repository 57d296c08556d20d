import json
import os
import re
from pathlib import Path

import pytest
from pydantic import BaseModel, field_validator

from filterzoo.errors import StartError
from filterzoo.licensing.licences import Policy, Unknown
from filterzoo.manifests.manifest import VerifySha256, load_manifest, load_manifests, manifest_schema
from filterzoo.manifests.quantities import parse_count, parse_size
from filterzoo.source import Source, SourceOptions
from filterzoo_plugins.sources.own_files.local import LocalOptions, LocalSource
from filterzoo_plugins.sources.packages.pypi import PypiSource


class Inner(BaseModel, extra="forbid"):
    depth: int = 1


class Zoo(Source):
    """A zoo of a plugin."""

    name = "zoo"

    class Options(SourceOptions):
        word: str = "x"
        inner: Inner = Inner()

        @field_validator("word")
        @classmethod
        def _breaks(cls, value):
            if value == "break":
                raise RuntimeError("a plugin's bug")
            return value


SOURCES: dict[str, type[Source]] = {"local": LocalSource, "pypi": PypiSource, "zoo": Zoo}  # type: ignore[type-abstract]  # of a type that the test knows

FULL = """\
name: quickstart
sources:
  - source: pypi
    packages: ["facenet-pytorch==2.6.0", "RapidOCR_onnxruntime == 1.4.4"]
    limit: 4
  - source: local
    paths: ["zoo/**/*.onnx"]
    license: apache-2.0
kernels: ["3x3", "5", "3x3x3"]
licenses: {allow: [apache-2.0, MIT, gpl-3.0], unknown: skip}
limits: {checkpoint_bytes: 8GB, filters_per_checkpoint: 60M}
verify_sha256: always
"""


def read(tmp_path, text):
    path = tmp_path / "zoo.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_manifest(path, SOURCES)


def faults(tmp_path, text):
    with pytest.raises(StartError) as caught:
        read(tmp_path, text)
    lines = str(caught.value).split("\n")
    assert all(line.startswith(f"{tmp_path}/zoo.yaml") and line.isprintable() for line in lines)
    return [line.removeprefix(f"{tmp_path}/zoo.yaml:") for line in lines]


def test_a_full_manifest(tmp_path):
    manifest = read(tmp_path, FULL)
    assert manifest.name == "quickstart"
    assert manifest.folder == tmp_path
    first, second = manifest.sources
    assert (first.source, first.limit) == ("pypi", 4)
    assert first.options.packages == ("facenet-pytorch==2.6.0", "rapidocr-onnxruntime==1.4.4")
    assert (second.source, second.limit) == ("local", None)
    assert second.options == LocalOptions(paths=("zoo/**/*.onnx",), license="apache-2.0")
    assert manifest.kernels == ("3x3", "5", "3x3x3")
    assert manifest.licences == Policy(frozenset({"apache-2.0", "mit", "gpl-3.0-only"}), frozenset(), Unknown.SKIP)
    assert manifest.limits.checkpoint_bytes == 8_000_000_000
    assert manifest.limits.filters_per_checkpoint == 60_000_000
    assert manifest.verify_sha256 is VerifySha256.ALWAYS


def test_what_may_be_left_out(tmp_path):
    manifest = read(tmp_path, "name: x\nsources: [{source: zoo}]")
    assert manifest.kernels == ("3x3",)
    assert manifest.licences == Policy()
    assert manifest.verify_sha256 is VerifySha256.WHEN_CHEAP
    assert manifest.limits.checkpoint_bytes == 8_000_000_000


KEYS = "name, sources, kernels, licenses, limits, verify_sha256, user_agent"
BLOCK = "name: x\nsources:\n  - source: zoo\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1: the manifest is empty; needed: name, sources"]),
        ("# nothing\n", ["1: the manifest is empty; needed: name, sources"]),
        ("- a\n", ["1: a manifest is a map of keys: name, sources, ..."]),
        ("sources:\n  - source: zoo\n", ["1: name: is missing"]),
        ("name: x\n", ["1: sources: is missing"]),
        (
            BLOCK + "kernel: 3\n",
            ["4: kernel: unknown key (did you mean 'kernels'?); allowed: " + KEYS],
        ),
        (
            BLOCK + "    wrd: 3\n",
            ["4: sources[0].wrd: unknown key (did you mean 'word'?); allowed: source, limit, headers, word, inner"],
        ),
        (
            BLOCK + "    inner: {deep: 3}\n",
            ["4: sources[0].inner.deep: unknown key (did you mean 'depth'?); allowed: depth"],
        ),
        (BLOCK + "    word: 3\n", ["4: sources[0].word: Input should be a valid string (got 3)"]),
        (BLOCK + "    limit: 0\n", ["4: sources[0].limit: Input should be greater than 0 (got 0)"]),
        (BLOCK + "    limit: true\n", ["4: sources[0].limit: Input should be a valid integer (got True)"]),
        (
            BLOCK + "    word: break\n",
            ["3: sources[0]: the source 'zoo' could not check its options: RuntimeError(\"a plugin's bug\")"],
        ),
        (
            "name: x\nsources:\n  - source: loca\n    paths: 3\n",
            ["3: sources[0].source: no source is called 'loca' (did you mean 'local'?); known: local, pypi, zoo"],
        ),
        ("name: x\nsources:\n  - limit: 3\n", ["3: sources[0].source: is missing"]),
        ("name: x\nsources:\n  - 3\n", ["3: sources[0]: Input should be a valid dictionary (got 3)"]),
        ("name: x\nsources: []\n", None),
        ("name: ../x\nsources: [{source: zoo}]\n", None),
        (
            BLOCK + "licenses: {unknown: maybe}\n",
            ["4: licenses.unknown: Input should be 'publish', 'metadata-only' or 'skip' (got 'maybe')"],
        ),
        (
            BLOCK + "licenses:\n  allow:\n    - mit\n    - bsd\n",
            ["7: licenses.allow[1]: 'bsd' is not one SPDX licence; allowed: identifiers of https://spdx.org/licenses"],
        ),
        (
            BLOCK + "licenses: {allow: [mit or isc]}\n",
            [
                "4: licenses.allow[0]: 'mit or isc' is not one SPDX licence; allowed: identifiers of https://spdx.org/licenses"
            ],
        ),
        (BLOCK + "licenses: {allow: [LicenseRef-scancode-unknown]}\n", None),
        (
            BLOCK + "limits: {checkpoint_bytes: 8XB}\n",
            ["4: limits.checkpoint_bytes: '8XB' is not allowed; write bytes, such as 8GB, 512MB, 2GiB or 4096"],
        ),
        (
            BLOCK + "verify_sha256: sometimes\n",
            ["4: verify_sha256: Input should be 'when-cheap' or 'always' (got 'sometimes')"],
        ),
        (
            BLOCK + "limits: {filters_per_checkpoint: 60MB}\n",
            ["4: limits.filters_per_checkpoint: '60MB' is not allowed; write a count, such as 60M, 250K or 4096"],
        ),
        (BLOCK + "kernels: 3x3\n", ["4: kernels: Input should be a valid tuple (got '3x3')"]),
        (BLOCK + "kernels: [0x3]\n", None),
        (BLOCK + "kernels: [3x3x3x3]\n", None),
        ("name: x\nname: y\n", ["2: name: given twice; first on line 1"]),
        ("name: &a x\nsources: *a\n", ["2: aliases (*name) are not understood here: write the value out"]),
        (
            "name: !!python/name:os.system\n",
            ["1: not YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'"],
        ),
        ("name: [\n", None),
        ("name: 2024-13-41\n", ["1: name: not a valid value; put it in quotes"]),
        ("? [a]\n: 3\n", ["1: a key must be a plain word"]),
        ("a: 1\n---\nb: 2\n", ["2: not YAML: but found another document"]),
        ("[" * 5000, ["1: nested too deeply"]),
        ('name: "\\x1b[2J"\n', None),
        ("name: x\x07\n", ["1: not YAML: a character that is not allowed, at position 7"]),
        (b"\x80\x81\x82", None),
        (b"PK\x03\x04\x00", None),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, expected):
    found = faults(tmp_path, text)
    if expected is None:
        assert len(found) <= 2
    else:
        assert [line for line in found if "is missing" not in line or line in expected] == expected


def test_all_errors_are_reported_at_once(tmp_path):
    found = faults(tmp_path, "sources:\n  - source: pip\n  - source: local\n    license: foo\nkernels: {}\n")
    assert [line.split(":")[0] for line in found] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    "pin", ["facenet-pytorch", "a>=1", "a==1.*", "a==1,<2", "a[b]==1", "a @ http://x/y", "a==1;b", "==1"]
)
def test_packages_are_pinned(tmp_path, pin):
    text = f"name: x\nsources:\n  - source: pypi\n    packages:\n      - '{pin}'\n"
    assert faults(tmp_path, text) == [
        f"5: sources[0].packages[0]: '{pin}' is not pinned; write name==version, such as facenet-pytorch==2.6.0"
    ]


def test_files_that_are_none(tmp_path):
    (tmp_path / "large.yaml").write_bytes(b"#" * 16_000_001)
    for path, words in (
        (tmp_path / "missing.yaml", "No such file"),
        (tmp_path, "a folder"),
        (tmp_path / "large.yaml", "larger than"),
    ):
        with pytest.raises(StartError) as caught:
            load_manifest(path, SOURCES)
        assert str(caught.value).startswith(f"{path}: ")
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser reads everything")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "secret.yaml").touch(mode=0)
    with pytest.raises(StartError, match="Permission denied"):
        load_manifest(tmp_path / "secret.yaml", SOURCES)


def test_errors_of_several_manifests_are_all_reported(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text("name: x")
    with pytest.raises(StartError) as caught:
        load_manifests([tmp_path / "a", tmp_path / "b"], SOURCES)
    assert [Path(line.split(":")[0]).name for line in str(caught.value).split("\n")] == ["a", "b"]
    for name in "ab":
        (tmp_path / name).write_text(FULL)
    assert len(load_manifests([tmp_path / "a", tmp_path / "b"], SOURCES)) == 2


def test_the_schema_knows_the_keys_of_all_sources():
    schema = manifest_schema(SOURCES)
    json.dumps(schema)
    blocks = {
        entry["properties"]["source"]["const"]: entry
        for entry in schema["$defs"].values()
        if "source" in entry.get("properties", {})
    }
    assert set(blocks) == set(SOURCES)
    assert set(blocks["local"]["properties"]) == {"source", "limit", "headers", "paths", "license", "facts"}
    assert blocks["local"]["required"] == ["paths", "source"]
    assert all(entry["additionalProperties"] is False for entry in blocks.values())
    assert set(schema["properties"]) == {
        "name",
        "sources",
        "kernels",
        "licenses",
        "limits",
        "verify_sha256",
        "user_agent",
    }
    assert schema["$defs"]["VerifySha256"]["enum"] == ["when-cheap", "always"]
    assert manifest_schema({})["properties"]["sources"]["items"]["type"] == "object"


def test_the_quickstart_is_a_manifest():
    manifest = load_manifest(Path(__file__).parents[3] / "manifests" / "quickstart.yaml", SOURCES)
    assert manifest.name == "quickstart"


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[3] / "manifests").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_shipped_manifest_keeps_kernels_from_3x3_to_7x7(path):
    """Depthwise networks of larger kernels vanish otherwise."""
    kernels = re.search(r"^kernels: \[(.*)\]", path.read_text(), re.MULTILINE)
    assert {'"3x3"', '"5x5"', '"7x7"'} <= set(kernels[1].split(", "))


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("1.5 kB", 1500), ("2GiB", 2**31), ("2Gi", 2**31), ("4096", 4096), (4096, 4096), ("7b", 7)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "-1GB", "0", 0, -1, "1.0001KB", "1e9", True, None, 1.5, "8iB", "9" * 30, "٣"]
)
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="is not allowed"):
        parse_size(text)


def test_counts():
    assert [parse_count(text) for text in ("60M", "1.5K", 7)] == [60_000_000, 1500, 7]
    for text in ("60MB", "60Mi", "0"):
        with pytest.raises(ValueError, match="is not allowed"):
            parse_count(text)
