"""Runs the networks of manifests on images and writes their logits: trusted code, with weights from the safe reader."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import filterzoo
from filterzoo.crawl.discovery import discover, open_sources
from filterzoo.crawl.processes.machine import keep_freed_memory
from filterzoo.crawl.task import Task
from filterzoo.crawl.worker.opening import opened
from filterzoo.errors import FilterZooError, Reason, Refused, Stage, describe, writing_to
from filterzoo.files import RandomAccessFile
from filterzoo.jail import Jail
from filterzoo.network.door import Door
from filterzoo.outcome import LedgerEntry
from filterzoo.plugins import Plugins
from filterzoo.reader.model_file import ModelFile
from filterzoo_evaluation.attacks.attack import Attack, AttackSettings
from filterzoo_evaluation.images.image_set import ImageSet
from filterzoo_evaluation.logits_file import Rows, logits_path, write_logits
from filterzoo_evaluation.networks.classifier import Classifier
from filterzoo_evaluation.networks.trusted import architecture_of, trusted
from filterzoo_evaluation.networks.weights import state_dict_of

_PIECE = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """The options of `filterzoo evaluate`. attack: None for clean images. network: see `networks.trusted`."""

    manifests: tuple[Path, ...]
    images: ImageSet
    output: Path
    scratch: Path
    cache: Path
    attack: Attack | None = None
    network: str | None = None
    run_onnx: bool = False
    device: str = "cpu"
    batch: int = 100
    workers: int = 1
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A finished evaluation. is_new: False if an earlier run wrote it."""

    model_id: str
    place: Path
    is_new: bool


def evaluate(
    wanted: EvaluationRequest, plugins: Plugins, on_images: Callable[[int], None] = lambda _count: None
) -> Iterator[Evaluated | LedgerEntry]:
    """Evaluate every checkpoint of the manifests, one after the other. Failures give ledger entries.

    Code from a crawled file or repository is never run: the network is an installed class or, if the user asks for it,
    an ONNX graph in onnxruntime. Errors of the disk end the run.
    """
    keep_freed_memory(all_of_it=True)  # a network's activations have the same sizes in every batch
    wanted.scratch.mkdir(parents=True, exist_ok=True)
    with Door(wanted.cache, allow_private=wanted.allow_private) as door, contextlib.ExitStack() as stack:
        sources = open_sources(wanted.manifests, plugins, door)
        jail = Jail(plugins.format_references)
        stack.callback(jail.close)
        yield from plugins.failures
        for found in discover(sources):
            if isinstance(found, LedgerEntry):
                yield found
                continue
            try:
                source = sources[found.source_number].source
                yield _evaluated(found, wanted, source.open, jail, opens_members=source.opens_members, show=on_images)
            except Refused as refusal:
                yield found.ledger_entry(Stage.MEASURE, refusal)


def _evaluated(
    task: Task,
    wanted: EvaluationRequest,
    open_artifact: Callable[[Any], contextlib.AbstractContextManager[RandomAccessFile]],
    jail: Jail,
    *,
    opens_members: bool,
    show: Callable[[int], None],
) -> Evaluated:
    checkpoint, artifact = task.checkpoint, task.checkpoint.artifacts[0]
    model_id = f"{checkpoint.source}/{checkpoint.id}@{checkpoint.revision}"
    settings = AttackSettings() if wanted.attack is None else wanted.attack.settings
    key = {"model_id": model_id, "image_set": wanted.images.name, **asdict(settings)}
    asked = {"network": wanted.network, "onnx": wanted.run_onnx, "images": len(wanted.images), "batch": wanted.batch}
    place = logits_path(wanted.output, key, asked | {"device": wanted.device, "versions": versions()})
    if place.is_file():
        show(len(wanted.images))
        return Evaluated(model_id, place, is_new=False)
    member = None if opens_members else artifact.member
    with contextlib.ExitStack() as stack:
        whole = stack.enter_context(open_artifact(artifact))
        found = opened(whole, artifact.name, jail, wanted.scratch, member, all_tensors=True)
        file, index = stack.enter_context(found)
        model = stack.enter_context(ModelFile(artifact.name, file, index, contextlib.ExitStack()))
        network = _network(wanted, model, file, checkpoint.source, checkpoint.architecture)
    if wanted.attack is not None and settings.attack == "pgd" and not network.has_gradients:
        raise Refused(Reason.UNSUPPORTED, "pgd needs gradients, which onnxruntime does not give; --attack square does")
    words = {"transform": network.transform, "versions": versions()}
    with writing_to(wanted.output):
        write_logits(place, key, words, _batches(network, wanted, show))
    return Evaluated(model_id, place, is_new=True)


def _network(
    wanted: EvaluationRequest, model: ModelFile, file: RandomAccessFile, source: str, architecture: str | None
) -> Classifier:
    if wanted.run_onnx and model.format == "onnx":
        from filterzoo_evaluation.networks.onnx_graph import onnx_network  # noqa: PLC0415  # an extra

        pieces = (file.read(first, min(_PIECE, file.size - first)) for first in range(0, file.size, _PIECE))
        return onnx_network(b"".join(map(bytes, pieces)), wanted.device)
    name = wanted.network or architecture_of(source, architecture)
    arrays = state_dict_of(model)
    try:
        return trusted(name)(arrays, wanted.device)
    except FilterZooError:
        raise
    except Exception as error:  # an architecture of others may raise anything; the next checkpoint is evaluated
        raise Refused(Reason.UNSUPPORTED, f"{name}: {describe(error)}") from error


def _batches(network: Classifier, wanted: EvaluationRequest, show: Callable[[int], None]) -> Iterator[Rows]:
    """Logits batch by batch. The images of the next batch are loaded while the current one is classified."""
    images = wanted.images
    with ThreadPoolExecutor(wanted.workers) as pool:

        def load(first: int) -> list[Any]:
            numbers = range(first, min(first + wanted.batch, len(images)))
            return [pool.submit(lambda number: network.prepare(images.load(number)), number) for number in numbers]

        coming = load(0)
        for first in range(0, len(images), wanted.batch):
            own, coming = coming, load(first + wanted.batch)
            numbers = range(first, first + len(own))
            labels = [images.labels[number] for number in numbers]
            with _running(network):
                logits = _classified(network, wanted, [one.result() for one in own], labels, numbers)
            show(len(own))
            yield [images.sample_ids[number] for number in numbers], labels, logits


@contextlib.contextmanager
def _running(network: Classifier) -> Iterator[None]:
    """Refused (unsupported) for what the network, its transform or an attack raises: images that do not fit, memory."""
    try:
        yield
    except (FilterZooError, OSError):
        raise
    except Exception as error:  # as in `_network`
        detail = f"it cannot run on these images ({network.transform}): {describe(error)}"
        raise Refused(Reason.UNSUPPORTED, " ".join(detail.split())) from error


def _classified(
    network: Classifier, wanted: EvaluationRequest, prepared: list[torch.Tensor], labels: list[int], numbers: range
) -> np.ndarray:
    if len({image.shape for image in prepared}) != 1:
        raise Refused(Reason.UNSUPPORTED, "the images have several sizes, and the network's transform leaves them so")
    batch = torch.stack(prepared).to(wanted.device)
    if wanted.attack is not None:
        batch = wanted.attack(network.classify, batch, torch.tensor(labels, device=wanted.device), numbers)
    with torch.no_grad():
        logits = network.classify(batch).float().cpu().numpy()
    if logits.ndim != 2 or not np.isfinite(logits).all():
        raise Refused(Reason.UNSUPPORTED, f"the network gives {logits.shape}, not finite logits of each image")
    if max(labels) >= logits.shape[1]:
        raise Refused(Reason.UNSUPPORTED, f"the images have label {max(labels)}, the network {logits.shape[1]} classes")
    return logits


def versions() -> str:
    """The versions of the software that ran the network."""
    return f"filterzoo {filterzoo.__version__}, torch {torch.__version__}, {platform.machine()}"
