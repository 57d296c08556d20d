"""The rows of docs/zoos.md: what upstream has at the pinned revision, and what the source lists of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filterzoo import Checkpoint, Licence, Refusal, Refused, Source, StartError
from filterzoo.network.door import Door
from filterzoo_plugins import facts
from filterzoo_plugins.sources.files.documents import bytes_at
from filterzoo_plugins.sources.libraries.torchvision import TorchvisionSource
from filterzoo_plugins.sources.medical import PACKAGES, MedicalSource
from filterzoo_plugins.sources.packages.data import PackageData
from filterzoo_plugins.sources.robustbench.source import RobustBenchSource
from filterzoo_plugins.sources.robustbench.tables import TABLES
from filterzoo_plugins.sources.tables import (
    bioimage_io,
    detectron2,
    keras_applications,
    open_model_zoo,
    openmmlab,
    paddle,
)
from filterzoo_plugins.sources.timm.source import TimmSource

TIMM_RESULTS = (
    "https://raw.githubusercontent.com/huggingface/pytorch-image-models/aa4b5850c1543fa488abf260f18390eda46cf85d"
    "/results/results-imagenet.csv"
)
MODEL_INFO = (
    "https://raw.githubusercontent.com/RobustBench/robustbench/78fcc9e48a07a861268f295a777b975f25155964/model_info"
)
_COLUMNS = ("task", "training_dataset", "clean_accuracy")
_SEGMENTATOR = "data sets of weights, 20 of them sold or not out yet"


@dataclass(frozen=True, slots=True)
class CountedZoo:
    """A row: a source with its options, its pinned revision, and how upstream's own entries are counted."""

    name: str
    revision: str
    source: type[Source[Any]]
    options: dict[str, Any]
    counted_as: str
    upstream: Callable[[Door], int]


def _matches(package: str, files: str, pattern: str, *, again: bool = False) -> Callable[[Door], int]:
    """Counts the matches of a pattern in those texts of a package. again: count repeated words of a text too."""

    def count(door: Door) -> int:
        texts = PackageData(package, door).matching(files).values()
        found = (re.findall(pattern, text, re.MULTILINE) for text in texts)
        return sum(len(words) if again else len(set(words)) for words in found)

    return count


def _document(url: str, pattern: str) -> Callable[[Door], int]:
    return lambda door: len(re.findall(pattern, bytes_at(url, door, 64_000_000).decode("utf-8", "replace")))


def _timm(door: Door) -> int:
    import timm  # noqa: PLC0415  # loads torch

    del door
    return len(timm.list_pretrained())


def _torchvision(door: Door) -> int:
    from torchvision import models  # noqa: PLC0415  # loads torch

    del door
    return sum(len(models.get_model_weights(name)) for name in models.list_models())


def _paddle(part: str, package: str) -> Callable[[Door], int]:
    """Addresses in a package's texts and in the documents of `manifests/facts/paddle_documents.csv`."""

    def count(door: Door) -> int:
        texts = list(PackageData(package, door).matching(r"\.(py|ya?ml)$").values())
        for document in facts.rows("paddle_documents"):
            if document["package"] == part:
                url = f"https://raw.githubusercontent.com/{document['repository']}/{document['commit']}/{document['path']}"
                texts.append(bytes_at(url, door, 4_000_000).decode("utf-8", "replace"))
        return len({address for text in texts for address in re.findall(r"https?://[\w.:/%+-]+?\.pdparams", text)})

    return count


def installed(package: str) -> str:
    """`timm 1.0.31`: the package's version installed here."""
    return f"{package} {version(package)}"


def commit_of(address: str) -> str:
    """The first digits of the commit in a URL; the URL if it has none."""
    found = re.search(r"/([0-9a-f]{40})(/|$)", address)
    return found[1][:12] if found else address


def zoos() -> Iterator[CountedZoo]:
    """The rows, in order."""
    yield from _installed_libraries()
    yield from _medical()
    yield from _packages()
    yield from _documents()


def _installed_libraries() -> Iterator[CountedZoo]:
    robustbench = "robustbench==1.1.1"
    tables = "|".join(re.escape(path) for path in TABLES.values())
    yield CountedZoo(
        "timm", installed("timm"), TimmSource, {"pin": False, "results": TIMM_RESULTS}, "names with weights", _timm
    )
    yield CountedZoo("torchvision", installed("torchvision"), TorchvisionSource, {}, "registered weights", _torchvision)
    options = {"package": robustbench, "normals": None, "model_info": MODEL_INFO}
    models = _matches(robustbench, f"({tables})$", r"^ {4,8}\('([A-Z][\w.-]+)', \{", again=True)
    yield CountedZoo("robustbench", robustbench, RobustBenchSource, options, "entries, some of several files", models)


def _medical() -> Iterator[CountedZoo]:
    for name, files, pattern, words in (
        (
            "totalsegmentator",
            r"map_tasks_config\.py$",
            r'"foldername": "(Dataset\d+\w*)"',
            _SEGMENTATOR,
        ),
        ("nnunet_v1", r"download_pretrained_model\.py$", r'^ +["\'](Task\d+_\w+)["\']: \{', "tasks"),
        ("torchxrayvision", r"torchxrayvision/.*\.py$", r"https?://[^\"']+\.(?:pt|pth|ckpt)(?=[\"'])", "addresses"),
        ("lungmask", r"lungmask/mask\.py$", r"https?://[^\"']+\.pth", "addresses"),
    ):
        count = _matches(PACKAGES[name], files, pattern)
        yield CountedZoo(f"medical/{name}", PACKAGES[name], MedicalSource, {"repositories": [name]}, words, count)


def _packages() -> Iterator[CountedZoo]:
    """Zoos whose list is in a package that is downloaded and not installed."""
    for repository, package in openmmlab.PACKAGES.items():
        count = _matches(package, r"\.mim/configs/.*\.ya?ml$", r"^ {0,4}(?:- )?Weights:\s*(\S+)")
        chosen = {"repositories": [repository]}
        yield CountedZoo(
            f"openmmlab/{repository}", package, openmmlab.OpenMmLabSource, chosen, "addresses in metafiles", count
        )
    count = _matches(open_model_zoo.PACKAGE, r"omz_tools/models/.*/model\.yml$", r"\A")
    yield CountedZoo(
        "open_model_zoo", open_model_zoo.PACKAGE, open_model_zoo.OpenModelZooSource, {}, "`model.yml`", count
    )
    count = _matches(
        keras_applications.PACKAGE, r"keras/src/applications/\w+\.py$", r'"keras\.applications\.([A-Z]\w+)"'
    )
    yield CountedZoo(
        "keras_applications",
        keras_applications.PACKAGE,
        keras_applications.KerasApplicationsSource,
        {},
        "networks it exports",
        count,
    )
    for part, package in paddle.PACKAGES.items():
        one = {"repositories": [part]}
        words = "addresses in the package and the documents"
        yield CountedZoo(f"paddle/{part}", package, paddle.PaddleSource, one, words, _paddle(part, package))


def _documents() -> Iterator[CountedZoo]:
    """Zoos whose list is a document."""
    address = detectron2.Detectron2Options().repository
    count = _document(f"{address}/{detectron2.FILE}", r'": "[\w/.-]+\.pkl"')
    yield CountedZoo("detectron2", commit_of(address), detectron2.Detectron2Source, {}, "rows of the table", count)
    collection = bioimage_io.BioImageOptions().collection
    count = _document(collection, r'"type": *"model"')
    yield CountedZoo(
        "bioimage_io", commit_of(collection), bioimage_io.BioImageSource, {}, "models of the collection", count
    )


def row(zoo: CountedZoo, door: Door) -> str:
    """One line of the table."""
    try:
        upstream: int | str = zoo.upstream(door)
        kind: Any = zoo.source
        source = kind(kind.Options(**zoo.options), door.redirecting(kind.hosts), Path())
        found = list(source.discover())
    except (Refused, StartError) as error:
        return f"| {zoo.name} | {zoo.revision} | out of reach | {zoo.counted_as} | | | | | | {_plain(str(error))} |"
    listed = [one for one in found if isinstance(one, Checkpoint)]
    reasons = Counter(str(one.reason) for one in found if isinstance(one, Refusal))
    known = [sum(getattr(one, column) is not None for one in listed) for column in _COLUMNS]
    licences = sum(Licence.parse(one.licence).expression is not None for one in listed)
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "nothing"
    cells = (zoo.name, zoo.revision, upstream, zoo.counted_as, len(listed), licences, *known, left_out)
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    return re.sub(r"[^\w .:/,()-]", " ", text)[:120]
