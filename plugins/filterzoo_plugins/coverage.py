"""docs/zoos.md: what each zoo lists, what this project lists of it, what is known of that, and what is left out.

`python -m filterzoo_plugins.coverage [--offline] > docs/zoos.md`. It needs the package index; documents at a commit
come from the cache of downloads once they have been fetched. A zoo that cannot be reached is said to be, never
counted as empty. --offline: no host but the package index is asked.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filterzoo import Checkpoint, Licence, Refusal, Refused, Source, StartError
from filterzoo.network.addresses import host_of
from filterzoo.network.cache import default_folder
from filterzoo.network.door import Door
from filterzoo.network.health import HostHealth
from filterzoo_plugins.sources.files.documents import bytes_at
from filterzoo_plugins.sources.libraries.torchvision import TorchvisionSource
from filterzoo_plugins.sources.medical import PACKAGES, MedicalSource
from filterzoo_plugins.sources.packages.data import PackageData
from filterzoo_plugins.sources.packages.index import configured_index
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

_OFFLINE = """
Made with `--offline`: what needs a host besides the package index, and was not in the cache (the archives of nnU-Net on
Zenodo, some licence texts of the Open Model Zoo), is `fetch_failed` here.
"""
TIMM_RESULTS = (
    "https://raw.githubusercontent.com/huggingface/pytorch-image-models/aa4b5850c1543fa488abf260f18390eda46cf85d"
    "/results/results-imagenet.csv"
)
MODEL_INFO = (
    "https://raw.githubusercontent.com/RobustBench/robustbench/78fcc9e48a07a861268f295a777b975f25155964/model_info"
)
_COLUMNS = ("task", "training_dataset", "clean_accuracy")
_HEAD = """\
# Zoos: what is listed, and what is known of it

Made by `make zoos` out of the packages and documents that the sources pin. `upstream` is counted without the sources,
as the note says; `listed` are checkpoints, `licence` those of them with a licence that is recognised.

| zoo | upstream | counted as | listed | licence | task | data set | accuracy | left out |
|---|---:|---|---:|---:|---:|---:|---:|---|
"""
_TAIL = """
Not counted here, since only a live host lists them: `hf_hub`, `onnx_zoo`, the repositories of `medical` on the Hub and
on Zenodo, `augreg`. `local`, `urls`, `pypi` and `cnn_filter_db` list what a manifest names.
"""


_SEGMENTATOR = "data sets of weights, 20 of them sold or not out yet"


@dataclass(frozen=True, slots=True)
class CountedZoo:
    """A row: a source with its options, and how the upstream's own entries are counted."""

    name: str
    source: type[Source[Any]]
    options: dict[str, Any]
    counted_as: str
    upstream: Callable[[Door], int]


def _matches(package: str, files: str, pattern: str, *, again: bool = False) -> Callable[[Door], int]:
    """How often a pattern occurs in those texts of a package; the same words in one text count again if so wanted."""

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


def zoos() -> Iterator[CountedZoo]:
    """The rows, in order."""
    robustbench = "robustbench==1.1.1"
    tables = "|".join(re.escape(path) for path in TABLES.values())
    yield CountedZoo("timm", TimmSource, {"pin": False, "results": TIMM_RESULTS}, "names with weights", _timm)
    yield CountedZoo("torchvision", TorchvisionSource, {}, "registered weights", _torchvision)
    options = {"package": robustbench, "normals": None, "model_info": MODEL_INFO}
    models = _matches(robustbench, f"({tables})$", r"^ {4,8}\('([A-Z][\w.-]+)', \{", again=True)
    yield CountedZoo("robustbench", RobustBenchSource, options, "entries, some of several files", models)
    for name, files, pattern, words in (
        (
            "totalsegmentator",
            r"map_tasks_config\.py$",
            r'"foldername": "(Dataset\d+\w*)"',
            _SEGMENTATOR,
        ),
        ("nnunet_v1", r"download_pretrained_model\.py$", r'^ +["\'](Task\d+_\w+)["\']: \{', "tasks"),
        ("torchxrayvision", r"(models|autoencoders)\.py$", r'"weights_url": *\(?\s*[\'"](http[^\'"]+)', "addresses"),
        ("lungmask", r"lungmask/mask\.py$", r"https?://[^\"']+\.pth", "addresses"),
    ):
        count = _matches(PACKAGES[name], files, pattern)
        yield CountedZoo(f"medical/{name}", MedicalSource, {"repositories": [name]}, words, count)
    for repository, package in openmmlab.PACKAGES.items():
        count = _matches(package, r"\.mim/configs/.*\.ya?ml$", r"^ {0,4}(?:- )?Weights:\s*(\S+)")
        chosen = {"repositories": [repository]}
        yield CountedZoo(f"openmmlab/{repository}", openmmlab.OpenMmLabSource, chosen, "addresses in metafiles", count)
    count = _matches(open_model_zoo.PACKAGE, r"omz_tools/models/.*/model\.yml$", r"\A")
    yield CountedZoo("open_model_zoo", open_model_zoo.OpenModelZooSource, {}, "`model.yml`", count)
    count = _matches(keras_applications.PACKAGE, r"keras/src/applications/\w+\.py$", r"^def ([A-Z]\w+)\(")
    yield CountedZoo("keras_applications", keras_applications.KerasApplicationsSource, {}, "networks in code", count)
    for part, package in paddle.PACKAGES.items():
        count = _matches(package, r"\.(py|ya?ml)$", r"https?://[\w.:/%+-]+?\.pdparams")
        yield CountedZoo(
            f"paddle/{part}", paddle.PaddleSource, {"repositories": [part]}, "addresses in the package", count
        )
    address = detectron2.Detectron2Options().repository
    count = _document(f"{address}/{detectron2.FILE}", r'": "[\w/.-]+\.pkl"')
    yield CountedZoo("detectron2", detectron2.Detectron2Source, {}, "rows of the table", count)
    collection = bioimage_io.BioImageOptions().collection
    count = _document(collection, r'"type": *"model"')
    yield CountedZoo("bioimage_io", bioimage_io.BioImageSource, {}, "models of the collection", count)


def row(zoo: CountedZoo, door: Door) -> str:
    """One line of the table."""
    try:
        upstream: int | str = zoo.upstream(door)
        kind: Any = zoo.source
        source = kind(kind.Options(**zoo.options), door.redirecting(kind.hosts), Path())
        found = list(source.discover())
    except (Refused, StartError) as error:
        return f"| {zoo.name} | out of reach | {zoo.counted_as} | | | | | | {_plain(str(error))} |"
    listed = [one for one in found if isinstance(one, Checkpoint)]
    reasons = Counter(str(one.reason) for one in found if isinstance(one, Refusal))
    known = [sum(getattr(one, column) is not None for one in listed) for column in _COLUMNS]
    licences = sum(Licence.parse(one.licence).expression is not None for one in listed)
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "nothing"
    cells = (zoo.name, upstream, zoo.counted_as, len(listed), licences, *known, left_out)
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    return re.sub(r"[^\w .:/,()-]", " ", text)[:120]


def main() -> None:
    """Write the page to standard output, and its progress to standard error."""
    index = {host_of(configured_index()), "files.pythonhosted.org"}
    hosts = index.__contains__ if "--offline" in sys.argv[1:] else None
    with (
        tempfile.TemporaryDirectory() as notes,
        Door(default_folder(), hosts=hosts, health=HostHealth(Path(notes))) as door,
    ):
        lines = []
        for zoo in zoos():
            print(zoo.name, file=sys.stderr)  # noqa: T201  # progress of a command
            lines.append(row(zoo, door))
    tail = _TAIL + (_OFFLINE if hosts else "")
    print(_HEAD + "\n".join(lines) + "\n" + tail, end="")  # noqa: T201  # the page


if __name__ == "__main__":
    main()
