"""Decides whether a checkpoint may be read, by its licence and its number of filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from filterzoo.architectures.context import DescribedFile
from filterzoo.crawl.task import Settings, Task
from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile
from filterzoo.layers.shapes import canonical_shape, kernel_name
from filterzoo.licensing.licences import Licence
from filterzoo.licensing.statements import LicenceOrigin
from filterzoo.outcome import Done
from filterzoo.records import Checkpoint, Index


@dataclass(frozen=True, slots=True)
class Accepted:
    """A checkpoint whose weights may be read.

    whole: its file. file: what the index describes, `whole` or an archive's member. filters: how many by kernel size.
    kernels: those whose weights are stored. published: see `published_hashes`.
    """

    task: Task
    checkpoint: Checkpoint
    whole: RandomAccessFile
    file: RandomAccessFile
    index: Index
    licence: Licence
    weights_allowed: bool
    filters: dict[str, int]
    kernels: frozenset[str]
    published: Mapping[str | None, str]

    def done(self, integrity: str) -> Done:
        """The record of the checkpoint, before its fragments have names."""
        artifact, index = self.checkpoint.artifacts[0], self.index
        return Done(
            checkpoint=self.checkpoint,
            format=index.format,
            framework=index.facts.framework,
            opset=index.facts.opset,
            section=index.convolutions[0].section if index.convolutions else "",
            member=index.member or artifact.member,
            sha256=self.whole.verified_sha256 or artifact.sha256 or self.whole.stated_sha256,
            size=self.whole.size,
            integrity=integrity,
            licence=self.licence.expression,
            licence_class=self.licence.licence_class,
            licence_from=_licence_from(self.task, index),
            n_tensors=index.tensor_count,
            n_layers=len(index.convolutions),
            filters_by_kernel=self.filters,
            layers_fragment="",
            filters_fragment=None,
            publish_weights=self.weights_allowed,
            passed_over=index.passed_over,
            partial=bool(index.left_out),
            left_out=index.left_out,
            architecture_found=self.task.checkpoint.architecture is None,
        )


def with_functions(checkpoint: Checkpoint, described: DescribedFile) -> Checkpoint:
    """The checkpoint with its architecture's activation and pooling functions, unless the zoo states them."""
    return replace(
        checkpoint,
        activation=checkpoint.activation or described.activation,
        pooling=checkpoint.pooling or described.pooling,
    )


def decide(task: Task, index: Index) -> tuple[Licence, bool]:
    """The governing licence, and whether weights may be published; Refused if nothing may be."""
    licence = Licence.strictest(task.checkpoint.licence, index.facts.licence)
    decision = task.settings.policy.decide(licence)
    if decision.reason is not None:
        raise Refused(decision.reason, decision.detail)
    return licence, decision.weights


def _licence_from(task: Task, index: Index) -> str | None:
    zoo = task.checkpoint.licence_from or str(LicenceOrigin.ZOO)
    stated = [name for name, text in ((zoo, task.checkpoint.licence), ("file", index.facts.licence)) if text]
    return "+".join(stated) or None


def count_filters(index: Index, settings: Settings) -> dict[str, int]:
    """Filters by kernel size; Refused if the wanted ones exceed the manifest's limit."""
    counts: Counter[str] = Counter()
    for tensor in index.convolutions:
        shape = canonical_shape(tensor)
        counts[kernel_name(shape[2:])] += prod(shape[:2])
    wanted = sum(counts[kernel] for kernel in settings.kernels)
    if settings.max_filters is not None and wanted > settings.max_filters:
        raise Refused(Reason.TOO_MANY_FILTERS, f"{wanted} filters, the manifest allows {settings.max_filters}")
    return dict(sorted(counts.items()))
