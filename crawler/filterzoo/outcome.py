"""The outcome of a checkpoint: done, with the facts that its published row needs, or an entry in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from filterzoo.errors import Reason, Stage
from filterzoo.records import Checkpoint, LeftOut


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A checkpoint whose layers are all in the store.

    licence: an SPDX expression, lower case, or None; licence_class: see `licensing.licences`; both are the stricter of
    the zoo's and the file's. filters_by_kernel: kernel name -> filters in the file, all sizes. layers_fragment,
    filters_fragment: names in the fragment store (`store.fragments`); filters_fragment is None when the licence allows
    only metadata, or no layer has a wanted kernel size.
    """

    checkpoint: Checkpoint
    format: str
    framework: str | None
    opset: int | None = None
    """The opset version, for an ONNX file."""
    section: str
    member: str | None = None
    """Name of the model's file, if the artifact is an archive."""
    sha256: str | None
    size: int
    integrity: str
    """What the layers' bytes were checked against: `sha256`, `crc32`, `sha256+crc32`, or `none`."""
    licence: str | None
    licence_class: str
    licence_from: str | None
    n_tensors: int
    n_layers: int
    filters_by_kernel: dict[str, int]
    layers_fragment: str
    filters_fragment: str | None
    publish_weights: bool
    passed_over: str | None = None
    """Number of arrays of rank 3 to 5 that were not selected, by cause (`filterzoo.layers.selection.PassedOver`)."""
    partial: bool | None = None
    """Whether some of its convolutions could not be read; None if that was not recorded."""
    left_out: tuple[LeftOut, ...] = ()
    """Those convolutions, and why."""
    architecture_found: bool | None = None
    """Whether `checkpoint.architecture` comes from its files, not the listing; None if that was not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Listed by a source in place of a checkpoint that cannot be fetched, such as a gated one.

    revision: the pinned one, or the requested name if it could not be resolved.
    """

    id: str
    revision: str
    reason: Reason
    detail: str
    url: str | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """A checkpoint, or a whole plugin, that was skipped or failed.

    `id` and `revision` are None when a plugin failed before it listed any checkpoint.
    """

    source: str
    id: str | None
    revision: str | None
    url: str | None
    stage: Stage
    reason: Reason
    detail: str
    where: str | None
    plugin: str | None
    licence: str | None = None
    not_before: str | None = None
    """When its host allows the next request, in UTC (`2026-12-01T18:00:00Z`); None if it states none."""

    @property
    def is_failure(self) -> bool:
        """Whether it is a failure: a checkpoint that was not left out on purpose, or a whole zoo for any reason.

        A zoo that is gone or requires a login is a failure too, because all of its checkpoints are missing.
        """
        return self.id is None or not self.reason.is_skip


def entries_of_layers(done: Done) -> Iterator[LedgerEntry]:
    """The ledger's entries for the unreadable convolutions of a checkpoint that is otherwise done."""
    checkpoint = done.checkpoint
    for left in done.left_out:
        yield LedgerEntry(
            source=checkpoint.source,
            id=checkpoint.id,
            revision=checkpoint.revision,
            url=checkpoint.url,
            stage=Stage.INDEX,
            reason=Reason(left.reason),
            detail=f"partial: this convolution was left out: {left.detail}",
            where=left.name,
            plugin=None,
            licence=done.licence,
        )
