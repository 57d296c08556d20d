"""The input of a worker: its configuration and tasks. Both survive a process boundary."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from filterzoo.crawl.budget import Budget
from filterzoo.errors import Reason, Refused, Stage
from filterzoo.licensing.licences import Licence, Policy
from filterzoo.manifests.manifest import VerifySha256
from filterzoo.measures.device import Device
from filterzoo.outcome import LedgerEntry
from filterzoo.records import Checkpoint
from filterzoo.references import PluginReference
from filterzoo.store.workfolder import SOCKETS


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a manifest for all of its checkpoints."""

    kernels: frozenset[str]
    policy: Policy
    max_bytes: int | None
    max_filters: int | None
    verify_sha256: VerifySha256 = VerifySha256.WHEN_CHEAP
    budget: Budget = field(default_factory=Budget)

    @property
    def key(self) -> str:
        """A key that changes when checkpoints must be read again; the journal stores it with every result."""
        policy = [sorted(self.policy.allow) if self.policy.allow is not None else None, sorted(self.policy.deny)]
        parts = [sorted(self.kernels), policy, str(self.policy.unknown), self.max_bytes, self.max_filters]
        # Results from before this setting existed used its default.
        chosen = [] if self.verify_sha256 is VerifySha256.WHEN_CHEAP else [self.verify_sha256]
        return json.dumps(parts + chosen + self.budget.key)


@dataclass(frozen=True, slots=True)
class Task:
    """A checkpoint to process; survives a process boundary. source_number: its index in `open_sources`."""

    checkpoint: Checkpoint
    source_number: int
    settings: Settings

    def ledger_entry(self, stage: Stage, refusal: Refused) -> LedgerEntry:
        """The ledger entry of this checkpoint for a refusal."""
        return LedgerEntry(
            source=self.checkpoint.source,
            id=self.checkpoint.id,
            revision=self.checkpoint.revision,
            url=self.checkpoint.url,
            stage=stage,
            reason=refusal.reason,
            detail=refusal.detail,
            where=refusal.where,
            plugin=refusal.plugin or (self.checkpoint.source if refusal.reason is Reason.PLUGIN_ERROR else None),
            licence=Licence.parse(self.checkpoint.licence).expression,
            not_before=refusal.not_before,
        )


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """The configuration of a worker process; survives a process boundary."""

    manifests: tuple[Path, ...]
    plugins: tuple[PluginReference, ...]
    fragments_url: str
    scratch: Path
    cache: Path
    device: Device
    allow_private: bool = False
    builds_architectures: bool = False
    """Whether a source may build architectures, for which torch is loaded before the workers start."""
    hosts: Path | None = None
    """The folder in which the crawl's processes record hosts that are down."""
    folders: tuple[Path, ...] = ()
    """Base folders of relative paths in each manifest; empty: the manifest's folder."""

    @property
    def sockets(self) -> Path:
        """The folder for sockets of the executor."""
        return self.scratch.with_name(SOCKETS)
