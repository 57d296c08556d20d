"""The README: what machines read in it is exact, and no untrusted text reaches it."""

from __future__ import annotations

import importlib.util
import json
import struct

import pyarrow as pa
import pytest
import yaml
from tests.publish.folders import publish_models
from tests.publish.work import Model, ledger, network, zoo

from filterzoo_publish.card.card import size_category
from filterzoo_publish.card.figures import FIGURE
from filterzoo_publish.card.hub_words import wrong_words
from filterzoo_publish.card.kept import KeptSizes
from filterzoo_publish.card.plain import plain, plain_licence
from filterzoo_publish.card.tables import changelog, models_by, share
from filterzoo_publish.plan.releases import Release
from filterzoo_publish.release import target_for
from filterzoo_publish.schema import CONFIGS, arrow_schema, features
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind
from filterzoo_publish.verify.checks import verify

HOSTILE = [
    "---\nlicense: mit\n---",
    "!!python/object/apply:os.system ['id']",
    "](javascript:alert(1))",
    "<script>alert(1)</script>",
    "| a | b |",
    "{{ 7*7 }} {name} %s",
    "=cmd()",
    "\x1b[31m",
    "\u202egnp",
    "nul\x00",
    "x" * 100_000,
]


def card_of(folder, models, *arguments) -> str:
    publish_models(folder / "work", folder / "out", models, *arguments)
    return (folder / "out/README.md").read_text()


def test_the_yaml_says_what_the_files_are(tmp_path):
    header = yaml.safe_load(card_of(tmp_path, zoo(), ledger()).split("---\n")[1])
    assert [config["config_name"] for config in header["configs"]] == list(CONFIGS)
    assert [config["config_name"] for config in header["configs"] if config.get("default")] == ["models"]
    for config, info in zip(header["configs"], header["dataset_info"], strict=True):
        assert config["data_files"] == [{"split": "train", "path": f"data/{config['config_name']}/**/*.parquet"}]
        assert info == {"config_name": config["config_name"], "features": features(config["config_name"])}
    assert wrong_words(header) == []


def test_the_page_counts_what_is_there(tmp_path):
    page = card_of(tmp_path, zoo(), ledger())
    assert "| pypi | 6 | 18 |" in page
    assert "| local | 1 | 1 | 51,200 | 51,200 | 51,200 | 51,200 | 100 % |" in page
    assert "| no-redistribution | 1 |" in page
    assert "| malformed | 1 |" in page
    # Of each network of four layers 88 are 3x3; the others are never kept, and those of the secret one are not here.
    kept = "of the kernel sizes kept (3x3); of all sizes there are 51,848. A crawler"
    assert f"19 layers with their measures, and\n51,336 filters: 99 % of the 51,576 {kept}" in page
    assert "| no-redistribution | 1 | 4 | 168 | 88 | 0 | 88 | 0 % |" in page
    assert "{" not in page.split("## Load it")[0].split("---\n")[2]


def test_untrusted_strings_change_no_byte_of_the_card(tmp_path):
    facts = ("task", "architecture", "training_dataset", "visual_category", "modality", "threat_model", "url")
    plain = [Model(f"m{n}", network(n), facts=dict.fromkeys(facts, "other")) for n, _ in enumerate(HOSTILE)]
    hostile = [
        Model(text, network(number), revision=text, facts=dict.fromkeys(facts, text))
        for number, text in enumerate(HOSTILE)
    ]
    assert card_of(tmp_path / "plain", plain) == card_of(tmp_path / "hostile", hostile)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"license": "not-a-license"}, "license 'not-a-license' is not one of"),
        ({"license_name": "per model"}, "license_name must be made of"),
        ({"size_categories": ["lots"]}, "size_categories: 'lots' is not allowed"),
        ({"task_categories": ["filters"]}, "task_categories: 'filters' is not allowed"),
        ({"tags": ["A tag"]}, "tags: 'A tag' is no tag"),
        ({"dataset_info": []}, "do not name the same configs"),
    ],
)
def test_words_that_the_hub_refuses_are_found(tmp_path, edit, said):
    header = yaml.safe_load(card_of(tmp_path, zoo()).split("---\n")[1])
    (wrong,) = wrong_words(header | edit)
    assert said in wrong
    readme = tmp_path / "out/README.md"
    page = readme.read_text().split("---\n", 2)[2]
    readme.write_text(f"---\n{yaml.safe_dump(header | edit)}---\n{page}")
    assert said in " ".join(problem.detail for problem in verify(str(tmp_path / "out")))


def test_the_figure_is_light_and_only_there_with_matplotlib(tmp_path, monkeypatch):
    page = card_of(tmp_path, zoo())
    picture = (tmp_path / "out" / FIGURE).read_bytes()
    width, height = struct.unpack(">II", picture[16:24])
    assert picture.startswith(b"\x89PNG")
    assert (len(picture) < 60_000, 600 < width < 1200, 200 < height < 600) == (True, True, True)
    assert f"]({FIGURE})" in page
    card_of(tmp_path / "again", zoo())
    assert (tmp_path / "again/out" / FIGURE).read_bytes() == picture
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    take_down(target_for(str(tmp_path / "out")), [(TakedownKind.MODEL, "pypi/a-net")])
    assert not (tmp_path / "out" / FIGURE).exists()
    assert FIGURE not in (tmp_path / "out/README.md").read_text()


def test_the_page_says_what_is_known_and_what_changed(tmp_path):
    page = card_of(tmp_path, zoo())
    assert "| `task` | 3 | 43 % |" in page
    assert "| `clean_accuracy` | 0 | 0 % |" in page
    assert "| `duplicate_of` | 1 " not in page, "without a twin there is nothing to know"
    assert "release v2026.01.02}" in page
    assert "| v2026.01.02 | 7 | 19 | 51,336 | 0 |" in page
    assert "Most frequent zoo: `pypi`, 86 % of the networks" in page
    take_down(target_for(str(tmp_path / "out")), [(TakedownKind.MODEL, "local/big")], release="v2026.01.05")
    page = (tmp_path / "out/README.md").read_text()
    assert page.index("| v2026.01.05 | 0 | 0 | 0 | 1 |") < page.index("| v2026.01.02 | 7 ")
    assert "coming\nback: 1 takedown requests" in page


def test_shares_are_never_rounded_to_all_or_nothing():
    shares = [share(part, whole) for part, whole in ((0, 9), (1, 999), (1, 2), (998, 999), (999, 999), (0, 0))]
    assert shares == ["0 %", "under 1 %", "50 %", "99 %", "100 %", "-"]


def test_a_data_set_without_filters_keeps_no_size(tmp_path):
    page = card_of(tmp_path, [Model("a", network(1), publish_weights=False)])
    assert "0 filters: none of the 168 in these layers is kept." in page


def test_long_tables_are_cut():
    models = [dict.fromkeys(arrow_schema("models").names) for _ in range(100)]
    numbers = ("n_layers", "n_filters", "filters_3x3", "stored_filters", "published_filters")
    rows = [row | dict.fromkeys(numbers, 1) | {"task": f"task{n}"} for n, row in enumerate(models)]
    table = models_by(pa.Table.from_pylist(rows, schema=arrow_schema("models")), "task", KeptSizes((), {})).splitlines()
    assert len(table) == 2 + 41
    assert table[-1] == "| other | 60 | 60 | 60 | 60 | 60 | 0 | - |"
    page = changelog([Release(name=f"v{n}", day="d") for n in range(100)])
    assert page.count("\n| v") == 40
    assert page.endswith("`releases.csv` lists the older ones.\n")


@pytest.mark.parametrize("text", [*HOSTILE, "www.example.org", "_x_", "**", "a\u0300", "", "-", "x y", "&lt;", "a__b"])
def test_words_with_a_meaning_in_markup_are_not_shown(text):
    assert plain(text) == "other"
    assert plain_licence(f"mit and {text}<") == plain_licence(f"mit www.{text}") == "other"


def test_plain_words_are_shown():
    words = ["gan-generator", "image_classification", "fp16", "3d", "U-Net", None]
    assert [plain(word) for word in words] == [*words[:-1], "not stated"]
    assert plain_licence("apache-2.0 and (mit or gpl-3.0-only)") == "apache-2.0 and (mit or gpl-3.0-only)"


def test_the_croissant_file_is_json_ld_with_the_rai_terms(tmp_path):
    card_of(tmp_path, zoo())
    document = json.loads((tmp_path / "out/croissant.json").read_text())
    assert document["version"] == "v2026.01.02"
    assert document["datePublished"] == "2026-01-02"
    assert "http://mlcommons.org/croissant/RAI/1.0" in document["conformsTo"]
    terms = {key for key in document if key.startswith("rai:")}
    assert {"rai:dataCollection", "rai:dataBiases", "rai:dataLimitations", "rai:personalSensitiveInformation"} <= terms


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1_000, "1K<n<10K"),
        (12_345, "10K<n<100K"),
        (1_464_797_156, "1B<n<10B"),
        (10**11, "100B<n<1T"),
        (10**13, "n>1T"),
    ],
)
def test_size_categories_are_the_hubs(count, expected):
    assert size_category(count) == expected
