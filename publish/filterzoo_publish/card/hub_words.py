"""The words that the Hub allows in a README's YAML. The Hub itself checks them only at upload.

Source: huggingface/hub-docs, datasetcard.md and the lists it links to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SIZE_CATEGORIES = (
    "n<1K",
    "1K<n<10K",
    "10K<n<100K",
    "100K<n<1M",
    "1M<n<10M",
    "10M<n<100M",
    "100M<n<1B",
    "1B<n<10B",
    "10B<n<100B",
    "100B<n<1T",
    "n>1T",
)
TASK_CATEGORIES = frozenset({"feature-extraction", "image-classification", "tabular-classification", "other"})
"""The Hub's words that this data set may use."""
LICENCES = frozenset({"other", "unknown"})
"""The Hub's licence words for a data set whose rows have different licences."""
_TAG = re.compile(r"[a-z0-9][a-z0-9-]{1,49}")
_LICENCE_NAME = re.compile(r"[a-z0-9-.]+")
_NEEDED = frozenset(
    {"license", "license_name", "size_categories", "task_categories", "tags", "configs", "dataset_info"}
)


def wrong_words(header: Mapping[str, Any]) -> list[str]:
    """The errors that the Hub would report in a README's YAML, one line each."""
    found = [f"{key} is missing" for key in sorted(_NEEDED - header.keys())]
    if found:
        return found
    if header["license"] not in LICENCES:
        found.append(f"license {header['license']!r} is not one of {sorted(LICENCES)}")
    if header["license"] == "other" and not _LICENCE_NAME.fullmatch(str(header["license_name"])):
        found.append("license_name must be made of a-z, 0-9, - and .")
    for key, allowed in (("size_categories", SIZE_CATEGORIES), ("task_categories", TASK_CATEGORIES)):
        found += [f"{key}: {word!r} is not allowed" for word in header[key] if word not in allowed]
    found += [f"tags: {tag!r} is no tag" for tag in header["tags"] if not _TAG.fullmatch(str(tag))]
    names = [config["config_name"] for config in header["configs"]]
    if names != [info["config_name"] for info in header["dataset_info"]]:
        found.append("configs and dataset_info do not name the same configs")
    if sum(config.get("default", False) for config in header["configs"]) != 1:
        found.append("one config must be the default")
    return found
