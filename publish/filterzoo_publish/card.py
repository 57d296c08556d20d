"""The data set's README: YAML that `datasets` and the Hub read, then a page for people.

No string of a zoo comes here: only numbers, our own closed vocabularies, and names that were checked to be plain.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import yaml

from filterzoo_publish.columns import ROWS, columns_table
from filterzoo_publish.schema import CONFIGS, features

_PLAIN = re.compile(r"[a-z0-9_.+-]{1,64}")
_POWERS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_TAGS = ("convolution", "filters", "kernels", "weights", "cnn", "computer-vision", "model-zoo")

_PAGE = """\
# FilterZoo

The convolution layers of {models:,} published neural networks: {layers:,} layers with their measures, and
{stored:,} of their filters. A crawler finds the networks in model zoos, reads the weights without running any code of
theirs, measures every layer, and adds what is new with each release.

## Load it

```python
from datasets import load_dataset

models = load_dataset("{name}", split="train")
layers = load_dataset("{name}", "layers", split="train")
filters = load_dataset("{name}", "filters", split="train", streaming=True).with_format("numpy")
for row in filters:
    row["weights"].reshape(-1, 3, 3)
```

`filterzoo.load("{name}", task=..., depth=(0.0, 0.5))` gives the filters of a query as one array and reads only what
it needs. A release on the Hub has a tag: `revision="v..."` loads it as it was.

| config | a row is |
| --- | --- |
{configs}

A layer that occurs in several networks is stored once: `layer_id` is the hash of its weights, and every occurrence
has a row in `layers`. Equal networks carry `duplicate_of`. `layers` holds sufficient statistics (`raw_mean`, `raw_m2`,
`dct_histogram`), from which PCA, variance entropy and drift of any subset follow without its filters.

## What is in it

{tables}
## What was left out

{skipped}
## Licences

Every network keeps its own licence: see `licence`, `licence_from` and `licence_class` in `models`. The class is also
the name of a folder, so that files of one class can be taken alone. Where a network's weights may not be passed on,
`models` and `layers` (measures and statistics) have its rows and `filters` has none.

## Cite

The measures and the idea: P. Gavrikov and J. Keuper, *CNN Filter DB: An Empirical Investigation of Trained
Convolutional Filters*, CVPR 2022. Please cite the authors of the networks too; `models.url` leads to them.

## Columns

{columns}"""


def card(name: str, models: pa.Table, skipped: pa.Table) -> str:
    """The README of the data set that readers call `name`: the same bytes for the same rows, in any order."""
    stored = sum(models["stored_filters"].to_pylist())
    header = yaml.safe_dump(_metadata(stored), sort_keys=False, allow_unicode=False, width=120)
    page = _PAGE.format(
        name=name,
        models=len(models),
        layers=sum(models["n_layers"].to_pylist()),
        stored=stored,
        configs="\n".join(f"| `{config}` | {ROWS[config]} |" for config in CONFIGS),
        tables="\n".join(_models_by(models, column) for column in ("source", "licence_class", "format")),
        skipped=_skipped_by_reason(skipped),
        columns="\n".join(f"### {config}\n\n{columns_table(config)}" for config in CONFIGS),
    )
    return f"---\n{header}---\n\n{page}"


def _metadata(stored: int) -> dict[str, Any]:
    """The YAML block. Sizes of splits are left out: `datasets` would refuse the data set when they are out of date."""
    return {
        "pretty_name": "FilterZoo",
        "license": "other",
        "license_name": "per-model",
        "tags": list(_TAGS),
        "size_categories": [size_category(stored)],
        "configs": [
            {
                "config_name": config,
                "data_files": [{"split": "train", "path": f"data/{config}/**/*.parquet"}],
                **({"default": True} if config == CONFIGS[0] else {}),
            }
            for config in CONFIGS
        ],
        "dataset_info": [{"config_name": config, "features": features(config)} for config in CONFIGS],
    }


def size_category(count: int) -> str:
    """The Hub's name for a number of rows: `n<1K`, `1K<n<10K`, ... `n>1T`."""
    power = max(0, len(str(count)) - 3)
    if power == 0:
        return f"n<{_POWERS[0]}"
    return f"{_POWERS[power - 1]}<n<{_POWERS[power]}" if power < len(_POWERS) else f"n>{_POWERS[-1]}"


def _models_by(models: pa.Table, column: str) -> str:
    totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
    numbers = ("n_layers", "n_filters", "filters_3x3", "stored_filters")
    for row in models.select([column, *numbers]).to_pylist():
        totals[_plain(row[column])].update({"models": 1} | {number: row[number] for number in numbers})
    head = (column.replace("_", " "), "models", "layers", "filters", "3x3 filters", "stored filters")
    return _table(head, totals, ("models", *numbers))


def _skipped_by_reason(skipped: pa.Table) -> str:
    totals = {_plain(reason): {"n": count} for reason, count in Counter(skipped["reason"].to_pylist()).items()}
    return _table(("reason", "entries"), totals, ("n",)) if totals else "Nothing.\n"


def _table(head: Iterable[str], totals: Mapping[str, Mapping[str, int]], numbers: Iterable[str]) -> str:
    columns, names = list(head), list(numbers)
    lines = [columns, ["---", *("---:" for _ in names)]]
    lines += [[key, *(f"{totals[key][name]:,}" for name in names)] for key in sorted(totals)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plain(text: str) -> str:
    """A name that means nothing in YAML, Markdown or HTML; any other becomes `other`."""
    return text if _PLAIN.fullmatch(text) else "other"
