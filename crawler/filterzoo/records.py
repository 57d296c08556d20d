"""The records that stages exchange. Frozen, slotted, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from filterzoo.computation import Step, Way


class Kind(StrEnum):
    """What a convolution does with its channels."""

    CONV = "conv"
    DEPTHWISE = "depthwise"
    GROUPED = "grouped"
    TRANSPOSED = "transposed"


class Context(StrEnum):
    """Where stride, groups, padding, dilation and depth of a layer were read."""

    GRAPH = "graph"
    """The file's own graph (ONNX, TFLite)."""
    ARCHITECTURE = "architecture"
    """A trusted definition of the architecture, run once without weights."""
    DECLARED = "declared"
    """The file's declaration of each tensor; depth is the order in the file."""


class Layout(StrEnum):
    """Meaning of a stored weight's axes; `*` stands for the kernel axes, in order."""

    OI_K = "oi*"
    """(out, in/groups, *kernel): torch and ONNX convolutions, the canonical order."""
    IO_K = "io*"
    """(in, out/groups, *kernel): torch and ONNX transposed convolutions."""
    K_IO = "*io"
    """(*kernel, in/groups, out): Keras and TensorFlow convolutions."""
    K_IM = "*im"
    """(*kernel, in, multiplier): Keras depthwise convolutions."""
    K_OI = "*oi"
    """(*kernel, out, in): Keras transposed convolutions."""
    O_K_I = "o*i"
    """(out, *kernel, in/groups): TFLite convolutions."""
    ONE_K_O = "1*o"
    """(1, *kernel, out): TFLite depthwise convolutions."""
    OPEN = "open"
    """Not stated by the file: `layers.selection` decides from the file's shapes."""
    OTHER = "other"
    """Not a convolution weight."""


class Evidence(StrEnum):
    """What determined that a tensor is a convolution weight, its kind and its axes (docs/selection.md)."""

    GRAPH = "graph"
    """A graph's operation reads it."""
    ARCHITECTURE = "architecture"
    """A trusted definition of the architecture reads it."""
    CONFIG = "config"
    """The framework's own configuration in the file, or its pickled module, states it."""
    FORMAT = "format"
    """The file states its framework, which fixes the order of axes; shapes decide the rest."""
    SHAPES = "shapes"
    """Only one interpretation agrees with the other shapes of the file."""
    NAME = "name"
    """Two interpretations agree with the shapes; the name decides."""
    ASSUMED = "assumed"
    """Two interpretations agree with all evidence; the more frequent one in the framework is assumed."""


CHECKSUM_BYTES = 4
"""Length of HDF5's Fletcher-32 checksum, which follows a chunk."""


class Codec(StrEnum):
    """The encoding of a stored byte range."""

    RAW = "raw"
    DEFLATE = "deflate"
    """Raw deflate, as in zip members."""
    ZLIB = "zlib"
    """zlib, as in HDF5 chunks."""
    SHUFFLE_ZLIB = "shuffle+zlib"
    """HDF5's byte shuffle, then zlib."""
    SHUFFLE = "shuffle"
    """HDF5's byte shuffle alone."""
    LZF = "lzf"
    """h5py's own compression."""
    SHUFFLE_LZF = "shuffle+lzf"
    FLETCHER32 = "fletcher32"
    """HDF5's checksum in the four bytes after the chunk; applied last, after the other filters."""
    ZLIB_FLETCHER32 = "zlib+fletcher32"
    SHUFFLE_ZLIB_FLETCHER32 = "shuffle+zlib+fletcher32"
    SHUFFLE_FLETCHER32 = "shuffle+fletcher32"
    LZF_FLETCHER32 = "lzf+fletcher32"
    SHUFFLE_LZF_FLETCHER32 = "shuffle+lzf+fletcher32"

    @property
    def steps(self) -> tuple[str, ...]:
        """The encoding steps, in the order they were applied."""
        return () if self is Codec.RAW else tuple(self.value.split("+"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One weight file of a checkpoint. `name` is its name in the zoo, and is never used as a path."""

    url: str
    name: str = ""
    size: int | None = None
    sha256: str | None = None
    member: str | None = None
    """Name of the member that holds the weights, when `url` is an archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One set of weights at one pinned revision: the unit of failure, of resume and of publication.

    Facts a zoo does not state stay None; nothing is guessed. `source` is filled in by the crawler.
    The first artifact is read; the others are files it may name (shards, external data).
    """

    id: str
    revision: str
    artifacts: tuple[Artifact, ...]
    source: str = ""
    url: str | None = None
    licence: str | None = None
    """The licence as the zoo states it; normalised by `filterzoo.licensing.licences`."""
    licence_from: str | None = None
    """Where it is stated (`filterzoo.licensing.statements`); None for the zoo's own list."""
    architecture: str | None = None
    task: str | None = None
    training_dataset: str | None = None
    pretraining_dataset: str | None = None
    visual_category: str | None = None
    modality: str | None = None
    robust: bool | None = None
    threat_model: str | None = None
    eps: float | None = None
    """The largest perturbation of an image in the norm of the threat model; pixel values are in [0, 1]."""
    clean_accuracy: float | None = None
    robust_accuracy: float | None = None
    pair_id: str | None = None
    base_model: str | None = None
    """The model it was fine-tuned, quantised or merged from, as the zoo names it."""
    anatomy: str | None = None
    """The body part in its images."""
    tags: str | None = None
    """Further tags or categories in its zoo, separated by `, `."""
    activation: str | None = None
    """Its activation functions, the most frequent first, separated by `, `; taken from its architecture, if that is
    known."""
    pooling: str | None = None
    """How it reduces the resolution of its features, ordered as `activation`: stride, max, average, blur, flc, lp."""


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes from `offset`: in the file, or in the decoded bytes of the tensor's one encoded record.

    `side` names the side file that holds them (ONNX external data, safetensors shards).
    """

    offset: int
    length: int
    side: str | None = None


@dataclass(frozen=True, slots=True)
class StoredRange:
    """A byte range of the file that is stored, and checked, as a whole (a zip member, an HDF5 chunk, a torch storage).

    `length` bytes in the file at `offset` decode to `size` bytes whose CRC-32 is `crc32`, if the format has one.
    An HDF5 chunk that was never written has length 0 and decodes to zeros.
    """

    offset: int
    length: int
    size: int
    codec: Codec = Codec.RAW
    crc32: int | None = None


@dataclass(frozen=True, slots=True)
class Quantisation:
    """value = (q - zero_point) * scale, per tensor (one entry) or per slice along the stored axis `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """What is known about the operation that reads a tensor. None means unknown, never a default.

    `depth` is the number of edges of the longest path from any input to the operation (docs/measures.md, 2) in a graph,
    None if only the order in the file is known.
    stated_depth: (conv_depth, conv_depth_norm) if the format computes both itself, which it must do when it leaves out
    convolutions.
    """

    kind: Kind
    context: Context
    groups: int | None = None
    stride: tuple[int, ...] | None = None
    dilation: tuple[int, ...] | None = None
    padding: tuple[int, ...] | None = None
    depth: int | None = None
    stated_depth: tuple[int, float] | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """A convolution of a known architecture, and the stored shape of the weight it reads."""

    shape: tuple[int, ...]
    convolution: Convolution


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One named array inside an artifact, as it is stored.

    dtype: a key of `filterzoo.dtypes.DTYPES` (safetensors' names: F32, F16, BF16, I8, ...).
    shape: as stored. strides: in elements, None for C order. span: the smallest byte range around the view.
    stored_in: the stored ranges that contain `span`: one for a zip member or a torch storage; for a chunked HDF5 data
    set one per chunk, in C order of the chunk grid (then `chunk_shape` is set and `span` is empty); none otherwise.
    convolution: set if the format knows which operation reads the tensor; graph formats set it on exactly the
    convolution weights, once for each operation that reads them.
    section: the state dict in the file that it belongs to (`state_dict`, `model_ema`), "" for a flat file.
    evidence: see `Evidence`; None if `convolution.context` states it.
    computation: set if the weight is computed from stored tensors; `span` is empty then.
    obstacle: why its elements cannot be read; `span` is empty then, and `dtype` is the nearest known one. A convolution
    weight with an obstacle is left out by its name (`LeftOut`), and the rest of the file is read.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    span: Span
    layout: Layout = Layout.OI_K
    strides: tuple[int, ...] | None = None
    stored_in: tuple[StoredRange, ...] = ()
    chunk_shape: tuple[int, ...] | None = None
    quantisation: Quantisation | None = None
    convolution: Convolution | None = None
    section: str = ""
    evidence: Evidence | None = None
    computation: Computation | None = None
    obstacle: str | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A convolution that cannot be read in a file whose others can. reason: a `filterzoo.Reason`."""

    name: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Computation:
    """How a tensor is computed from others, which may be computed as well; it has a shape and no bytes of its own."""

    way: Way
    step: Step
    inputs: tuple[Tensor, ...]
    numbers: tuple[int, ...] = ()


StatedFact = str | int | float | bool | None
"""A value as a file states it."""


@dataclass(frozen=True, slots=True)
class SectionFacts:
    """What a file with many checkpoints states about one of them; `section` is that of its tensors."""

    section: str
    stated: Mapping[str, StatedFact]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file states about itself, besides its tensors."""

    framework: str | None = None
    """The framework that wrote it: torch, keras, onnx, tflite, numpy, ..."""
    licence: str | None = None
    """A licence stated inside the file, as written there."""
    opset: int | None = None
    """The opset version of ONNX's default domain that it requires."""
    sections: tuple[SectionFacts, ...] = ()
    """The facts of each checkpoint in a file with many checkpoints. Only sources that list such files read them."""


@dataclass(frozen=True, slots=True)
class Index:
    """What the jail returns for one file: the number of named arrays, and the convolutions among them, in order.

    tensors: every named array, if all were requested (`filterzoo.open`). obstacle: why the convolutions could not be
    listed although the arrays could; set only if `tensors` was requested.
    """

    format: str
    facts: FileFacts
    tensor_count: int
    convolutions: tuple[Tensor, ...]
    member: str | None = None
    """Name of the model, if the file is an archive."""
    passed_over: str | None = None
    """Number of arrays of rank 3 to 5 that are no convolution weights, by cause (`layers.selection.PassedOver`)."""
    left_out: tuple[LeftOut, ...] = ()
    """Convolutions that cannot be read, if others of the file can."""
    containers: tuple[StoredRange, ...] = ()
    """The stored archive members that contain the model, the outermost first; each is checked as a whole before use."""
    tensors: tuple[Tensor, ...] = ()
    obstacle: str | None = None
