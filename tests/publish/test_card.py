"""The README: what machines read in it is exact, and nothing of a stranger reaches it."""

from __future__ import annotations

import re

import pytest
import yaml
from tests.publish.folders import publish_models
from tests.publish.work import Model, ledger, network, zoo

from filterzoo_publish.card import size_category
from filterzoo_publish.schema import CONFIGS, features

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
    assert re.fullmatch(r"[a-z0-9-.]+", header["license_name"])
    assert header["license"] == "other"


def test_the_page_counts_what_is_there(tmp_path):
    page = card_of(tmp_path, zoo(), ledger())
    assert "| pypi | 6 | 18 |" in page
    assert "| local | 1 | 1 | 51,200 | 51,200 | 51,200 |" in page
    assert "| no-redistribution | 1 |" in page
    assert "| malformed | 1 |" in page
    assert "{" not in page.split("## Load it")[0].split("---\n")[2]


def test_strangers_strings_change_no_byte_of_the_card(tmp_path):
    plain = [Model(f"m{number}", network(number)) for number, _ in enumerate(HOSTILE)]
    facts = ("task", "architecture", "training_dataset", "visual_category", "modality", "threat_model", "url")
    hostile = [
        Model(text, network(number), revision=text, facts=dict.fromkeys(facts, text))
        for number, text in enumerate(HOSTILE)
    ]
    assert card_of(tmp_path / "plain", plain) == card_of(tmp_path / "hostile", hostile)


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
