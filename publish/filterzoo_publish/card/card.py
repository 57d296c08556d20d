"""The data set's README: YAML that `datasets` and the Hub read, then a page for people.

Untrusted strings are shown only if they have no meaning in YAML, Markdown or HTML: see `filterzoo_publish.card.plain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import yaml

from filterzoo_publish.card.citation import Identity, bibtex
from filterzoo_publish.card.figures import FIGURE
from filterzoo_publish.card.hub_words import SIZE_CATEGORIES
from filterzoo_publish.card.kept import KeptSizes
from filterzoo_publish.card.tables import biases, changelog, coverage, models_by, share, skipped_by_reason
from filterzoo_publish.columns import ROWS, columns_table
from filterzoo_publish.plan.releases import Release
from filterzoo_publish.schema import CONFIGS, features

_TAGS = ("convolution", "filters", "kernels", "weights", "cnn", "computer-vision", "model-zoo")

_PAGE = """\
# FilterZoo

The convolution layers of {models:,} published neural networks: {layers:,} layers with their measures, and
{stored:,} filters: {kept}. A crawler finds the networks in model zoos, reads the weights without
running any code of theirs, measures every layer, and adds what is new with each release.

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
`cards/` has a JSON document for each network, with all that is needed to find it again.

## What is in it

{picture}Filters are those of all layers, of any kernel size; stored filters are those in the config `filters`, where a
layer that several networks share is counted once. The share is of filters whose kernel size is kept: others were never
to be stored. What is missing of it is mostly what a licence holds back.

{tables}
## What is known of the networks

{coverage}
## Biases and limits

{biases}
## What was left out

{skipped}
## Licences

Every network keeps its own licence: see `licence`, `licence_from` and `licence_class` in `models`; `NOTICE` names all
networks whose filters are here. The class is also the name of a folder, so that files of one class can be taken alone:

{licences}
Where a network's weights may not be passed on, `models` and `layers` (measures and statistics) have its rows and
`filters` has none. Where a file states another licence than its zoo, the stricter one governs and `licence_from` names
both.

## Takedowns

If a network is yours and should not be here, open a discussion in the data set's community tab, or write to its owner,
and name its `model_id` or the beginning of it. It leaves the next release, and `takedowns.csv` keeps it from coming
back: {takedowns:,} takedown requests so far.

## Cite

The measures and the idea:

```bibtex
@inproceedings{{gavrikov2022cnnfilterdb,
  title     = {{CNN Filter DB: An Empirical Investigation of Trained Convolutional Filters}},
  author    = {{Gavrikov, Paul and Keuper, Janis}},
  booktitle = {{Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)}},
  year      = {{2022}},
  pages     = {{19066--19076}}
}}
```

This data set:

```bibtex
{bibtex}
```

Please cite the authors of the networks too; `models.url` leads to them.

## Releases

{changelog}
## Columns

{columns}"""

_PICTURE = "![3x3 filters by task, and variance entropy of layers over their depth]({path})\n\n"


def card(
    name: str,
    models: pa.Table,
    skipped: pa.Table,
    releases: Sequence[Release],
    takedowns: int,
    *,
    kept: KeptSizes,
    identity: Identity,
    has_picture: bool,
) -> str:
    """The README of the data set. The same rows give the same bytes, in any order. name: what `load_dataset` takes."""
    stored = sum(models["stored_filters"].to_pylist())
    header = yaml.safe_dump(_metadata(stored), sort_keys=False, allow_unicode=False, width=120)
    page = _PAGE.format(
        name=name,
        models=len(models),
        layers=sum(models["n_layers"].to_pylist()),
        stored=stored,
        kept=_kept(models, kept),
        configs="\n".join(f"| `{config}` | {ROWS[config]} |" for config in CONFIGS),
        picture=_PICTURE.format(path=FIGURE) if has_picture else "",
        tables="\n".join(models_by(models, column, kept) for column in ("source", "task", "format")),
        coverage=coverage(models),
        biases=biases(models),
        skipped=skipped_by_reason(skipped),
        licences="\n".join(models_by(models, column, kept) for column in ("licence_class", "licence")),
        takedowns=takedowns,
        bibtex=bibtex(identity, releases),
        changelog=changelog(releases),
        columns="\n".join(f"### {config}\n\n{columns_table(config)}" for config in CONFIGS),
    )
    return f"---\n{header}---\n\n{page}"


def _kept(models: pa.Table, kept: KeptSizes) -> str:
    """Which filters are stored: `97 % of the 100 of the kernel sizes kept (3x3, 5x5); of all sizes there are 200`."""
    filters = sum(models["n_filters"].to_pylist())
    if not kept.kernels:
        return f"none of the {filters:,} in these layers is kept"
    here, of = sum(models["published_filters"].to_pylist()), sum(map(kept.of, models["model_id"].to_pylist()))
    sizes = ", ".join(kept.kernels)
    return f"{share(here, of)} of the {of:,} of the kernel sizes kept ({sizes}); of all sizes there are {filters:,}"


def _metadata(stored: int) -> dict[str, Any]:
    """The YAML block. It omits the sizes of splits: `datasets` refuses a data set whose sizes are outdated."""
    return {
        "pretty_name": "FilterZoo",
        "license": "other",
        "license_name": "per-model",
        "task_categories": ["other"],
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
    return SIZE_CATEGORIES[min(power, len(SIZE_CATEGORIES) - 1)]
