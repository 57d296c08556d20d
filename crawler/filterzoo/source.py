"""The interface of a source plugin: a zoo that lists its checkpoints and opens their files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeVar

from filterzoo.files import RandomAccessFile
from filterzoo.outcome import Refusal
from filterzoo.records import Artifact, Checkpoint, Operation

if TYPE_CHECKING:
    from filterzoo.network.door import Door


class SourceOptions(BaseModel):
    """Base of every source's options; a key that is not declared is an error in the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)


OptionsT_co = TypeVar("OptionsT_co", bound=SourceOptions, default=SourceOptions, covariant=True)


class Source(ABC, Generic[OptionsT_co]):
    """A zoo. One object is created for each block of a manifest that names it.

    `Source[ZooOptions]` declares the type of its options; so does a class `Options` inside the source.
    """

    name: ClassVar[str]
    """The value of the `source` column; never changes."""

    hosts: ClassVar[tuple[str, ...]] = ()
    """Patterns of hosts that redirects may lead to (`*.example.org`, `*` for any).

    Redirects within a host are always allowed, and so are those from the hosts in `network.hosts` to their storage:
    GitHub, Zenodo, Google Drive and Hugging Face need no entry here.
    """

    Options: type[OptionsT_co] = SourceOptions  # type: ignore[assignment]  # what `Source` without brackets means
    """The keys of this source's block in a manifest, besides `source` and `limit`."""

    opens_members: ClassVar[bool] = False
    """Whether `open` returns the archive member that an artifact names, not the archive."""

    opens_in_threads: ClassVar[bool] = False
    """Whether the source's own `open` is thread-safe; if so, small files are opened ahead of time."""

    def __init_subclass__(cls, **named: Any) -> None:
        """Take `Options` from the brackets of `Source[ZooOptions]`."""
        super().__init_subclass__(**named)
        for base in cls.__dict__.get("__orig_bases__", ()):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, Source) and "Options" not in cls.__dict__:
                (cls.Options,) = get_args(base)

    @classmethod
    def options_type(cls) -> type[SourceOptions]:
        """`Options`, for any source."""
        return cls.Options

    def __init__(self, options: OptionsT_co, door: Door, folder: Path) -> None:
        self.options = options
        self.door = door
        self.folder = folder
        """folder: the manifest's; relative paths in options are relative to it."""

    @abstractmethod
    def discover(self) -> Iterator[Checkpoint | Refusal]:
        """Every checkpoint of the zoo that the options ask for, lazily, without fetching weights.

        A checkpoint that exists but cannot be fetched is yielded as a `Refusal`: it is recorded in the ledger, and the
        listing continues.
        """

    def open(self, artifact: Artifact) -> RandomAccessFile:
        """The artifact's bytes; by default through the http door, at `artifact.url`."""
        return self.door.open(artifact)

    def architectures(self, checkpoint: Checkpoint) -> Iterator[Mapping[str, Operation]]:
        """Candidates for the checkpoint's architecture, the likeliest first; empty if it is unknown.

        Each maps the name of a weight to the convolution that reads it. Called in a worker for files without a graph;
        the first whose names and shapes fit exactly is used (`filterzoo.architectures.context`), so build each one
        lazily. `architectures.architecture.operations` computes it for a model that can be built. A Refused raised here
        refuses the checkpoint.
        """
        del checkpoint
        yield from ()

    @property
    def may_build_architectures(self) -> bool:
        """Whether `architectures` may build a model. If so, torch is loaded once, before the workers start.

        False if the options exclude it. A worker that builds a model anyway loads torch itself.
        """
        return type(self).architectures is not Source.architectures

    def architecture_name(self, checkpoint: Checkpoint) -> str | None:
        """The architecture's name, if it is not in the listing but in a small file of the repository.

        Called in a worker, only for checkpoints without an `architecture` whose weights are readable. A Refused raised
        here refuses the checkpoint.
        """
        del checkpoint
        return None
