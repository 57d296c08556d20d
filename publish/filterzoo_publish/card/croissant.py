"""croissant.json: adds what the Hub's generated Croissant file lacks, mainly the RAI terms (responsible AI).

Vocabulary: http://mlcommons.org/croissant/1.0 and http://mlcommons.org/croissant/RAI/1.0. Files, record sets and fields
are not repeated: the Hub generates them from the Parquet files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from filterzoo_publish.plan.releases import Release

CROISSANT = "croissant.json"
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "citeAs": "cr:citeAs",
}
CITATION = (
    "Gavrikov, P. and Keuper, J.: CNN Filter DB: An Empirical Investigation of Trained Convolutional Filters. "
    "CVPR 2022, arXiv:2203.15331"
)
_RESPONSIBLE = {
    "rai:dataCollection": (
        "A crawler lists checkpoints of public model zoos, pins their revisions, reads the weights of their "
        "convolution layers without running any code of theirs, and measures every layer."
    ),
    "rai:dataCollectionType": ["Web Scraping", "Direct measurement"],
    "rai:dataCollectionRawData": "Weight files of neural networks in public model zoos; models.url leads to them.",
    "rai:dataPreprocessingProtocol": [
        "Weights are put into the order (out, in/groups, *kernel) and converted to 32-bit floats.",
        "Quantised weights are dequantised.",
        "Equal layers are stored once; layer_id is the hash of shape and bytes.",
    ],
    "rai:dataLimitations": [
        "Tasks, data sets, accuracies and licences are as the zoos state them; what they do not state is null.",
        "Depths of layers with context `declared` are their order in the file.",
        "Zoos offer what is popular: many networks are fine-tuned from few, and many are trained on ImageNet.",
    ],
    "rai:dataBiases": [
        "Photographs of everyday things and classification are over-represented; coverage is on the card.",
        "Networks of one zoo share training recipes, so that they are not independent draws.",
    ],
    "rai:dataUseCases": [
        "Research on what convolution filters look like: drift between tasks, data sets and depths, sparsity.",
        "Initialisation, pruning, detection of poorly trained or random networks.",
        "Not meant for rebuilding the networks: use their zoos.",
    ],
    "rai:personalSensitiveInformation": [
        "None is collected. Names of repositories may be those of people; their owners can ask for a takedown."
    ],
    "rai:dataSocialImpact": "Filters alone do not allow to use a network; licences of the networks stay in force.",
    "rai:dataReleaseMaintenancePlan": (
        "Each release adds files and has a tag; takedowns.csv names what was removed, releases.csv lists the releases."
    ),
}


def croissant(name: str, models: pa.Table, releases: Sequence[Release]) -> str:
    """The document, as JSON-LD. name: what `load_dataset` takes."""
    document: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": "FilterZoo",
        "alternateName": name,
        "description": f"Convolution layers of {len(models):,} published neural networks: filters and measures.",
        "license": "https://huggingface.co/docs/hub/repositories-licenses#other",
        "usageInfo": "Each network keeps its own licence: see models.licence and the file NOTICE.",
        "citeAs": CITATION,
        "creator": {"@type": "sc:Organization", "name": "The FilterZoo authors"},
        "isAccessibleForFree": True,
        **_RESPONSIBLE,
    }
    if releases:
        document |= {"version": releases[-1].name, "datePublished": releases[-1].day}
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"
