"""`verify`: runs all checks of a data set."""

from __future__ import annotations

from typing import Any

import yaml

from filterzoo.dataset.paths import DECIDED
from filterzoo.dataset.published import PublishedFiles, open_published
from filterzoo.dataset.untrusted import WRONG_CONTENT, short_message
from filterzoo.errors import FilterZooError, Reason, Stage
from filterzoo_publish.card.hub_words import wrong_words
from filterzoo_publish.plan.rows import skipped_key
from filterzoo_publish.schema import CONFIGS, features
from filterzoo_publish.targets.decided import PLAN
from filterzoo_publish.targets.target import README
from filterzoo_publish.verify.confidences import check_confidences
from filterzoo_publish.verify.filters import check_filters
from filterzoo_publish.verify.layers import check_layers
from filterzoo_publish.verify.lineage import check_lineage
from filterzoo_publish.verify.models import check_models
from filterzoo_publish.verify.problems import Examination, Problem
from filterzoo_publish.verify.releases import check_releases, check_status, check_takedowns
from filterzoo_publish.verify.sample import check_sample

LONGEST_HEADER = 1 << 20
"""Longest YAML header that is parsed, in characters: twenty times that of a release."""


def verify(target: str, *, full: bool = False) -> list[Problem]:
    """All problems of the data set at TARGET, a folder or `user/name` on the Hub. Empty if the data set is sound.

    Files: the name is the hash of the bytes, the schema fits, rows are sorted. Ids: unique; models and layers agree.
    Filters: those of every published layer are complete, stored once, where `layers` points to, and have the hash that
    is the layer's id. Sample: the expected one, of these filters. README: its features fit the files. Takedowns: no
    removed model is present. Statistics: complete; in a sample of layers (full: in all) they are computed again.
    StartError if there is no such data set. A release that replaces files meanwhile is no problem.
    """
    while True:
        files = open_published(target, even_interrupted=True)
        try:
            problems = verify_files(files, full=full)
        except FileNotFoundError:
            if not _is_replaced(target, files):
                raise
            continue
        if not problems or not _is_replaced(target, files):
            return problems


def _is_replaced(target: str, files: PublishedFiles) -> bool:
    """Whether another release is there than was opened."""
    return open_published(target, even_interrupted=True).listed != files.listed


def verify_files(files: PublishedFiles, *, full: bool = False) -> list[Problem]:
    """`verify` for a data set that was opened already."""
    examination = Examination(files)
    try:
        _examine(examination, full=full)
    except WRONG_CONTENT as error:
        # The content is malformed: problems found so far are kept, and the rest cannot be checked.
        examination.report("content", files.root, f"holds what no release writes: {short_message(error)}")
    except OSError as error:
        if error.errno is not None:
            raise
        examination.report("content", files.root, f"cannot be read: {short_message(error)}")
    except FilterZooError as error:
        examination.report("content", files.root, str(error))
    return examination.problems


def _examine(examination: Examination, *, full: bool) -> None:
    files = examination.files
    if files.exists(DECIDED):
        detail = (
            "what a publisher leaves that was killed while it moved files, or somebody's who sent the folder; publish "
            f"again with the --workdir of that release, or look at {PLAN} in it and remove it to give the release up"
        )
        examination.report("interrupted", DECIDED, detail)
    examination.check_names()
    _check_readme(examination)
    models = check_models(examination)
    layers = check_layers(examination, models, full=full)
    releases = check_releases(examination, models)
    check_status(examination, models, releases)
    check_takedowns(examination, models)
    sample = check_sample(examination, models, layers, releases)
    check_filters(examination, models, layers, sample)
    _check_skipped(examination)
    check_confidences(examination, models)
    check_lineage(examination)


def _check_readme(examination: Examination) -> None:
    """The README's YAML has to name the configs, their files and their features."""
    text = examination.files.text(README)
    if text is None:
        examination.report("readme", README, "missing")
        return
    try:
        written = text.split("---\n")[1]
        if len(written) > LONGEST_HEADER:
            raise ValueError(f"has {len(written):,} characters")
        header = yaml.safe_load(written)
        configs = {config["config_name"]: config["data_files"][0]["path"] for config in header["configs"]}
        described = {info["config_name"]: info["features"] for info in header["dataset_info"]}
        wrong = wrong_words(header)
    except (*WRONG_CONTENT, yaml.YAMLError) as error:
        examination.report("readme", README, f"its YAML does not say what the configs are ({type(error).__name__})")
        return
    for word in wrong:
        examination.report("readme", README, f"the Hub would refuse its YAML: {word}")
    for config in CONFIGS:
        if configs.get(config) != f"data/{config}/**/*.parquet":
            examination.report("readme", README, f"does not name the files of {config}")
        if described.get(config) != features(config):
            examination.report("readme", README, f"the features of {config} are not those of its files")


def _check_skipped(examination: Examination) -> None:
    for path, _, table in examination.row_groups("skipped"):
        rows: list[dict[str, Any]] = table.to_pylist()
        if rows != sorted(rows, key=skipped_key):
            examination.report("order", path, "rows are not in order")
        if unknown := sorted({row["reason"] for row in rows} - set(Reason)):
            examination.report("value", path, f"{ascii(unknown[0])[:80]} is not a reason of the closed set")
        if unknown := sorted({row["stage"] for row in rows} - set(Stage)):
            examination.report("value", path, f"{ascii(unknown[0])[:80]} is not a stage of the closed set")
